//! What the clock on a user's wall shows, and when.
//!
//! Between two changes of its offset a clock runs evenly, and a time that it shows is a moment by one subtraction. So no
//! time is ever ambiguous or missing: one that is skipped is shown at no moment, one that is repeated at two.

use chrono::{
    DateTime, FixedOffset, NaiveDate, NaiveDateTime, Offset, SubsecRound, TimeDelta, TimeZone, Utc,
};
use chrono_tz::Tz;

use crate::span::Span;

/// No zone changed its offset twice within this time.
const STEP: TimeDelta = TimeDelta::hours(6);
/// Changes come at whole seconds.
const SECOND: TimeDelta = TimeDelta::seconds(1);

/// A wall clock in a zone, looked at during a window.
#[derive(Debug, Clone)]
pub struct WallClock {
    zone: Tz,
    window: Span,
    /// In order, without gaps: the window, cut where the offset changes.
    even: Vec<(Span, FixedOffset)>,
}

impl WallClock {
    /// The clock of that zone.
    #[must_use]
    pub fn new(zone: Tz, window: Span) -> Self {
        let mut even = Vec::new();
        let mut start = window.start;
        while start < window.end {
            let end = next_change(zone, start, window.end);
            even.push((Span { start, end }, offset(zone, start)));
            start = end;
        }
        Self { zone, window, even }
    }

    /// Its zone.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The time during which it is looked at.
    #[must_use]
    pub fn window(&self) -> Span {
        self.window
    }

    /// The date that it shows at a moment.
    #[must_use]
    pub fn date(&self, moment: DateTime<Utc>) -> NaiveDate {
        moment.with_timezone(&self.zone).date_naive()
    }

    /// When, in the window, it shows a time from `start` to before `end`.
    pub(super) fn moments(&self, start: NaiveDateTime, end: NaiveDateTime) -> impl Iterator<Item = Span> {
        self.even
            .iter()
            .map(move |(span, offset)| {
                span.and(&Span { start: (start - *offset).and_utc(), end: (end - *offset).and_utc() })
            })
            .filter(|span| !span.is_empty())
    }

    /// The dates that it shows in the window, and the one before, whose windows may end in this one.
    pub(super) fn dates(&self) -> impl Iterator<Item = NaiveDate> {
        let dates = || self.even.iter().flat_map(|(span, _)| [self.date(span.start), self.date(span.end)]);
        let first = dates().min().unwrap_or_default();
        let last = dates().max().unwrap_or_default();
        first.pred_opt().unwrap_or(first).iter_days().take_while(move |date| *date <= last)
    }
}

fn offset(zone: Tz, moment: DateTime<Utc>) -> FixedOffset {
    zone.offset_from_utc_datetime(&moment.naive_utc()).fix()
}

/// The first moment after `from` with another offset, or `until`.
fn next_change(zone: Tz, from: DateTime<Utc>, until: DateTime<Utc>) -> DateTime<Utc> {
    let is_same = |moment| offset(zone, moment) == offset(zone, from);
    let mut same = from;
    let mut other = loop {
        let next = (same + STEP).min(until);
        if !is_same(next) {
            break next;
        }
        if next == until {
            return until;
        }
        same = next;
    };
    while other - same > SECOND {
        let middle = same + (other - same) / 2;
        if is_same(middle) {
            same = middle;
        } else {
            other = middle;
        }
    }
    other.trunc_subsecs(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check(zone: Tz, from: &str, until: &str, expected: &[(&str, i32)]) {
        let clock = WallClock::new(zone, Span { start: time(from), end: time(until) });
        let minutes = |offset: FixedOffset| offset.local_minus_utc() / 60;
        let even: Vec<_> = clock.even.iter().map(|(span, offset)| (span.start, minutes(*offset))).collect();
        let expected: Vec<_> = expected.iter().map(|(start, minutes)| (time(start), *minutes)).collect();
        assert_eq!(even, expected);
        assert_eq!(clock.even.last().unwrap().0.end, time(until));
    }

    #[test]
    fn a_window_is_cut_exactly_where_the_offset_changes() {
        let (march, november) = ("2026-03-01T00:00:00.5Z", "2026-11-30T00:00:00.25Z");
        check(
            Tz::Europe__Berlin,
            march,
            november,
            &[(march, 60), ("2026-03-29T01:00:00Z", 120), ("2026-10-25T01:00:00Z", 60)],
        );
        check(
            Tz::Australia__Lord_Howe,
            march,
            november,
            &[(march, 660), ("2026-04-04T15:00:00Z", 630), ("2026-10-03T15:30:00Z", 660)],
        );
        check(
            Tz::America__St_Johns,
            march,
            november,
            &[(march, -210), ("2026-03-08T05:30:00Z", -150), ("2026-11-01T04:30:00Z", -210)],
        );
        check(Tz::Asia__Kolkata, march, november, &[(march, 330)]);
        // A day was left out.
        let (before, after) = ("2011-12-29T00:00:00Z", "2011-12-31T00:00:00Z");
        check(Tz::Pacific__Apia, before, after, &[(before, -600), ("2011-12-30T10:00:00Z", 840)]);
    }
}
