//! Payloads of the queues that send messages.

use serde::{Deserialize, Serialize};
use shared::payload::{Payload, Target, UserTask};
use shared::queue::Queue;
use uuid::Uuid;

use super::ForUser;
use crate::queues;

/// A sweep over users whose weekly batch is due, or one user's batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchNotifications(pub Target<BatchTime>);

/// When a user's batch is due.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchTime {
    /// The user's weekday of the batch, 0 is Sunday.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_of_week: Option<u8>,
    /// The user's time of day of the batch, `HH:mm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

impl Payload for BatchNotifications {
    const QUEUE: Queue = queues::BATCH_NOTIFICATIONS;
}

impl ForUser for BatchNotifications {
    fn for_user(user_id: Uuid) -> Self {
        Self(Target::User(UserTask::new(user_id)))
    }
}

/// A sweep over users who did not reconnect, or one user's reminder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NotificationReminder(pub Target);

impl Payload for NotificationReminder {
    const QUEUE: Queue = queues::NOTIFICATION_REMINDER;
}

impl ForUser for NotificationReminder {
    fn for_user(user_id: Uuid) -> Self {
        Self(Target::User(UserTask::new(user_id)))
    }
}

/// A sweep over users whose token expires soon, or one user's reminder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHealthReminder(pub Target);

impl Payload for TokenHealthReminder {
    const QUEUE: Queue = queues::TOKEN_HEALTH_REMINDER;
}

impl ForUser for TokenHealthReminder {
    fn for_user(user_id: Uuid) -> Self {
        Self(Target::User(UserTask::new(user_id)))
    }
}
