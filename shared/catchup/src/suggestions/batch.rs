//! When a user's next batch of suggestions is announced.

use chrono::{DateTime, Datelike, Days, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::time_zone;

/// A weekly time on the user's wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WeeklyTime {
    /// 0 is Sunday.
    pub(super) day: u8,
    /// When on that day.
    pub(super) time: NaiveTime,
}

impl WeeklyTime {
    /// What is stored; a time that is none is 09:00, as for the batch sweep.
    pub(super) fn read(day: Option<i32>, time: Option<&str>) -> Self {
        let default = NaiveTime::from_hms_opt(9, 0, 0).unwrap_or_default();
        let time = time.and_then(|time| NaiveTime::parse_from_str(time, "%H:%M").ok()).unwrap_or(default);
        let day = day.and_then(|day| u8::try_from(day).ok()).filter(|day| *day < 7).unwrap_or(0);
        Self { day, time }
    }

    /// The first moment after `now` at which it is.
    pub(super) fn next(self, zone: Tz, now: DateTime<Utc>) -> DateTime<Utc> {
        let today = now.with_timezone(&zone).date_naive();
        // A time that the clocks skipped on the day of a batch may come after the date of the next one.
        (0..9)
            .filter_map(|days| today.checked_add_days(Days::new(days)))
            .filter(|date| date.weekday().num_days_from_sunday() == u32::from(self.day))
            .filter_map(|date| time_zone::first_shown(zone, date.and_time(self.time)))
            .find(|moment| *moment > now)
            .unwrap_or(now + TimeDelta::weeks(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(zone: Tz, day: i32, time: &str, now: &str, expected: &str) {
        let next = WeeklyTime::read(Some(day), Some(time)).next(zone, now.parse().unwrap());
        assert_eq!(next, expected.parse::<DateTime<Utc>>().unwrap(), "{zone} {day} {time} after {now}");
    }

    #[test]
    fn the_next_batch_is_the_first_moment_at_which_the_users_clock_shows_its_time() {
        // The first of March 2026 is a Sunday.
        check(Tz::UTC, 0, "09:00", "2026-03-01T08:59:00Z", "2026-03-01T09:00:00Z");
        check(Tz::UTC, 0, "9:00", "2026-03-01T09:00:00Z", "2026-03-08T09:00:00Z");
        check(Tz::UTC, 3, "18:30", "2026-03-01T09:00:00Z", "2026-03-04T18:30:00Z");
        check(Tz::America__New_York, 0, "02:30", "2026-03-07T12:00:00Z", "2026-03-08T07:00:00Z");
        check(Tz::Europe__Berlin, 0, "02:30", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z");
        check(Tz::Pacific__Kiritimati, 0, "09:00", "2026-02-28T18:00:00Z", "2026-02-28T19:00:00Z");
        check(Tz::UTC, 9, "late", "2026-03-01T08:59:00Z", "2026-03-01T09:00:00Z");
    }
}
