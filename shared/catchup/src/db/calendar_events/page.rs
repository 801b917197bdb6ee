//! A page of a calendar's changes, as it is given to Postgres.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use shared::db::shortened;

use crate::db::calendars::ID_CHARS;

const SUMMARY_CHARS: usize = 500;
const LOCATION_CHARS: usize = 500;
const TIMEZONE_CHARS: usize = 100;

/// An event, as the application caches it.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// Google's id; an instance of a recurring event has one of its own.
    pub google_event_id: String,
    /// Title.
    pub summary: Option<String>,
    /// Text.
    pub description: Option<String>,
    /// When it begins.
    pub start_time: DateTime<Utc>,
    /// When it ends.
    pub end_time: DateTime<Utc>,
    /// IANA name.
    pub timezone: String,
    /// It has dates instead of times.
    pub is_all_day: bool,
    /// It takes the user's time.
    pub is_busy: bool,
    /// Where it is.
    pub location: Option<String>,
    /// Who takes part.
    pub attendees: Option<Value>,
}

/// Events that others take the place of; Google does not say that they are gone.
///
/// - A single event: the instances that it had as a series.
/// - The rest of a series that was split ("this and following"): the instances that the former series had from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superseded {
    /// Id of the event, or of the former series.
    pub base: String,
    /// From when on, as in the ids of instances; empty for all of them.
    pub since: String,
}

/// One page of a calendar's changes.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// To be there as described. Of an id that comes twice, the last counts.
    pub rows: Vec<EventRow>,
    /// Ids of events that must not be there; present counts more.
    pub gone: Vec<String>,
    /// Whose instances must not be there.
    pub superseded: Vec<Superseded>,
}

/// A page as [`CalendarEvents::apply`](super::CalendarEvents::apply) gives it to Postgres.
pub(super) struct Page<'a> {
    pub(super) rows: Vec<PageRow<'a>>,
    pub(super) gone: Vec<&'a str>,
    /// Of what is superseded.
    pub(super) bases: Vec<&'a str>,
    /// Likewise, in the same order.
    pub(super) since: Vec<&'a str>,
}

impl<'a> Page<'a> {
    pub(super) fn of(changes: &'a Changes) -> Self {
        let events = &changes.rows;
        let last: HashMap<&str, &EventRow> =
            events.iter().map(|event| (event.google_event_id.as_str(), event)).collect();
        let gone = changes.gone.iter().map(String::as_str).filter(|id| !last.contains_key(id)).collect();
        let rows = events
            .iter()
            .filter(|event| std::ptr::eq(last[event.google_event_id.as_str()], *event))
            .filter(|event| event.google_event_id.chars().count() <= ID_CHARS)
            .map(PageRow::of)
            .collect();
        let (bases, since) =
            changes.superseded.iter().map(|of| (of.base.as_str(), of.since.as_str())).unzip();
        Self { rows, gone, bases, since }
    }
}

/// An event of a page: every text fits its column.
#[derive(Serialize)]
pub(super) struct PageRow<'a> {
    google_event_id: &'a str,
    summary: Option<String>,
    description: Option<String>,
    start_time: DateTime<Utc>,
    end_time: DateTime<Utc>,
    timezone: String,
    is_all_day: bool,
    is_busy: bool,
    location: Option<String>,
    attendees: Option<&'a Value>,
}

impl<'a> PageRow<'a> {
    fn of(event: &'a EventRow) -> Self {
        let fitting = |text: &Option<String>, chars| text.as_deref().map(|text| shortened(text, chars));
        Self {
            google_event_id: &event.google_event_id,
            summary: fitting(&event.summary, SUMMARY_CHARS),
            description: fitting(&event.description, usize::MAX),
            start_time: event.start_time,
            end_time: event.end_time,
            timezone: shortened(&event.timezone, TIMEZONE_CHARS),
            is_all_day: event.is_all_day,
            is_busy: event.is_busy,
            location: fitting(&event.location, LOCATION_CHARS),
            attendees: event.attendees.as_ref(),
        }
    }
}
