//! Leases: Redis keeps two deliveries of one task apart and remembers what is done. It may forget, lag or be unavailable
//! at any moment, which costs at most one run too many: what must be true is in Postgres.
//!
//! Under `jobs:<function>:<key>` there is the lease of a run, or what became of the task. A lease says itself when it
//! expires, and its key outlives that by far: an expired lease that is still there is that of a killed run. Two commands
//! per task: `SET … NX` and `SET`.
//!
//! An expired lease is taken, and a lease renewed, with `SET key value IFEQ old`: it sets the key only if the key still has
//! the old value. `DELEX key IFEQ old` deletes the key under the same condition: so a lease is released. Both are one
//! atomic command of Upstash and of Redis 8.4. Ownership is the run's id and not the whole value, so every command may be repeated when
//! its answer was lost.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::clock::Clock;
use crate::pace::Pace;
use crate::redis::{self, Command, Purpose, Redis};
use crate::telemetry::EventCode;

/// What a key outlives its last write by.
const TIME_TO_LIVE: Duration = Duration::from_hours(24);

/// Leases tasks to runs of this process; clones are the same process.
#[derive(Debug, Clone)]
pub struct Leases {
    redis: Redis,
    clock: Clock,
    pace: Pace,
    instance: Arc<str>,
}

/// Which task, and what the delivery knows of it.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// Name of the function.
    pub function: &'static str,
    /// Key of the task in its present life.
    pub key: &'a str,
    /// Hash of the payload.
    pub payload_hash: &'a str,
    /// The key was derived from a task name of ours: of two payloads, the first counts.
    pub is_derived: bool,
    /// The run that rescheduled this task: its lease counts as free.
    pub after: Option<Uuid>,
}

/// What a delivery found.
#[derive(Debug)]
pub enum Found {
    /// Nothing: the task is leased to this run now.
    Free,
    /// A lease that anyone may take.
    Expired(Expired),
    /// The lease of another run.
    Held {
        /// When it expires unless it is renewed.
        until: DateTime<Utc>,
    },
    /// The task is done; `None` if its result was not kept.
    Done(Option<Value>),
    /// The task is dead.
    Dead,
    /// The key belongs to a task with another payload.
    OtherPayload,
    /// Something that was there is not there any more: unknown, which is not free.
    Unknown,
}

/// An expired lease, or that of the run that rescheduled the task.
#[derive(Debug)]
pub struct Expired {
    /// The run that had it.
    pub run: Uuid,
    /// The process of that run.
    pub instance: String,
    /// No other job ran in that process at the same time.
    pub alone: bool,
    /// When it expired.
    pub at: DateTime<Utc>,
    /// When the run began.
    pub began_at: DateTime<Utc>,
    /// The run rescheduled this task, and has said all there is to say.
    pub is_settled: bool,
    value: String,
}

/// A lease. Dropped, it expires by itself.
#[derive(Debug)]
pub struct Lease {
    key: String,
    value: String,
    held: Held,
    /// It expired at some time, or may have been taken for expired.
    has_lapsed: bool,
}

/// What an operator sees under the key of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing: the next delivery gets a lease.
    Free,
    /// The lease of a run.
    Held {
        /// The run.
        run: Uuid,
        /// Its process.
        instance: String,
        /// When the run began.
        began_at: DateTime<Utc>,
        /// When the lease expires, or expired.
        until: DateTime<Utc>,
        /// It counts as live: its run may be at work.
        is_live: bool,
    },
    /// The task is done.
    Done,
    /// The task is dead.
    Dead,
    /// Written by a revision that knows more than this one: as good as held.
    Unreadable,
}

/// Why a run has no lease any more.
#[derive(Debug)]
pub enum Lost {
    /// Another run has it.
    To {
        /// When that lease expires unless it is renewed.
        until: DateTime<Utc>,
    },
    /// The task is done.
    Done(Option<Value>),
    /// The task is dead.
    Dead,
}

/// What is stored under a key. The first that fits is read: what is dead would also fit what is done, without a result.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Held(Held),
    Dead { dead: bool, payload: String },
    Done { done: Option<Value>, payload: String },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Held {
    run: Uuid,
    instance: String,
    #[serde(default)]
    alone: bool,
    began_ms: i64,
    until_ms: i64,
    payload: String,
}

impl Held {
    fn until(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.until_ms).unwrap_or_default()
    }
}

impl Leases {
    /// Leases in `redis`, by `clock`, to runs of the process `instance`.
    #[must_use]
    pub fn new(redis: Redis, clock: Clock, pace: Pace, instance: Arc<str>) -> Self {
        Self { redis, clock, pace, instance }
    }

