//! `jobs.calendar_sync_state`: where the sync of each calendar continues.

use chrono::{DateTime, Utc};
use shared::db::Error;

use super::{Calendars, Listing};

/// Where the sync of a calendar continues.
#[derive(Debug, Clone, Copy)]
pub struct CalendarCursor<'a> {
    /// What to ask for the next changes with; `None` when Google gave no token, and the next sync is a full one.
    pub sync_token: Option<&'a str>,
    /// Events on a page of the listing, and of those that follow it.
    pub page_size: i32,
    /// How all changes until then were met.
    pub listed: ListedScope,
}

/// How a calendar was synced.
#[derive(Debug, Clone, Copy)]
pub enum ListedScope {
    /// From its beginning.
    Full {
        /// The horizon.
        until: DateTime<Utc>,
        /// It looked back for meetings.
        looked_back: bool,
    },
    /// From its sync token on, which keeps the horizon.
    Since,
}

impl Calendars {
    /// Keeps the sync token of a calendar, which works again. Call it only when all pages are in the database. `false` when
    /// the listing does not stand any more: another sync is at work.
    pub async fn store_cursor(
        &self,
        listing: Listing<'_>,
        cursor: CalendarCursor<'_>,
        began_at: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let (horizon, looked_back) = match cursor.listed {
            ListedScope::Full { until, looked_back } => (Some(until), looked_back),
            ListedScope::Since => (None, false),
        };
        let stored = sqlx::query!(
            "
            WITH fence AS (
                SELECT FROM jobs.sync_locks l
                LEFT JOIN jobs.calendar_sync_state s ON s.user_id = $1 AND s.calendar_id = $3
                WHERE l.user_id = $1 AND l.integration = 'google_calendar' AND l.run = $2
                  AND s.sync_token IS NOT DISTINCT FROM $4
                FOR SHARE OF l
            )
            INSERT INTO jobs.calendar_sync_state AS s
                (user_id, calendar_id, sync_token, page_size, horizon, first_full_sync_at, last_full_sync_at, last_sync_at,
                 looked_back)
            SELECT $1, $3, $5, $6, $7::timestamptz, CASE WHEN $7 IS NOT NULL THEN $8::timestamptz END,
                   CASE WHEN $7 IS NOT NULL THEN $8 END, $8,
                   CASE WHEN $9::boolean THEN EXISTS (
                       SELECT FROM google_contacts_sync_state g WHERE g.user_id = $1 AND g.last_full_sync_at <= $8
                   ) END
            FROM fence
            ON CONFLICT (user_id, calendar_id) DO UPDATE
            SET sync_token = excluded.sync_token, page_size = excluded.page_size,
                horizon = COALESCE(excluded.horizon, s.horizon),
                first_full_sync_at = COALESCE(s.first_full_sync_at, excluded.first_full_sync_at),
                last_full_sync_at = COALESCE(excluded.last_full_sync_at, s.last_full_sync_at),
                last_sync_at = excluded.last_sync_at, looked_back = COALESCE(excluded.looked_back, s.looked_back),
                failures = 0, refusals = 0, is_refused = false, retry_at = NULL, failure = NULL
            ",
            listing.user_id,
            listing.run,
            listing.calendar_id,
            listing.begun_with,
            cursor.sync_token,
            cursor.page_size,
            horizon,
            began_at,
            looked_back,
        )
        .execute(self.0.statement())
        .await?;
        Ok(stored.rows_affected() == 1)
    }

    /// Forgets the sync token of a calendar: the next listing is a full one, with pages of this size. `false` when another
    /// sync is at work.
    pub async fn forget_cursor(&self, listing: Listing<'_>, page_size: Option<i32>) -> Result<bool, Error> {
        let forgotten = sqlx::query!(
            "
            INSERT INTO jobs.calendar_sync_state AS s (user_id, calendar_id, page_size)
            SELECT $1, $2, $3
            FROM jobs.sync_locks l WHERE l.user_id = $1 AND l.integration = 'google_calendar' AND l.run = $4
            FOR SHARE
            ON CONFLICT (user_id, calendar_id) DO UPDATE
            SET sync_token = NULL, last_sync_at = NULL, page_size = excluded.page_size
            ",
            listing.user_id,
            listing.calendar_id,
            page_size,
            listing.run,
        )
        .execute(self.0.statement())
        .await?;
        Ok(forgotten.rows_affected() == 1)
    }
}
