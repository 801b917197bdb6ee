//! Parts of a week, as a person plans it.

use chrono::{DateTime, Datelike, Timelike, Utc, Weekday};
use chrono_tz::Tz;

/// A part of a day, on a weekday or at the weekend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartOfWeek {
    is_weekend: bool,
    part: PartOfDay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartOfDay {
    Morning,
    Afternoon,
    Evening,
}

impl PartOfWeek {
    /// The one in which a moment is.
    pub(super) fn of(moment: DateTime<Utc>, zone: Tz) -> Self {
        let local = moment.with_timezone(&zone);
        let part = match local.hour() {
            0..12 => PartOfDay::Morning,
            12..17 => PartOfDay::Afternoon,
            17.. => PartOfDay::Evening,
        };
        Self { is_weekend: matches!(local.weekday(), Weekday::Sat | Weekday::Sun), part }
    }

    /// How many minutes before or after the usual hour of such a part most people would meet a friend then.
    pub(super) fn minutes_off(self, moment: DateTime<Utc>, zone: Tz) -> u32 {
        let usual = match (self.is_weekend, self.part) {
            (true, _) => 11,
            (false, PartOfDay::Evening) => 18,
            (false, PartOfDay::Morning | PartOfDay::Afternoon) => 12,
        };
        let local = moment.with_timezone(&zone);
        (local.hour() * 60 + local.minute()).abs_diff(usual * 60)
    }

    /// When most people meet friends.
    pub(super) fn is_leisure(self) -> bool {
        self.is_weekend || self.part == PartOfDay::Evening
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evenings_and_weekends_are_leisure_by_the_users_clock() {
        for (moment, zone, expected) in [
            ("2026-03-04T16:59:00Z", Tz::UTC, false),
            ("2026-03-04T17:00:00Z", Tz::UTC, true),
            ("2026-03-07T10:00:00Z", Tz::UTC, true),
            ("2026-03-06T23:00:00Z", Tz::Asia__Tokyo, true),
            ("2026-03-08T23:00:00Z", Tz::Asia__Tokyo, false),
        ] {
            assert_eq!(
                PartOfWeek::of(moment.parse().unwrap(), zone).is_leisure(),
                expected,
                "{moment} {zone}"
            );
        }
    }
}
