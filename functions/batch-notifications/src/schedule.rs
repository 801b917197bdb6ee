//! When a weekly batch is due: pure arithmetic of zones.
//!
//! A user's batch has a local time. One that daylight saving skips happens at the end of the gap, with whatever else was
//! skipped; one that occurs twice happens the first time. So the local times that are due between two moments are those
//! between the two furthest points that the wall clock had reached by then: always one span, whatever the zone did.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use catchup::db::batches::ZoneSpan;
use chrono::{DateTime, DurationRound, NaiveDateTime, SecondsFormat, TimeDelta, TimeZone, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};

const MINUTE: TimeDelta = TimeDelta::minutes(1);
/// A batch is up to this late when sweeps failed; what is older waits for its next week, which is then nearer. A weekly
/// time occurs at most once in it, even where a zone skips a day. Should two sweeps create the task of a batch, its name
/// and its lease tell for a day, and after that the ledger keeps suggestions from being sent again.
pub const LOOK_BACK: TimeDelta = TimeDelta::days(6);

/// The moments that one sweep covers: all after `from`, up to and with `until`. Its text is the ISO 8601 interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// End of the window before.
    pub from: DateTime<Utc>,
    /// End of this one.
    pub until: DateTime<Utc>,
}

/// A text is no window.
#[derive(Debug, thiserror::Error)]
#[error("sweep id is not a window of time")]
pub struct NotAWindow;

impl Window {
    /// The window that ends at `until`: it begins where the last of the `finished` ones ended, or, when none did, where the
    /// first `unfinished` one did, or `period` ago. `None` when a finished one ended then or later.
    #[must_use]
    pub fn after(
        finished: &[Self],
        unfinished: &[Self],
        until: DateTime<Utc>,
        period: Duration,
    ) -> Option<Self> {
        let reached = finished.iter().map(|window| window.until).max();
        let begin = unfinished.iter().map(|window| window.from).min();
        // The first sweep after a take-over begins with the present.
        let from = reached.or(begin).unwrap_or(until - period).max(until - LOOK_BACK);
        (from < until).then_some(Self { from, until })
    }

    /// The local times that are due in the window, by zone.
    #[must_use]
    pub fn zones(&self) -> Vec<ZoneSpan> {
        TZ_VARIANTS.iter().map(|zone| self.zone(*zone)).collect()
    }

    /// The local times of one zone that are due in the window.
    #[must_use]
    pub fn zone(&self, zone: Tz) -> ZoneSpan {
        let (before, last) = (reached(zone, self.from), reached(zone, self.until));
        ZoneSpan { zone: zone.name(), first: before + MINUTE, minutes: (last - before).num_minutes() }
    }
}

/// The furthest minute that the wall clock of a zone has shown by a moment.
fn reached(zone: Tz, moment: DateTime<Utc>) -> NaiveDateTime {
    let minute = moment.duration_trunc(MINUTE).unwrap_or(moment);
    let mut wall = minute.with_timezone(&zone).naive_local();
    // When an hour is repeated the clock was already further.
    while zone.from_local_datetime(&(wall + MINUTE)).earliest().is_some_and(|first| first <= minute) {
        wall += MINUTE;
    }
    wall
}

impl fmt::Display for Window {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |moment: DateTime<Utc>| moment.to_rfc3339_opts(SecondsFormat::Secs, true);
        write!(formatter, "{}/{}", text(self.from), text(self.until))
    }
}

impl FromStr for Window {
    type Err = NotAWindow;

