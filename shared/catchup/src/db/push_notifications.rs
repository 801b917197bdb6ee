//! Push notifications: `webhook_notifications`, what came through the channels of `calendar_webhook_subscriptions`.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use shared::db::{Error, shortened};
use uuid::Uuid;

/// Longest text that is kept of a notification's resource state.
const STATE_CHARS: usize = 50;
/// Longest text that is kept about a notification that came to nothing.
const ERROR_CHARS: usize = 500;

/// What shows that a notification comes through its channel: a digest of the channel's token and of what it watches.
pub type Proof = [u8; 32];

/// The proof of a token and a resource.
#[must_use]
pub fn proof(token: &str, resource_id: &str) -> Proof {
    // No text in Postgres, and no header, has this byte.
    Sha256::new().chain_update(token).chain_update([0]).chain_update(resource_id).finalize().into()
}

/// What a push notification led to, as `webhook_notifications.result` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum NotificationResult {
    /// A sync is on its way.
    Success,
    /// A sync was called for and could not be asked for.
    Failure,
    /// It calls for nothing.
    Ignored,
}

/// A push notification.
#[derive(Debug, Clone, Copy)]
pub struct Notification<'a> {
    /// Our id of the channel.
    pub channel_id: &'a str,
    /// What its token and its resource come to.
    pub proof: &'a Proof,
    /// Google's code for what happened.
    pub resource_state: &'a str,
    /// What it leads to.
    pub result: NotificationResult,
}

/// The channel that a notification names.
#[derive(Debug)]
pub struct Channel {
    /// Whose calendar.
    pub user_id: Uuid,
    /// What a notification through it must show.
    pub proof: Vec<u8>,
    /// The record of the notification, if it showed that.
    pub notification: Option<Uuid>,
}

handle! {
    /// Push notifications: `webhook_notifications`, what came through the channels of `calendar_webhook_subscriptions`.
    Notifications
}

impl Notifications {
    /// Finds the channel that a notification names, and records the notification if it shows the channel's proof; `None`
    /// for a channel that is unknown, or is not the user's any more.
    ///
    /// The comparison here is not in constant time and need not be: it compares digests, and of a digest that begins like
    /// another one nothing follows for the token. Nor does the token leave the database.
    pub async fn receive(
        &self,
        notification: &Notification<'_>,
        now: DateTime<Utc>,
    ) -> Result<Option<Channel>, Error> {
        let result: &str = notification.result.into();
        let channel = sqlx::query_as!(
            Channel,
            r#"
            WITH channel AS MATERIALIZED (
                SELECT user_id, channel_id, resource_id,
                       sha256(convert_to(token, 'UTF8') || '\x00'::bytea || convert_to(resource_id, 'UTF8')) AS proof
                FROM calendar_webhook_subscriptions WHERE channel_id = $1
            ), recorded AS (
                INSERT INTO webhook_notifications
                    (user_id, channel_id, resource_id, resource_state, result, created_at)
                SELECT user_id, channel_id, resource_id, $3, $4, $5 FROM channel WHERE proof = $2
                RETURNING id
            )
            SELECT c.user_id, c.proof AS "proof!", r.id AS "notification?"
            FROM channel c LEFT JOIN recorded r ON true
            "#,
            notification.channel_id,
            notification.proof,
            &shortened(notification.resource_state, STATE_CHARS),
            result,
            now.naive_utc(),
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(channel)
    }

    /// What a recorded notification called for could not be asked for, and why: no secret, no personal datum.
    pub async fn mark_failed(&self, notification: Uuid, error: &str) -> Result<(), Error> {
        let result: &str = NotificationResult::Failure.into();
        sqlx::query!(
            "UPDATE webhook_notifications SET result = $2, error_message = $3 WHERE id = $1",
            notification,
            result,
            shortened(error, ERROR_CHARS),
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }
}
