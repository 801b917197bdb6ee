//! The tier in Redis. Its failures are misses: they are logged and never reach a job.

use std::time::Duration;

use super::CacheKey;
use super::encoding::decode;
use crate::redis::{Command, Error, Purpose, Redis, Value};

/// Keys in one `DEL`.
const KEYS_PER_COMMAND: usize = 500;
/// The generation of a scope of which nothing was dropped lately.
const FIRST_GENERATION: &str = "0";

#[derive(Debug)]
pub(super) struct Remote {
    pub(super) redis: Redis,
    pub(super) drops_legacy_slots: bool,
}

/// Where a value can be stored.
pub(super) struct Place(String);

pub(super) enum Found<V> {
    Value { value: V, bytes: u64 },
    Place(Place),
    Away,
}

impl Remote {
    /// One command; two for a scope with parts.
    pub(super) async fn find<K: CacheKey>(&self, key: &K) -> Found<K::Value> {
        match self.try_find(key).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "cache cannot be read");
                Found::Away
            }
        }
    }

    async fn try_find<K: CacheKey>(&self, key: &K) -> Result<Found<K::Value>, Error> {
        let scope = key.scope();
        let name = match key.part() {
            None => scope,
            Some(part) => {
                let generation = self.get(&generation_of(&scope)).await?;
                format!("{scope}:{}:{part}", generation.as_deref().unwrap_or(FIRST_GENERATION))
            }
        };
        Ok(match self.get(&name).await? {
            Some(text) => match decode::<K>(&text) {
                Some(value) => Found::Value { value, bytes: text.len() as u64 },
                None => Found::Place(Place(name)),
            },
            None => Found::Place(Place(name)),
        })
    }

    /// One command.
    pub(super) async fn store<K: CacheKey>(&self, place: &Place, encoded: &str) {
        self.tell(set(&place.0, encoded, K::TIME_TO_LIVE)).await;
    }

    /// One command for up to [`KEYS_PER_COMMAND`] keys.
    pub(super) async fn delete(&self, keys: &[String]) {
        for keys in keys.chunks(KEYS_PER_COMMAND) {
            self.tell(Command::new("DEL").args(keys)).await;
        }
    }

    /// One command. A generation outlives every value under the one before it; afterwards the first one is as good.
    pub(super) async fn next_generation(&self, scope: &str, time_to_live: Option<Duration>) {
        let generation = format!("{:x}", rand::random::<u64>());
        self.tell(set(&generation_of(scope), &generation, time_to_live.map(|time| time * 2))).await;
    }

    async fn get(&self, key: &str) -> Result<Option<String>, Error> {
        match self.redis.run(Purpose::Cache, Command::new("GET").arg(key)).await? {
            Value::Nil => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            Value::Int(_) | Value::List(_) => Err(Error::Garbage),
        }
    }

    async fn tell(&self, command: Command) {
        if let Err(error) = self.redis.run(Purpose::Cache, command).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cache cannot be written: what changed may be served until its time is over",
            );
        }
    }
}

fn generation_of(scope: &str) -> String {
    format!("{scope}:generation")
}

fn set(key: &str, value: &str, time_to_live: Option<Duration>) -> Command {
    let command = Command::new("SET").arg(key).arg(value);
    match time_to_live {
        Some(time) => command.arg("PX").arg(time.as_millis()),
        None => command,
    }
}
