//! Payloads of the queues that make suggestions.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Payload;
use crate::queue::Queue;

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
    const QUEUE: Queue = Queue::SuggestionRegeneration;

    fn user_id(&self) -> Option<Uuid> {
        Some(self.user_id)
    }
}
