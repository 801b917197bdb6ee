//! Counts of one task.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something that is counted for each task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Redis commands, as they are billed, spent on leases.
    RedisIdempotency,
    /// Redis commands, as they are billed, spent on limits.
    RedisRateLimit,
    /// Redis commands, as they are billed, spent on the cache.
    RedisCache,
    /// Lookups that the cache answered.
    CacheHit,
    /// Lookups that the cache did not answer.
    CacheMiss,
    /// SQL statements.
    SqlStatement,
    /// Calls to another vendor's API, by method.
    VendorCall(&'static str),
}

/// Counts of one task; shared by everything that runs for it.
#[derive(Debug, Default)]
pub struct Meter(Mutex<BTreeMap<Counter, u64>>);

impl Meter {
    /// Adds `n`.
    pub fn add(&self, counter: Counter, n: u64) {
        *self.lock().entry(counter).or_default() += n;
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.lock().get(&counter).copied().unwrap_or_default()
    }

    /// Calls to vendors so far, by method.
    #[must_use]
    pub fn vendor_calls(&self) -> BTreeMap<&'static str, u64> {
        self.lock()
            .iter()
            .filter_map(|(counter, n)| match counter {
                Counter::VendorCall(method) => Some((*method, *n)),
                Counter::RedisIdempotency
                | Counter::RedisRateLimit
                | Counter::RedisCache
                | Counter::CacheHit
                | Counter::CacheMiss
                | Counter::SqlStatement => None,
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Counter, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
