//! `jobs.calendar_sync_state`: where the sync of each calendar goes on.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Db, Error};

/// Where the sync of a calendar goes on.
#[derive(Debug, Clone, Copy)]
pub struct CalendarCursor<'a> {
    /// Google's id of the calendar.
    pub calendar_id: &'a str,
    /// What to ask for the next changes with.
    pub sync_token: &'a str,
    /// Where a full sync ended; `None` after an incremental one, which keeps the horizon.
    pub full_until: Option<DateTime<Utc>>,
}

impl Db {
    /// Keeps the sync token of a calendar. Call it only when all pages are in the database.
    pub async fn store_calendar_cursor(
        &self,
        user_id: Uuid,
        cursor: &CalendarCursor<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        match cursor.full_until {
            Some(horizon) => {
                sqlx::query!(
                    "
                    INSERT INTO jobs.calendar_sync_state
                        (user_id, calendar_id, sync_token, horizon, last_full_sync_at, last_sync_at)
                    VALUES ($1, $2, $3, $4, $5, $5)
                    ON CONFLICT (user_id, calendar_id) DO UPDATE
                    SET sync_token = excluded.sync_token, horizon = excluded.horizon,
                        last_full_sync_at = excluded.last_full_sync_at, last_sync_at = excluded.last_sync_at
                    ",
                    user_id,
                    cursor.calendar_id,
                    cursor.sync_token,
                    horizon,
                    now,
                )
                .execute(self.statement())
                .await?;
            }
            None => {
                sqlx::query!(
                    "
                    UPDATE jobs.calendar_sync_state SET sync_token = $3, last_sync_at = $4
                    WHERE user_id = $1 AND calendar_id = $2
                    ",
                    user_id,
                    cursor.calendar_id,
                    cursor.sync_token,
                    now,
                )
                .execute(self.statement())
                .await?;
            }
        }
        Ok(())
    }

    /// Forgets the sync token of a calendar: the next sync is a full one.
    pub async fn forget_calendar_cursor(&self, user_id: Uuid, calendar_id: &str) -> Result<(), Error> {
        sqlx::query!(
            "DELETE FROM jobs.calendar_sync_state WHERE user_id = $1 AND calendar_id = $2",
            user_id,
            calendar_id,
        )
        .execute(self.statement())
        .await?;
        Ok(())
    }
}
