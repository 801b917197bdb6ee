//! What providers report later of messages in `jobs.notification_deliveries`: the ledger knows more each time, in whatever order
//! and however often the reports come.

use chrono::{DateTime, Utc};
use shared::db::Error;
use strum::IntoEnumIterator as _;
use uuid::Uuid;

use super::{Deliveries, List, NotificationId};

/// What became of a message. Of two that are reported of the same message, the later one in this order stays.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
pub enum DeliveryStatus {
    /// The provider has it.
    Sent,
    /// It arrived.
    Delivered,
    /// It did not arrive, and the next one may.
    Failed,
    /// It did not arrive, and no other will.
    Bounced,
    /// The recipient calls it spam.
    Complained,
}

/// What a provider reports of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Our id of the message.
    pub message_id: Uuid,
    /// What became of it.
    pub delivery_status: DeliveryStatus,
    /// The provider's id of it.
    pub provider_id: String,
    /// The provider's code of a failure.
    pub code: Option<String>,
}

/// A message about which something new was reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// Our id of the message.
    pub message_id: Uuid,
    /// Who was to get it.
    pub user_id: Uuid,
    /// What became of it.
    pub delivery_status: DeliveryStatus,
}

/// To whom a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentTo {
    /// The user.
    pub user_id: Uuid,
    /// The list that the message belongs to.
    pub list: List,
}

impl Deliveries {
    /// Records what a provider reports of messages, each at most once in `reports`, and returns those of which that is new.
    pub async fn report(
        &self,
        provider: &str,
        reports: &[Report],
        now: DateTime<Utc>,
    ) -> Result<Vec<Reported>, Error> {
        let ids: Vec<Uuid> = reports.iter().map(|report| report.message_id).collect();
        let states: Vec<&str> = reports.iter().map(|report| report.delivery_status.into()).collect();
        let provider_ids: Vec<&str> = reports.iter().map(|report| report.provider_id.as_str()).collect();
        let codes: Vec<Option<&str>> = reports.iter().map(|report| report.code.as_deref()).collect();
        // What is refused is in no order with these: it stays.
        let order: Vec<&str> =
            std::iter::once("unknown").chain(DeliveryStatus::iter().map(<&str>::from)).collect();
        let rows = sqlx::query!(
            r#"
            WITH reported AS (
                UPDATE jobs.notification_deliveries d
                SET state = r.state, provider = $5, provider_id = COALESCE(d.provider_id, r.provider_id),
                    failure = COALESCE(r.code, d.failure), settled_at = COALESCE(d.settled_at, $6)
                FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[]) AS r (message_id, state, provider_id, code)
                WHERE d.message_id = r.message_id
                  AND array_position($7::text[], d.state) < array_position($7, r.state)
                RETURNING d.message_id, d.user_id, d.state
            )
            SELECT DISTINCT message_id, user_id, state FROM reported
            "#,
            &ids,
            states.as_slice() as _,
            provider_ids.as_slice() as _,
            codes.as_slice() as _,
            provider,
            now,
            order.as_slice() as _,
        )
        .fetch_all(self.0.statement())
        .await?;
        let reported = rows.into_iter().filter_map(|row| {
            let delivery_status = row.state.parse().ok()?;
            Some(Reported { message_id: row.message_id, user_id: row.user_id, delivery_status })
        });
        Ok(reported.collect())
    }

    /// To whom a message was sent; `None` when it is unknown, or too old to be remembered.
    pub async fn sent_to(&self, message_id: Uuid) -> Result<Option<SentTo>, Error> {
        let row = sqlx::query!(
            "SELECT user_id, subject FROM jobs.notification_deliveries WHERE message_id = $1 LIMIT 1",
            message_id,
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(row.map(|row| SentTo { user_id: row.user_id, list: NotificationId::list_of(&row.subject) }))
    }
}
