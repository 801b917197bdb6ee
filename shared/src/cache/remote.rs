//! The tier in Redis. A value that cannot be read is a miss and one that cannot be stored is not cached; neither reaches a
//! job. A value that cannot be dropped does.

use std::time::Duration;

use super::encoding::decode;
use super::{CacheKey, Lifetime};
use crate::redis::{Command, Error, Purpose, Redis, Value};

/// Keys in one `DEL`.
const KEYS_PER_COMMAND: usize = 2_000;
/// The generation of a scope of which nothing was dropped lately.
const FIRST_GENERATION: &str = "0";
/// Between the generation of a part and its value.
const GENERATION_END: char = '|';

#[derive(Debug)]
pub(super) struct Remote {
    pub(super) redis: Redis,
}

/// Where a value can be stored, and under which generation.
pub(super) struct Place {
    key: String,
    generation: Option<String>,
}

pub(super) enum Found<V> {
    Value { value: V, bytes: u64 },
    Place(Place),
    Unavailable,
}

impl Remote {
    /// One command.
    pub(super) async fn find<K: CacheKey>(&self, key: &K) -> Found<K::Value> {
        match self.try_find(key).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "cache cannot be read");
                Found::Unavailable
            }
        }
    }

    async fn try_find<K: CacheKey>(&self, key: &K) -> Result<Found<K::Value>, Error> {
        let scope = key.scope();
        let (place, text) = match key.part() {
            None => {
                let text = self.get(&scope).await?;
                (Place { key: scope, generation: None }, text)
            }
            Some(part) => {
                let (generation, text) = self.get_part(&scope, &part).await?;
                let key = format!("{scope}:{part}");
                (Place { key, generation: Some(generation) }, text)
            }
        };
        let found = text.and_then(|text| {
            let value = decode::<K>(&text)?;
            Some(Found::Value { value, bytes: text.len() as u64 })
        });
        Ok(found.unwrap_or(Found::Place(place)))
    }

    /// The scope's generation, and the value of that part if it is of that generation.
    async fn get_part(&self, scope: &str, part: &str) -> Result<(String, Option<String>), Error> {
        let get = Command::new("MGET").arg(generation_of(scope)).arg(format_args!("{scope}:{part}"));
        let Value::List(values) = self.redis.run(Purpose::Cache, get).await? else {
            return Err(Error::Garbage);
        };
        let [generation, value]: [Value; 2] = values.try_into().map_err(|_| Error::Garbage)?;
        let generation = text(generation)?.unwrap_or_else(|| FIRST_GENERATION.to_owned());
        let value = text(value)?.and_then(|text| {
            let (of, value) = text.split_once(GENERATION_END)?;
            (of == generation).then(|| value.to_owned())
        });
        Ok((generation, value))
    }

    /// One command.
    pub(super) async fn store<K: CacheKey>(&self, place: &Place, encoded: &str) {
        let command = match &place.generation {
            Some(generation) => {
                set(&place.key, &format!("{generation}{GENERATION_END}{encoded}"), K::TIME_TO_LIVE)
            }
            None => set(&place.key, encoded, K::TIME_TO_LIVE),
        };
        if let Err(error) = self.redis.run(Purpose::Cache, command).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "a value was not cached");
        }
    }

    /// One command for up to [`KEYS_PER_COMMAND`] keys.
    pub(super) async fn delete(&self, keys: &[String]) -> Result<(), Error> {
        for keys in keys.chunks(KEYS_PER_COMMAND) {
            self.redis.run(Purpose::Cache, Command::new("DEL").args(keys)).await?;
        }
        Ok(())
    }

    /// One command. A generation outlives every value under the one before it; afterwards the first one is as good.
    pub(super) async fn next_generation(&self, scope: &str, time_to_live: Duration) -> Result<(), Error> {
        let generation = format!("{:x}", rand::random::<u64>());
        let set = set(&generation_of(scope), &generation, time_to_live * 2);
        self.redis.run(Purpose::Cache, set).await?;
        Ok(())
    }

    /// One command.
    pub(super) async fn lifetime(&self, key: &str) -> Result<Option<Lifetime>, Error> {
        match self.redis.run(Purpose::Cache, Command::new("PTTL").arg(key)).await? {
            Value::Int(-2) => Ok(None),
            Value::Int(-1) => Ok(Some(Lifetime::UntilDropped)),
            Value::Int(millis) => {
                let millis = u64::try_from(millis).map_err(|_negative| Error::Garbage)?;
                Ok(Some(Lifetime::Expires(Duration::from_millis(millis))))
            }
            Value::Nil | Value::Text(_) | Value::List(_) => Err(Error::Garbage),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<String>, Error> {
        text(self.redis.run(Purpose::Cache, Command::new("GET").arg(key)).await?)
    }
}

fn text(value: Value) -> Result<Option<String>, Error> {
    match value {
        Value::Nil => Ok(None),
        Value::Text(text) => Ok(Some(text)),
        Value::Int(_) | Value::List(_) => Err(Error::Garbage),
    }
}

fn generation_of(scope: &str) -> String {
    format!("{scope}:generation")
}

fn set(key: &str, value: &str, time_to_live: Duration) -> Command {
    Command::new("SET").arg(key).arg(value).arg("PX").arg(time_to_live.as_millis())
}
