//! What an operator asks about one user, over the aggregates: connections, push channel, last syncs. Read only.

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

/// What is known of a user's connection to one of Google's APIs; no token, and nothing that a person wrote.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// `google_calendar` or `google_contacts`.
    pub integration: String,
    /// When the user connected.
    pub connected_at: Option<DateTime<Utc>>,
    /// When the access token ends; it is renewed.
    pub token_expires_at: Option<DateTime<Utc>>,
    /// What the last check found.
    pub health: Option<String>,
    /// Why the token does not work.
    pub health_error: Option<String>,
    /// State of the circuit breaker.
    pub breaker: Option<String>,
    /// Failures that it counted.
    pub breaker_failures: Option<i32>,
    /// When an open circuit lets a sync try again.
    pub breaker_retry_at: Option<DateTime<Utc>>,
    /// When the last sync ran.
    pub last_sync_at: Option<DateTime<Utc>>,
    /// When the next sync is due.
    pub next_sync_at: Option<DateTime<Utc>>,
    /// Until when Google's limits keep the user's calls waiting.
    pub waits_until: Option<DateTime<Utc>>,
    /// Why.
    pub waits_for: Option<String>,
}

/// A sync that ended.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastSync {
    /// `google_calendar` or `google_contacts`.
    pub integration: String,
    /// `full`, `incremental`, `webhook_triggered` or `manual`.
    pub kind: String,
    /// `success`, `failure` or `skipped`.
    pub result: String,
    /// Why it was skipped.
    pub skip_reason: Option<String>,
    /// How long it took.
    pub duration_ms: Option<i32>,
    /// How many items it was about.
    pub items: Option<i32>,
    /// When it ended.
    pub at: DateTime<Utc>,
}

/// What is known of a user.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// The user's time zone, as the application has it.
    pub time_zone: Option<String>,
    /// When the push channel of the user's calendars ends, if there is one.
    pub channel_until: Option<DateTime<Utc>>,
    /// One for each connection.
    pub connections: Vec<Connection>,
    /// Newest first.
    pub syncs: Vec<LastSync>,
}

super::handle! {
    /// What an operator asks about one user.
    UserOverview
}

impl UserOverview {
    /// What is known of a user, with so many of the last syncs; `None` when there is no such user.
    pub async fn of(&self, user_id: Uuid, syncs: u32) -> Result<Option<Overview>, Error> {
        let user = sqlx::query!(
            r#"
            SELECT u.timezone AS time_zone,
                   (SELECT expiration AT TIME ZONE 'UTC' FROM calendar_webhook_subscriptions w WHERE w.user_id = u.id)
                       AS channel_until
            FROM users u WHERE u.id = $1
            "#,
            user_id,
        )
        .fetch_optional(self.0.statement())
        .await?;
        let Some(user) = user else { return Ok(None) };
        let connections = sqlx::query_as!(
            Connection,
            r#"
            SELECT t.provider AS "integration!", t.created_at AS connected_at, t.expires_at AS token_expires_at,
                   h.status AS "health?", h.error_message AS health_error,
                   b.state AS "breaker?", b.failure_count AS "breaker_failures?",
                   b.next_retry_at AT TIME ZONE 'UTC' AS breaker_retry_at,
                   s.last_sync_at AT TIME ZONE 'UTC' AS last_sync_at,
                   s.next_sync_at AT TIME ZONE 'UTC' AS next_sync_at,
                   g.until AS "waits_until?", g.reason AS "waits_for?"
            FROM oauth_tokens t
            LEFT JOIN token_health h ON h.user_id = t.user_id AND h.integration_type = t.provider
            LEFT JOIN circuit_breaker_state b ON b.user_id = t.user_id AND b.integration_type = t.provider
            LEFT JOIN sync_schedule s ON s.user_id = t.user_id AND s.integration_type = t.provider
            LEFT JOIN jobs.google_waits g ON g.user_id = t.user_id AND g.integration = t.provider
            WHERE t.user_id = $1 ORDER BY t.provider
            "#,
            user_id,
        )
        .fetch_all(self.0.statement())
        .await?;
        let syncs = sqlx::query_as!(
            LastSync,
            r#"
            SELECT integration_type AS integration, sync_type AS kind, result, skip_reason, duration_ms,
                   items_processed AS items, created_at AT TIME ZONE 'UTC' AS "at!"
            FROM sync_metrics
            WHERE user_id = $1 AND integration_type IN ('google_calendar', 'google_contacts') AND created_at IS NOT NULL
            ORDER BY created_at DESC LIMIT $2
            "#,
            user_id,
            i64::from(syncs),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(Some(Overview {
            time_zone: user.time_zone,
            channel_until: user.channel_until,
            connections,
            syncs,
        }))
    }
}
