//! Which values of this process's memory have been dropped.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// Scopes that share a counter drop each other's values: a needless miss, and a fixed amount of memory.
const COUNTERS: usize = 256;

/// Counts how often a scope was dropped. A value is good as long as its scope's count is what it was when its load began.
#[derive(Debug)]
pub(super) struct Epochs([AtomicU64; COUNTERS]);

impl Default for Epochs {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; COUNTERS])
    }
}

impl Epochs {
    pub(super) fn get(&self, scope: &str) -> u64 {
        self.counter(scope).load(Ordering::SeqCst)
    }

    pub(super) fn advance(&self, scope: &str) {
        self.counter(scope).fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn advance_all(&self, scopes: &[String]) {
        for scope in scopes {
            self.advance(scope);
        }
    }

    fn counter(&self, scope: &str) -> &AtomicU64 {
        let mut hasher = DefaultHasher::new();
        scope.hash(&mut hasher);
        let [first, ..] = hasher.finish().to_le_bytes();
        &self.0[usize::from(first)]
    }
}
