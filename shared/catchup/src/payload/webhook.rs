//! Payloads of the queues that keep push channels open.

use serde::{Deserialize, Serialize};
use shared::payload::{Payload, Target, UserTask};
use shared::queue::Queue;
use uuid::Uuid;

use super::ForUser;
use crate::queues;

/// A sweep over channels that expire soon, or a new channel for one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WebhookRenewal(pub Target<RenewalCause>);

/// Why a user's channel is replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewalCause {
    /// The reason, if it is not that the channel expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RenewalReason>,
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

impl ForUser for WebhookRenewal {
    fn for_user(user_id: Uuid) -> Self {
        Self(Target::User(UserTask::new(user_id)))
    }
}

/// A sweep over quiet channels, or the check of one user's channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WebhookHealthCheck(pub Target);

impl Payload for WebhookHealthCheck {
    const QUEUE: Queue = queues::WEBHOOK_HEALTH_CHECK;
}

impl ForUser for WebhookHealthCheck {
    fn for_user(user_id: Uuid) -> Self {
        Self(Target::User(UserTask::new(user_id)))
    }
}
