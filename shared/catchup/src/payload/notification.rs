//! Payloads of the queues that send messages.

use serde::{Deserialize, Serialize};
use shared::payload::{Payload, Position};
use shared::queue::Queue;
use uuid::Uuid;

use crate::queues;

/// A sweep over users whose weekly batch is due, or, with a user, that batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchNotifications {
    /// Whose batch; `None` is a sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Uuid>,
    /// The user's weekday of the batch, 0 is Sunday.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_of_week: Option<u8>,
    /// The user's time of day of the batch, `HH:mm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Where the sweep is.
    #[serde(flatten)]
    pub position: Position,
}

impl Payload for BatchNotifications {
    const QUEUE: Queue = queues::BATCH_NOTIFICATIONS;
}

/// A sweep over users who did not reconnect, or, with a user, that user's reminder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationReminder {
    /// Who is reminded; `None` is a sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Uuid>,
    /// Where the sweep is.
    #[serde(flatten)]
    pub position: Position,
}

impl Payload for NotificationReminder {
    const QUEUE: Queue = queues::NOTIFICATION_REMINDER;
}

/// A sweep over users whose token ends soon, or, with a user, that user's reminder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenHealthReminder {
    /// Who is reminded; `None` is a sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Uuid>,
    /// Where the sweep is.
    #[serde(flatten)]
    pub position: Position,
}

impl Payload for TokenHealthReminder {
    const QUEUE: Queue = queues::TOKEN_HEALTH_REMINDER;
}
