//! Payloads of the queues that make suggestions.

use serde::{Deserialize, Serialize};
use shared::payload::{Payload, Target, UserTask};
use shared::queue::Queue;
use uuid::Uuid;

use super::ForUser;
use crate::queues;

/// One user's suggestions, looked at again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SuggestionRegeneration {
    /// Whose suggestions.
    pub user_id: Uuid,
    /// What asked for it.
    pub reason: RegenerationReason,
}

/// What asked for a regeneration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegenerationReason {
    /// The user's events changed.
    CalendarSync,
    /// The user asked.
    ManualRefresh,
}

impl Payload for SuggestionRegeneration {
    const QUEUE: Queue = queues::SUGGESTION_REGENERATION;
}

impl ForUser for SuggestionRegeneration {
    fn for_user(user_id: Uuid) -> Self {
        Self { user_id, reason: RegenerationReason::ManualRefresh }
    }
}

/// A sweep over users with a calendar, or new suggestions for one user.
///
/// The older form `{"batchSize","offset"}`, a slice of all users, is a sweep, too: its fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SuggestionGeneration(pub Target);

impl Payload for SuggestionGeneration {
    const QUEUE: Queue = queues::SUGGESTION_GENERATION;
}

impl ForUser for SuggestionGeneration {
    fn for_user(user_id: Uuid) -> Self {
        Self(Target::User(UserTask::new(user_id)))
    }
}
