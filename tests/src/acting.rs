//! A function whose tasks say what is to happen to them, for tests with real processes.

use std::time::Duration;

use catchup::queues;
use chrono::TimeDelta;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use shared::clock::Clock;
use shared::config::{InvalidConfig, variables};
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::Payload;
use shared::queue::Queue;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// Makes the table of the runs that began.
pub const RUNS: &str =
    "CREATE TABLE runs (key text NOT NULL, attempt integer NOT NULL, at timestamptz DEFAULT now())";

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Succeeds.
    Succeed,
    /// Has nothing to do.
    Skip,
    /// Fails.
    Fail,
    /// Fails for good.
    FailForGood,
    /// Panics.
    Panic,
    /// Ends its process.
    Abort,
    /// Uses up the stack of its thread.
    Overflow,
    /// Never ends.
    Hang,
    /// Meets an outage.
    Outage,
    /// Meets a lock.
    Busy,
    /// Asks for another time, once in each life of its process.
    Snooze,
}

/// A task's script: its n-th run does the n-th act, and all later ones the last.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Script {
    /// The acts.
    pub acts: Vec<Act>,
    /// How long a run takes before it acts.
    #[serde(default)]
    pub after_ms: u64,
    /// A process that reads this dies.
    #[serde(default, deserialize_with = "poison", skip_serializing_if = "std::ops::Not::not")]
    pub poison: bool,
    /// A task that reads this panics.
    #[serde(default, deserialize_with = "alarm", skip_serializing_if = "std::ops::Not::not")]
    pub alarm: bool,
}

fn poison<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    if bool::deserialize(deserializer)? {
        std::process::abort();
    }
    Ok(false)
}

fn alarm<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    assert!(!bool::deserialize(deserializer)?, "on purpose");
    Ok(false)
}

impl Payload for Script {
    const QUEUE: Queue = queues::TOKEN_REFRESH;
}

/// Runs scripts.
pub struct Acting(PgPool);

impl Job for Acting {
    type Payload = Script;

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let options = setup.config().required::<PgConnectOptions>(&variables::DATABASE_URL)?;
        Ok(Self(PgPoolOptions::new().max_connections(4).connect_lazy_with(options)))
    }

    async fn run(&self, script: Script, context: &Context) -> Result<Outcome, Failure> {
        let counted = "WITH run AS (INSERT INTO runs (key, attempt) VALUES ($1, $2))
                       SELECT count(*) FROM runs WHERE key = $1";
        // A replayed task continues with its script.
        let key = context.key.split('#').next();
        // A test that breaks Postgres counts no runs.
        let earlier: i64 = sqlx::query_scalar(counted)
            .bind(key)
            .bind(context.attempt.cast_signed())
            .fetch_one(&self.0)
            .await
            .unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(script.after_ms)).await;
        let n = usize::try_from(earlier).unwrap_or_default();
        let act = script.acts.get(n).or(script.acts.last()).copied().unwrap_or(Act::Succeed);
        match act {
            Act::Succeed => Ok(Outcome::Done(json!(1))),
            Act::Skip => Ok(Outcome::Skipped("nothing_to_do")),
            Act::Fail => Err(Failure::transient("no luck")),
            Act::FailForGood => Err(Failure::permanent("never")),
            Act::Panic => panic!("on purpose"),
            Act::Abort => std::process::abort(),
            Act::Overflow => Err(Failure::transient(overflow(0).to_string())),
            Act::Hang => std::future::pending().await,
            Act::Outage => Err(Failure::unavailable(Duration::from_secs(1), "vendor")),
            Act::Busy => Err(Failure::busy(Duration::from_millis(50), "lock")),
            Act::Snooze => Ok(Outcome::Snooze(Clock::system().now() + TimeDelta::milliseconds(50))),
        }
    }
}

#[expect(unconditional_recursion, reason = "that is what it is for")]
fn overflow(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 512]);
    frame[0] + overflow(n + 1)
}
