//! `jobs.sync_locks`: which sync of a user's integration is under way. A sync takes its lock where its status is read
//! ([`super::sync_status`]).

use chrono::{DateTime, Utc};
use shared::db::{Database, Error};
use uuid::Uuid;

use crate::payload::Integration;

/// A lock that a sync asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SyncLock<'a> {
    /// Names the sync, over all its parts.
    pub(crate) run: Uuid,
    /// Names the task that it runs in ([`Context::key`](shared::job::Context)).
    pub(crate) task: &'a str,
    /// When it expires by itself.
    pub(crate) held_until: DateTime<Utc>,
}

/// The sync has ended, or leaves the lock to the next one. One that another sync holds by now stays.
pub(crate) async fn release(
    database: &Database,
    user_id: Uuid,
    integration: Integration,
    run: Uuid,
) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM jobs.sync_locks WHERE user_id = $1 AND integration = $2 AND run = $3",
        user_id,
        integration.as_str(),
        run,
    )
    .execute(database.statement())
    .await?;
    Ok(())
}

/// The sync continues in another task: until the lock expires, only that task takes it.
pub(crate) async fn hand_on(
    database: &Database,
    user_id: Uuid,
    integration: Integration,
    lock: SyncLock<'_>,
) -> Result<(), Error> {
    sqlx::query!(
        "
        UPDATE jobs.sync_locks SET continues = true, held_until = $4
        WHERE user_id = $1 AND integration = $2 AND run = $3
        ",
        user_id,
        integration.as_str(),
        lock.run,
        lock.held_until,
    )
    .execute(database.statement())
    .await?;
    Ok(())
}