    /// A lease to be acquired, of a new run.
    #[must_use]
    pub fn prepare(&self, name: Name<'_>, alone: bool) -> Lease {
        let now = self.clock.now();
        let held = Held {
            run: Uuid::new_v4(),
            instance: self.instance.to_string(),
            alone,
            began_ms: now.timestamp_millis(),
            until_ms: (now + self.pace.lease()).timestamp_millis(),
            payload: name.payload_hash.to_owned(),
        };
        Lease { key: redis_key(name), value: text(&Stored::Held(held.clone())), held, has_lapsed: false }
    }

    /// Leases the task to the run if it is free, else says what is there. An error means that Redis is unavailable; the lease
    /// may have been acquired nevertheless, and is kept as soon as Redis is available.
    pub async fn acquire(&self, lease: &mut Lease, name: Name<'_>) -> Result<Found, redis::Error> {
        let found = self.set_or_get(lease, name).await;
        lease.has_lapsed = found.is_err();
        found
    }

    async fn set_or_get(&self, lease: &Lease, name: Name<'_>) -> Result<Found, redis::Error> {
        // What was there may vanish between two commands: asked for twice, it is unknown.
        for _ in 0..2 {
            let set = Command::new("SET").arg(&lease.key).arg(&lease.value).arg("NX");
            let (answer, state) = match self.send(expiring(set), None).await {
                // Perhaps it was carried out: asked again, it meets its own value.
                Err(redis::Error::Timeout) => {
                    let set = Command::new("SET").arg(&lease.key).arg(&lease.value).arg("NX");
                    self.send(expiring(set), None).await?
                }
                answer => answer?,
            };
            if answer != redis::Value::Nil {
                return Ok(Found::Free);
            }
            let get = Command::new("GET").arg(&lease.key);
            match self.send(get, state).await?.0 {
                redis::Value::Nil => {}
                redis::Value::Text(text) => return Ok(self.found(name, lease, text)),
                redis::Value::Int(_) | redis::Value::List(_) => return Err(redis::Error::Garbage),
            }
        }
        Ok(Found::Unknown)
    }

    /// Takes an expired lease for the run, and returns whether it was still there. An error is as for
    /// [`Leases::acquire`].
    pub async fn take(&self, lease: &mut Lease, expired: &Expired) -> Result<bool, redis::Error> {
        let taken = self.replace(&lease.key, &expired.value, &lease.value, lease.held.run).await;
        lease.has_lapsed = taken.is_err();
        taken
    }

    /// Puts the lease back that was taken: its run could not be recorded.
    pub async fn put_back(&self, lease: &Lease, expired: &Expired) -> Result<(), redis::Error> {
        self.replace(&lease.key, &lease.value, &expired.value, expired.run).await.map(drop)
    }

    /// Keeps the lease while the caller polls this, and returns when there is nothing left to keep. Not before another
    /// run's live lease, or the end of the task, is seen: a Redis that is unavailable ends no job.
    pub async fn keep(&self, lease: &mut Lease) -> Lost {
        let mut pause = self.pace.renewal();
        loop {
            tokio::time::sleep(pause).await;
            pause = match self.renew(lease).await {
                Ok(None) => self.pace.renewal(),
                Ok(Some(lost)) => return lost,
                Err(error) => {
                    tracing::warn!(
                        event = %EventCode::LeaseNotRenewed,
                        error = &error as &dyn std::error::Error,
                        "lease not renewed"
                    );
                    self.pace.renewal_after_failure()
                }
            };
        }
    }

    async fn renew(&self, lease: &mut Lease) -> Result<Option<Lost>, redis::Error> {
        let now = self.clock.now();
        lease.has_lapsed |= now >= lease.held.until();
        let renewed = Held { until_ms: (now + self.pace.lease()).timestamp_millis(), ..lease.held.clone() };
        let value = text(&Stored::Held(renewed.clone()));
        let set = Command::new("SET").arg(&lease.key).arg(&value).arg("IFEQ").arg(&lease.value);
        let (mut answer, state) = self.send(expiring(set), None).await?;
        if answer == redis::Value::Nil {
            let get = Command::new("GET").arg(&lease.key);
            let again = match self.send(get, state).await?.0 {
                // Forgotten: taken again.
                redis::Value::Nil => Command::new("SET").arg(&lease.key).arg(&value).arg("NX"),
                redis::Value::Text(found) => match read(&found) {
                    // The answer to an earlier renewal was lost.
                    Some(Stored::Held(held)) if held.run == lease.held.run => {
                        Command::new("SET").arg(&lease.key).arg(&value).arg("IFEQ").arg(found)
                    }
                    Some(Stored::Held(held)) if self.is_live(&held, now) => {
                        lease.has_lapsed = true;
                        return Ok(Some(Lost::To { until: held.until() }));
                    }
                    Some(Stored::Done { done, .. }) => return Ok(Some(Lost::Done(done))),
                    Some(Stored::Dead { .. }) => return Ok(Some(Lost::Dead)),
                    // Another run's expired lease ends nothing.
                    Some(Stored::Held(_)) | None => {
                        lease.has_lapsed = true;
                        return Ok(None);
                    }
                },
                redis::Value::Int(_) | redis::Value::List(_) => return Err(redis::Error::Garbage),
            };
            answer = self.send(expiring(again), None).await?.0;
        }
        if answer == redis::Value::Nil {
            // It changed between two commands: the next check is soon.
            return Err(redis::Error::Refused("the lease has changed meanwhile".to_owned()));
        }
        (lease.held, lease.value) = (renewed, value);
        Ok(None)
    }

