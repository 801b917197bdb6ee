//! Channels whose user has a sync that is sure not to have begun: what else comes through them is covered by it, and costs
//! neither a statement nor a task. One meeting with many guests, or one person who tidies up, causes a burst of
//! notifications.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use catchup::db::push_notifications::Proof;
use chrono::{DateTime, Utc};
use shared::tasks::Coverage;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

/// Channels that are remembered: one instance takes some hundred notifications a second, and remembers half a minute.
const MAX_CHANNELS: usize = 20_000;

/// Channels by id. Forgetting one costs a statement and a task that exists.
#[derive(Debug, Default)]
pub(super) struct CoveredChannels(Mutex<HashMap<String, Covered>>);

#[derive(Debug)]
struct Covered {
    proof: Proof,
    user_id: Uuid,
    coverage: Coverage,
}

impl CoveredChannels {
    /// The user, if the proof is the channel's, and what happens `now` is covered.
    pub(super) fn user(&self, channel_id: &str, proof: &Proof, now: DateTime<Utc>) -> Option<Uuid> {
        let channels = self.channels();
        let channel = channels.get(channel_id)?;
        let is_right = bool::from(channel.proof.ct_eq(proof));
        (is_right && channel.coverage.includes(now)).then_some(channel.user_id)
    }

    /// Remembers a channel that was checked and whose sync was asked for.
    pub(super) fn remember(
        &self,
        channel_id: &str,
        proof: Proof,
        user_id: Uuid,
        coverage: Coverage,
        now: DateTime<Utc>,
    ) {
        if !coverage.includes(now) {
            return;
        }
        let mut channels = self.channels();
        if channels.len() >= MAX_CHANNELS {
            channels.retain(|_, channel| channel.coverage.includes(now));
            if channels.len() >= MAX_CHANNELS {
                channels.clear();
            }
        }
        channels.insert(channel_id.to_owned(), Covered { proof, user_id, coverage });
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<String, Covered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
