//! `jobs.notification_deliveries`: the ledger of messages, each sent at most once.

use std::fmt;

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

use super::opt_outs::List;

mod breaker;
mod ledger;
mod reports;

pub use breaker::Breaker;
pub use ledger::{CHANNELS, LedgerFilter, LedgerMessage, STATES};
pub use reports::{DeliveryStatus, Report, Reported, SentTo};

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

/// What a person was not notified about by a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclaimed {
    /// Of what.
    pub notifications: Vec<String>,
    /// Of the channel's provider, if it left the last messages unanswered.
    pub breaker: Option<Breaker>,
}

impl NotificationId {
    /// The list that messages about it belong to, by the `subject` in the ledger.
    #[must_use]
    pub fn list_of(subject: &str) -> List {
        if subject.starts_with("token_notice:") { List::Account } else { List::Ideas }
    }
}

/// A message whose delivery status is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownDelivery {
    /// Our id of the message, which travelled with it.
    pub message_id: Uuid,
    /// Who would have got it.
    pub user_id: Uuid,
    /// `sms` or `email`.
    pub channel: String,
    /// What it would have been about.
    pub subjects: Vec<String>,
    /// When it was about to be sent.
    pub claimed_at: DateTime<Utc>,
}

handle! {
    /// `jobs.notification_deliveries`: the ledger of messages, each sent at most once.
    Deliveries
}

impl Deliveries {
    /// Those of the notifications that are not claimed, and whether the provider answers. Claims nothing.
    pub async fn unclaimed(&self, key: &DeliveryKey) -> Result<Unclaimed, Error> {
        let row = sqlx::query!(
            r#"
            SELECT ARRAY(
                    SELECT asked.subject FROM UNNEST($3::text[]) AS asked (subject)
                    WHERE NOT EXISTS (
                        SELECT FROM jobs.notification_deliveries delivery
                        WHERE delivery.user_id = $1 AND delivery.channel = $2 AND delivery.subject = asked.subject
                    )
                ) AS "notifications!",
                breaker.failure_count AS "failure_count?", breaker.next_retry_at AS "next_retry_at?"
            FROM (SELECT) AS one LEFT JOIN jobs.provider_circuit_breakers breaker ON breaker.channel = $2
            "#,
            key.user_id,
            key.channel.as_str(),
            &key.notifications,
        )
        .fetch_one(self.0.statement())
        .await?;
        let breaker = Breaker::read(row.failure_count, row.next_retry_at);
        Ok(Unclaimed { notifications: row.notifications, breaker })
    }

    /// Claims the notifications for a message, and returns those that were not claimed before, and are not about
    /// suggestions that the user has answered since they were chosen: only they may be sent now.
    pub async fn claim(
        &self,
        key: &DeliveryKey,
        message_id: Uuid,
        address: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, Error> {
        let notifications = sqlx::query_scalar!(
            "
            INSERT INTO jobs.notification_deliveries
                (user_id, channel, subject, message_id, claimed_at, address_hash)
            SELECT $1, $2, subject, $4, $5, sha256(convert_to($6, 'UTF8'))
            FROM UNNEST($3::text[]) AS asked (subject)
            WHERE NOT EXISTS (
                SELECT FROM suggestions
                WHERE id = CASE WHEN subject LIKE 'suggestion:%' THEN substr(subject, 12)::uuid END
                  AND user_id = $1 AND status <> 'pending'
            )
            ORDER BY subject
            ON CONFLICT DO NOTHING
            RETURNING subject
            ",
            key.user_id,
            key.channel.as_str(),
            &key.notifications,
            message_id,
            now,
            address,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(notifications)
    }

    /// The provider took the message.
    pub async fn mark_sent(
        &self,
        message_id: Uuid,
        provider: &str,
        provider_id: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        self.settle(message_id, "sent", provider, [Some(provider_id), None], None, now).await?;
        Ok(())
    }

    /// The provider will never take the message.
    pub async fn mark_refused(
        &self,
        message_id: Uuid,
        provider: &str,
        refusal: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        self.settle(message_id, "refused", provider, [None, Some(refusal)], None, now).await?;
        Ok(())
    }

    /// `false` when there is no message of unknown status with that id, or it was claimed after `claimed_before`.
    async fn settle(
        &self,
        message_id: Uuid,
        state: &str,
        provider: &str,
        [provider_id, refusal]: [Option<&str>; 2],
        claimed_before: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let settled = sqlx::query!(
            "
            UPDATE jobs.notification_deliveries
            SET state = $2, provider = $3, provider_id = $4, refusal = $5, settled_at = $7
            WHERE message_id = $1 AND state = 'unknown' AND ($6::timestamptz IS NULL OR claimed_at < $6)
            ",
            message_id,
            state,
            provider,
            provider_id,
            refusal,
            claimed_before,
            now,
        )
        .execute(self.0.statement())
        .await?;
        Ok(settled.rows_affected() > 0)
    }

    /// Releases the claim: nothing was sent.
    pub async fn release(&self, message_id: Uuid) -> Result<(), Error> {
        sqlx::query!(
            "DELETE FROM jobs.notification_deliveries WHERE message_id = $1 AND state = 'unknown'",
            message_id,
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
            r#"
            SELECT message_id, user_id, channel, array_agg(subject ORDER BY subject) AS "subjects!",
                min(claimed_at) AS "claimed_at!"
            FROM jobs.notification_deliveries
            WHERE state = 'unknown' AND claimed_at < $1
            GROUP BY message_id, user_id, channel
            ORDER BY min(claimed_at), message_id LIMIT $2
            "#,
            before,
            i64::from(limit),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(unknown)
    }

    /// An operator knows that the provider took a message of unknown status, claimed before `before`. `false` when there is no
    /// such message.
    pub async fn settle_sent(
        &self,
        message_id: Uuid,
        provider: &str,
        provider_id: &str,
        before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        self.settle(message_id, "sent", provider, [Some(provider_id), None], Some(before), now).await
    }

    /// An operator knows that the provider does not know a message of unknown status, claimed before `before`: what it was
    /// about may be sent, and a reminder is due again. `false` when there is no such message.
    pub async fn settle_not_sent(&self, message_id: Uuid, before: DateTime<Utc>) -> Result<bool, Error> {
        let settled = sqlx::query_scalar!(
            r#"
            WITH released AS (
                DELETE FROM jobs.notification_deliveries
                WHERE message_id = $1 AND state = 'unknown' AND claimed_at < $2
                RETURNING user_id, subject
            ), due_again AS (
                UPDATE token_health_notifications notice SET reminder_sent_at = NULL
                FROM released
                WHERE notice.user_id = released.user_id AND released.subject = 'token_notice:' || notice.id
                  AND notice.reminder_sent_at IS NOT NULL AND notice.resolved_at IS NULL
            )
            SELECT EXISTS (SELECT FROM released) AS "settled!"
            "#,
            message_id,
            before,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(settled)
    }
}
