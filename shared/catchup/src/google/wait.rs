//! How long a user's calls wait after Google's limits. Pure.

use std::time::Duration;

/// The windows of Google's limits are a minute long.
const FIRST_WAIT: Duration = Duration::from_mins(1);
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// Doublings after which the wait is the longest: a limit that is still met is no window of a minute, but the day's quota.
const MAX_DOUBLINGS: u32 = 6;

/// The wait after a limit that was met `times` times in a row before, for a `random` number in `0..1`: users that met a
/// limit together do not meet the next one together. Google's `retry_after` is respected.
pub(super) fn backoff(times: u32, retry_after: Duration, random: f64) -> Duration {
    let doubled = FIRST_WAIT * 2_u32.pow(times.min(MAX_DOUBLINGS));
    let jitter = random / 4.0;
    let wait = if doubled < LONGEST_WAIT {
        doubled.mul_f64(1.0 + jitter)
    } else {
        LONGEST_WAIT.mul_f64(1.0 - jitter)
    };
    wait.max(retry_after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_an_hour() {
        let minutes = |times| backoff(times, Duration::ZERO, 0.0).as_secs() / 60;
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, u32::MAX].map(minutes), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(0, Duration::from_hours(5), 0.5), Duration::from_hours(5));
    }

    proptest! {
        #[test]
        fn a_wait_is_between_a_minute_and_an_hour_and_never_the_same_for_all(
            times in 0_u32..100, random in 0.0..1.0_f64,
        ) {
            let wait = backoff(times, Duration::ZERO, random);
            prop_assert!((FIRST_WAIT..=LONGEST_WAIT).contains(&wait));
            prop_assert_ne!(backoff(times, Duration::ZERO, (random + 0.5) % 1.0), wait);
        }
    }
}
