//! When a message is sent again that a provider did not take.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use shared::job::{Context, Outcome};

const FIRST: TimeDelta = TimeDelta::minutes(1);
/// Less than an hour: within an hour after an outage everybody is notified.
const LONGEST: TimeDelta = TimeDelta::minutes(50);

/// When a task with several messages continues: as soon as one of those that wait may be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wait(Option<DateTime<Utc>>);

impl Wait {
    /// One of them may be sent then.
    pub fn until(&mut self, at: DateTime<Utc>) {
        self.0 = Some(self.0.map_or(at, |earlier| earlier.min(at)));
    }

    /// One was not taken: it may be sent at `until`, if the provider said so, and later each time. Nothing of it is a failure of
    /// the task.
    pub fn for_retry(&mut self, until: Option<DateTime<Utc>>, context: &Context) {
        self.until(retry_at(until, context));
    }

    /// `result`, if nothing waits.
    pub fn or_done(self, result: impl Serialize) -> Outcome {
        self.0.map_or_else(|| Outcome::done(result), Outcome::Snooze)
    }
}

fn retry_at(until: Option<DateTime<Utc>>, context: &Context) -> DateTime<Utc> {
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
