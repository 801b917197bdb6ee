//! Channels that this process has checked a while ago. As long as a user's sync is sure not to have begun, what else comes
//! through the user's channel is covered by it, and costs neither a statement nor a task: one meeting with many guests, or one
//! person who tidies up, causes a burst of notifications.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use catchup::db::push_notifications::Proof;
use chrono::{DateTime, Utc};
use shared::tasks::Coverage;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

/// Channels that are remembered: one instance takes some hundred notifications a second, and a sync is half a minute ahead.
const MAX_CHANNELS: usize = 20_000;

/// Channels by id. Forgetting one costs a statement, and asking for a task that exists.
#[derive(Debug, Default)]
pub(super) struct KnownChannels(Mutex<HashMap<String, Known>>);

/// A channel that was checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    proof: Proof,
    user_id: Uuid,
    coverage: Coverage,
}

impl Known {
    /// The user, if what happens `now` is covered.
    pub(super) fn covered_user(&self, now: DateTime<Utc>) -> Option<Uuid> {
        self.coverage.includes(now).then_some(self.user_id)
    }
}

impl KnownChannels {
    /// The channel, if the proof is its own.
    pub(super) fn find(&self, channel_id: &str, proof: &Proof) -> Option<Known> {
        let channels = self.channels();
        channels.get(channel_id).filter(|channel| channel.proof.ct_eq(proof).into()).copied()
    }

    /// Remembers a channel that was checked, and what the sync covers that was asked for.
    pub(super) fn remember(
        &self,
        channel_id: &str,
        proof: Proof,
        user_id: Uuid,
        coverage: Coverage,
        now: DateTime<Utc>,
    ) {
        let mut channels = self.channels();
        if channels.len() >= MAX_CHANNELS {
            channels.retain(|_, channel| channel.coverage.includes(now));
            if channels.len() >= MAX_CHANNELS {
                channels.clear();
            }
        }
        channels.insert(channel_id.to_owned(), Known { proof, user_id, coverage });
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_known_by_its_proof_and_memory_is_bounded() {
        let channels = KnownChannels::default();
        let now = DateTime::UNIX_EPOCH;
        channels.remember("channel", [1; 32], Uuid::nil(), Coverage::NONE, now);
        assert!(channels.find("channel", &[2; 32]).is_none());
        assert!(channels.find("another", &[1; 32]).is_none());
        assert_eq!(channels.find("channel", &[1; 32]).unwrap().covered_user(now), None);
        for number in 0..2 * MAX_CHANNELS {
            channels.remember(&number.to_string(), [1; 32], Uuid::nil(), Coverage::NONE, now);
        }
        assert!(channels.channels().len() <= MAX_CHANNELS);
    }
}
