//! Fault injection: what Upstash may do to its clients, and a Redis on the same machine never does.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::backend::{BackendError, Link};
use crate::primary::{Memory, Primary};

/// Switches for faults; share it in an `Arc`. All are off by default, and each can be changed while the gateway serves.
///
/// - Replica lag ([`set_replica_lag`](Self::set_replica_lag)): a request that only reads sees the state of that long
///   ago, or that of the `Upstash-Sync-Token` it carries if that is newer. The answer's own token names the state that
///   was read. Keys of every type and their expiry are covered. Requests that write, transactions and scripts always
///   see the newest state.
/// - Failover ([`lose_writes`](Self::lose_writes)): the most recent writes are undone, although they were acknowledged.
/// - Eviction ([`evict`](Self::evict), [`set_eviction`](Self::set_eviction)): keys vanish before they expire.
/// - Data loss ([`flush`](Self::flush)): all keys and all cached scripts vanish.
/// - Quota ([`set_quota`](Self::set_quota)): once that many commands were billed, requests are refused.
///
/// # Limits
/// Replica lag and failover need Redis 7. Only what passes through this gateway counts: a write made to Redis directly
/// is neither delayed nor undone, and may itself be undone with a key that the gateway restores. A key that a script
/// writes without naming it is covered only if it existed before. Where writes are remembered (either of the two is
/// on), requests run one at a time, and each write costs some more commands to Redis, which are not billed.
///
/// # Errors and cancellation
/// The asynchronous methods wait until a gateway serves with this value, then use a connection of their own. They fail
/// where Redis gives no answer. Cancelling does not undo what was already sent.
#[derive(Debug, Default)]
pub struct Unkindness {
    settings: RwLock<Settings>,
    primary: watch::Sender<Option<Arc<Primary>>>,
}

/// The faults that are on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settings {
    pub(crate) memory: Memory,
    /// The probability that a command evicts a key.
    pub(crate) eviction: f64,
    pub(crate) quota: Option<u64>,
}

impl Unkindness {
    /// Lets reads see a state that is this much older; zero for the newest. Writes before this call are seen
    /// immediately.
    pub fn set_replica_lag(&self, lag: Duration) {
        self.change(|settings| settings.memory.replica_lag = lag);
    }

    /// Remembers writes for this long from now on, so that [`lose_writes`](Self::lose_writes) can undo them; zero for
    /// not at all.
    pub fn set_undo_window(&self, window: Duration) {
        self.change(|settings| settings.memory.undo_window = window);
    }

    /// Lets every command evict a random key, before it runs, with this probability (0 to 1).
    pub fn set_eviction(&self, probability: f64) {
        self.change(|settings| settings.eviction = probability);
    }

    /// Refuses every request as soon as the bill reaches this; `None` for no limit. [`crate::Billing::reset`] begins a
    /// new month. A pipeline that begins below the limit is completed.
    pub fn set_quota(&self, commands: Option<u64>) {
        self.change(|settings| settings.quota = commands);
    }

    /// Fails over to a replica that is this far behind: undoes the younger ones of the writes that are remembered (see
    /// [`set_undo_window`](Self::set_undo_window)). The number of keys that were restored.
    pub async fn lose_writes(&self, age: Duration) -> Result<usize, BackendError> {
        let (primary, link) = self.connect().await?;
        primary.lose_writes(&link, age).await
    }

    /// Evicts a random share (0 to 1) of the keys that match a pattern of `KEYS`. The number of keys that were evicted.
    pub async fn evict(&self, pattern: &str, share: f64) -> Result<usize, BackendError> {
        let (primary, link) = self.connect().await?;
        primary.evict(&link, pattern, share, self.settings().memory).await
    }

    /// Loses all keys and all cached scripts.
    pub async fn flush(&self) -> Result<(), BackendError> {
        let (primary, link) = self.connect().await?;
        primary.flush(&link, self.settings().memory).await
    }

    /// Names the Redis that the asynchronous methods act on.
    pub(crate) fn attach(&self, primary: Arc<Primary>) {
        self.primary.send_replace(Some(primary));
    }

    pub(crate) fn settings(&self) -> Settings {
        *self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings.write().unwrap_or_else(PoisonError::into_inner));
    }

    async fn connect(&self) -> Result<(Arc<Primary>, Link), BackendError> {
        let mut attached = self.primary.subscribe();
        let primary =
            attached.wait_for(Option::is_some).await.expect("the sender lives as long as self").clone();
        let primary = primary.expect("it was waited for");
        let link = primary.backend().separate_link().await?;
        Ok((primary, link))
    }
}
