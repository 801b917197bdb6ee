//! `token_health` and `token_health_notifications`: whether a user's tokens work, and what the user was notified of.

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

use super::oauth_tokens::StoredToken;
use super::refused_tokens;
use crate::payload::Integration;

/// `error_message` of a token that Google refuses.
pub const INVALID_GRANT: &str = "invalid_grant";
/// `error_message` of a token that cannot be renewed.
pub const NO_REFRESH_TOKEN: &str = "no refresh token";
/// `error_message` of a token that lacks what the user has to grant.
pub const MISSING_SCOPE: &str = "missing scope";
/// What this system says of a token that it marks: with another error, the running application did.
pub const OUR_ERRORS: [&str; 3] = [INVALID_GRANT, NO_REFRESH_TOKEN, MISSING_SCOPE];

/// Whether a token works, as the database spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TokenStatus {
    /// It was exchanged with success.
    Valid,
    /// It has no refresh token and ends within a day.
    ExpiringSoon,
    /// It has ended.
    Expired,
    /// Google will not take it again, or not for what is needed: the user has to connect again.
    Revoked,
    /// It was not checked.
    Unknown,
}

/// What a notification is about, as the database spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum NoticeKind {
    /// The token does not work any more.
    TokenInvalid,
    /// The token ends soon and cannot be renewed.
    TokenExpiringSoon,
}

/// What the user should be notified of.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// What it is about; one of a kind is open at a time.
    pub kind: NoticeKind,
    /// Text for the user.
    pub message: &'a str,
    /// Where the user connects again.
    pub re_auth_link: &'a str,
}

/// What was found out about a token.
#[derive(Debug, Clone, Copy)]
pub struct HealthReport<'a> {
    /// Its health; [`TokenStatus::Valid`] resolves open notifications, another notification those of other kinds.
    pub status: TokenStatus,
    /// When it ends, if known.
    pub expires_at: Option<DateTime<Utc>>,
    /// Why it does not work. Shown to operators: no secret, no personal datum.
    pub error: Option<&'a str>,
    /// A notification to open, unless one of its kind is open.
    pub notice: Option<Notice<'a>>,
}

handle! {
    /// `token_health` and `token_health_notifications`: whether a user's tokens work, and what the user was notified of.
    TokenHealth
}

impl TokenHealth {
    /// Whether the user's token is already marked as one that Google refuses.
    pub async fn is_marked_refused(&self, user_id: Uuid, integration: Integration) -> Result<bool, Error> {
        let marked = sqlx::query_scalar!(
            r#"
            SELECT EXISTS (
                SELECT FROM token_health h
                JOIN oauth_tokens t ON t.user_id = h.user_id AND t.provider = h.integration_type
                WHERE h.user_id = $1 AND h.integration_type = $2 AND h.status = 'revoked' AND h.error_message = $3
                  AND t.updated_at <= h.last_checked AT TIME ZONE 'UTC'
            ) AS "marked!"
            "#,
            user_id,
            integration.as_str(),
            INVALID_GRANT,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(marked)
    }

    /// Records the health of the token that was looked at.
    ///
    /// `false`, and nothing written, when the user connected again or a refresh came first: the report is about a token
    /// that is no longer there.
    pub async fn report(
        &self,
        user_id: Uuid,
        integration: Integration,
        used: &StoredToken,
        report: &HealthReport<'_>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let status: &str = report.status.into();
        let now = now.naive_utc();
        let mut tx = self.0.begin().await?;
        // Waits for a refresh that is about to replace the token, and then finds it gone. Of two reports at the same time the second
        // sees the first one's notification.
        let written = sqlx::query!(
            "
            INSERT INTO token_health
                (user_id, integration_type, status, last_checked, expiry_date, error_message, created_at, updated_at)
            SELECT user_id, provider, $4, $5, $6, $7, $5, $5
            FROM oauth_tokens WHERE user_id = $1 AND provider = $2 AND access_token = $3
            FOR UPDATE
            ON CONFLICT (user_id, integration_type) DO UPDATE
            SET status = excluded.status, last_checked = excluded.last_checked, expiry_date = excluded.expiry_date,
                error_message = excluded.error_message, updated_at = excluded.updated_at
            ",
            user_id,
            integration.as_str(),
            used.access_token,
            status,
            now,
            report.expires_at.map(|time| time.naive_utc()),
            report.error,
        )
        .execute(tx.statement())
        .await?;
        if written.rows_affected() == 0 {
            return Ok(false);
        }
        refused_tokens::forget(&mut tx, user_id, integration).await?;
        let kind: Option<&str> = report.notice.map(|notice| notice.kind.into());
        if report.status == TokenStatus::Valid || kind.is_some() {
            sqlx::query!(
                "
                UPDATE token_health_notifications SET resolved_at = $3, updated_at = $3
                WHERE user_id = $1 AND integration_type = $2 AND resolved_at IS NULL
                  AND notification_type IS DISTINCT FROM $4
                ",
                user_id,
                integration.as_str(),
                now,
                kind,
            )
            .execute(tx.statement())
            .await?;
        }
        if let Some(notice) = &report.notice {
            let kind: &str = notice.kind.into();
            sqlx::query!(
                "
                INSERT INTO token_health_notifications
                    (user_id, integration_type, notification_type, message, re_auth_link, created_at, updated_at)
                SELECT $1, $2::text, $3::text, $4, $5, $6, $6
                WHERE NOT EXISTS (
                    SELECT FROM token_health_notifications
                    WHERE user_id = $1 AND integration_type = $2 AND notification_type = $3 AND resolved_at IS NULL
                )
                ",
                user_id,
                integration.as_str(),
                kind,
                notice.message,
                notice.re_auth_link,
                now,
            )
            .execute(tx.statement())
            .await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}
