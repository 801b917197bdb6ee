//! What surrounds every sync or check of a user's account: whether it may begin, and how it is recorded.
//!
//! [`breaker`] and [`schedule`] are rules without a database; [`Syncs::run`] is what a job runs its sync in.

use chrono::{DateTime, TimeDelta, Utc};
use shared::db::{Error, Page, shortened};
use shared::job::{Failure, Outcome};
use shared::queue::Queue;
use uuid::Uuid;

use crate::db::sync_locks::{self, SyncLock};
use crate::db::sync_schedule::SyncSchedules;
use crate::db::sync_status::{self, SyncStatus};
use crate::db::{circuit_breaker, handle, sync_metrics, sync_schedule};
use crate::payload::Integration;
use crate::queues;

mod admission;

pub use crate::sync_rules::{SyncKind, SyncRun, breaker, schedule};
pub use admission::{Admission, Admitted, Entry, Refusal};

use admission::admission;
use breaker::Pass;
use schedule::Schedule;

/// Longest text that is kept about a failure.
const ERROR_CHARS: usize = 500;
/// A run may end so much later than its time, and clocks may differ: a lock outlives the run that holds it.
const LOCK_GRACE: TimeDelta = TimeDelta::minutes(1);
/// A task that another sync keeps waiting asks again when as much time has passed as it has been under way, but not
/// sooner or later than after these.
const SHORTEST_WAIT: TimeDelta = TimeDelta::seconds(2);
const LONGEST_WAIT: TimeDelta = TimeDelta::seconds(30);

handle! {
    /// The syncs of users: their breakers, their schedules and the rows that they leave.
    Syncs
}

/// How the task of a sync ended that did not fail.
#[derive(Debug)]
pub enum Ended {
    /// The sync has ended, too.
    Here(Outcome),
    /// The sync continues in another task, due at this time, as [`Entry::Continued`]: the breaker is not asked again, and
    /// no other sync begins before.
    Continued(Outcome, DateTime<Utc>),
}

impl Syncs {
    /// Runs `sync` in the task of this key ([`Context::key`](shared::job::Context)), and tells it whether it may begin. While
    /// another task syncs the user's integration, the task is rescheduled instead; a [`Entry::Check`] runs next to it.
    ///
    /// However it ends, its breaker is not left half-open: a sync that was let through and neither succeeded nor failed
    /// lets the next one try. Best effort: what is not handed back counts as a failure when its hour has ended, and a lock
    /// that is not released is taken over by the task's redelivery, or expires after the longest time that the run can
    /// take.
    ///
    /// What a run writes must not rely on the lock alone: a process that was frozen for so long continues.
    pub async fn run<F>(
        &self,
        user_id: Uuid,
        integration: Integration,
        entry: Entry,
        task: &str,
        now: impl Fn() -> DateTime<Utc> + Send,
        sync: impl FnOnce(Admission) -> F + Send,
    ) -> Result<Outcome, Failure>
    where
        F: Future<Output = Result<Ended, Failure>> + Send,
    {
        let (run, began_at) = (entry.run(), now());
        let lock = match entry {
            Entry::First | Entry::Named(_) | Entry::Continued(_) => {
                Some(SyncLock { run, task, held_until: lock_end(integration, began_at) })
            }
            Entry::Check => None,
        };
        let status = sync_status::sync_status(&self.0, user_id, integration, lock, began_at).await?;
        if let Some(since) = status.as_ref().and_then(|status| status.busy_since) {
            return Ok(Outcome::Snooze(retry_at(since, began_at)));
        }
        let lock = lock.filter(|_| status.is_some());
        let mut is_probe = false;
        let ended = match self.admission(user_id, integration, entry, run, status, began_at).await {
            Ok(admission) => {
                is_probe = matches!(&admission, Admission::Admitted(admitted) if admitted.probe);
                // Boxed: nested in one another, the futures of a whole job are more than the compiler lays out.
                Box::pin(sync(admission)).await
            }
            Err(error) => Err(error.into()),
        };
        let (outcome, next_part) = match ended {
            Ok(Ended::Continued(outcome, at)) => (Ok(outcome), Some(at)),
            Ok(Ended::Here(outcome)) => (Ok(outcome), None),
            Err(failure) => (Err(failure), None),
        };
        if is_probe
            && next_part.is_none()
            && let Err(error) = circuit_breaker::hand_back_probe(&self.0, user_id, integration, now()).await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "probe of the circuit breaker not released"
            );
        }
        if let Some(lock) = lock {
            let left = match next_part {
                Some(at) => {
                    let lock = SyncLock { held_until: lock_end(integration, at), ..lock };
                    sync_locks::hand_on(&self.0, user_id, integration, lock).await
                }
                None => sync_locks::release(&self.0, user_id, integration, lock.run).await,
            };
            if let Err(error) = left {
                tracing::warn!(error = &error as &dyn std::error::Error, "lock of a sync not released");
            }
        }
        outcome
    }

    /// While the breaker is half-open exactly one caller is admitted, by one atomic update.
    async fn admission(
        &self,
        user_id: Uuid,
        integration: Integration,
        entry: Entry,
        run: Uuid,
        status: Option<SyncStatus>,
        now: DateTime<Utc>,
    ) -> Result<Admission, Error> {
        let (schedule, pass) = match admission(status.as_ref(), integration, entry, now) {
            Ok(admitted) => admitted,
            Err(refusal) => return Ok(Admission::Refused(refusal)),
        };
        let probe = match (pass, &status) {
            (Pass::Probe { until }, Some(status)) => {
                let seen = &status.breaker;
                if !circuit_breaker::begin_probe(&self.0, user_id, integration, seen, until, now).await? {
                    return Ok(Admission::Refused(Refusal::CircuitOpen));
                }
                true
            }
            _ => false,
        };
        Ok(Admission::Admitted(Admitted { probe, run, schedule }))
    }

    /// A sync succeeded: closes the breaker, moves the schedule on (unless a person asked), adds the row.
    pub async fn succeeded(
        &self,
        run: &SyncRun,
        admitted: &Admitted,
        changed: bool,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let mut tx = self.0.begin().await?;
        circuit_breaker::close(&mut tx, run.user_id, run.integration, now).await?;
        if run.kind != SyncKind::Manual {
            let next = admitted.schedule.after_success(changed, now);
            let (user_id, schedule) = (run.user_id, &admitted.schedule);
            sync_schedule::store(&mut tx, user_id, run.integration, schedule, &next, Some(now), now).await?;
        }
        sync_metrics::add(tx.statement(), run, "success", None, None, now).await?;
        tx.commit().await
    }

    /// An attempt failed: adds the row. When it was the task's last one, or the sync that a half-open breaker let
    /// through, the breaker counts it and the schedule backs off (unless a person asked): the attempts of one task are
    /// one failure.
    ///
    /// `error` is for operators: no secret, no personal datum.
    pub async fn failed(
        &self,
        run: &SyncRun,
        admitted: &Admitted,
        error: &str,
        is_last: bool,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let (user_id, integration) = (run.user_id, run.integration);
        let error = shortened(error, ERROR_CHARS);
        let mut tx = self.0.begin().await?;
        if is_last || admitted.probe {
            let breaker = circuit_breaker::lock(&mut tx, user_id, integration, now).await?;
            let breaker = breaker.after_failure(now);
            circuit_breaker::store_failure(&mut tx, user_id, integration, &breaker, &error, now).await?;
            if run.kind != SyncKind::Manual {
                let schedule = &admitted.schedule;
                let next = schedule.after_failure(breaker.failures, now);
                sync_schedule::store(&mut tx, user_id, integration, schedule, &next, None, now).await?;
            }
        }
        sync_metrics::add(tx.statement(), run, "failure", None, Some(&error), now).await?;
        tx.commit().await
    }

    /// A sync did not begin, for a reason with a stable name.
    pub async fn skipped(&self, run: &SyncRun, reason: &str, now: DateTime<Utc>) -> Result<(), Error> {
        sync_metrics::add(self.0.statement(), run, "skipped", Some(reason), None, now).await
    }
}

