//! Tasks that cannot go on now come back as new tasks, which carry the attempts so far: waiting costs none.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::dispatch::Dispatch;
use super::verdict::Verdict;
use crate::clock::Clock;
use crate::failure::Failure;
use crate::queue::Queue;
use crate::tasks::{Tasks, task_name};
use crate::telemetry::chain;

/// Added to the end of a lease, so that it is over when the task is back.
const LEASE_GRACE: TimeDelta = TimeDelta::seconds(1);
/// Cloud Tasks takes no time further ahead than 30 days; a task that comes back too early asks again.
const FURTHEST: TimeDelta = TimeDelta::days(29);

/// A task's way back: under which name, when, and what is answered once it is on its way.
#[derive(Debug)]
pub(super) struct Return {
    distinct: String,
    at: DateTime<Utc>,
    verdict: Verdict,
}

/// How a dispatch ends once its claim is settled.
#[derive(Debug)]
pub(super) enum Then {
    /// With this.
    Answer(Verdict),
    /// With a new task. Not before the claim is released: the new task would meet it.
    ComeBack(Return),
}

#[derive(Clone)]
pub(super) struct Comeback {
    queue: Queue,
    tasks: Tasks,
    clock: Clock,
}

impl Comeback {
    pub(super) fn new(queue: Queue, tasks: Tasks, clock: Clock) -> Self {
        Self { queue, tasks, clock }
    }

    /// When the lease of another delivery ends. All deliveries that meet one lease come back as one task; only that
    /// task, should it meet the same lease again, needs another name than its own.
    pub(super) fn after_lease(&self, dispatch: &Dispatch, until: DateTime<Utc>, lease: &str) -> Return {
        // A clock that is ahead must not turn the wait into a busy loop, nor one that is behind into a long sleep.
        let (now, lease_time) = (self.clock.now(), self.queue.policy().lease());
        let at = until.clamp(now, now + lease_time) + LEASE_GRACE;
        let shared = format!("lease:{}:{lease}", dispatch.key);
        let is_own_name = dispatch.headers.name.as_deref() == Some(&task_name(self.queue, &shared));
        let distinct = if is_own_name { distinct(dispatch, "lease") } else { shared };
        Return { distinct, at, verdict: Verdict::Deferred(at) }
    }

    /// At the time that the job asked for.
    pub(super) fn at(&self, dispatch: &Dispatch, until: DateTime<Utc>) -> Then {
        let at = until.min(self.clock.now() + FURTHEST);
        Then::ComeBack(Return { distinct: distinct(dispatch, "snooze"), at, verdict: Verdict::Snoozed(at) })
    }

    /// At once: interrupted through no fault of its own.
    pub(super) fn now(&self, dispatch: &Dispatch, reason: &'static str) -> Return {
        let at = self.clock.now();
        Return { distinct: distinct(dispatch, reason), at, verdict: Verdict::Requeued(reason) }
    }

    /// An outage slows the queue; only where the queue's next try would be one too many, a new task waits instead.
    pub(super) fn after_outage(
        &self,
        dispatch: &Dispatch,
        what: &'static str,
        retry_after: Duration,
    ) -> Then {
        if !dispatch.is_last(self.queue) {
            return Then::Answer(Verdict::Unavailable(what, retry_after));
        }
        let at = self.clock.now() + retry_after;
        Then::ComeBack(Return { distinct: distinct(dispatch, what), at, verdict: Verdict::Requeued(what) })
    }

    /// Sends the task on its way.
    pub(super) async fn send(&self, dispatch: &Dispatch, way: Return) -> Verdict {
        let mut envelope = dispatch.envelope.clone();
        envelope.prior_attempts = dispatch.attempt() - 1;
        // The new name must not make a new task of it.
        envelope.idempotency_key = Some(dispatch.key.clone());
        envelope.enqueued_at.get_or_insert(dispatch.occasion);
        match self.tasks.come_back(self.queue, envelope, &way.distinct, way.at).await {
            Ok(_) => way.verdict,
            Err(error) => {
                tracing::error!(error = chain(&error), "task could not be sent on");
                match Failure::from(error) {
                    Failure::Unavailable { retry_after, .. } => {
                        Verdict::Unavailable("cloud_tasks", retry_after)
                    }
                    Failure::Permanent(_) | Failure::Transient(_) => Verdict::Retry("not_sent_on"),
                }
            }
        }
    }
}

/// A repetition of this very delivery sends nothing twice.
fn distinct(dispatch: &Dispatch, reason: &str) -> String {
    let task = dispatch.headers.name.as_deref().unwrap_or_default();
    format!("{reason}:{}:{task}:{}", dispatch.key, dispatch.headers.retry_count)
}
