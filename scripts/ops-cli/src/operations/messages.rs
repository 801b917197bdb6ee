//! The ledger of messages: what people were sent, and what is known of it. Shows no body and no address.

use anyhow::{Context as _, ensure};
use catchup::db::deliveries::{Deliveries, LedgerFilter, LedgerMessage};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shared::db::operator_actions::{Action, NewAction};
use uuid::Uuid;

use super::actions::Request;
use super::{Listed, Operations, UNCHANGED};

/// Longer than the timeout of any job.
const IN_TRANSIT: TimeDelta = TimeDelta::minutes(10);
const UNKNOWN: &str = "unknown";

/// What the provider knows of a message.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// It took the message, under its own id.
    Sent { provider: String, id: String },
    /// It does not know the message.
    NotSent,
}

impl Operations {
    /// Messages: those of unknown status first, the oldest of them first, and then the newest.
    pub(crate) async fn messages(
        &self,
        filter: &LedgerFilter<'_>,
        limit: u32,
    ) -> anyhow::Result<Listed<LedgerMessage>> {
        let messages = Deliveries::from(self.database()?).ledger(filter, limit.saturating_add(1)).await?;
        Ok(Listed::of(messages, limit))
    }

    /// One message.
    pub(crate) async fn message(&self, id: Uuid) -> anyhow::Result<LedgerMessage> {
        let filter = LedgerFilter { message_id: Some(id), ..LedgerFilter::default() };
        let found = Deliveries::from(self.database()?).ledger(&filter, 1).await?.pop();
        found.with_context(|| format!("there is no message {id}"))
    }

    /// Records what the provider knows of a message of unknown status that is not in transit any more. What was not sent may be
    /// sent by the next batch, or the next sweep of reminders.
    pub(crate) async fn settle(&self, id: Uuid, known: &Known, request: Request<'_>) -> anyhow::Result<()> {
        let message = self.message(id).await?;
        ensure!(
            message.state == UNKNOWN,
            "the message is {}: only one of unknown status is settled",
            message.state
        );
        let now = self.clock.now();
        ensure!(
            !is_in_transit(&message, now),
            "the message is younger than {} minutes and may be in transit",
            IN_TRANSIT.num_minutes()
        );
        let filter = match known {
            Known::Sent { provider, id: provider_id } => {
                json!({ "message": id, "as": "sent", "provider": provider, "providerId": provider_id })
            }
            Known::NotSent => json!({ "message": id, "as": "not-sent" }),
        };
        let new = NewAction {
            action: Action::Settle,
            via: request.via,
            function: None,
            user_id: Some(message.user_id),
            filter: &filter,
            count: 1,
            why: request.why,
        };
        let action = self.begin(&new).await.context(UNCHANGED)?;
        let (db, before) = (Deliveries::from(self.database()?), now - IN_TRANSIT);
        let is_settled = match known {
            Known::Sent { provider, id: provider_id } => {
                db.settle_sent(id, provider, provider_id, before, now).await?
            }
            Known::NotSent => db.settle_not_sent(id, before).await?,
        };
        self.end(action, usize::from(is_settled)).await?;
        ensure!(is_settled, "the message was settled meanwhile");
        Ok(())
    }
}

/// Its status is unknown because the provider may still be answering.
pub(crate) fn is_in_transit(message: &LedgerMessage, now: DateTime<Utc>) -> bool {
    message.state == UNKNOWN && message.claimed_at > now - IN_TRANSIT
}
