//! What a debounced task covers, whichever clock is behind.
//!
//! A producer whose clock is behind that of Cloud Tasks may find the task of a window that is open by its own clock, although
//! that task has begun: what it asks for would be lost. So each answer of Cloud Tasks is read for its `Date`, and a window
//! counts only while it is open by *both* clocks; else the task of the window in which the later clock is now is created, too.
//!
//! Why that is enough: a task begins at the end of its window and its grace, by the clock of Cloud Tasks. A `Date`
//! before the end of the window, cut to whole seconds, was written less than a second after that end; the task's name
//! was looked up earlier, so its time had not come. The task also counts as created at its time, so a run that began before,
//! by the clock of Cloud Tasks, does not cover it.

use std::num::NonZeroU32;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::options::{Options, Resolved};
use super::{Enqueued, Error, Sent};
use crate::clock::Clock;

/// What the whole seconds of a `Date` leave open.
const DATE_PRECISION: TimeDelta = TimeDelta::seconds(1);

/// What a debounced task covers besides what it was created for: everything that happens until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage(Option<Until>);

/// Both must be ahead: the end of the window by the clock of the producer, which may be set; and the time of the task
/// by the clock of Cloud Tasks, as the monotonic clock counts from the call on: an answer may arrive long after its `Date`
/// was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Until {
    window_end: DateTime<Utc>,
    task_begins: Instant,
}

impl Coverage {
    /// Nothing else.
    pub const NONE: Self = Self(None);

    /// Of a task that is due `at`, and was asked for by a call that began at `called`.
    fn new(
        window_end: DateTime<Utc>,
        at: DateTime<Utc>,
        answered_at: DateTime<Utc>,
        called: Instant,
    ) -> Self {
        let left = (at - answered_at - DATE_PRECISION).to_std().ok();
        let task_begins = left.and_then(|left| called.checked_add(left));
        Self(task_begins.map(|task_begins| Until { window_end, task_begins }))
    }

    /// Whether the task is sure not to have begun: what happens `now` is covered by it.
    #[must_use]
    pub fn includes(&self, now: DateTime<Utc>) -> bool {
        self.0.is_some_and(|until| now < until.window_end && Instant::now() < until.task_begins)
    }
}

/// Creates a task, and for a debounced one that of each window that has ended by the time it is answered.
pub(super) async fn create<F: Future<Output = Result<Sent, Error>>>(
    options: &Options,
    clock: &Clock,
    divisor: NonZeroU32,
    send: impl Fn(Resolved) -> F,
) -> Result<(Enqueued, Coverage), Error> {
    let mut now = clock.now();
    loop {
        let resolved = options.resolve(now, divisor);
        let debounced = resolved.window_end.zip(resolved.at);
        let called = Instant::now();
        let answer = send(resolved).await?;
        let enqueued = answer.enqueued;
        let Some((window_end, at)) = debounced else { return Ok((enqueued, Coverage::NONE)) };
        let answered_at = answer.answered_at();
        let Some(later) = ended_meanwhile(enqueued, answered_at, window_end, clock.now()) else {
            let coverage = answered_at.map(|answered_at| Coverage::new(window_end, at, answered_at, called));
            return Ok((enqueued, coverage.unwrap_or(Coverage::NONE)));
        };
        // Each turn is about a later window.
        now = later;
    }
}

