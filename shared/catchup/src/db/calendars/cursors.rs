//! `jobs.calendar_sync_state`: where the sync of each calendar continues.

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

use super::Calendars;

/// Where the sync of a calendar continues.
#[derive(Debug, Clone, Copy)]
pub struct CalendarCursor<'a> {
    /// Google's id of the calendar.
    pub calendar_id: &'a str,
    /// What to ask for the next changes with.
    pub sync_token: &'a str,
    /// How all changes until then were met.
    pub listed: ListedScope<'a>,
}

/// How a calendar was synced.
#[derive(Debug, Clone, Copy)]
pub enum ListedScope<'a> {
    /// From its beginning, until this horizon.
    Full(DateTime<Utc>),
    /// From this sync token on, which keeps the horizon.
    Since(&'a str),
}

impl Calendars {
    /// Keeps the sync token of a calendar. Call it only when all pages are in the database.
    ///
    /// After an incremental sync it counts only in place of the token which that began with: another sync may have got
    /// further, or have asked for a full one.
    pub async fn store_cursor(
        &self,
        user_id: Uuid,
        cursor: &CalendarCursor<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        match cursor.listed {
            ListedScope::Full(horizon) => {
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
                .execute(self.0.statement())
                .await?;
            }
            ListedScope::Since(begun_with) => {
                sqlx::query!(
                    "
                    UPDATE jobs.calendar_sync_state SET sync_token = $3, last_sync_at = $4
                    WHERE user_id = $1 AND calendar_id = $2 AND sync_token = $5
                    ",
                    user_id,
                    cursor.calendar_id,
                    cursor.sync_token,
                    now,
                    begun_with,
                )
                .execute(self.0.statement())
                .await?;
            }
        }
        Ok(())
    }

    /// A calendar cannot be read: it is done until its next sync, which begins where this one would have.
    pub async fn skip(&self, user_id: Uuid, calendar_id: &str, now: DateTime<Utc>) -> Result<(), Error> {
        sqlx::query!(
            "
            INSERT INTO jobs.calendar_sync_state (user_id, calendar_id, last_sync_at) VALUES ($1, $2, $3)
            ON CONFLICT (user_id, calendar_id) DO UPDATE SET last_sync_at = excluded.last_sync_at
            ",
            user_id,
            calendar_id,
            now,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// Forgets the sync token of a calendar: the next sync is a full one.
    pub async fn forget_cursor(&self, user_id: Uuid, calendar_id: &str) -> Result<(), Error> {
        sqlx::query!(
            "DELETE FROM jobs.calendar_sync_state WHERE user_id = $1 AND calendar_id = $2",
            user_id,
            calendar_id,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }
}
