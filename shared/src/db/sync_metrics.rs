//! `sync_metrics`: one row a sync, and with it what the sync does to its breaker and its schedule.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::circuit_breaker::Admitted;
use super::{Db, Error, Transaction, text};
use crate::payload::{Integration, SyncType, Trigger};

/// Longest text that is kept about a failure.
const ERROR_CHARS: usize = 500;

/// What kind of sync it was, as `sync_metrics.sync_type` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum SyncKind {
    /// Everything was asked for.
    Full,
    /// What changed was asked for.
    Incremental,
    /// Google told us to look.
    WebhookTriggered,
    /// A person asked; leaves the schedule alone.
    Manual,
}

impl SyncKind {
    /// The kind of a sync that `trigger` asked for and that turned out as `sync_type`.
    #[must_use]
    pub fn new(trigger: Option<Trigger>, sync_type: SyncType) -> Self {
        match (trigger, sync_type) {
            (Some(Trigger::Manual), _) => Self::Manual,
            (Some(Trigger::Webhook), _) => Self::WebhookTriggered,
            (Some(Trigger::Schedule) | None, SyncType::Full) => Self::Full,
            (Some(Trigger::Schedule) | None, SyncType::Incremental) => Self::Incremental,
        }
    }
}

/// A sync that has ended.
#[derive(Debug, Clone, Copy)]
pub struct SyncRun {
    /// Whose.
    pub user_id: Uuid,
    /// Of what.
    pub integration: Integration,
    /// Of what kind.
    pub kind: SyncKind,
    /// From its beginning, over all its tasks.
    pub duration: Duration,
    /// Things that Google listed.
    pub items: u64,
    /// Calls to Google.
    pub api_calls: u64,
    /// Calls that a full sync would have made on top.
    pub api_calls_saved: Option<u64>,
}

impl Db {
    /// A sync went well: closes the breaker, moves the schedule on (unless a person asked), adds the row.
    pub async fn sync_succeeded(
        &self,
        run: &SyncRun,
        admitted: &Admitted,
        changed: bool,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let mut work = self.begin().await?;
        work.close_breaker(run.user_id, run.integration, now).await?;
        if run.kind != SyncKind::Manual {
            let next = admitted.schedule.after_success(changed, now);
            work.store_schedule(run.user_id, run.integration, &admitted.schedule, &next, Some(now), now)
                .await?;
        }
        work.add_metrics(run, "success", None, None, now).await?;
        work.commit().await
    }

    /// An attempt failed: adds the row. When it was the task's last one, or the sync that a half-open breaker let
    /// through, the breaker counts it and the schedule backs off (unless a person asked): the attempts of one task are
    /// one failure.
    ///
    /// `error` is for operators: no secret, no personal datum.
    pub async fn sync_failed(
        &self,
        run: &SyncRun,
        admitted: &Admitted,
        error: &str,
        is_last: bool,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let error = text::shortened(error, ERROR_CHARS);
        let mut work = self.begin().await?;
        if is_last || admitted.probe {
            let failures = work.count_failure(run.user_id, run.integration, &error, now).await?;
            if run.kind != SyncKind::Manual {
                let next = admitted.schedule.after_failure(failures, now);
                work.store_schedule(run.user_id, run.integration, &admitted.schedule, &next, None, now)
                    .await?;
            }
        }
        work.add_metrics(run, "failure", None, Some(&error), now).await?;
        work.commit().await
    }

    /// A sync did not begin, for a reason with a stable name.
    pub async fn sync_skipped(&self, run: &SyncRun, reason: &str, now: DateTime<Utc>) -> Result<(), Error> {
        let mut work = self.begin().await?;
        work.add_metrics(run, "skipped", Some(reason), None, now).await?;
        work.commit().await
    }
}

impl Transaction {
    async fn add_metrics(
        &mut self,
        run: &SyncRun,
        result: &str,
        skip_reason: Option<&str>,
        error: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let kind: &str = run.kind.into();
        let count = |n: u64| i32::try_from(n).unwrap_or(i32::MAX);
        sqlx::query!(
            "
            INSERT INTO sync_metrics
                (user_id, integration_type, sync_type, result, skip_reason, duration_ms, items_processed,
                 api_calls_made, api_calls_saved, error_message, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            ",
            run.user_id,
            run.integration.as_str(),
            kind,
            result,
            skip_reason,
            i32::try_from(run.duration.as_millis()).unwrap_or(i32::MAX),
            count(run.items),
            count(run.api_calls),
            run.api_calls_saved.map(count),
            error,
            now.naive_utc(),
        )
        .execute(self.statement())
        .await?;
        Ok(())
    }
}
