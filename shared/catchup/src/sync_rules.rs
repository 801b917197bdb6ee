//! The rules of syncs, without a database: when the next one is due, when the circuit breaker opens, and what is recorded.

use std::time::Duration;

use uuid::Uuid;

use crate::payload::{Integration, SyncType, Trigger};

pub mod breaker;
pub mod schedule;

/// What kind of sync it was, as `sync_metrics.sync_type` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum SyncKind {
    /// Everything was asked for.
    Full,
    /// What changed was asked for.
    Incremental,
    /// Google notified us of a change.
    WebhookTriggered,
    /// A person asked; leaves the schedule alone.
    Manual,
}

impl SyncKind {
    /// The kind of a sync that `trigger` asked for and that turned out as `sync_type`.
    #[must_use]
    pub fn new(trigger: Option<Trigger>, sync_type: SyncType) -> Self {
        match (trigger, sync_type) {
            (Some(Trigger::Manual), _) => Self::Manual,
            (Some(Trigger::Webhook), _) => Self::WebhookTriggered,
            (Some(Trigger::Schedule) | None, SyncType::Full) => Self::Full,
            (Some(Trigger::Schedule) | None, SyncType::Incremental) => Self::Incremental,
        }
    }
}

/// A sync that has ended.
#[derive(Debug, Clone, Copy)]
pub struct SyncRun {
    /// The user.
    pub user_id: Uuid,
    /// The integration.
    pub integration: Integration,
    /// The kind of sync.
    pub kind: SyncKind,
    /// From its beginning, over all its tasks.
    pub duration: Duration,
    /// Things that Google listed.
    pub items: u64,
    /// Calls to Google.
    pub api_calls: u64,
    /// Calls that a full sync would have made on top.
    pub api_calls_saved: Option<u64>,
}