    /// Records that the task is done, regardless of who has the lease. Returns whether no delivery can have taken this run for a killed
    /// one.
    pub async fn done(&self, lease: &Lease, result: &Value) -> Result<bool, redis::Error> {
        let done = Stored::Done { done: Some(result.clone()), payload: lease.held.payload.clone() };
        self.send(expiring(Command::new("SET").arg(&lease.key).arg(text(&done))), None).await?;
        Ok(!self.has_lapsed(lease))
    }

    /// Records that the task is dead.
    pub async fn dead(&self, name: Name<'_>) -> Result<(), redis::Error> {
        let dead = text(&Stored::Dead { dead: true, payload: name.payload_hash.to_owned() });
        self.send(expiring(Command::new("SET").arg(redis_key(name)).arg(dead)), None).await.map(drop)
    }

    /// Releases the lease if this run still has it. Returns whether no delivery can have taken this run for a killed
    /// one.
    pub async fn release(&self, lease: &Lease) -> Result<bool, redis::Error> {
        let mut value = lease.value.clone();
        // The answer to a renewal may have been lost: then the value is ours, and not the one that is known.
        for _ in 0..2 {
            let delete = Command::new("DELEX").arg(&lease.key).arg("IFEQ").arg(&value);
            let (answer, state) = self.send(delete, None).await?;
            if answer != redis::Value::Int(0) {
                return Ok(!self.has_lapsed(lease));
            }
            match self.send(Command::new("GET").arg(&lease.key), state).await?.0 {
                redis::Value::Text(found) if is_of(&found, lease.held.run) => value = found,
                redis::Value::Nil | redis::Value::Int(_) | redis::Value::Text(_) | redis::Value::List(_) => {
                    break;
                }
            }
        }
        Ok(false)
    }

    /// What is under the keys of these tasks, named by function and key in its present life: one command for all of them.
    pub async fn look(&self, tasks: &[(&str, &str)]) -> Result<Vec<Seen>, redis::Error> {
        let keys = tasks.iter().map(|(function, key)| stored_under(function, key));
        let found = self.send(Command::new("MGET").args(keys), None).await?.0;
        let redis::Value::List(values) = found else { return Err(redis::Error::Garbage) };
        let now = self.clock.now();
        values
            .into_iter()
            .map(|value| match value {
                redis::Value::Nil => Ok(Seen::Free),
                redis::Value::Text(text) => Ok(self.seen(&text, now)),
                redis::Value::Int(_) | redis::Value::List(_) => Err(redis::Error::Garbage),
            })
            .collect()
    }

    fn seen(&self, text: &str, now: DateTime<Utc>) -> Seen {
        match read(text) {
            Some(Stored::Held(held)) => Seen::Held {
                began_at: DateTime::from_timestamp_millis(held.began_ms).unwrap_or_default(),
                until: held.until(),
                is_live: self.is_live(&held, now),
                run: held.run,
                instance: held.instance,
            },
            Some(Stored::Done { .. }) => Seen::Done,
            Some(Stored::Dead { .. }) => Seen::Dead,
            None => Seen::Unreadable,
        }
    }

