//! `jobs.calendar_positions`: where a user's sync continues that had to wait between two pages of a calendar.

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

use super::Calendars;

/// The place between two pages of a calendar's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarPosition {
    /// Google's id of the calendar.
    pub calendar_id: String,
    /// Google's token of the next page.
    pub page_token: String,
    /// What an incremental sync began with; `None` for a full one.
    pub sync_token: Option<String>,
    /// Events on a page of the listing.
    pub page_size: i32,
    /// Where the last full sync ended, or where this one will.
    pub horizon: DateTime<Utc>,
    /// When the first page was asked for.
    pub began_at: DateTime<Utc>,
    /// Ids of the events that a full sync has met.
    pub seen: Vec<String>,
    /// It looks back for meetings.
    pub looks_back: bool,
}

impl Calendars {
    /// Keeps the place, instead of the one kept before, unless another sync than `run` is at work.
    pub async fn store_position(
        &self,
        user_id: Uuid,
        run: Uuid,
        position: &CalendarPosition,
    ) -> Result<(), Error> {
        sqlx::query!(
            "
            INSERT INTO jobs.calendar_positions
                (user_id, calendar_id, page_token, sync_token, horizon, began_at, seen, page_size, looks_back)
            SELECT $1, $2, $3, $4, $5, $6, $7, $8, $10
            FROM jobs.sync_locks l WHERE l.user_id = $1 AND l.integration = 'google_calendar' AND l.run = $9
            FOR SHARE
            ON CONFLICT (user_id) DO UPDATE
            SET calendar_id = excluded.calendar_id, page_token = excluded.page_token, sync_token = excluded.sync_token,
                horizon = excluded.horizon, began_at = excluded.began_at, seen = excluded.seen,
                page_size = excluded.page_size, looks_back = excluded.looks_back
            ",
            user_id,
            position.calendar_id,
            position.page_token,
            position.sync_token,
            position.horizon,
            position.began_at,
            &position.seen,
            position.page_size,
            run,
            position.looks_back,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// Gives out the place, once, unless another sync than `run` is at work: if the run that takes it fails, the calendar
    /// begins anew.
    pub async fn take_position(&self, user_id: Uuid, run: Uuid) -> Result<Option<CalendarPosition>, Error> {
        let position = sqlx::query_as!(
            CalendarPosition,
            "
            DELETE FROM jobs.calendar_positions p USING jobs.sync_locks l
            WHERE p.user_id = $1 AND l.user_id = $1 AND l.integration = 'google_calendar' AND l.run = $2
            RETURNING p.calendar_id, p.page_token, p.sync_token, p.horizon, p.began_at, p.seen, p.page_size, p.looks_back
            ",
            user_id,
            run,
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(position)
    }
}
