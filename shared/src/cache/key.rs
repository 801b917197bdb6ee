//! What is cached: names, values and times to live.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Names one cached value.
pub trait CacheKey: Sync {
    /// The value.
    type Value: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// How long the value is kept if it is not dropped.
    const TIME_TO_LIVE: Duration;

    /// What is dropped together. Without [parts](Self::part) this is the key in Redis.
    fn scope(&self) -> String;

    /// Tells the values of one scope apart. In Redis they carry the scope's generation, which is a key of its own: a new
    /// one leaves all of them behind without looking for them.
    fn part(&self) -> Option<String> {
        None
    }
}
