//! Sliding-window limits, kept in Redis and exact for any number of processes.
//!
//! A limit's subject is one sorted set: a member a permitted call, scored with the time at which it was asked for. A
//! check is one transaction: add the own members, then look at the member behind the `max` newest. A call is allowed if
//! there is none inside the window. Why no window can hold more than `max` allowed calls, whatever the order of arrival
//! and the skew of clocks: of `max + 1` allowed calls whose times lie within one window, take the last that Redis
//! worked on. It found the others in the set, so the member behind the `max` newest was no older than the oldest of
//! them, which was inside its window: it was denied.
//!
//! Members are random, so a repeated request adds nothing (see [`crate::redis`]), and a denied call takes back its own.
//!
//! Billed commands: 2 for a check; 1 more when a process looks at a subject for the first time in a window (it renews
//! the set's time to live) and when it finds outdated members (it removes them, at most once in a window); 1 more when
//! denied; 0 for a caller that this process knows to be over. Checks of one subject wait for each other in a process, so
//! that a burst learns of its denial from one of them.
//!
//! When Redis is away a call is allowed: the vendor behind the limit has its own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::clock::Clock;
use crate::redis::{Command, Error, Purpose, Redis, Value};

mod limits;
mod subjects;

pub use limits::{
    API_ADDRESS, API_USER, EMAIL, GOOGLE_CALENDAR, GOOGLE_PEOPLE, Limit, NOTIFICATION, SMS, VOICE_UPLOAD,
};

use subjects::{Known, Subjects};

/// Windows that a set outlives its last renewal, which may be one window old.
const WINDOWS_KEPT: u32 = 3;
/// Members older than this many windows are removed; the second window is there for clocks that go wrong.
const WINDOWS_LISTED: u32 = 2;

/// Checks limits; clones share what they know.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    redis: Redis,
    clock: Clock,
    subjects: Subjects,
    /// Calls allowed without a check since Redis went away.
    unchecked: AtomicU64,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It may, and has been counted.
    Allowed,
    /// It may not before that time, and has not been counted.
    DeniedUntil(DateTime<Utc>),
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
    pub async fn acquire(&self, limit: &Limit, subject: impl fmt::Display) -> Verdict {
        self.acquire_many(limit, subject, 1).await
    }

    /// Asks for several calls, all or none, at the price of one. More than the limit's `max` are never allowed.
    ///
    /// Cancelled while under way, the calls may be counted.
    pub async fn acquire_many(&self, limit: &Limit, subject: impl fmt::Display, calls: u32) -> Verdict {
        if calls == 0 {
            return Verdict::Allowed;
        }
        let key = Key(format!("limit:{}:{subject}", limit.name));
        let subject = self.0.subjects.get(&key.0);
        let mut known = subject.lock().await;
        let now = self.0.clock.now();
        if let Some(until) = known.denial(calls, now) {
            return Verdict::DeniedUntil(until);
        }
        match self.check(limit, &key, calls, now, &mut known).await {
            Ok(verdict) => {
                self.note_presence();
                verdict
            }
            Err(error) => {
                self.note_absence(&error);
                Verdict::Allowed
            }
        }
    }

    async fn check(
        &self,
        limit: &Limit,
        key: &Key,
        calls: u32,
        now: DateTime<Utc>,
        known: &mut Known,
    ) -> Result<Verdict, Error> {
        let members: Vec<String> = (0..calls).map(|_| format!("{:x}", rand::random::<u64>())).collect();
        let mut commands = vec![key.add(now, &members), key.behind_newest(limit.max)];
        let asked_at = Instant::now();
        let renews = Known::is_due(known.renewed_at, asked_at, limit.window);
        if renews {
            commands.push(key.expire(limit.window * WINDOWS_KEPT));
        }
        let mut answers = self.0.redis.transaction(Purpose::RateLimit, commands).await?.into_iter();
        answers.next().ok_or(Error::Garbage)??;
        let behind = time_of_member(answers.next().ok_or(Error::Garbage)??)?;
        if renews {
            answers.next().ok_or(Error::Garbage)??;
            known.renewed_at = Some(asked_at);
        }

        let Some(behind) = behind else { return Ok(Verdict::Allowed) };
        let until = behind + limit.window;
        if until > now {
            known.deny(calls, until);
            self.tidy(key.remove(&members)).await;
            return Ok(Verdict::DeniedUntil(until));
        }
        if Known::is_due(known.trimmed_at, asked_at, limit.window) {
            known.trimmed_at = Some(asked_at);
            self.tidy(key.trim(now - limit.window * WINDOWS_LISTED)).await;
        }
        Ok(Verdict::Allowed)
    }

    /// Removes members. When that fails they count until they are outdated, which allows less, never more.
    async fn tidy(&self, command: Command) {
        if let Err(error) = self.0.redis.run(Purpose::RateLimit, command).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "members of a limit were not removed");
        }
    }

    fn note_absence(&self, error: &Error) {
        if self.0.unchecked.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "limits are not checked: calls are allowed"
            );
        }
    }

    fn note_presence(&self) {
        // The load keeps the usual case from writing to memory that all tasks share.
        if self.0.unchecked.load(Ordering::Relaxed) > 0 {
            let unchecked = self.0.unchecked.swap(0, Ordering::Relaxed);
            tracing::info!(unchecked, "limits are checked again");
        }
    }
}

/// `limit:<name>:<subject>`: a sorted set of calls by the time, in ms since 1970, at which they were asked for.
struct Key(String);

impl Key {
    fn add(&self, now: DateTime<Utc>, members: &[String]) -> Command {
        let score = now.timestamp_millis();
        members
            .iter()
            .fold(Command::new("ZADD").arg(&self.0), |command, member| command.arg(score).arg(member))
    }

    /// The member behind the `max` newest, with its score.
    fn behind_newest(&self, max: u32) -> Command {
        let rank = -i64::from(max) - 1;
        Command::new("ZRANGE").arg(&self.0).arg(rank).arg(rank).arg("WITHSCORES")
    }

    fn expire(&self, after: Duration) -> Command {
        Command::new("PEXPIRE").arg(&self.0).arg(after.as_millis())
    }

    fn remove(&self, members: &[String]) -> Command {
        Command::new("ZREM").arg(&self.0).args(members)
    }

    fn trim(&self, before: DateTime<Utc>) -> Command {
        Command::new("ZREMRANGEBYSCORE").arg(&self.0).arg("-inf").arg(before.timestamp_millis())
    }
}

/// Reads the answer to [`Key::behind_newest`].
fn time_of_member(answer: Value) -> Result<Option<DateTime<Utc>>, Error> {
    let Value::List(parts) = answer else { return Err(Error::Garbage) };
    let ms = match parts.as_slice() {
        [] => return Ok(None),
        [_member, Value::Int(score)] => Some(*score),
        [_member, Value::Text(score)] => score.parse().ok(),
        _ => None,
    };
    ms.and_then(DateTime::from_timestamp_millis).map(Some).ok_or(Error::Garbage)
}
