//! The steps of [`super::process`], each for itself.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt;
use serde_json::Value;
use uuid::Uuid;

use super::Runtime;
use super::disposition::{DeadReason, Disposition, FailureReason, RescheduleReason, Unexplained};
use super::handler::Prepared;
use super::occupancy::Place;
use super::outages::Dependency;
use super::task::{Headers, Task, task_ref};
use crate::db;
use crate::db::dead_letters::DeadLetter;
use crate::db::failures::{Cause, Run, TaskRef, TaskState};
use crate::envelope::{self, Envelope, sha256_hex, user_of};
use crate::failure::Failure;
use crate::idempotency::{Expired, Lease, Lost};
use crate::job::{Context, Outcome};
use crate::redis;
use crate::telemetry::{EventCode, chain};

/// Longer than a statement may take. A database that is cut off would otherwise hold the answer back for minutes.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(40);
/// Cloud Tasks takes no time further ahead than 30 days; a task that comes too early waits again.
const FURTHEST: TimeDelta = TimeDelta::days(29);
/// An unreadable payload is tried again after a minute first, and then ever later.
const UNREADABLE_FIRST: TimeDelta = TimeDelta::minutes(1);
const UNREADABLE_LAST: TimeDelta = TimeDelta::hours(1);
/// Characters of a failure's fingerprint.
const FINGERPRINT_CHARS: usize = 16;
/// Time that a deployment may take that can read it.
const UNREADABLE_FOR: TimeDelta = TimeDelta::days(3);

/// A task and the job that is ready to run on it.
pub(super) struct Parsed {
    pub(super) task: Task,
    pub(super) job: Prepared,
}

/// A body that could not be read.
pub(super) struct Unreadable {
    headers: Headers,
    body: Bytes,
    /// The envelope, if at least that could be read.
    envelope: Option<Envelope>,
    error: envelope::Error,
}

/// A run that is recorded as long as the body is suspected of killing the process that parses it.
pub(super) struct Suspicion(Uuid);

/// How a run ended, the lease that it lost included.
pub(super) enum RunResult {
    Done(Value),
    Skipped(&'static str),
    Snoozed { reason: RescheduleReason, until: DateTime<Utc> },
    Failed(Failed),
    Unavailable { dependency: Dependency, retry_after: Duration },
    Lost(Lost),
}

/// Why a run failed.
pub(super) struct Failed {
    pub(super) reason: FailureReason,
    error: String,
}

impl Failed {
    fn new(reason: FailureReason, error: impl Into<String>) -> Self {
        Self { reason, error: error.into() }
    }
}

impl Runtime {
    /// A body that was dispatched many times without any record may kill the process that parses it: from then on each attempt at
    /// it is recorded before it begins.
    pub(super) async fn suspect_body(
        &self,
        headers: &Headers,
        body: &[u8],
    ) -> Result<Option<Suspicion>, Disposition> {
        if !headers.has_many_retries() {
            return Ok(None);
        }
        tracing::warn!(
            event = %EventCode::ManyDispatches,
            dispatches = headers.retry_count,
            "task was dispatched many times without a recorded run"
        );
        let key = body_key(headers, body);
        let (task_ref, now) = (task_ref(self.queue, self.pace, &key, headers, body), self.clock.now());
        match self.in_time(self.failures.task_state(&task_ref, now)).await? {
            TaskState::Go { .. } | TaskState::Done => {}
            TaskState::Wait(_) => return Err(Disposition::Unexplained(Unexplained::Suspected)),
            TaskState::Dead => return Err(Disposition::Dead(DeadReason::NeverReportedBack)),
        }
        let suspicion = Suspicion(Uuid::new_v4());
        self.in_time(self.failures.run_started(&task_ref, &self.recorded(suspicion.0, false, now), now))
            .await?;
        Ok(Some(suspicion))
    }

    /// The body could be parsed.
    pub(super) async fn clear_body(
        &self,
        task: &Task,
        suspicion: Option<Suspicion>,
    ) -> Result<(), Disposition> {
        let Some(Suspicion(run)) = suspicion else { return Ok(()) };
        let key = body_key(&task.headers, &task.body);
        let (task_ref, now) =
            (task_ref(self.queue, self.pace, &key, &task.headers, &task.body), self.clock.now());
        self.in_time(self.failures.run_ended(&task_ref, &self.recorded(run, false, now), false, now)).await
    }

