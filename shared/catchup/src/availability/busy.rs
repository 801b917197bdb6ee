//! The time that events take.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use chrono_tz::Tz;

use super::wall_clock::WallClock;
use crate::db::availability::BusyEvent;
use crate::span::Span;

/// The time that one event takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busy {
    /// Google's id of the event.
    pub google_event_id: String,
    /// In the clock's window.
    pub span: Span,
}

/// What busy events take of the clock's window. An all-day event takes its dates as that clock shows them, wherever the
/// calendar is kept; an event without length takes nothing, unless it is a day.
#[must_use]
pub fn busy(events: Vec<BusyEvent>, clock: &WallClock) -> Vec<Busy> {
    events
        .into_iter()
        .filter_map(|event| {
            let span = if event.is_all_day { days(&event, clock)? } else { event.span.and(&clock.window()) };
            (!span.is_empty()).then_some(Busy { google_event_id: event.google_event_id, span })
        })
        .collect()
}

/// From the first to the last moment of the event's dates.
fn days(event: &BusyEvent, clock: &WallClock) -> Option<Span> {
    let zone: Tz = event.timezone.parse().unwrap_or(Tz::UTC);
    let date = |moment: DateTime<Utc>| moment.with_timezone(&zone).date_naive();
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN);
    let first = date(event.span.start);
    let after = date(event.span.end).max(first.succ_opt()?);
    clock
        .moments(midnight(first), midnight(after))
        .reduce(|whole, part| Span { start: whole.start, end: part.end })
}
