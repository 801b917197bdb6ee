//! `sync_metrics`: one row per sync.

use chrono::{DateTime, Utc};
use shared::db::Error;
use sqlx::PgExecutor;

use crate::sync_rules::SyncRun;

/// Adds the row of a sync that ended so.
pub(crate) async fn add(
    statement: impl PgExecutor<'_>,
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
    .execute(statement)
    .await?;
    Ok(())
}
