//! `jobs.google_waits`: users whose calls Google does not answer until some time.

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

use super::oauth_tokens::StoredToken;
use crate::payload::Integration;

/// Why calls wait, as the database spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum WaitReason {
    /// A rate limit or a quota.
    Limit,
    /// The account does not have the service.
    NoAccount,
}

/// A wait of one user's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoogleWait {
    /// Why.
    pub reason: WaitReason,
    /// Until when.
    pub until: DateTime<Utc>,
    /// How often in a row Google has said so.
    pub times: u32,
}

handle! {
    /// `jobs.google_waits`: users whose calls Google does not answer until some time.
    GoogleWaits
}

impl GoogleWaits {
    /// The user's tokens, and the wait of the user's calls, also one that has ended; `None` when the integration was never
    /// connected. What was said of an account ends when another one is connected.
    pub async fn with_token(
        &self,
        user_id: Uuid,
        integration: Integration,
    ) -> Result<Option<(StoredToken, Option<GoogleWait>)>, Error> {
        let row = sqlx::query!(
            r#"
            SELECT t.access_token, t.refresh_token, t.expires_at, w.reason AS "reason?", w.until AS "until?",
                w.times AS "times?"
            FROM oauth_tokens t
            LEFT JOIN jobs.google_waits w ON w.user_id = t.user_id AND w.integration = t.provider
                AND (w.reason <> 'no_account' OR w.refresh_token_md5 IS NOT DISTINCT FROM md5(t.refresh_token))
            WHERE t.user_id = $1 AND t.provider = $2
            "#,
            user_id,
            integration.as_str(),
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(row.map(|row| {
            let wait = row.reason.and_then(|reason| reason.parse().ok()).zip(row.until).zip(row.times);
            let wait = wait.map(|((reason, until), times)| GoogleWait {
                reason,
                until,
                times: u32::try_from(times).unwrap_or_default(),
            });
            let (access_token, refresh_token) = (row.access_token, row.refresh_token);
            (StoredToken { access_token, refresh_token, expires_at: row.expires_at }, wait)
        }))
    }

    /// Records a wait. Several of one user's calls at the same time count once each, and the longest wait holds.
    pub async fn record(
        &self,
        user_id: Uuid,
        integration: Integration,
        wait: &GoogleWait,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let reason: &str = wait.reason.into();
        sqlx::query!(
            "
            INSERT INTO jobs.google_waits AS w (user_id, integration, reason, since, until, times, refresh_token_md5)
            SELECT $1, $2, $3, $4, $5, $6,
                (SELECT md5(t.refresh_token) FROM oauth_tokens t WHERE t.user_id = $1 AND t.provider = $2)
            ON CONFLICT (user_id, integration) DO UPDATE
            SET reason = excluded.reason, until = GREATEST(w.until, excluded.until),
                times = GREATEST(w.times, excluded.times),
                refresh_token_md5 = excluded.refresh_token_md5,
                since = CASE WHEN w.reason = excluded.reason THEN w.since ELSE excluded.since END
            ",
            user_id,
            integration.as_str(),
            reason,
            now,
            wait.until,
            i32::try_from(wait.times).unwrap_or(i32::MAX),
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// A call succeeded: whatever was waited for has ended.
    pub async fn clear(&self, user_id: Uuid, integration: Integration) -> Result<(), Error> {
        sqlx::query!(
            "DELETE FROM jobs.google_waits WHERE user_id = $1 AND integration = $2",
            user_id,
            integration.as_str(),
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }
}
