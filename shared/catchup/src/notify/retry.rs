//! When a message is sent again that a provider did not take.

use chrono::{DateTime, TimeDelta, Utc};
use shared::job::Context;

const FIRST: TimeDelta = TimeDelta::minutes(1);
/// Less than an hour: within an hour after an outage everybody is notified.
const LONGEST: TimeDelta = TimeDelta::minutes(50);

/// When a task continues whose message was not taken: at `until`, if the provider said so, and later each time. Nothing of
/// it is a failure of the task.
#[must_use]
pub fn retry_at(until: Option<DateTime<Utc>>, context: &Context) -> DateTime<Utc> {
    let now = context.now();
    until.unwrap_or(now + FIRST).max(now + growing(context.dispatches))
}

/// Nothing before the first time, so that what a provider says is believed once.
fn growing(dispatches: u32) -> TimeDelta {
    let doubled = 1_i32.checked_shl(dispatches.min(16)).unwrap_or(i32::MAX);
    (FIRST * (doubled - 1)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_a_minute_to_less_than_an_hour() {
        let minutes: Vec<_> = (0..8).map(|dispatches| growing(dispatches).num_minutes()).collect();
        assert_eq!(minutes, [0, 1, 3, 7, 15, 31, 50, 50]);
        assert_eq!(growing(u32::MAX), LONGEST);
        assert!(LONGEST < TimeDelta::hours(1));
    }
}