    /// An operator takes the lease of this run away, so that the next delivery of the task need not wait for its end. Returns
    /// whether the run had it. A run that is alive takes its lease again when it renews it.
    pub async fn take_away(&self, function: &str, key: &str, run: Uuid) -> Result<bool, redis::Error> {
        let key = stored_under(function, key);
        // A renewal between the two commands changes the value, but not whose it is.
        for _ in 0..2 {
            let (found, state) = self.send(Command::new("GET").arg(&key), None).await?;
            let redis::Value::Text(value) = found else { return Ok(false) };
            if !is_of(&value, run) {
                return Ok(false);
            }
            let delete = Command::new("DELEX").arg(&key).arg("IFEQ").arg(&value);
            if self.send(delete, state).await?.0 != redis::Value::Int(0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_live(&self, held: &Held, now: DateTime<Utc>) -> bool {
        now < held.until() + self.pace.grace()
    }

    fn has_lapsed(&self, lease: &Lease) -> bool {
        lease.has_lapsed || self.clock.now() >= lease.held.until()
    }

    fn found(&self, name: Name<'_>, lease: &Lease, value: String) -> Found {
        let is_other = |payload: &str| payload != name.payload_hash && !name.is_derived;
        match read(&value) {
            // Its answer was lost.
            Some(Stored::Held(held)) if held.run == lease.held.run => Found::Free,
            Some(Stored::Held(held)) if is_other(&held.payload) => Found::OtherPayload,
            Some(Stored::Held(held)) => {
                let is_settled = name.after == Some(held.run);
                let (at, began_at) = (held.until(), DateTime::from_timestamp_millis(held.began_ms));
                if self.is_live(&held, self.clock.now()) && !is_settled {
                    return Found::Held { until: at };
                }
                Found::Expired(Expired {
                    run: held.run,
                    instance: held.instance,
                    alone: held.alone,
                    at,
                    began_at: began_at.unwrap_or_default(),
                    is_settled,
                    value,
                })
            }
            Some(Stored::Done { payload, .. } | Stored::Dead { payload, .. }) if is_other(&payload) => {
                Found::OtherPayload
            }
            Some(Stored::Done { done, .. }) => Found::Done(done),
            Some(Stored::Dead { .. }) => Found::Dead,
            // Written by a revision that knows more than this one: as good as held.
            None => Found::Held { until: self.clock.now() + self.pace.lease() },
        }
    }

    /// `SET … IFEQ`; a lost answer is asked for again, and recognised by the run in the new value.
    async fn replace(&self, key: &str, old: &str, new: &str, run: Uuid) -> Result<bool, redis::Error> {
        let set = || expiring(Command::new("SET").arg(key).arg(new).arg("IFEQ").arg(old));
        let is_replaced = match self.send(set(), None).await {
            Err(redis::Error::Timeout) => self.send(set(), None).await?,
            answer => answer?,
        };
        if is_replaced.0 != redis::Value::Nil {
            return Ok(true);
        }
        let found = self.send(Command::new("GET").arg(key), is_replaced.1).await?.0;
        Ok(matches!(found, redis::Value::Text(found) if is_of(&found, run)))
    }

    async fn send(
        &self,
        command: Command,
        after: Option<redis::SyncToken>,
    ) -> Result<(redis::Value, Option<redis::SyncToken>), redis::Error> {
        self.redis.run_after(Purpose::Idempotency, command, after).await
    }
}

impl Lease {
    /// The run that has it.
    #[must_use]
    pub fn run(&self) -> Uuid {
        self.held.run
    }

    /// The run has the lease, as far as it knows.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.has_lapsed
    }

    /// The run is recorded in Postgres already, so what becomes of it has to be recorded there, too.
    pub fn mark_recorded(&mut self) {
        self.has_lapsed = true;
    }

    /// No other job runs in this process.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.held.alone
    }

    /// When the run began.
    #[must_use]
    pub fn began_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.held.began_ms).unwrap_or_default()
    }
}

fn redis_key(name: Name<'_>) -> String {
    stored_under(name.function, name.key)
}

fn stored_under(function: &str, key: &str) -> String {
    format!("jobs:{function}:{key}")
}

/// No key without a time to live.
fn expiring(set: Command) -> Command {
    set.arg("EX").arg(TIME_TO_LIVE.as_secs())
}

fn is_of(value: &str, run: Uuid) -> bool {
    matches!(read(value), Some(Stored::Held(held)) if held.run == run)
}

fn read(value: &str) -> Option<Stored> {
    serde_json::from_str(value).ok()
}

fn text(stored: &Stored) -> String {
    serde_json::to_string(stored).expect("strings, numbers and JSON values serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_as_what_it_is() {
        let payload = || "hash".to_owned();
        let read = |stored: &Stored| read(&text(stored)).unwrap();
        assert!(matches!(read(&Stored::Dead { dead: true, payload: payload() }), Stored::Dead { .. }));
        for done in [None, Some(serde_json::json!({ "n": 7 }))] {
            assert!(matches!(read(&Stored::Done { done, payload: payload() }), Stored::Done { .. }));
        }
    }
}
