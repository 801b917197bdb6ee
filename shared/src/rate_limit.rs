//! Sliding-window rate limits, kept in Redis and exact for any number of processes.
//!
//! What a subject was allowed is one string, its record. A check decides on the record that it knows and replaces it on
//! the condition that it is still that one (`SET … IFEQ old` sets the key only if it still has the old value; `NX`, only if there is none); refused, it reads the record and
//! decides again. So the records of a subject form one history, in which each allowed call was decided on with all
//! calls before it in view: of `max + 1` allowed calls whose times lie within one window, the last one recorded would
//! have found the others in the record and inside its window. A check that loses against another one loses against
//! allowed calls, of which a window has `max`, so none loses for ever.
//!
//! Each write carries the time to live. Entries are random, so no two records are equal, and a check whose request was
//! repeated (see [`crate::redis`]) finds its own entries and counts them once. Denied calls are not recorded.
//!
//! Billed commands: 1 if the subject has no record, which is the case when a window or two has passed, or if this process
//! wrote the record; else 3, or 2 when denied; 0 for a subject that this process knows to be over its limit: a record
//! only grows inside its window. It does not matter how many calls are asked for, or under how many limits with the same
//! outer one: a task acquires together what it will need ([`Plan`]). Checks of one subject wait for each other in a
//! process, so that a burst learns of its denial from one of them.
//!
//! When Redis is unavailable a call is allowed: the vendor behind the limit has its own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::clock::Clock;
use crate::redis::{Command, Error, Purpose, Redis, Value};

mod limit;
mod plan;
mod record;
mod subjects;

pub use limit::Limit;
pub use plan::Plan;

use record::{Asked, Entry, Record};
use subjects::Subjects;

/// Windows that an entry, and a record after its last write, is kept; the second one is there for clocks that go wrong.
const WINDOWS_KEPT: u32 = 2;
/// More often than the largest window allows, no caller is faster.
const MAX_TRIES: u32 = 600;

/// Checks limits; clones share what they know.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    redis: Redis,
    clock: Clock,
    subjects: Subjects,
    /// Calls allowed without a check since Redis became unavailable.
    unchecked: AtomicU64,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// It may, and has been counted.
    Allowed,
    /// It may not before that time, and has not been counted.
    LimitedUntil(DateTime<Utc>),
}

/// What was granted of several calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Grant {
    /// Calls that may be made, and have been counted.
    pub calls: u32,
    /// If that is less than was asked for: when there may be more.
    pub more_at: Option<DateTime<Utc>>,
}

impl Limiter {
    /// A limiter on that Redis.
    #[must_use]
    pub fn new(redis: Redis, clock: Clock) -> Self {
        Self(Arc::new(Inner { redis, clock, subjects: Subjects::default(), unchecked: AtomicU64::new(0) }))
    }

    /// Asks for one call on behalf of `subject`, such as a user's id or an address.
    ///
    /// Cancelled while under way, the call may be counted.
    pub async fn acquire(&self, limit: &'static Limit, subject: impl fmt::Display) -> Decision {
        self.acquire_many(limit, subject, 1).await
    }

    /// Asks for several calls, all or none, at the price of one. More than the limit's `max` are never allowed.
    ///
    /// Cancelled while under way, the calls may be counted.
    pub async fn acquire_many(
        &self,
        limit: &'static Limit,
        subject: impl fmt::Display,
        calls: u32,
    ) -> Decision {
        let [grant] = self.ask(subject.to_string(), [Asked { limit, calls, whole: true }]).await;
        match grant.more_at {
            None => Decision::Allowed,
            Some(until) => Decision::LimitedUntil(until),
        }
    }

