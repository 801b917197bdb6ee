//! What surrounds every sync or check of a user's account: whether it may begin, and how it is recorded.
//!
//! [`breaker`] and [`schedule`] are rules without a database; [`Syncs::run`] is what a job runs its sync in.

use chrono::{DateTime, Utc};
use shared::db::{Error, Page, shortened};
use shared::job::{Failure, Outcome};
use uuid::Uuid;

use crate::db::sync_schedule::SyncSchedules;
use crate::db::{circuit_breaker, handle, sync_metrics, sync_schedule, sync_status};
use crate::payload::Integration;

mod admission;

pub use crate::sync_rules::{SyncKind, SyncRun, breaker, schedule};
pub use admission::{Admission, Admitted, Entry, Refusal};

use admission::admission;
use breaker::Pass;
use schedule::Schedule;

/// Longest text that is kept about a failure.
const ERROR_CHARS: usize = 500;

handle! {
    /// The syncs of users: their breakers, their schedules and the rows that they leave.
    Syncs
}

/// How the task of a sync ended that did not fail.
#[derive(Debug)]
pub enum Ended {
    /// The sync has ended, too.
    Here(Outcome),
    /// The sync continues in another task, which the breaker is not asked about again.
    Continued(Outcome),
}

impl Syncs {
    /// Runs `sync`, which is told whether it may begin. However it ends, its breaker is not left half-open: a sync that was
    /// let through and neither succeeded nor failed lets the next one try. Best effort: what is not handed back counts as a
    /// failure when its hour has ended.
    pub async fn run<F>(
        &self,
        user_id: Uuid,
        integration: Integration,
        entry: Entry,
        now: impl Fn() -> DateTime<Utc> + Send,
        sync: impl FnOnce(Admission) -> F + Send,
    ) -> Result<Outcome, Failure>
    where
        F: Future<Output = Result<Ended, Failure>> + Send,
    {
        let admission = self.admit(user_id, integration, entry, now()).await?;
        let is_probe = matches!(&admission, Admission::Admitted(admitted) if admitted.probe);
        // Boxed: nested in one another, the futures of a whole job are more than the compiler lays out.
        let outcome = match Box::pin(sync(admission)).await {
            Ok(Ended::Continued(outcome)) => return Ok(outcome),
            Ok(Ended::Here(outcome)) => Ok(outcome),
            Err(failure) => Err(failure),
        };
        if is_probe
            && let Err(error) = circuit_breaker::hand_back_probe(&self.0, user_id, integration, now()).await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "probe of the circuit breaker not released"
            );
        }
        outcome
    }

    /// Looks at token health, circuit breaker and schedule before a sync.
    ///
    /// While the breaker is half-open exactly one caller is admitted, by one atomic update.
    pub async fn admit(
        &self,
        user_id: Uuid,
        integration: Integration,
        entry: Entry,
        now: DateTime<Utc>,
    ) -> Result<Admission, Error> {
        let status = sync_status::sync_status(&self.0, user_id, integration, now).await?;
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
        Ok(Admission::Admitted(Admitted { probe, schedule }))
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
