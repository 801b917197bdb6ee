//! Payloads of the queues that keep push channels open.

use serde::{Deserialize, Serialize};
use shared::payload::{Payload, Position};
use shared::queue::Queue;
use uuid::Uuid;

use crate::queues;

/// A sweep over channels that end soon, or, with a user, a new channel for that user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookRenewal {
    /// Whose channel; `None` is a sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Uuid>,
    /// Why the channel is replaced, if not because it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RenewalReason>,
    /// Where the sweep is.
    #[serde(flatten)]
    pub position: Position,
}

/// Why a channel is replaced before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenewalReason {
    /// Google had something to say and did not.
    Stale,
    /// Another reason of the running application's.
    #[serde(other)]
    Other,
}

impl Payload for WebhookRenewal {
    const QUEUE: Queue = queues::WEBHOOK_RENEWAL;
}

/// A sweep over quiet channels, or, with a user, a check of that user's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookHealthCheck {
    /// Whose channel; `None` is a sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Uuid>,
    /// Where the sweep is.
    #[serde(flatten)]
    pub position: Position,
}

impl Payload for WebhookHealthCheck {
    const QUEUE: Queue = queues::WEBHOOK_HEALTH_CHECK;
}
