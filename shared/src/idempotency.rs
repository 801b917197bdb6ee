//! Claims: of all deliveries of one task, at most one runs at a time, and none after one is done.
//!
//! A claim is a lease under `idempotency:<key>`: it names its owner and ends by itself, so that a killed container
//! blocks its task for at most one lease. Done replaces it with the result. Two commands a task: claim and settle.
//! Every command carries the owner's value, so each may be repeated when its answer was lost.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Clock;
use crate::redis::{self, Command, Purpose, Redis};

/// The running application uses the same prefix; any value of its own means "done".
const PREFIX: &str = "idempotency:";
/// How long a result answers duplicates.
const DONE_TIME_TO_LIVE: Duration = Duration::from_hours(24);
/// A value may vanish between two commands; more often than this it is not chance.
const MAX_ROUNDS: u32 = 3;

/// Claims tasks; clones share the connection.
#[derive(Debug, Clone)]
pub struct Claims {
    redis: Redis,
    clock: Clock,
}

/// What became of a claim.
#[derive(Debug)]
pub enum Claim {
    /// The task is the caller's until the lease ends.
    Mine(Lease),
    /// It ran before; `None` if whoever ran it kept no result.
    Done(Option<Value>),
    /// Another delivery has it.
    Leased {
        /// When that lease ends unless it is renewed.
        until: DateTime<Utc>,
        /// Tells this lease apart from every other one.
        lease: String,
    },
    /// The key belongs to a task with another payload.
    OtherPayload,
}

/// A claim that holds for a while. Dropping it leaves it to end by itself.
#[derive(Debug)]
pub struct Lease {
    key: String,
    payload_hash: String,
    token: String,
    value: String,
}

/// Whether a lease was still ours when it was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It was.
    Yes,
    /// It had ended, or Redis forgot it.
    No,
}

/// What stands under a key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Lease { lease: String, until_ms: i64, payload: String },
    Done { done: Value, payload: String },
}

impl Claims {
    /// Claims in `redis`, by `clock`.
    #[must_use]
    pub fn new(redis: Redis, clock: Clock) -> Self {
        Self { redis, clock }
    }

    /// Claims the task for the time of `lease`. Cancelled, the claim may have happened and then ends by itself.
    pub async fn claim(&self, key: &str, payload_hash: &str, lease: Duration) -> Result<Claim, redis::Error> {
        let mut mine = Lease {
            key: format!("{PREFIX}{key}"),
            payload_hash: payload_hash.to_owned(),
            token: uuid::Uuid::new_v4().simple().to_string(),
            value: String::new(),
        };
        mine.value = mine.value_until(self.clock.now() + lease);
        for round in 0..MAX_ROUNDS {
            let set = Command::new("SET").arg(&mine.key).arg(&mine.value).arg("NX");
            match self.changed(set.arg("PX").arg(lease.as_millis())).await {
                Ok(true) => return Ok(Claim::Mine(mine)),
                Ok(false) => {}
                // Perhaps it went through: asked again, it meets its own value.
                Err(redis::Error::Timeout) if round == 0 => continue,
                Err(error) => return Err(error),
            }
            match self.get(&mine.key).await? {
                // Our own value: the claim went through and its answer was lost.
                redis::Value::Text(found) if found == mine.value => return Ok(Claim::Mine(mine)),
                redis::Value::Text(found) => return Ok(judge(&found, payload_hash)),
                // It ended just now.
                redis::Value::Nil => {}
                redis::Value::Int(_) | redis::Value::List(_) => return Ok(Claim::Done(None)),
            }
        }
        Ok(Claim::Leased { until: self.clock.now() + lease, lease: mine.token })
    }

    /// Makes a lease hold for the time of `lease` from now.
    pub async fn renew(&self, held: &mut Lease, lease: Duration) -> Result<Held, redis::Error> {
        let renewed = held.value_until(self.clock.now() + lease);
        let result = self
            .while_held(held, |held| {
                let set = Command::new("SET").arg(&held.key).arg(&renewed).arg("IFEQ").arg(&held.value);
                set.arg("PX").arg(lease.as_millis())
            })
            .await?;
        if result == Held::Yes {
            held.value = renewed;
        }
        Ok(result)
    }

    /// Records the result in place of the lease, if the lease is still ours.
    pub async fn settle(&self, mut held: Lease, result: &Value) -> Result<Held, redis::Error> {
        let done = text(&Stored::Done { done: result.clone(), payload: held.payload_hash.clone() });
        self.while_held(&mut held, |held| {
            let set = Command::new("SET").arg(&held.key).arg(&done).arg("IFEQ").arg(&held.value);
            set.arg("EX").arg(DONE_TIME_TO_LIVE.as_secs())
        })
        .await
    }

