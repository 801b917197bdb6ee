//! Keeps a dead Redis from adding its timeout to each job.

use std::time::{Duration, Instant};

/// Closed, every call passes. After some failures in a row it opens, and one call passes in each `open_for`, as a
/// probe.
///
/// A probe keeps the circuit open for another `open_for`, so one that is cancelled and never reports back delays the
/// next and no more.
#[derive(Debug)]
pub(super) struct Breaker {
    threshold: u32,
    open_for: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
}

impl Breaker {
    pub(super) fn new(threshold: u32, open_for: Duration) -> Self {
        Self { threshold, open_for, state: State::Closed { failures: 0 } }
    }

    /// Whether a call may be made now.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } if now < until => false,
            State::Open { .. } => {
                self.state = State::Open { until: now + self.open_for };
                true
            }
        }
    }

    /// A call ended well.
    pub(super) fn succeeded(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// A call failed.
    pub(super) fn failed(&mut self, now: Instant) {
        match &mut self.state {
            State::Closed { failures } => {
                *failures += 1;
                if *failures >= self.threshold {
                    self.state = State::Open { until: now + self.open_for };
                }
            }
            // The probe, which has set the next time already, or a call from before the breaker opened.
            State::Open { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const THRESHOLD: u32 = 3;
    const OPEN_FOR: Duration = Duration::from_secs(5);

    #[derive(Debug, Clone)]
    enum Step {
        Wait(u64),
        Call { fails: bool },
        CancelledCall,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..7_000_u64).prop_map(Step::Wait),
            any::<bool>().prop_map(|fails| Step::Call { fails }),
            Just(Step::CancelledCall),
        ]
    }

    proptest! {
        /// The model: the history of calls. One may pass unless the last `THRESHOLD` that reported back failed, and then
        /// once `OPEN_FOR` has passed since the failure that opened it and since each later call that passed.
        #[test]
        fn it_does_what_the_history_says(steps in prop::collection::vec(step(), 1..80)) {
            let mut breaker = Breaker::new(THRESHOLD, OPEN_FOR);
            let mut now = Instant::now();
            let mut failures = 0;
            let mut open_since = now;
            for step in steps {
                let outcome = match step {
                    Step::Wait(ms) => {
                        now += Duration::from_millis(ms);
                        continue;
                    }
                    Step::Call { fails } => Some(fails),
                    Step::CancelledCall => None,
                };
                let open = failures >= THRESHOLD;
                let expected = !open || now >= open_since + OPEN_FOR;
                prop_assert_eq!(breaker.admits(now), expected);
                if !expected {
                    continue;
                }
                if open {
                    open_since = now;
                }
                match outcome {
                    Some(true) => {
                        breaker.failed(now);
                        failures += 1;
                        if failures == THRESHOLD {
                            open_since = now;
                        }
                    }
                    Some(false) => {
                        breaker.succeeded();
                        failures = 0;
                    }
                    None => {}
                }
            }
        }
    }

    #[test]
    fn calls_under_way_when_it_opened_neither_keep_it_open_longer_nor_open_it_twice() {
        let now = Instant::now();
        let mut breaker = Breaker::new(THRESHOLD, OPEN_FOR);
        for _ in 0..THRESHOLD {
            breaker.failed(now);
        }
        breaker.failed(now + OPEN_FOR / 2);
        assert!(!breaker.admits(now + OPEN_FOR / 2));
        assert!(breaker.admits(now + OPEN_FOR), "one probe");
        assert!(!breaker.admits(now + OPEN_FOR), "and no second one");
    }
}
