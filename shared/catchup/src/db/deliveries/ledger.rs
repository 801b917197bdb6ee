//! The ledger as an operator reads it: messages, whatever became of them. No body, no address.

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

use super::Deliveries;

/// What the ledger says of a message: nothing, or what the provider said, now or later.
pub const STATES: [&str; 7] = ["unknown", "sent", "delivered", "failed", "bounced", "complained", "refused"];
/// Ways to reach a person; `in_app` is what the application shows.
pub const CHANNELS: [&str; 3] = ["sms", "email", "in_app"];
/// A message is about fewer suggestions: so many rows hold one message at least.
const MAX_SUBJECTS: i64 = 8;

/// Which messages are meant; each condition that is given must be true.
#[derive(Debug, Clone, Copy, Default)]
pub struct LedgerFilter<'a> {
    /// One message.
    pub message_id: Option<Uuid>,
    /// Of one user.
    pub user_id: Option<Uuid>,
    /// In one of [`STATES`].
    pub state: Option<&'a str>,
    /// By one of [`CHANNELS`].
    pub channel: Option<&'a str>,
    /// That were claimed from then on.
    pub since: Option<DateTime<Utc>>,
}

/// A message of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerMessage {
    /// Our id of the message, which travelled with it.
    pub message_id: Uuid,
    /// Who gets it.
    pub user_id: Uuid,
    /// One of [`CHANNELS`].
    pub channel: String,
    /// One of [`STATES`].
    pub state: String,
    /// What it is about.
    pub subjects: Vec<String>,
    /// When it was about to be sent.
    pub claimed_at: DateTime<Utc>,
    /// When its state was last heard of.
    pub settled_at: Option<DateTime<Utc>>,
    /// Who took or refused it.
    pub provider: Option<String>,
    /// The provider's id of the message.
    pub provider_id: Option<String>,
    /// The provider's code for why it did not arrive, or was not taken.
    pub code: Option<String>,
}

impl Deliveries {
    /// Messages: those of unknown status first, the oldest of them first, and then the newest.
    pub async fn ledger(&self, filter: &LedgerFilter<'_>, limit: u32) -> Result<Vec<LedgerMessage>, Error> {
        let messages = sqlx::query_as!(
            LedgerMessage,
            r#"
            WITH meant AS NOT MATERIALIZED (
                SELECT * FROM jobs.notification_deliveries
                WHERE ($1::uuid IS NULL OR message_id = $1) AND ($2::uuid IS NULL OR user_id = $2)
                  AND ($3::text IS NULL OR state = $3) AND ($4::text IS NULL OR channel = $4)
                  AND ($5::timestamptz IS NULL OR claimed_at >= $5)
            ), found AS (
                (SELECT message_id FROM meant WHERE state = 'unknown' ORDER BY claimed_at LIMIT $7)
                UNION
                (SELECT message_id FROM meant WHERE state <> 'unknown' ORDER BY claimed_at DESC LIMIT $7)
            )
            SELECT message_id AS "message_id!", user_id AS "user_id!", channel AS "channel!", state AS "state!",
                   array_agg(subject ORDER BY subject) AS "subjects!", min(claimed_at) AS "claimed_at!",
                   max(settled_at) AS settled_at, max(provider) AS provider, max(provider_id) AS provider_id,
                   max(COALESCE(failure, refusal)) AS code
            FROM found JOIN jobs.notification_deliveries USING (message_id)
            GROUP BY message_id, user_id, channel, state
            ORDER BY state = 'unknown' DESC, CASE WHEN state = 'unknown' THEN min(claimed_at) END,
                     min(claimed_at) DESC, message_id
            LIMIT $6
            "#,
            filter.message_id,
            filter.user_id,
            filter.state,
            filter.channel,
            filter.since,
            i64::from(limit),
            i64::from(limit) * MAX_SUBJECTS,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(messages)
    }
}
