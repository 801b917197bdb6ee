//! Payloads of the queues that make suggestions.

use serde::{Deserialize, Serialize};
use shared::payload::{Payload, Target, UserTask};
use shared::queue::Queue;
use uuid::Uuid;

use super::{DryRun, NO_USER};
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

impl DryRun for SuggestionRegeneration {
    fn dry_run() -> Self {
        Self { user_id: NO_USER, reason: RegenerationReason::ManualRefresh }
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

impl DryRun for SuggestionGeneration {
    fn dry_run() -> Self {
        Self(Target::User(UserTask::new(NO_USER)))
    }
}