/// The time by the later clock, if the window had ended by it when the answer came. A task that is new has not begun
/// before the answer, so only the clock of Cloud Tasks can say that it counts as created too early.
fn ended_meanwhile(
    enqueued: Enqueued,
    answered_at: Option<DateTime<Utc>>,
    end: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let later = match enqueued {
        Enqueued::Created => answered_at,
        Enqueued::Existing => answered_at.max(Some(now)),
    };
    later.filter(|later| *later >= end)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::future::ready;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(30);

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(ms).unwrap()
    }

    /// An answer; a `Date` has whole seconds.
    fn sent(enqueued: Enqueued, ms: i64) -> Sent {
        Sent { enqueued, date: at(ms).to_rfc2822().parse().ok() }
    }

    /// Cloud Tasks and the clocks of two producers, in milliseconds; each call takes some time each way.
    struct Model {
        time: Arc<AtomicI64>,
        tasks: RefCell<HashMap<String, Task>>,
    }

    #[derive(Clone, Copy)]
    struct Task {
        begins: i64,
        counts_from: i64,
    }

    impl Model {
        fn send(&self, resolved: &Resolved, way_ms: i64) -> Sent {
            let now = self.time.fetch_add(way_ms, Ordering::Relaxed) + way_ms;
            let mut tasks = self.tasks.borrow_mut();
            let name = resolved.name.clone().unwrap();
            let mut enqueued = Enqueued::Existing;
            tasks.entry(name).or_insert_with(|| {
                enqueued = Enqueued::Created;
                let due = resolved.at.unwrap().timestamp_millis();
                Task { begins: due.max(now), counts_from: resolved.created_at.timestamp_millis() }
            });
            self.time.fetch_add(way_ms, Ordering::Relaxed);
            sent(enqueued, now)
        }
    }

    proptest! {
        #[test]
        fn a_change_is_covered_by_a_run_that_begins_after_it_whatever_the_producers_clocks_show(
            skews in [-200_000_i64..200_000, -200_000_i64..200_000],
            changes in prop::collection::vec((0..2_usize, 0..20_000_i64, 0..3_000_i64), 1..40),
        ) {
            let model = Model { time: Arc::new(AtomicI64::new(1_000_000_000)), tasks: RefCell::default() };
            for (producer, gap, way_ms) in changes {
                let changed = model.time.fetch_add(gap, Ordering::Relaxed) + gap;
                let (time, skew) = (Arc::clone(&model.time), skews[producer]);
                let clock = Clock::from_fn(move || at(time.load(Ordering::Relaxed) + skew));
                let options = Options::default().debounced("k", WINDOW);
                let send = |resolved: Resolved| ready(Ok(model.send(&resolved, way_ms)));
                create(&options, &clock, NonZeroU32::MIN, send).now_or_never().unwrap().unwrap();
                let tasks = model.tasks.borrow();
                // Neither the task itself begins earlier, nor does a run count for it that did.
                let covered = |task: &&Task| task.begins >= changed && task.counts_from >= changed;
                prop_assert!(tasks.values().any(|task| covered(&task)));
            }
        }
    }

    #[test]
    fn nothing_is_covered_without_an_answers_date_or_after_the_windows_end() {
        let of = |answered_at| Coverage::new(at(30_000), at(32_000), answered_at, Instant::now());
        assert!(of(at(10_000)).includes(at(29_999)));
        assert!(!of(at(10_000)).includes(at(30_000)), "by the producer's clock");
        assert!(!of(at(31_000)).includes(at(0)), "by the clock of Cloud Tasks");
        assert!(!Coverage::NONE.includes(at(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_arrives_late_covers_nothing_beyond_the_tasks_time() {
        // The producer's clock stands still: only the monotonic clock tells that the task has begun.
        let clock = Clock::from_fn(|| at(1_000_000_000));
        let options = Options::default().debounced("k", WINDOW);
        for (latency, is_covered) in [(Duration::from_secs(1), true), (2 * WINDOW, false)] {
            let send = |_| async move {
                tokio::time::advance(latency).await;
                Ok(sent(Enqueued::Created, 1_000_000_000))
            };
            let (_, coverage) = create(&options, &clock, NonZeroU32::MIN, send).await.unwrap();
            assert_eq!(coverage.includes(clock.now()), is_covered, "{latency:?}");
        }
    }

    #[test]
    fn a_window_that_is_open_by_both_clocks_has_one_task() {
        let clock = Clock::from_fn(|| at(1_000_000_000));
        let options = Options::default().debounced("k", WINDOW);
        for enqueued in [Enqueued::Created, Enqueued::Existing] {
            let send = |_| ready(Ok(sent(enqueued, 1_000_000_000)));
            let created = create(&options, &clock, NonZeroU32::MIN, send).now_or_never().unwrap().unwrap();
            assert_eq!(created.0, enqueued);
            assert!(created.1.includes(clock.now()));
        }
    }
}
