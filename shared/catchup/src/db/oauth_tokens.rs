//! `oauth_tokens`: what a user gave us to read from Google with. Only ciphertexts pass through here.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use shared::db::{Error, Page};
use uuid::Uuid;

use super::token_health::OUR_ERRORS;
use crate::payload::Integration;

/// A token that expires within this time is due for the sweep.
const DUE_BEFORE_EXPIRY: TimeDelta = TimeDelta::hours(48);
/// A token whose health was not checked for this time is due for the sweep.
const DUE_AFTER_CHECK: TimeDelta = TimeDelta::hours(24);

/// A user's tokens for one integration, as they are stored: encrypted.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// Ciphertext of the access token.
    pub access_token: String,
    /// Ciphertext of the refresh token.
    pub refresh_token: Option<String>,
    /// When the access token expires.
    pub expires_at: Option<DateTime<Utc>>,
}

impl fmt::Debug for StoredToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StoredToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// What the token endpoint gave in exchange, encrypted.
#[derive(Clone, Copy)]
pub struct NewToken<'a> {
    /// Ciphertext of the access token.
    pub access_token: &'a str,
    /// Ciphertext of the refresh token, when Google rotated it.
    pub refresh_token: Option<&'a str>,
    /// When the access token expires.
    pub expires_at: DateTime<Utc>,
    /// The user allowed all that is needed.
    pub is_sufficient: bool,
}

handle! {
    /// `oauth_tokens`: what a user gave us to read from Google with. Only ciphertexts pass through here.
    OauthTokens
}

impl OauthTokens {
    /// The user's tokens for an integration; `None` when it was never connected.
    pub async fn get(&self, user_id: Uuid, integration: Integration) -> Result<Option<StoredToken>, Error> {
        let token = sqlx::query_as!(
            StoredToken,
            "SELECT access_token, refresh_token, expires_at FROM oauth_tokens WHERE user_id = $1 AND provider = $2",
            user_id,
            integration.as_str(),
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(token)
    }

    /// The next users, by id after `after` (nil to begin), whose tokens expire soon or were not checked for long.
    pub async fn due(&self, now: DateTime<Utc>, after: Uuid, limit: u32) -> Result<Page, Error> {
        let users = sqlx::query_scalar!(
            "
            SELECT DISTINCT t.user_id
            FROM oauth_tokens t
            LEFT JOIN token_health h
                ON h.user_id = t.user_id AND h.integration_type = t.provider AND h.user_id > $1
            WHERE t.user_id > $1
              AND t.provider IN ('google_calendar', 'google_contacts')
              AND (h.status IS DISTINCT FROM 'revoked' OR COALESCE(h.error_message, '') <> ALL ($5::text[])
                   OR t.updated_at > h.last_checked AT TIME ZONE 'UTC')
              AND (t.expires_at < $2 OR h.last_checked IS NULL OR h.last_checked < $3)
            ORDER BY t.user_id
            LIMIT $4
            ",
            after,
            now + DUE_BEFORE_EXPIRY,
            (now - DUE_AFTER_CHECK).naive_utc(),
            i64::from(limit),
            &OUR_ERRORS as _,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(Page::of(users, limit))
    }

    /// Of the integrations that the user has tokens for, those whose token is not known to be revoked: as in
    /// [`OauthTokens::due`], the running application's word for it is not believed, nor is what was said of a token that the
    /// user has replaced since.
    pub async fn working_integrations(&self, user_id: Uuid) -> Result<Vec<Integration>, Error> {
        let providers = sqlx::query_scalar!(
            "
            SELECT t.provider
            FROM oauth_tokens t
            LEFT JOIN token_health h ON h.user_id = t.user_id AND h.integration_type = t.provider
            WHERE t.user_id = $1
              AND (h.status IS DISTINCT FROM 'revoked' OR COALESCE(h.error_message, '') <> ALL ($2::text[])
                   OR t.updated_at > h.last_checked AT TIME ZONE 'UTC')
            ORDER BY t.provider
            ",
            user_id,
            &OUR_ERRORS as _,
        )
        .fetch_all(self.0.statement())
        .await?;
        // The application keeps tokens of other providers in the same table.
        Ok(providers.iter().filter_map(|provider| provider.parse().ok()).collect())
    }

    /// Stores what was got in exchange for `used`: the tokens, and, if they are sufficient, a valid health, and open
    /// notifications resolved.
    ///
    /// `false`, and nothing written, when the user connected again or another refresh came first.
    pub async fn store_refreshed(
        &self,
        user_id: Uuid,
        integration: Integration,
        used: &StoredToken,
        new: NewToken<'_>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let stored = sqlx::query!(
            "
            WITH stored AS (
                UPDATE oauth_tokens
                SET access_token = $3, refresh_token = COALESCE($4, refresh_token), expires_at = $5, updated_at = $7
                WHERE user_id = $1 AND provider = $2 AND access_token = $6
                RETURNING user_id, provider
            ), health AS (
                INSERT INTO token_health (user_id, integration_type, status, last_checked, expiry_date, created_at, updated_at)
                SELECT user_id, provider, 'valid', $8, $9, $8, $8 FROM stored WHERE $10
                ON CONFLICT (user_id, integration_type) DO UPDATE
                SET status = 'valid', last_checked = $8, expiry_date = $9, error_message = NULL, updated_at = $8
            ), resolved AS (
                UPDATE token_health_notifications n SET resolved_at = $8, updated_at = $8
                FROM stored s
                WHERE n.user_id = s.user_id AND n.integration_type = s.provider AND n.resolved_at IS NULL AND $10
            ), forgotten AS (
                DELETE FROM jobs.refused_tokens r USING stored s
                WHERE r.user_id = s.user_id AND r.integration = s.provider
            )
            SELECT FROM stored
            ",
            user_id,
            integration.as_str(),
            new.access_token,
            new.refresh_token,
            new.expires_at,
            used.access_token,
            now,
            now.naive_utc(),
            new.expires_at.naive_utc(),
            new.is_sufficient,
        )
        .execute(self.0.statement())
        .await?;
        Ok(stored.rows_affected() == 1)
    }
}