/// The next users, by id after `after` (nil to begin), whose sync is due, who are not revoked and whose breaker is not open.
/// Those who have a token but no schedule get one first, and are due immediately.
pub async fn due(
    schedules: &SyncSchedules,
    integration: Integration,
    now: DateTime<Utc>,
    after: Uuid,
    limit: u32,
) -> Result<Page, Error> {
    let users = schedules.due(integration, now, after, limit).await?;
    let new: Vec<_> = users
        .iter()
        .filter(|user| user.is_new)
        .map(|user| (user.user_id, Schedule::new(integration, user.connected_at.unwrap_or(now))))
        .collect();
    schedules.add(integration, &new, now).await?;
    Ok(Page::of(users.into_iter().map(|user| user.user_id).collect(), limit))
}

/// When the lock of a run that begins `at` expires by itself.
fn lock_end(integration: Integration, at: DateTime<Utc>) -> DateTime<Utc> {
    let queue = match integration {
        Integration::GoogleCalendar => queues::CALENDAR_SYNC,
        Integration::GoogleContacts => queues::GOOGLE_CONTACTS_SYNC,
    };
    at + queue.policy().timeout() + LOCK_GRACE
}

/// When a task asks again that a sync keeps waiting which began at `since`. Two that wait do not ask at the same time.
fn retry_at(since: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    let wait = (now - since).clamp(SHORTEST_WAIT, LONGEST_WAIT);
    now + wait + TimeDelta::milliseconds(rand::random_range(0..=wait.num_milliseconds() / 2))
}

/// A sweep has created the tasks of these users in `queue`: their next syncs are due an interval later.
///
/// Called after the tasks exist, by each run of a page: a page that ends before is run again, finds the same users due and
/// their tasks there.
pub async fn tasks_created(
    schedules: &SyncSchedules,
    integration: Integration,
    (queue, sweep_id): (Queue, &str),
    users: &[Uuid],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    schedules.tasks_created(integration, (queue, sweep_id), users, now).await
}
