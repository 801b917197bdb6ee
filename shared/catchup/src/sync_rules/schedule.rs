//! When a user is synced next. Pure; the numbers are those of the running application.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::payload::Integration;

/// For this long after the first connection the onboarding interval holds.
const ONBOARDING: TimeDelta = TimeDelta::hours(24);
/// Syncs in a row without a change that make the interval longer.
const UNCHANGED_SYNCS: u32 = 5;
/// Wait after the first failed sync; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_mins(5);
const LONGEST_BACKOFF: Duration = Duration::from_hours(24);
/// Interval of a calendar that Google tells us about by itself.
pub const WITH_PUSH_CHANNEL: Duration = Duration::from_hours(12);
/// Interval of a calendar that has no push channel although it should.
pub const WITHOUT_PUSH_CHANNEL: Duration = DAY;

const DAY: Duration = Duration::from_hours(24);

/// The intervals of an integration.
pub(crate) struct Intervals {
    default: Duration,
    pub(crate) longest: Duration,
    shortest: Duration,
    pub(crate) onboarding: Duration,
}

impl Intervals {
    pub(crate) const fn of(integration: Integration) -> Self {
        match integration {
            Integration::GoogleContacts => Self {
                // A sync token lives seven days.
                default: DAY.saturating_mul(5),
                longest: DAY.saturating_mul(6),
                shortest: DAY,
                onboarding: Duration::from_hours(1),
            },
            Integration::GoogleCalendar => Self {
                default: DAY,
                longest: DAY,
                shortest: Duration::from_hours(4),
                onboarding: Duration::from_hours(2),
            },
        }
    }
}

/// The schedule of a user's integration, as it stood before a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) current: Duration,
    pub(crate) default: Duration,
    pub(crate) longest: Duration,
    pub(crate) shortest: Duration,
    pub(crate) no_changes: u32,
    pub(crate) onboarding_until: Option<DateTime<Utc>>,
    onboarding: Duration,
    push_channel: bool,
}

/// What a sync makes of its schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) current: Duration,
    pub(crate) no_changes: u32,
    pub(crate) at: DateTime<Utc>,
}

impl Schedule {
    /// The schedule of a user who has none yet.
    pub(crate) fn new(integration: Integration, connected_at: DateTime<Utc>) -> Self {
        let Intervals { default, longest, shortest, onboarding } = Intervals::of(integration);
        let onboarding_until = Some(connected_at + ONBOARDING);
        Self {
            current: default,
            default,
            longest,
            shortest,
            no_changes: 0,
            onboarding_until,
            onboarding,
            push_channel: false,
        }
    }

    /// The schedule of a row: the current, default, longest and shortest interval in milliseconds, and the rest. Rows of the
    /// running application have longer intervals than ours, which bound them.
    pub(crate) fn stored(
        integration: Integration,
        intervals_ms: [i64; 4],
        no_changes: i32,
        onboarding_until: Option<DateTime<Utc>>,
    ) -> Self {
        let ours = Intervals::of(integration);
        let [current, default, longest, shortest] =
            intervals_ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
        let longest = longest.min(ours.longest);
        let default = if default > longest { ours.default.min(longest) } else { default };
        Self {
            current: current.min(longest),
            default,
            longest,
            shortest: shortest.min(longest),
            no_changes: u32::try_from(no_changes).unwrap_or(0),
            onboarding_until,
            onboarding: ours.onboarding,
            push_channel: false,
        }
    }

    /// Only calendars have push channels.
    pub(crate) fn with_push_channel(self, push_channel: bool) -> Self {
        Self { push_channel, ..self }
    }

    /// After a sync that succeeded.
    pub(crate) fn after_success(&self, changed: bool, now: DateTime<Utc>) -> Next {
        if self.onboarding_until.is_some_and(|until| now < until) {
            return Next { current: self.clamped(self.default), no_changes: 0, at: now + self.onboarding };
        }
        let seen = if changed { 0 } else { self.no_changes + 1 };
        let (current, no_changes) = match (changed, seen >= UNCHANGED_SYNCS) {
            (true, _) => (self.default, 0),
            (false, true) => (self.current + self.current / 2, 0),
            (false, false) => (self.current, seen),
        };
        let current = self.clamped(if self.push_channel { WITH_PUSH_CHANNEL } else { current });
        Next { current, no_changes, at: now + current }
    }

    /// After the `failures`-th failure in a row.
    pub(crate) fn after_failure(&self, failures: u32, now: DateTime<Utc>) -> Next {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let backoff = FIRST_BACKOFF.saturating_mul(doubled).min(LONGEST_BACKOFF);
        Next { current: self.current, no_changes: self.no_changes, at: now + backoff }
    }

