//! The calls of one task.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Decision, Limit, Limiter};

/// Acquired calls are made within this share of their window, or given up: a vendor counts them when they are made.
const SHARE_OF_WINDOW: u32 = 6;

/// The calls that one task makes for one subject under some limits: those that are expected are acquired together with
/// the first, at the price of one.
///
/// Acquired calls that the task does not make stay counted until their window ends.
#[derive(Debug)]
pub struct Plan<const N: usize> {
    limiter: Limiter,
    subject: String,
    calls: [Planned; N],
    acquired_at: Option<DateTime<Utc>>,
}

#[derive(Debug)]
struct Planned {
    limit: &'static Limit,
    /// To be acquired with the next ones.
    expected: u32,
    /// Acquired, and not made yet.
    available: u32,
}

impl<const N: usize> Plan<N> {
    /// A plan of so many calls under each limit, in the order in which they will be made. All limits have the same outer
    /// limit. Acquires nothing yet.
    #[must_use]
    pub fn new(limiter: &Limiter, subject: impl fmt::Display, expected: [(&'static Limit, u32); N]) -> Self {
        let calls = expected.map(|(limit, expected)| Planned { limit, expected, available: 0 });
        Self { limiter: limiter.clone(), subject: subject.to_string(), calls, acquired_at: None }
    }

    /// Expects so many calls under that limit from now on, those included that are acquired already.
    pub fn expect(&mut self, limit: &'static Limit, calls: u32) {
        for planned in self.calls.iter_mut().filter(|planned| planned.limit == limit) {
            planned.expected = calls.saturating_sub(planned.available);
        }
    }

    /// Asks for one call; with it, those expected under this limit and the ones after it are acquired.
    ///
    /// Cancelled while under way, the calls may be counted.
    ///
    /// # Panics
    /// If the plan does not have that limit.
    pub async fn acquire(&mut self, limit: &'static Limit) -> Decision {
        let place =
            self.calls.iter().position(|planned| planned.limit == limit).expect("the plan has the limit");
        self.give_up_old_calls();
        if self.calls[place].available == 0 {
            self.calls[place].expected = self.calls[place].expected.max(1);
            for passed in &mut self.calls[..place] {
                passed.expected = 0;
            }
            let asked = self.calls.each_ref().map(|planned| (planned.limit, planned.expected));
            let grants = self.limiter.acquire_together(&self.subject, asked).await;
            self.acquired_at = Some(self.limiter.now());
            for (planned, grant) in self.calls.iter_mut().zip(grants) {
                planned.available += grant.calls;
                planned.expected = 0;
            }
            if let Some(until) = grants[place].more_at.filter(|_| self.calls[place].available == 0) {
                return Decision::LimitedUntil(until);
            }
        }
        self.calls[place].available -= 1;
        Decision::Allowed
    }

    fn give_up_old_calls(&mut self) {
        let now = self.limiter.now();
        let Some(acquired_at) = self.acquired_at else { return };
        for planned in &mut self.calls {
            if now - acquired_at > TimeDelta::from_std(fresh_for(planned.limit)).unwrap_or(TimeDelta::MAX) {
                planned.expected += std::mem::take(&mut planned.available);
            }
        }
    }
}

fn fresh_for(limit: &Limit) -> Duration {
    limit.window / SHARE_OF_WINDOW
}
