//! `jobs.calendar_sync_runs`: what a user's unfinished sync of calendars came to so far.
//!
//! Statements that write events count them here as they do so: whatever becomes of the sync, its changes are notified.

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

/// What a sync came to, over all its runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalendarSyncRun {
    /// When its first run began.
    pub started_at: DateTime<Utc>,
    /// Event rows written or removed.
    pub changed: i64,
    /// How many of these were notified about.
    pub notified: i64,
    /// Events that Google listed.
    pub items: i64,
    /// Calls to Google.
    pub api_calls: i64,
    /// A calendar was read from its beginning.
    pub is_full: bool,
}

handle! {
    /// `jobs.calendar_sync_runs`: what a user's unfinished sync of calendars came to so far.
    CalendarSyncRuns
}

impl CalendarSyncRuns {
    /// What the user's unfinished sync came to; `None` when it has written nothing and never waited.
    pub async fn get(&self, user_id: Uuid) -> Result<Option<CalendarSyncRun>, Error> {
        let run = sqlx::query_as!(
            CalendarSyncRun,
            "
            SELECT started_at, changed, announced AS notified, items, api_calls, is_full
            FROM jobs.calendar_sync_runs WHERE user_id = $1 AND (changed > 0 OR items > 0 OR api_calls > 0)
            ",
            user_id,
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(run)
    }

    /// Keeps what a sync came to until it continues. Its changes are already counted.
    pub async fn store(&self, user_id: Uuid, run: &CalendarSyncRun) -> Result<(), Error> {
        sqlx::query!(
            "
            INSERT INTO jobs.calendar_sync_runs (user_id, started_at, items, api_calls, is_full)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (user_id) DO UPDATE
            SET started_at = excluded.started_at, items = excluded.items, api_calls = excluded.api_calls,
                is_full = excluded.is_full
            ",
            user_id,
            run.started_at,
            run.items,
            run.api_calls,
            run.is_full,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// As many changes as `run` has were notified about. Those that came since are not.
    pub async fn changes_notified(&self, user_id: Uuid, run: &CalendarSyncRun) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE jobs.calendar_sync_runs SET announced = $2 WHERE user_id = $1",
            user_id,
            run.changed,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// Forgets what a sync came to that has ended, unless another has written something since. When it read the list of
    /// calendars stays known, for tasks that waited for the same.
    pub async fn end(&self, user_id: Uuid, run: &CalendarSyncRun) -> Result<(), Error> {
        sqlx::query!(
            "
            UPDATE jobs.calendar_sync_runs SET changed = 0, announced = 0, items = 0, api_calls = 0, is_full = false
            WHERE user_id = $1 AND changed = $2
            ",
            user_id,
            run.changed,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }
}
