//! Payloads of the queues that keep tokens, calendars and contacts up to date.

use serde::{Deserialize, Serialize};
use shared::payload::{Payload, Position, Target, UserTask};
use shared::queue::Queue;
use uuid::Uuid;

use super::{ForUser, Integration, SweepOnly};
use crate::queues;

/// A sweep over due tokens, or the refresh of one user's tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenRefresh(pub Target<TokenChoice>);

/// Which of a user's tokens are refreshed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenChoice {
    /// Which token; `None` is all that the user has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration_type: Option<Integration>,
}

impl Payload for TokenRefresh {
    const QUEUE: Queue = queues::TOKEN_REFRESH;
}

impl ForUser for TokenRefresh {
    fn for_user(user_id: Uuid) -> Self {
        Self(Target::User(UserTask::new(user_id)))
    }
}

/// A sweep over the users whose next sync is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdaptiveSync {
    /// Which schedule.
    pub integration_type: Integration,
    /// Where the sweep is.
    #[serde(flatten)]
    pub position: Position,
}

impl Payload for AdaptiveSync {
    const QUEUE: Queue = queues::ADAPTIVE_SYNC;
}

impl SweepOnly for AdaptiveSync {
    fn sweep(position: Position) -> Self {
        Self { integration_type: Integration::GoogleCalendar, position }
    }
}

/// One user's calendars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CalendarSync {
    /// Whose calendars.
    pub user_id: Uuid,
    /// Why, for `sync_metrics`; the running application sends nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
}

impl Payload for CalendarSync {
    const QUEUE: Queue = queues::CALENDAR_SYNC;
}

impl ForUser for CalendarSync {
    fn for_user(user_id: Uuid) -> Self {
        Self { user_id, trigger: Some(Trigger::Manual) }
    }
}

/// What asked for a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The schedule.
    Schedule,
    /// A push notification.
    Webhook,
    /// A person.
    Manual,
}

/// How much of a collection a sync asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncType {
    /// All of it.
    Full,
    /// What changed since the last sync.
    Incremental,
}

/// One user's contacts, or the next part of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GoogleContactsSync {
    /// Whose contacts.
    pub user_id: Uuid,
    /// How much.
    pub sync_type: SyncType,
    /// Why, for `sync_metrics`; the running application sends nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// Where a sync continues that did not fit into one task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<ContactsResume>,
}

/// Where a sync of contacts continues: all that its parts hand on to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContactsResume {
    /// Names the sync.
    pub run: Uuid,
    /// When the first part began.
    pub started_at: chrono::DateTime<chrono::Utc>,
    /// How much is asked for; an incremental sync may have turned out full.
    pub sync_type: SyncType,
    /// What comes next.
    pub step: ContactsStep,
    /// The listing of which pages were written: it continues where its row in the database says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<Uuid>,
    /// People listed so far.
    pub items: u64,
    /// Rows written so far.
    pub changed: u64,
    /// API calls made so far.
    pub api_calls: u64,
}

/// A step of a sync of contacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContactsStep {
    /// The people, a page at a time.
    People,
    /// The groups.
    Groups,
}

impl Payload for GoogleContactsSync {
    const QUEUE: Queue = queues::GOOGLE_CONTACTS_SYNC;
}

impl ForUser for GoogleContactsSync {
    fn for_user(user_id: Uuid) -> Self {
        Self { user_id, sync_type: SyncType::Incremental, trigger: Some(Trigger::Manual), resume: None }
    }
}