    fn clamped(&self, interval: Duration) -> Duration {
        interval.min(self.longest).max(self.shortest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(hours * 3600, 0).unwrap()
    }

    fn settled(integration: Integration) -> Schedule {
        Schedule::new(integration, at(-48))
    }

    #[track_caller]
    fn check(schedule: &Schedule, changed: bool, hours: i64, no_changes: u32) {
        let next = schedule.after_success(changed, at(0));
        assert_eq!((next.at, next.no_changes), (at(hours), no_changes));
    }

    #[test]
    fn contacts_are_synced_before_their_token_expires_and_calendars_daily() {
        check(&settled(Integration::GoogleContacts), true, 5 * 24, 0);
        check(&settled(Integration::GoogleCalendar), true, 24, 0);
    }

    #[test]
    fn a_calendar_with_a_push_channel_is_synced_twice_a_day() {
        check(&settled(Integration::GoogleCalendar).with_push_channel(true), false, 12, 1);
    }

    #[test]
    fn for_a_day_after_the_first_connection_the_onboarding_interval_holds() {
        let schedule = Schedule::new(Integration::GoogleContacts, at(-23));
        check(&schedule, false, 1, 0);
        check(&Schedule::new(Integration::GoogleCalendar, at(-23)), true, 2, 0);
        check(&Schedule::new(Integration::GoogleContacts, at(-24)), false, 5 * 24, 1);
    }

    #[test]
    fn the_fifth_sync_without_a_change_makes_the_interval_half_as_long_again() {
        let schedule = Schedule { no_changes: 4, ..settled(Integration::GoogleContacts) };
        check(&Schedule { current: DAY * 2, ..schedule.clone() }, false, 3 * 24, 0);
        check(&schedule, false, 6 * 24, 0);
        check(&schedule, true, 5 * 24, 0);
    }

    #[test]
    fn a_row_of_the_running_application_is_bounded_by_our_intervals() {
        let day_ms = 24 * 3_600_000;
        let row = [30 * day_ms, 7 * day_ms, 30 * day_ms, day_ms];
        let schedule = Schedule::stored(Integration::GoogleContacts, row, 0, None);
        check(&schedule, false, 6 * 24, 1);
        check(&schedule, true, 5 * 24, 0);
    }

    #[test]
    fn failures_double_the_wait_up_to_a_day() {
        let schedule = settled(Integration::GoogleCalendar);
        let minutes = |failures| (schedule.after_failure(failures, at(0)).at - at(0)).num_minutes();
        assert_eq!([1, 2, 3, 4, 9, 10, 1000].map(minutes), [5, 10, 20, 40, 1280, 1440, 1440]);
    }

    /// The rules once more, as a loop over a whole history.
    fn model(integration: Integration, history: &[bool]) -> (u64, u32) {
        let (default, longest, shortest) = match integration {
            Integration::GoogleContacts => (5 * 24 * 60, 6 * 24 * 60, 24 * 60),
            Integration::GoogleCalendar => (24 * 60, 24 * 60, 4 * 60),
        };
        let mut minutes = default;
        let mut quiet = 0;
        for &changed in history {
            quiet = if changed { 0 } else { quiet + 1 };
            if changed {
                minutes = default;
            } else if quiet == 5 {
                minutes = (minutes * 3 / 2).clamp(shortest, longest);
                quiet = 0;
            }
        }
        (minutes, quiet)
    }

    proptest! {
        #[test]
        fn any_history_agrees_with_the_model(
            history in proptest::collection::vec(proptest::bool::weighted(0.1), 0..60),
            contacts in any::<bool>(),
        ) {
            let integration = if contacts { Integration::GoogleContacts } else { Integration::GoogleCalendar };
            let mut schedule = settled(integration);
            for &changed in &history {
                let next = schedule.after_success(changed, at(0));
                schedule = Schedule { current: next.current, no_changes: next.no_changes, ..schedule };
            }
            let (minutes, quiet) = model(integration, &history);
            // The model cuts fractions of a minute.
            prop_assert!(schedule.current.as_secs().div_ceil(60) - minutes <= 1);
            prop_assert_eq!(schedule.no_changes, quiet);
        }

        #[test]
        fn whatever_a_row_holds_the_interval_stays_between_its_bounds(
            current in any::<i64>(), default in any::<i64>(), bounds in (0_i64..1 << 40, 0_i64..1 << 40),
            quiet in any::<i32>(), changed in any::<bool>(),
        ) {
            let (shortest, longest) = (bounds.0.min(bounds.1), bounds.0.max(bounds.1));
            let schedule =
                Schedule::stored(Integration::GoogleContacts, [current, default, longest, shortest], quiet, None);
            let next = schedule.after_success(changed, at(0));
            let ours = i64::try_from(Intervals::of(Integration::GoogleContacts).longest.as_millis()).unwrap();
            let ms = i64::try_from(next.current.as_millis()).unwrap();
            prop_assert!((shortest.min(ours)..=longest.min(ours)).contains(&ms));
        }
    }
}