    /// Gives the task free, if the lease is still ours.
    pub async fn release(&self, mut held: Lease) -> Result<Held, redis::Error> {
        self.while_held(&mut held, |held| Command::new("DELEX").arg(&held.key).arg("IFEQ").arg(&held.value))
            .await
    }

    /// Runs a command that is conditional on our value. A renewal whose answer was lost leaves a value behind that is
    /// ours and not the one we remember: it is taken over, and the command repeated.
    async fn while_held(
        &self,
        held: &mut Lease,
        command: impl Fn(&Lease) -> Command,
    ) -> Result<Held, redis::Error> {
        if self.changed(command(held)).await? {
            return Ok(Held::Yes);
        }
        match self.get(&held.key).await? {
            redis::Value::Text(found) if held.is_ours(&found) => held.value = found,
            redis::Value::Nil | redis::Value::Int(_) | redis::Value::Text(_) | redis::Value::List(_) => {
                return Ok(Held::No);
            }
        }
        Ok(self.changed(command(held)).await?.into())
    }

    async fn get(&self, key: &str) -> Result<redis::Value, redis::Error> {
        self.redis.run(Purpose::Idempotency, Command::new("GET").arg(key)).await
    }

    /// `SET` answers nil and `DELEX` answers 0 when the condition did not hold.
    async fn changed(&self, command: Command) -> Result<bool, redis::Error> {
        Ok(match self.redis.run(Purpose::Idempotency, command).await? {
            redis::Value::Nil | redis::Value::Int(0) => false,
            redis::Value::Int(_) | redis::Value::Text(_) | redis::Value::List(_) => true,
        })
    }
}

impl Lease {
    /// Whether a value was written by this lease's owner.
    fn is_ours(&self, value: &str) -> bool {
        matches!(serde_json::from_str(value), Ok(Stored::Lease { lease, .. }) if lease == self.token)
    }

    fn value_until(&self, until: DateTime<Utc>) -> String {
        text(&Stored::Lease {
            lease: self.token.clone(),
            until_ms: until.timestamp_millis(),
            payload: self.payload_hash.clone(),
        })
    }
}

impl From<bool> for Held {
    fn from(changed: bool) -> Self {
        if changed { Self::Yes } else { Self::No }
    }
}

fn text(stored: &Stored) -> String {
    serde_json::to_string(stored).expect("strings, numbers and JSON values serialise")
}

/// What another one's value says to a delivery with this payload.
fn judge(found: &str, payload_hash: &str) -> Claim {
    match serde_json::from_str(found) {
        Ok(Stored::Lease { payload, .. } | Stored::Done { payload, .. }) if payload != payload_hash => {
            Claim::OtherPayload
        }
        Ok(Stored::Lease { lease, until_ms, .. }) => {
            let until = DateTime::from_timestamp_millis(until_ms).unwrap_or_default();
            Claim::Leased { until, lease: format!("{lease}:{until_ms}") }
        }
        Ok(Stored::Done { done, .. }) => Claim::Done(Some(done)),
        Err(_) => Claim::Done(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_that_is_not_ours_counts_as_done() {
        for found in ["1", "\"1\"", "", "processed", "{\"lease\":1}"] {
            assert!(matches!(judge(found, "hash"), Claim::Done(None)), "{found}");
        }
    }

    #[test]
    fn done_answers_with_its_result() {
        let stored = text(&Stored::Done { done: json!({ "n": 1 }), payload: "hash".into() });
        assert!(matches!(judge(&stored, "hash"), Claim::Done(Some(result)) if result == json!({ "n": 1 })));
        assert!(matches!(judge(&stored, "other"), Claim::OtherPayload));
    }

    #[test]
    fn a_lease_knows_every_value_that_it_wrote() {
        let lease = |token: &str| Lease {
            key: "k".into(),
            payload_hash: "hash".into(),
            token: token.into(),
            value: String::new(),
        };
        let earlier = lease("mine").value_until(DateTime::from_timestamp_millis(1).unwrap());
        assert!(lease("mine").is_ours(&earlier));
        assert!(!lease("another").is_ours(&earlier));
        assert!(!lease("mine").is_ours("1"));
    }

    #[test]
    fn a_lease_says_when_it_ends_and_each_renewal_is_another_one() {
        let stored = |until_ms| text(&Stored::Lease { lease: "t".into(), until_ms, payload: "hash".into() });
        let (Claim::Leased { until, lease: first }, Claim::Leased { lease: second, .. }) =
            (judge(&stored(1_000), "hash"), judge(&stored(2_000), "hash"))
        else {
            panic!("not leases")
        };
        assert_eq!(until.timestamp_millis(), 1_000);
        assert_ne!(first, second);
    }
}