    fn from_str(text: &str) -> Result<Self, NotAWindow> {
        let (from, until) = text.split_once('/').ok_or(NotAWindow)?;
        let moment = |text: &str| text.parse().map_err(|_| NotAWindow);
        Ok(Self { from: moment(from)?, until: moment(until)? })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use chrono::NaiveDate;
    use proptest::prelude::*;

    use super::*;

    /// Both directions, on both hemispheres, by an hour and by half of one, at midnight, and across the date line.
    const ZONES: [Tz; 14] = [
        Tz::UTC,
        Tz::America__New_York,
        Tz::America__St_Johns,
        Tz::America__Havana,
        Tz::America__Santiago,
        Tz::Europe__Berlin,
        Tz::Africa__Casablanca,
        Tz::Africa__Cairo,
        Tz::Asia__Tehran,
        Tz::Asia__Kathmandu,
        Tz::Australia__Lord_Howe,
        Tz::Pacific__Chatham,
        Tz::Pacific__Apia,
        Tz::Pacific__Kiritimati,
    ];
    const PERIOD: TimeDelta = TimeDelta::minutes(15);

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn window(from: DateTime<Utc>, until: DateTime<Utc>) -> Window {
        Window { from, until }
    }

    /// The local times that a window makes due.
    fn due(zone: Tz, window: Window) -> Vec<NaiveDateTime> {
        let span = window.zone(zone);
        (0..span.minutes).map(|minute| span.first + TimeDelta::minutes(minute)).collect()
    }

    /// When each local time happens, found by watching the wall clock: at the first minute that shows it, or, when none
    /// does, at the first that shows a later one.
    fn watched(
        zone: Tz,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> BTreeMap<NaiveDateTime, DateTime<Utc>> {
        let mut happens = BTreeMap::new();
        let mut furthest = from.with_timezone(&zone).naive_local();
        let mut moment = from;
        while moment < until {
            moment += MINUTE;
            let wall = moment.with_timezone(&zone).naive_local();
            while furthest < wall {
                furthest += MINUTE;
                happens.insert(furthest, moment);
            }
        }
        happens
    }

    #[track_caller]
    fn check_instant(zone: Tz, local: &str, expected: &str) {
        let local: NaiveDateTime = local.parse().unwrap();
        let expected = utc(expected);
        assert!(due(zone, window(expected - MINUTE, expected)).contains(&local), "not at {expected}");
        for quarter in -200..200 {
            let until = expected + PERIOD * quarter;
            let is_then = due(zone, window(until - PERIOD, until)).contains(&local);
            assert_eq!(is_then, quarter == 0, "in the quarter hour until {until}");
        }
    }

    #[test]
    fn a_local_time_that_is_skipped_happens_at_the_end_of_the_gap() {
        check_instant(Tz::America__New_York, "2026-03-08T02:30:00", "2026-03-08T07:00:00Z");
        check_instant(Tz::Australia__Lord_Howe, "2026-10-04T02:10:00", "2026-10-03T15:30:00Z");
        // Samoa went without a 30th of December.
        check_instant(Tz::Pacific__Apia, "2011-12-30T09:00:00", "2011-12-30T10:00:00Z");
    }

    #[test]
    fn a_local_time_that_occurs_twice_happens_the_first_time() {
        check_instant(Tz::America__New_York, "2026-11-01T01:30:00", "2026-11-01T05:30:00Z");
        check_instant(Tz::Europe__Berlin, "2026-10-25T02:00:00", "2026-10-25T00:00:00Z");
        check_instant(Tz::Australia__Lord_Howe, "2026-04-05T01:45:00", "2026-04-04T14:45:00Z");
        check_instant(Tz::America__Havana, "2026-11-01T00:15:00", "2026-11-01T04:15:00Z");
    }

    #[test]
    fn zones_may_be_off_by_parts_of_an_hour() {
        check_instant(Tz::Asia__Kathmandu, "2026-06-07T09:00:00", "2026-06-07T03:15:00Z");
        check_instant(Tz::Pacific__Chatham, "2026-06-07T09:00:00", "2026-06-06T20:15:00Z");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn windows_of_any_lengths_make_each_local_time_due_when_it_happens(
            zone in proptest::sample::select(ZONES.as_slice()),
            day in 0..730_i64,
            lengths in proptest::collection::vec(1..LOOK_BACK.num_minutes(), 1..10),
        ) {
            let begin = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap().and_utc()
                + TimeDelta::days(day);
            let mut from = begin;
            let mut found = BTreeMap::new();
            for length in lengths {
                let until = from + TimeDelta::minutes(length);
                for local in due(zone, window(from, until)) {
                    prop_assert!(found.insert(local, (from, until)).is_none(), "{local} is due twice");
                }
                from = until;
            }
            // What happened a day before may be repeated at the beginning.
            let all = watched(zone, begin - TimeDelta::days(1), from);
            let happens: BTreeMap<_, _> = all.into_iter().filter(|(_, at)| *at > begin).collect();
            prop_assert_eq!(found.keys().collect::<BTreeSet<_>>(), happens.keys().collect::<BTreeSet<_>>());
            for (local, at) in happens {
                let (from, until) = found[&local];
                prop_assert!(from < at && at <= until, "{} happens at {}, not in ({}, {}]", local, at, from, until);
            }
        }
    }

    #[test]
    fn a_window_begins_where_the_last_finished_one_ended() {
        let until = utc("2026-11-22T09:00:00Z");
        let ended = |minutes: &i64| {
            let end = until - TimeDelta::minutes(*minutes);
            window(end - PERIOD, end)
        };
        let length = |finished: &[i64], begun: &[i64]| {
            let windows = |minutes: &[i64]| minutes.iter().map(ended).collect::<Vec<_>>();
            Window::after(&windows(finished), &windows(begun), until, PERIOD.to_std().unwrap())
                .map(|window| (window.until - window.from).num_minutes())
        };
        let after = |finished: &[i64]| length(finished, &[]);
        assert_eq!(after(&[]), Some(15), "the first one");
        assert_eq!(after(&[15, 30]), Some(15));
        assert_eq!(after(&[180, 150]), Some(150), "after an outage");
        assert_eq!(after(&[60 * 24 * 5]), Some(60 * 24 * 5), "after a long one");
        assert_eq!(after(&[60 * 24 * 9]), Some(60 * 24 * 6), "after a very long one");
        assert_eq!(after(&[15, 0]), None, "a repetition");
        assert_eq!(after(&[-15]), None, "one that is late");
        assert_eq!(length(&[], &[30, 15]), Some(45), "after first ones that failed");
        assert_eq!(length(&[60], &[120, 30]), Some(60));
    }

    #[test]
    fn a_window_reads_as_it_writes() {
        let text = "2026-11-22T08:45:00Z/2026-11-22T09:00:00Z";
        let window: Window = text.parse().unwrap();
        assert_eq!(window.to_string(), text);
        for text in ["", "2026-11-22T09:00:00Z", "a/b"] {
            assert!(text.parse::<Window>().is_err());
        }
    }

    #[test]
    fn all_zones_are_known_and_utc_among_them() {
        let zones = window(utc("2026-11-22T08:45:00Z"), utc("2026-11-22T09:00:00Z")).zones();
        let utc = zones.iter().find(|span| span.zone == "UTC").unwrap();
        assert_eq!((utc.first.to_string().as_str(), utc.minutes), ("2026-11-22 08:46:00", 15));
        assert!(zones.iter().all(|span| span.minutes == 15));
    }
}
