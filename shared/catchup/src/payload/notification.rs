//! Payloads of the queues that send messages.

use serde::{Deserialize, Serialize};
use shared::payload::{Payload, Position};
use shared::queue::Queue;
use uuid::Uuid;

use super::{DryRun, NO_USER};
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

impl DryRun for BatchNotifications {
    fn dry_run() -> Self {
        Self {
            user_id: Some(NO_USER),
            day_of_week: Some(0),
            time: Some("09:00".to_owned()),
            ..Self::default()
        }
    }
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

impl DryRun for NotificationReminder {
    fn dry_run() -> Self {
        Self { user_id: Some(NO_USER), ..Self::default() }
    }
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

impl DryRun for TokenHealthReminder {
    fn dry_run() -> Self {
        Self { user_id: Some(NO_USER), ..Self::default() }
    }
}
