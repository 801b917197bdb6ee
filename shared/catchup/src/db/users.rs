//! `users`: read only, but for the time of the last calendar sync.

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

handle! {
    /// `users`: read only, but for the time of the last calendar sync.
    Users
}

impl Users {
    /// Whether there is such a user.
    pub async fn exists(&self, user_id: Uuid) -> Result<bool, Error> {
        let exists =
            sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM users WHERE id = $1) AS "exists!""#, user_id)
                .fetch_one(self.0.statement())
                .await?;
        Ok(exists)
    }

    /// Notes that all calendars of a user are up to date, if none of those that block the user's time fails.
    pub async fn calendars_synced(&self, user_id: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
        sqlx::query!(
            "
            UPDATE users SET last_calendar_sync = $2
            WHERE id = $1 AND NOT EXISTS (
                SELECT FROM jobs.calendar_sync_state s WHERE s.user_id = $1 AND s.failures > 0 AND (
                    NOT s.is_refused OR EXISTS (
                        SELECT FROM calendar_events e WHERE e.user_id = $1 AND e.calendar_id = s.calendar_id
                    )
                )
            )
            ",
            user_id,
            now,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }
}