    pub(super) fn parse(
        &self,
        path: Option<&str>,
        headers: Headers,
        body: Bytes,
    ) -> Result<Parsed, Box<Unreadable>> {
        let envelope = match Envelope::parse(self.queue, path, &body) {
            Ok(envelope) => envelope,
            Err(error) => return Err(Box::new(Unreadable { headers, body, envelope: None, error })),
        };
        match self.handler.prepare(&envelope) {
            Ok(job) => {
                let user_id = user_of(&body);
                let task = Task::new(self.queue, headers, body, envelope, user_id, self.clock.now());
                Ok(Parsed { task, job })
            }
            Err(error) => Err(Box::new(Unreadable { headers, body, envelope: Some(envelope), error })),
        }
    }

    /// What a deployment may fix waits for one; everything else, and what waited too long, is a dead letter.
    pub(super) async fn unreadable(&self, unreadable: Unreadable) -> Result<Disposition, Disposition> {
        let Unreadable { headers, body, envelope, error } = unreadable;
        let now = self.clock.now();
        let user_id = user_of(&body);
        let Some(mut envelope) = envelope else {
            let key = body_key(&headers, &body);
            let task_ref = TaskRef { user_id, ..task_ref(self.queue, self.pace, &key, &headers, &body) };
            return self.record_unreadable(task_ref, error).await;
        };
        let since = *envelope.unreadable_since.get_or_insert(now);
        let doublings = envelope.n.min(6);
        let task = Task::new(self.queue, headers, body, envelope, user_id, now);
        if error.may_be_fixed_by_a_deployment() && now < since + UNREADABLE_FOR {
            let wait = (UNREADABLE_FIRST * 2_i32.pow(doublings)).min(UNREADABLE_LAST);
            return self.reschedule(&task, RescheduleReason::Unreadable, now + wait).await;
        }
        self.record_unreadable(task.task_ref(self.pace), error).await
    }

    async fn record_unreadable(
        &self,
        task_ref: TaskRef<'_>,
        error: envelope::Error,
    ) -> Result<Disposition, Disposition> {
        let dead_letter = DeadLetter { task_ref, reason: error.code(), error: &error.to_string() };
        self.in_time(self.dead_letters.record(&dead_letter, self.clock.now())).await?;
        tracing::error!(event = %EventCode::DeadLetter, reason = error.code(), error = %error, "dead letter");
        Ok(Disposition::Dead(DeadReason::Unreadable(error)))
    }

    /// Another payload under a key that came from outside is another task, and which of the two is meant is unknown.
    pub(super) async fn other_payload(&self, task: &Task) -> Result<Disposition, Disposition> {
        let key = task.key_of_other_payload();
        let task_ref = TaskRef { key: &key, ..task.task_ref(self.pace) };
        let error = "the key belongs to another payload";
        let (death, now) = (DeadReason::KeyReused, self.clock.now());
        let dead_letter = DeadLetter { task_ref, reason: death.name(), error };
        self.in_time(self.dead_letters.record(&dead_letter, now)).await?;
        tracing::error!(event = %EventCode::DeadLetter, reason = death.name(), error, "dead letter");
        Ok(Disposition::Dead(death))
    }

    /// A place in this process; without one in time, the task is rescheduled.
    pub(super) async fn enter(&self, task: &Task, alone: bool) -> Result<Place, Disposition> {
        if let Some(place) = self.occupancy.enter(alone).await {
            return Ok(place);
        }
        let mut crowded = successor(task);
        crowded.alone = alone;
        Err(self
            .create(task, crowded, RescheduleReason::Crowded, self.clock.now() + self.pace.soon())
            .await?)
    }

