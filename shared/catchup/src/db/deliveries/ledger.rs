//! The ledger as an operator reads it: messages, whatever became of them. No body, no address.

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

use super::Deliveries;

/// A message of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerMessage {
    /// Our id of the message, which travelled with it.
    pub message_id: Uuid,
    /// Who gets it.
    pub user_id: Uuid,
    /// `sms` or `email`.
    pub channel: String,
    /// `unknown`, `sent`, `delivered`, `failed`, `bounced`, `complained` or `refused`.
    pub state: String,
    /// What it is about.
    pub subjects: Vec<String>,
    /// When it was about to be sent.
    pub claimed_at: DateTime<Utc>,
    /// When its state was last heard of.
    pub settled_at: Option<DateTime<Utc>>,
    /// Who took or refused it.
    pub provider: Option<String>,
    /// The provider's code for why it did not arrive, or was not taken.
    pub code: Option<String>,
}

impl Deliveries {
    /// The last messages: those of unknown status first, then the newest. Of one user or of all, in one state or in any.
    pub async fn ledger(
        &self,
        user_id: Option<Uuid>,
        state: Option<&str>,
        limit: u32,
    ) -> Result<Vec<LedgerMessage>, Error> {
        let messages = sqlx::query_as!(
            LedgerMessage,
            r#"
            WITH unknown AS (
                SELECT * FROM jobs.notification_deliveries
                WHERE state = 'unknown' AND ($1::uuid IS NULL OR user_id = $1) AND ($2::text IS NULL OR state = $2)
                ORDER BY claimed_at LIMIT $3
            ), newest AS (
                SELECT * FROM jobs.notification_deliveries
                WHERE state <> 'unknown' AND ($1::uuid IS NULL OR user_id = $1) AND ($2::text IS NULL OR state = $2)
                ORDER BY claimed_at DESC LIMIT $3
            )
            SELECT message_id AS "message_id!", user_id AS "user_id!", channel AS "channel!", state AS "state!",
                   array_agg(subject ORDER BY subject) AS "subjects!", min(claimed_at) AS "claimed_at!",
                   max(settled_at) AS settled_at, max(provider) AS provider, max(COALESCE(failure, refusal)) AS code
            FROM (SELECT * FROM unknown UNION ALL SELECT * FROM newest) AS seen
            GROUP BY message_id, user_id, channel, state
            ORDER BY state = 'unknown' DESC, min(claimed_at) DESC, message_id LIMIT $3
            "#,
            user_id,
            state,
            i64::from(limit),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(messages)
    }
}
