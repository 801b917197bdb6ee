//! A cache in two tiers: this process's memory over Redis.
//!
//! Misses of one key wait for one loader; when that fails or is cancelled, the next takes over. What one process drops
//! it no longer serves itself, and no reader finds it in Redis; another process may continue serving its own copy for
//! [`LOCAL_TIME_TO_LIVE`]. When Redis is unavailable everything is a miss.
//!
//! Dropping what users must not see any more is part of the work that changed it: a job returns the error of a change that
//! could not be made here as its own, so its task runs again. The run after that finds nothing left to change in
//! Postgres, so **a job drops what it may have changed in every run, whether or not it changed anything in this one**,
//! unless Postgres itself remembers that the drop is still due.
//!
//! One race remains, between processes: one that loaded before a change and writes after it was dropped leaves the old
//! value until it expires. Values of a [scope with parts](CacheKey::part) do not have it: they would be
//! written with a generation that no reader accepts any more.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use quick_cache::Weighter;

use crate::clock::Clock;
use crate::failure::Failure;
use crate::redis::{self, Redis};
use crate::telemetry::{self, Counter};

mod encoding;
mod epochs;
mod key;
mod remote;

pub use key::CacheKey;

use epochs::Epochs;
use remote::{Found, Remote};

/// How long a process serves what it holds without asking Redis: what others have dropped lives on this long here.
pub const LOCAL_TIME_TO_LIVE: Duration = Duration::from_secs(30);
/// Memory for the values of the local tier, by the length of their JSON.
const LOCAL_BYTES: u64 = 4 << 20;
/// For how many values the local tier is laid out.
const LOCAL_VALUES: usize = 1_000;

/// When a task is delivered again whose change could not be made in the cache.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// What changed could not be dropped from Redis: others may still be served the old value.
#[derive(Debug, thiserror::Error)]
#[error("changed values were not dropped from the cache")]
pub struct Error(#[from] redis::Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::unavailable(RETRY_AFTER, error)
    }
}

/// How long a value stays in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It expires after this.
    Expires(Duration),
    /// Until it is dropped.
    UntilDropped,
}

/// The cache; clones share it.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    clock: Clock,
    local: quick_cache::sync::Cache<String, Entry, ByLength>,
    epochs: Epochs,
    remote: Remote,
}

/// A value of the local tier; which type it has follows from its key.
#[derive(Clone)]
struct Entry {
    value: Arc<dyn Any + Send + Sync>,
    bytes: u64,
    epoch: u64,
    fresh_until: DateTime<Utc>,
}

#[derive(Clone)]
struct ByLength;

impl Weighter<String, Entry> for ByLength {
    fn weight(&self, key: &String, entry: &Entry) -> u64 {
        key.len() as u64 + entry.bytes
    }
}

impl Cache {
    /// A cache over that Redis.
    #[must_use]
    pub fn new(redis: Redis, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            local: quick_cache::sync::Cache::with_weighter(LOCAL_VALUES, LOCAL_BYTES, ByLength),
            epochs: Epochs::default(),
            remote: Remote { redis },
        }))
    }

    /// The cached value, else what `load` gives, which is then cached.
    ///
    /// `load` is not polled unless it is needed. Its failure is the caller's alone: other callers that wait load for themselves.
    pub async fn get_or_load<K: CacheKey, E>(
        &self,
        key: &K,
        load: impl Future<Output = Result<K::Value, E>>,
    ) -> Result<Arc<K::Value>, E> {
        let scope = key.scope();
        let name = match key.part() {
            Some(part) => format!("{scope}:{part}"),
            None => scope.clone(),
        };
        let vacancy = loop {
            match self.0.local.get_value_or_guard_async(name.as_str()).await {
                Ok(entry) => match self.fresh(&scope, &entry).then(|| entry.value.downcast()) {
                    Some(Ok(value)) => {
                        telemetry::count(Counter::CacheHit, 1);
                        return Ok(value);
                    }
                    Some(Err(_)) | None => {
                        self.0.local.remove_if(name.as_str(), |entry| !self.fresh(&scope, entry));
                    }
                },
                Err(vacancy) => break vacancy,
            }
        };

        let epoch = self.0.epochs.get(&scope);
        let entry = |value: &Arc<K::Value>, bytes| Entry {
            value: Arc::<K::Value>::clone(value),
            bytes,
            epoch,
            fresh_until: self.0.clock.now() + K::TIME_TO_LIVE.min(LOCAL_TIME_TO_LIVE),
        };
        let place = match self.0.remote.find(key).await {
            Found::Value { value, bytes } => {
                telemetry::count(Counter::CacheHit, 1);
                let value = Arc::new(value);
                let _dropped_meanwhile = vacancy.insert(entry(&value, bytes));
                return Ok(value);
            }
            Found::Place(place) => Some(place),
            Found::Unavailable => None,
        };
        telemetry::count(Counter::CacheMiss, 1);
        let value = Arc::new(load.await?);
        let Some(encoded) = encoding::encode::<K>(&value) else { return Ok(value) };
        let _dropped_meanwhile = vacancy.insert(entry(&value, encoded.len() as u64));
        if let Some(place) = place
            && self.0.epochs.get(&scope) == epoch
        {
            self.0.remote.store::<K>(&place, &encoded).await;
        }
        Ok(value)
    }

    /// Drops the values of scopes without parts: one command for some hundreds of them.
    ///
    /// Epochs advance before, so that loads under way are not written to Redis after it was cleaned, and after, so that
    /// what was read from Redis in between is not served from memory.
    pub async fn drop_scopes(&self, scopes: &[String]) -> Result<(), Error> {
        self.0.epochs.advance_all(scopes);
        let dropped = self.0.remote.delete(scopes).await;
        self.0.epochs.advance_all(scopes);
        Ok(dropped?)
    }

    /// Drops all parts of the scope of such keys: one command.
    pub async fn drop_parts<K: CacheKey>(&self, scope: &str) -> Result<(), Error> {
        self.0.epochs.advance(scope);
        let dropped = self.0.remote.next_generation(scope, K::TIME_TO_LIVE).await;
        self.0.epochs.advance(scope);
        Ok(dropped?)
    }

    /// How long Redis keeps the value of a scope without parts; `None` when there is none. One command.
    pub async fn lifetime(&self, scope: &str) -> Result<Option<Lifetime>, redis::Error> {
        self.0.remote.lifetime(scope).await
    }

    fn fresh(&self, scope: &str, entry: &Entry) -> bool {
        entry.epoch == self.0.epochs.get(scope) && self.0.clock.now() < entry.fresh_until
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} values, {:?}", self.local.len(), self.remote)
    }
}