    /// What is recorded about the task, after the run that had the lease before was recorded as killed. If Postgres is
    /// unavailable, that lease is put back for the next delivery to record.
    pub(super) async fn task_state(
        &self,
        task: &Task,
        lease: &mut Lease,
        killed: Option<&Expired>,
    ) -> Result<TaskState, Disposition> {
        let (task_ref, now) = (task.task_ref(self.pace), self.clock.now());
        let looked = async {
            let Some(killed) = killed else {
                return self.in_time(self.failures.task_state(&task_ref, now)).await;
            };
            let run = Run {
                id: killed.run,
                instance: &killed.instance,
                alone: killed.alone,
                ..self.recorded(killed.run, killed.alone, killed.began_at)
            };
            self.in_time(self.failures.run_killed(&task_ref, &run, killed.at, now)).await
        };
        let state = match (looked.await, killed) {
            (Ok(state), _) => state,
            (Err(unavailable), Some(killed)) => {
                if let Err(error) = self.leases.put_back(lease, killed).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "lease not put back");
                }
                return Err(unavailable);
            }
            (Err(unavailable), None) => {
                self.release(task, lease).await;
                return Err(unavailable);
            }
        };
        if let (TaskState::Go { .. }, true) = (state, task.has_many_dispatches()) {
            tracing::warn!(
                event = %EventCode::ManyDispatches,
                dispatches = task.dispatches(),
                "task was dispatched many times without a recorded run"
            );
            let run = self.recorded(lease.run(), lease.is_alone(), now);
            if let Err(unavailable) = self.in_time(self.failures.run_started(&task_ref, &run, now)).await {
                self.release(task, lease).await;
                return Err(unavailable);
            }
            lease.mark_recorded();
        }
        Ok(state)
    }

    /// Runs the job, within its time and as long as the instance may live.
    pub(super) async fn run(&self, job: Prepared, task: &Task, failures: u32) -> RunResult {
        let time = self.pace.timeout(self.queue);
        let context = Context {
            attempt: failures + 1,
            last_attempt: failures + 1 >= self.queue.policy().attempts,
            dispatches: task.dispatches(),
            key: task.name().key.to_owned(),
            scheduled_for: task.scheduled_for,
            clock: self.clock.clone(),
            deadline: Instant::now() + time,
            cancelled: self.shutdown.begun(),
        };
        let run = tokio::time::timeout(time, AssertUnwindSafe((job.run)(context)).catch_unwind());
        let ended = tokio::select! {
            ended = run => ended,
            () = self.shutdown.over() => {
                return RunResult::Snoozed { reason: RescheduleReason::Shutdown, until: self.clock.now() };
            }
        };
        match ended {
            Ok(Ok(Ok(Outcome::Done(result)))) => RunResult::Done(result),
            Ok(Ok(Ok(Outcome::Skipped(reason)))) => RunResult::Skipped(reason),
            Ok(Ok(Ok(Outcome::Snooze(until)))) => {
                RunResult::Snoozed { reason: RescheduleReason::Snoozed, until }
            }
            Ok(Ok(Err(failure))) => self.classify(&failure),
            Ok(Err(_panic)) => RunResult::Failed(Failed::new(FailureReason::Panic, "the job panicked")),
            Err(_elapsed) => {
                RunResult::Failed(Failed::new(FailureReason::Timeout, "the job exceeded its timeout"))
            }
        }
    }

    fn classify(&self, failure: &Failure) -> RunResult {
        match failure {
            Failure::Permanent(_) => RunResult::Failed(Failed::new(FailureReason::Permanent, chain(failure))),
            Failure::Transient(_) => RunResult::Failed(Failed::new(FailureReason::Transient, chain(failure))),
            Failure::Busy { retry_after, .. } => {
                tracing::info!(error = chain(failure), "another session holds what the job needs");
                let after = TimeDelta::from_std(*retry_after).unwrap_or(self.pace.soon());
                RunResult::Snoozed { reason: RescheduleReason::Busy, until: self.clock.now() + after }
            }
            Failure::Unavailable { retry_after, source } => {
                tracing::warn!(
                    event = %EventCode::DependencyUnavailable,
                    error = chain(failure),
                    "a shared dependency is unavailable"
                );
                RunResult::Unavailable { dependency: Dependency::of(source), retry_after: *retry_after }
            }
        }
    }

    /// Records the failure. If Postgres does not, the lease is left to expire: the next delivery then records this run.
    pub(super) async fn record_failure(
        &self,
        task: &Task,
        lease: &Lease,
        failed: &Failed,
    ) -> Result<TaskState, Disposition> {
        let reason = failed.reason.name();
        let fingerprint = sha256_hex([self.queue.name(), reason, &failed.error]);
        let cause = Cause {
            reason,
            error: &failed.error,
            fingerprint: &fingerprint[..FINGERPRINT_CHARS],
            is_permanent: failed.reason.is_permanent(),
        };
        let now = self.clock.now();
        let run = self.recorded(lease.run(), lease.is_alone(), lease.began_at());
        tracing::warn!(event = %EventCode::RunFailed, reason, error = failed.error, "run failed");
        self.in_time(self.failures.run_failed(&task.task_ref(self.pace), &run, &cause, now)).await
    }

    /// When the next run may begin after so many failures.
    pub(super) fn after_failure(&self, failures: u32) -> DateTime<Utc> {
        self.clock.now() + self.pace.backoff(self.queue, failures)
    }

    /// When to check again: a lease that expires at `until`, or what was there and is not.
    pub(super) fn after_lease(&self, until: Option<DateTime<Utc>>) -> DateTime<Utc> {
        let now = self.clock.now();
        until.map_or(now + self.pace.soon(), |until| self.pace.after_lease(until, now))
    }

    /// Records in Redis, or else in Postgres, that the task is done. If neither can, it may run once more.
    pub(super) async fn settle_done(&self, task: &Task, lease: &Lease, result: &Value) {
        match self.leases.done(lease, result).await {
            // A replay may be continued when Redis and Cloud Tasks have forgotten it.
            Ok(true) if task.envelope.life > 0 => {}
            Ok(true) => return,
            Ok(false) => tracing::warn!("lease expired before the task was done"),
            Err(error) => {
                tracing::warn!(
                    event = %EventCode::DoneNotStored,
                    error = &error as &dyn std::error::Error,
                    "task not recorded as done in redis"
                );
            }
        }
        self.record_end(task, lease, true).await;
    }

    pub(super) async fn settle_dead(&self, task: &Task, failed: &Failed) -> Disposition {
        let death = DeadReason::Failed(failed.reason);
        tracing::error!(event = %EventCode::DeadLetter, reason = death.name(), error = failed.error, "dead letter");
        self.mark_dead(task).await;
        Disposition::Dead(death)
    }

    /// Repeats in Redis what is recorded in Postgres.
    pub(super) async fn found_done(&self, lease: &Lease) -> Disposition {
        if let Err(error) = self.leases.done(lease, &Value::Null).await {
            tracing::warn!(
                event = %EventCode::DoneNotStored,
                error = &error as &dyn std::error::Error,
                "task not recorded as done in redis"
            );
        }
        Disposition::Duplicate(None)
    }

    /// Likewise.
    pub(super) async fn found_dead(&self, task: &Task) -> Disposition {
        let death = DeadReason::AttemptsUsedUp;
        tracing::error!(event = %EventCode::DeadLetter, reason = death.name(), "dead letter");
        self.mark_dead(task).await;
        Disposition::Dead(death)
    }

    async fn mark_dead(&self, task: &Task) {
        if let Some(user_id) = task.user_id {
            let ended = self.sweeps.user_task_ended(self.queue, user_id, self.clock.now());
            // Otherwise sweeps skip the user for as long as a task may wait.
            let _logged = self.in_time(ended).await;
        }
        if let Err(error) = self.leases.dead(task.name()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "task not recorded as dead in redis");
        }
    }

    /// Ends a run that neither succeeded nor failed: its successor exists before its lease is released.
    pub(super) async fn reschedule_and_release(
        &self,
        task: &Task,
        lease: &Lease,
        reason: RescheduleReason,
        at: DateTime<Utc>,
    ) -> Result<Disposition, Disposition> {
        let rescheduled = self.reschedule_after(task, lease, reason, at).await;
        self.release(task, lease).await;
        rescheduled
    }

    /// Ends a run whose lease another run has, or whose task another run has ended.
    pub(super) async fn lease_lost(
        &self,
        task: &Task,
        lease: &Lease,
        lost: Lost,
    ) -> Result<Disposition, Disposition> {
        if task.has_many_dispatches() {
            // It was recorded before it began.
            self.record_end(task, lease, false).await;
        }
        match lost {
            Lost::To { until } => {
                self.reschedule(task, RescheduleReason::Leased, self.after_lease(Some(until))).await
            }
            Lost::Done(result) => Ok(Disposition::Duplicate(result)),
            Lost::Dead => Ok(Disposition::Duplicate(None)),
        }
    }

    /// Releases the lease of a run that did not fail. Where it may be taken for that of a killed run, the run says in
    /// Postgres that it is not.
    pub(super) async fn release(&self, task: &Task, lease: &Lease) {
        match self.leases.release(lease).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "lease not released");
            }
        }
        self.record_end(task, lease, false).await;
    }

    /// Releases the lease of a run whose failure is recorded.
    pub(super) async fn release_failed(&self, lease: &Lease) {
        if let Err(error) = self.leases.release(lease).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "lease not released");
        }
    }

    async fn record_end(&self, task: &Task, lease: &Lease, is_done: bool) {
        let run = self.recorded(lease.run(), lease.is_alone(), lease.began_at());
        let (task_ref, now) = (task.task_ref(self.pace), self.clock.now());
        if self.in_time(self.failures.run_ended(&task_ref, &run, is_done, now)).await.is_err() {
            tracing::error!(event = %EventCode::RunNotRecorded, is_done, "end of the run recorded neither in redis nor in postgres");
        }
    }

    /// Creates the successor of a task of which no run began here.
    pub(super) async fn reschedule(
        &self,
        task: &Task,
        reason: RescheduleReason,
        at: DateTime<Utc>,
    ) -> Result<Disposition, Disposition> {
        self.create(task, successor(task), reason, at).await
    }

    /// Creates the successor of a task whose run ended: that run's lease does not concern it.
    pub(super) async fn reschedule_after(
        &self,
        task: &Task,
        lease: &Lease,
        reason: RescheduleReason,
        at: DateTime<Utc>,
    ) -> Result<Disposition, Disposition> {
        let mut envelope = successor(task);
        envelope.after = Some(lease.run());
        envelope.alone = reason == RescheduleReason::Crowded;
        self.create(task, envelope, reason, at).await
    }

    async fn create(
        &self,
        task: &Task,
        envelope: Envelope,
        reason: RescheduleReason,
        at: DateTime<Utc>,
    ) -> Result<Disposition, Disposition> {
        let at = at.min(self.clock.now() + FURTHEST);
        match Box::pin(self.tasks.reschedule(self.queue, task.root(), envelope, at)).await {
            Ok(_) => Ok(Disposition::Rescheduled { reason, at }),
            Err(error) => {
                tracing::error!(event = %EventCode::NotRescheduled, error = chain(&error), "task not rescheduled");
                self.outages.remember(Dependency::CloudTasks);
                Err(Dependency::CloudTasks.into())
            }
        }
    }

    fn recorded(&self, id: Uuid, alone: bool, began_at: DateTime<Utc>) -> Run<'_> {
        Run { id, instance: &self.instance, revision: &self.revision, alone, began_at }
    }

    /// A statement of the runtime's. When it fails, whatever the reason, nothing is recorded, and the task stays
    /// queued.
    async fn in_time<T>(
        &self,
        statement: impl Future<Output = Result<T, db::Error>>,
    ) -> Result<T, Disposition> {
        // Boxed, since the usual path has no statement of the runtime's and is not to be as large as the unusual ones.
        let error = match tokio::time::timeout(DATABASE_TIMEOUT, Box::pin(statement)).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => {
                let text = chain(&error);
                if let Failure::Unavailable { .. } = Failure::from(error) {
                    self.outages.remember(Dependency::Database);
                }
                text
            }
            Err(_elapsed) => {
                self.outages.remember(Dependency::Database);
                "no answer in time".to_owned()
            }
        };
        tracing::error!(event = %EventCode::NotRecorded, error, "state of the task not recorded");
        Err(Dependency::Database.into())
    }
}

/// The task runs all the same.
pub(super) fn without_redis(error: &redis::Error) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(event = %EventCode::RedisUnavailable, error, "task runs without a lease");
}

/// The key of a body that could not be parsed, or was not yet.
fn body_key(headers: &Headers, body: &[u8]) -> String {
    match &headers.name {
        Some(name) => format!("task:{name}"),
        None => format!("body:{}", sha256_hex([body])),
    }
}

/// The envelope of the task that continues another one, one number later.
fn successor(task: &Task) -> Envelope {
    let mut envelope = task.envelope.clone();
    envelope.n = envelope.n.saturating_add(1);
    envelope.root = Some(task.root().to_owned());
    // The new name must not make a new task of it.
    envelope.idempotency_key = Some(task.key.clone());
    envelope.enqueued_at.get_or_insert(task.scheduled_for);
    envelope
}
