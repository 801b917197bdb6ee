//! The slots that the running application cached.
//!
//! Their keys end with a range of days, so they can only be found by `SCAN`, which is billed by the step and looks at
//! every key of the database: only with `LEGACY_SLOT_CACHE=true`, and never more than [`MAX_STEPS`] steps.

use shared::redis::{Command, Error, Purpose, Redis, Value};
use uuid::Uuid;

/// Together with [`KEYS_PER_STEP`]: databases with up to 100,000 keys are searched wholly.
const MAX_STEPS: usize = 50;
const KEYS_PER_STEP: usize = 2_000;
const START: &str = "0";

/// Finds them.
#[derive(Debug, Clone)]
pub(super) struct LegacySlots(Redis);

impl LegacySlots {
    pub(super) fn new(redis: Redis) -> Self {
        Self(redis)
    }

    /// Keys of the user's slots, by at most [`MAX_STEPS`] commands.
    pub(super) async fn find(&self, user_id: Uuid) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        let mut cursor = START.to_owned();
        for _ in 0..MAX_STEPS {
            let step = Command::new("SCAN")
                .arg(&cursor)
                .args(["MATCH", &format!("calendar:slots:{user_id}:*")])
                .arg("COUNT")
                .arg(KEYS_PER_STEP);
            let (next, keys) = page(self.0.run(Purpose::Cache, step).await?)?;
            found.extend(keys);
            if next == START {
                return Ok(found);
            }
            cursor = next;
        }
        tracing::warn!(steps = MAX_STEPS, "too many keys to find all of the application's slots");
        Ok(found)
    }
}

/// Reads an answer to `SCAN`: the next cursor and some keys.
fn page(answer: Value) -> Result<(String, Vec<String>), Error> {
    let Value::List(parts) = answer else { return Err(Error::Garbage) };
    let [cursor, Value::List(keys)]: [Value; 2] = parts.try_into().map_err(|_| Error::Garbage)? else {
        return Err(Error::Garbage);
    };
    let cursor = match cursor {
        Value::Text(cursor) => cursor,
        Value::Int(cursor) => cursor.to_string(),
        Value::Nil | Value::List(_) => return Err(Error::Garbage),
    };
    let keys = keys.into_iter().map(|key| match key {
        Value::Text(key) => Ok(key),
        Value::Nil | Value::Int(_) | Value::List(_) => Err(Error::Garbage),
    });
    Ok((cursor, keys.collect::<Result<_, _>>()?))
}
