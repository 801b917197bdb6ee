//! How tasks ended in the last hour: what the functions' processes on this machine count, read each minute while the console
//! runs, and kept in its memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::bars::{Bars, Colour};
use crate::canary::FAILURES;
use crate::operations::Operations;

const MINUTE: Duration = Duration::from_mins(1);
/// Minutes of which samples are kept.
const HOUR_MINUTES: usize = 60;

/// Counts by outcome.
type Counts = BTreeMap<String, u64>;
/// The same by queue.
type Counted = BTreeMap<&'static str, Counts>;

/// What was sampled; clones share it.
#[derive(Clone, Default)]
pub(super) struct Samples(Arc<Mutex<Sampled>>);

#[derive(Default)]
struct Sampled {
    /// When the first sample was taken.
    since: Option<DateTime<Utc>>,
    /// What each process had counted at its last sample.
    before: Counted,
    /// What was counted in each minute, the last one at the end.
    minutes: VecDeque<Counted>,
}

/// The last hour, or as much of it as was sampled.
#[derive(Debug, Serialize)]
pub(super) struct LastHour {
    pub(super) since: DateTime<Utc>,
    pub(super) minutes: Vec<BTreeMap<&'static str, Counts>>,
}

impl Samples {
    /// Samples until the process ends. A minute in which nothing can be read has no bar of its own: it is counted in the next.
    pub(super) async fn take(self, operations: Operations) {
        let mut minutes = interval(MINUTE);
        minutes.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            minutes.tick().await;
            if let Ok(counted) = operations.counted().await {
                self.add(operations.clock.now(), counted);
            }
        }
    }

    fn add(&self, now: DateTime<Utc>, counted: Counted) {
        let mut sampled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // In a project no process is asked.
        if sampled.since.is_none() && counted.is_empty() {
            return;
        }
        let mut minute = Counted::new();
        for (queue, counts) in counted {
            if let Some(before) = sampled.before.get(queue) {
                minute.insert(queue, since(before, &counts));
            }
            sampled.before.insert(queue, counts);
        }
        if sampled.since.is_none() {
            sampled.since = Some(now);
            return;
        }
        sampled.minutes.push_back(minute);
        if sampled.minutes.len() > HOUR_MINUTES {
            sampled.minutes.pop_front();
        }
    }

    /// None before anything was sampled: there is no function on this machine.
    pub(super) fn last_hour(&self) -> Option<LastHour> {
        let sampled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(LastHour { since: sampled.since?, minutes: sampled.minutes.iter().cloned().collect() })
    }
}

/// What was counted in between; all of it, if the process has started anew.
fn since(before: &Counts, counts: &Counts) -> Counts {
    let earlier = |outcome: &String| before.get(outcome).copied().unwrap_or_default();
    let has_restarted = before.iter().any(|(outcome, count)| counts.get(outcome).is_none_or(|it| it < count));
    let between = |(outcome, count): (&String, &u64)| {
        let count = if has_restarted { *count } else { count - earlier(outcome) };
        (count > 0).then(|| (outcome.clone(), count))
    };
    counts.iter().filter_map(between).collect()
}

impl LastHour {
    /// A bar per minute of a queue, the last one at the end.
    pub(super) fn bars(&self, queue: &str) -> Bars {
        let mut sums = Counts::new();
        let missing = HOUR_MINUTES - self.minutes.len();
        let mut bars = vec![Vec::new(); missing];
        for minute in &self.minutes {
            let counts = minute.get(queue).into_iter().flatten();
            let (mut succeeded, mut failed) = (0, 0);
            for (outcome, count) in counts {
                *sums.entry(outcome.clone()).or_default() += count;
                *if FAILURES.contains(&outcome.as_str()) { &mut failed } else { &mut succeeded } += count;
            }
            bars.push(vec![(Colour::Ok, succeeded), (Colour::Bad, failed)]);
        }
        let sums: Vec<_> = sums.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
        let said = if sums.is_empty() { "no task ended".to_owned() } else { sums.join(", ") };
        Bars::of(format!("{queue}, the last {} minutes: {said}", self.minutes.len()), 0, &bars)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(done: u64, retry: u64) -> Counted {
        let counts = [("done".to_owned(), done), ("retry".to_owned(), retry)];
        BTreeMap::from([("q", counts.into_iter().filter(|(_, count)| *count > 0).collect())])
    }

    #[test]
    fn a_minute_has_what_was_counted_in_it() {
        let samples = Samples::default();
        let now = DateTime::UNIX_EPOCH;
        samples.add(now, Counted::new());
        assert!(samples.last_hour().is_none(), "no function is on this machine");
        for (done, retry) in [(5, 0), (5, 0), (8, 1), (2, 0)] {
            samples.add(now, counted(done, retry));
        }
        let hour = samples.last_hour().unwrap();
        let minutes: Vec<_> = hour.minutes.iter().map(|minute| minute["q"].clone()).collect();
        let expected = [counted(0, 0), counted(3, 1), counted(2, 0)];
        assert_eq!(minutes, expected.map(|counted| counted["q"].clone()), "the process has restarted");
        let bars = hour.bars("q");
        assert_eq!(bars.label, "q, the last 3 minutes: 5 done, 1 retry");
        assert_eq!(bars.paths.len(), 2);
        assert_eq!(hour.bars("another").label, "another, the last 3 minutes: no task ended");
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let samples = Samples::default();
        for minute in 0..100 {
            samples.add(DateTime::UNIX_EPOCH, counted(minute, 0));
        }
        let hour = samples.last_hour().unwrap();
        assert_eq!(hour.minutes.len(), HOUR_MINUTES);
        assert_eq!(hour.bars("q").label, "q, the last 60 minutes: 60 done");
    }
}