    /// Asks for calls under each of several limits with the same outer limit, at the price of one; grants as many as fit,
    /// in that order.
    ///
    /// Cancelled while under way, the calls may be counted.
    pub async fn acquire_together<const N: usize>(
        &self,
        subject: impl fmt::Display,
        calls: [(&'static Limit, u32); N],
    ) -> [Grant; N] {
        let asked = calls.map(|(limit, calls)| Asked { limit, calls, whole: false });
        self.ask(subject.to_string(), asked).await
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.0.clock.now()
    }

    async fn ask<const N: usize>(&self, subject: String, asked: [Asked; N]) -> [Grant; N] {
        let all = asked.map(|asked| Grant { calls: asked.calls, more_at: None });
        if asked.iter().all(|asked| asked.calls == 0) {
            return all;
        }
        let key = Key::of(&asked, &subject);
        let subject = self.0.subjects.get(&key.name);
        let mut known = subject.lock().await;
        match self.check(&key, asked, &mut known).await {
            Ok(Checked { grants, asked_redis }) => {
                if asked_redis {
                    self.note_presence();
                }
                grants
            }
            Err(error) => {
                self.note_absence(&error);
                all
            }
        }
    }

    /// Decides on the `known` record, and on the one in Redis as long as that is another one.
    async fn check<const N: usize>(
        &self,
        key: &Key,
        asked: [Asked; N],
        known: &mut Option<String>,
    ) -> Result<Checked<N>, Error> {
        let now = self.now();
        let kept = key.outermost.window * WINDOWS_KEPT;
        let mut asked_redis = false;
        // Entries of a write that was refused; they are recorded if its request was repeated.
        let mut refused: Option<([Grant; N], Vec<Entry>)> = None;
        // What is outdated has gone from Redis too.
        if Self::read(known.as_deref())?.is_outdated(kept, now) {
            *known = None;
        }
        let mut is_stored = true;
        for _ in 0..MAX_TRIES {
            let record = Self::read(known.as_deref())?;
            if let Some((grants, entries)) = &refused
                && record.contains(entries)
            {
                return Ok(Checked { grants: *grants, asked_redis });
            }
            let (grants, entries) = record.grant(asked, now);
            if entries.is_empty() {
                return Ok(Checked { grants, asked_redis });
            }
            let next = record.with(&entries, kept, now).text();
            let set = key.replace(known.as_deref().filter(|_| is_stored), &next, kept);
            asked_redis = true;
            let (answer, state) = self.0.redis.run_after(Purpose::RateLimit, set, None).await?;
            if answer != Value::Nil {
                *known = Some(next);
                return Ok(Checked { grants, asked_redis });
            }
            refused = Some((grants, entries));
            match self.0.redis.run_after(Purpose::RateLimit, key.get(), state).await?.0 {
                // Redis has forgotten the record, and this process has not.
                Value::Nil => is_stored = false,
                Value::Text(text) => {
                    Self::read(Some(&text))?;
                    (*known, is_stored) = (Some(text), true);
                }
                Value::Int(_) | Value::List(_) => return Err(Error::Garbage),
            }
        }
        // Others are faster each time, or Redis lags behind.
        Err(Error::Garbage)
    }

    fn read(text: Option<&str>) -> Result<Record, Error> {
        text.map_or_else(|| Ok(Record::default()), Record::read)
    }

    fn note_absence(&self, error: &Error) {
        if self.0.unchecked.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "rate limits are not checked: calls are allowed"
            );
        }
    }

    fn note_presence(&self) {
        // The load keeps the usual case from writing to memory that all tasks share.
        if self.0.unchecked.load(Ordering::Relaxed) > 0 {
            let unchecked = self.0.unchecked.swap(0, Ordering::Relaxed);
            tracing::info!(unchecked, "rate limits are checked again");
        }
    }
}

/// What a check came to.
struct Checked<const N: usize> {
    grants: [Grant; N],
    /// Redis answered, as opposed to a denial that was known.
    asked_redis: bool,
}

/// `jobs:limit:<outermost limit>:<subject>`: a [`Record`].
struct Key {
    name: String,
    outermost: &'static Limit,
}

impl Key {
    /// # Panics
    /// If the limits have no common outermost one.
    fn of<const N: usize>(asked: &[Asked; N], subject: &str) -> Self {
        let outermost = asked[0].limit.outermost();
        assert!(
            asked.iter().all(|asked| asked.limit.outermost() == outermost),
            "rate limits are checked together that have no outer limit in common"
        );
        Self { name: format!("jobs:limit:{}:{subject}", outermost.name), outermost }
    }

    fn get(&self) -> Command {
        Command::new("GET").arg(&self.name)
    }

    /// Writes the `next` record if the present one is `known`.
    fn replace(&self, known: Option<&str>, next: &str, time_to_live: Duration) -> Command {
        let set = Command::new("SET").arg(&self.name).arg(next);
        let set = match known {
            Some(known) => set.arg("IFEQ").arg(known),
            None => set.arg("NX"),
        };
        set.arg("PX").arg(time_to_live.as_millis())
    }
}
