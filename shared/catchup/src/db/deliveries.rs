//! `jobs.notification_deliveries`: the ledger of messages, each sent at most once.

use std::fmt;

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

/// A way to reach a person, as the database spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Channel {
    /// Text message.
    Sms,
    /// E-mail.
    Email,
}

impl Channel {
    /// The value of the column `channel`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What a message is about. Its text is the `subject` in the ledger: `suggestion:<id>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotificationId {
    /// A row of `suggestions`.
    Suggestion(Uuid),
    /// A row of `token_health_notifications`.
    TokenNotice(Uuid),
    /// The question whether suggestions are still useful, after this row of `suggestions`.
    StillUseful(Uuid),
}

impl fmt::Display for NotificationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suggestion(id) => write!(formatter, "suggestion:{id}"),
            Self::TokenNotice(id) => write!(formatter, "token_notice:{id}"),
            Self::StillUseful(id) => write!(formatter, "still_useful:{id}"),
        }
    }
}

/// What one person is to be notified about by one channel: the key of rows in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryKey {
    /// Who.
    pub user_id: Uuid,
    /// How.
    pub channel: Channel,
    /// Of what, each once.
    pub notifications: Vec<String>,
}

/// A message whose delivery status is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownDelivery {
    /// Who would have got it.
    pub user_id: Uuid,
    /// `sms` or `email`.
    pub channel: String,
    /// What it would have been about.
    pub subject: String,
    /// When it was about to be sent.
    pub claimed_at: DateTime<Utc>,
}

handle! {
    /// `jobs.notification_deliveries`: the ledger of messages, each sent at most once.
    Deliveries
}

impl Deliveries {
    /// Those of the notifications that are not claimed. Claims nothing.
    pub async fn unclaimed(&self, key: &DeliveryKey) -> Result<Vec<String>, Error> {
        let notifications = sqlx::query_scalar!(
            r#"
            SELECT asked.subject AS "subject!" FROM UNNEST($3::text[]) AS asked (subject)
            WHERE NOT EXISTS (
                SELECT FROM jobs.notification_deliveries delivery
                WHERE delivery.user_id = $1 AND delivery.channel = $2 AND delivery.subject = asked.subject
            )
            "#,
            key.user_id,
            key.channel.as_str(),
            &key.notifications,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(notifications)
    }

    /// Claims the notifications, and returns those that were not claimed before: only they may be sent now.
    pub async fn claim(&self, key: &DeliveryKey, now: DateTime<Utc>) -> Result<Vec<String>, Error> {
        let notifications = sqlx::query_scalar!(
            "
            INSERT INTO jobs.notification_deliveries (user_id, channel, subject, claimed_at)
            SELECT $1, $2, subject, $4 FROM UNNEST($3::text[]) AS asked (subject) ORDER BY subject
            ON CONFLICT DO NOTHING
            RETURNING subject
            ",
            key.user_id,
            key.channel.as_str(),
            &key.notifications,
            now,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(notifications)
    }

    /// The provider took the message about claimed notifications.
    pub async fn mark_sent(
        &self,
        key: &DeliveryKey,
        provider: &str,
        provider_id: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        self.settle(key, "sent", provider, [Some(provider_id), None], now).await
    }

    /// The provider will never take the message about claimed notifications.
    pub async fn mark_refused(
        &self,
        key: &DeliveryKey,
        provider: &str,
        refusal: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        self.settle(key, "refused", provider, [None, Some(refusal)], now).await
    }

    async fn settle(
        &self,
        key: &DeliveryKey,
        state: &str,
        provider: &str,
        [provider_id, refusal]: [Option<&str>; 2],
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        sqlx::query!(
            "
            UPDATE jobs.notification_deliveries
            SET state = $4, provider = $5, provider_id = $6, refusal = $7, settled_at = $8
            WHERE user_id = $1 AND channel = $2 AND subject = ANY($3) AND state = 'unknown'
            ",
            key.user_id,
            key.channel.as_str(),
            &key.notifications,
            state,
            provider,
            provider_id,
            refusal,
            now,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// Releases the claim: nothing was sent.
    pub async fn release(&self, key: &DeliveryKey) -> Result<(), Error> {
        sqlx::query!(
            "
            DELETE FROM jobs.notification_deliveries
            WHERE user_id = $1 AND channel = $2 AND subject = ANY($3) AND state = 'unknown'
            ",
            key.user_id,
            key.channel.as_str(),
            &key.notifications,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// Messages whose delivery status is unknown, oldest first. Those claimed after `before` may still be
    /// under way.
    pub async fn list_unknown(
        &self,
        before: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<UnknownDelivery>, Error> {
        let unknown = sqlx::query_as!(
            UnknownDelivery,
            "
            SELECT user_id, channel, subject, claimed_at FROM jobs.notification_deliveries
            WHERE state = 'unknown' AND claimed_at < $1 ORDER BY claimed_at LIMIT $2
            ",
            before,
            i64::from(limit),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(unknown)
    }
}
