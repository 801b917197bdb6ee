//! Tasks that cannot go on now come back as new tasks, which carry the attempts so far: waiting costs none.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::dispatch::Dispatch;
use super::verdict::Verdict;
use crate::clock::Clock;
use crate::queue::Queue;
use crate::tasks::Tasks;

/// Added to the end of a lease, so that it is over when the task is back.
const LEASE_GRACE: TimeDelta = TimeDelta::milliseconds(250);
/// How long the queue waits when Cloud Tasks does not take a task.
const RETRY_AFTER: Duration = Duration::from_secs(30);

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

    /// When the lease of another delivery ends. All deliveries that meet one lease come back as one task.
    pub(super) async fn after_lease(
        &self,
        dispatch: &Dispatch,
        until: DateTime<Utc>,
        lease: &str,
    ) -> Verdict {
        // A clock that is ahead must not turn the wait into a busy loop, nor one that is behind into a long sleep.
        let (now, lease_time) = (self.clock.now(), self.queue.policy().lease());
        let until = until.clamp(now, now + lease_time) + LEASE_GRACE;
        self.send(dispatch, &format!("lease:{}:{lease}", dispatch.key), until, Verdict::Deferred(until)).await
    }

    /// At the time that the job asked for.
    pub(super) async fn at(&self, dispatch: &Dispatch, until: DateTime<Utc>) -> Verdict {
        self.send(dispatch, &self.distinct(dispatch, "snooze"), until, Verdict::Snoozed(until)).await
    }

    /// At once: the instance has to go.
    pub(super) async fn now(&self, dispatch: &Dispatch, reason: &'static str) -> Verdict {
        self.send(dispatch, &self.distinct(dispatch, reason), self.clock.now(), Verdict::Requeued(reason))
            .await
    }

    /// An outage slows the queue; only where the queue's next try would be one too many, a new task waits instead.
    pub(super) async fn after_outage(
        &self,
        dispatch: &Dispatch,
        what: &'static str,
        retry_after: Duration,
    ) -> Verdict {
        if !dispatch.is_last(self.queue) {
            return Verdict::Unavailable(what, retry_after);
        }
        let at = self.clock.now() + retry_after;
        self.send(dispatch, &self.distinct(dispatch, what), at, Verdict::Requeued(what)).await
    }

    /// A repetition of this very delivery, its answer lost, sends nothing twice.
    fn distinct(&self, dispatch: &Dispatch, reason: &str) -> String {
        let task = dispatch.headers.name.as_deref().unwrap_or_default();
        format!("{reason}:{}:{task}:{}", dispatch.key, dispatch.headers.retry_count)
    }

    async fn send(
        &self,
        dispatch: &Dispatch,
        distinct: &str,
        at: DateTime<Utc>,
        verdict: Verdict,
    ) -> Verdict {
        let mut envelope = dispatch.envelope.clone();
        envelope.prior_attempts = dispatch.attempt() - 1;
        // The new name must not make a new task of it.
        envelope.idempotency_key = Some(dispatch.key.clone());
        envelope.enqueued_at.get_or_insert(dispatch.occasion);
        match self.tasks.come_back(self.queue, envelope, distinct, at).await {
            Ok(_) => verdict,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "task could not be sent on");
                Verdict::Unavailable("cloud_tasks", RETRY_AFTER)
            }
        }
    }
}
