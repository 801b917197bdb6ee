//! The canonical log line: everything that is known about one dispatch, or one request to a service without a queue, under
//! fixed names.
//!
//! Log-based metrics and alerts read these names, so they are a contract; `infra/gcp/metrics.json` is checked against them.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::{Counter, EventCode, Meter, log};

/// One dispatch. Labels are low in cardinality; everything else is a field.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// Queue, as in `infra/queues.json`; or the service, if it has none.
    #[serde(rename = "task.queue")]
    pub queue: &'static str,
    /// Short name that Cloud Tasks gave the task; or the path of the request.
    #[serde(rename = "task.name")]
    pub task: &'a str,
    /// 1 for the first dispatch, in all tasks that it was rescheduled as.
    #[serde(rename = "task.dispatch")]
    pub dispatch: u32,
    /// Failed runs and this one; 0 when the job did not run.
    #[serde(rename = "task.attempt")]
    pub attempt: u32,
    /// How it ended.
    #[serde(rename = "task.outcome")]
    pub outcome: OutcomeCode,
    /// Stable reason of a skip or a failure.
    #[serde(rename = "task.reason", skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The status that was answered.
    #[serde(rename = "task.status")]
    pub status: u16,
    /// From the request's arrival to its answer.
    #[serde(rename = "task.duration_ms")]
    pub duration_ms: f64,
    /// From the time for which the task was scheduled to its arrival.
    #[serde(rename = "task.waited_ms", skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<f64>,
    /// The user that the task is about.
    #[serde(rename = "user.id", skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Uuid>,
    /// What happened on the way, counted.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A sweep that went through all its pages.
#[derive(Debug, Serialize)]
pub struct FinishedSweep<'a> {
    /// Its queue.
    #[serde(rename = "sweep.queue")]
    pub queue: &'static str,
    /// Which of the queue's schedules, if there are several.
    #[serde(rename = "sweep.part")]
    pub part: &'a str,
}

/// How a dispatch ended; log-based metrics count by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum OutcomeCode {
    /// The job ran.
    Done,
    /// The task ran before.
    Duplicate,
    /// There was nothing to do.
    Skipped,
    /// The job asked to be rescheduled.
    Snoozed,
    /// It met another delivery's lease.
    Deferred,
    /// Interrupted, and sent on.
    Requeued,
    /// The attempt failed.
    Retry,
    /// A shared dependency is unavailable.
    Unavailable,
    /// A dead letter keeps the task.
    Dead,
    /// The request was not a task.
    Refused,
}

impl OutcomeCode {
    /// The name in logs, metrics and responses.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// A dead letter is an error, a failed attempt a warning, the rest is information.
    fn severity(self) -> &'static str {
        match self {
            Self::Dead => "ERROR",
            Self::Retry | Self::Unavailable | Self::Refused => "WARNING",
            Self::Done
            | Self::Duplicate
            | Self::Skipped
            | Self::Snoozed
            | Self::Deferred
            | Self::Requeued => "INFO",
        }
    }
}

/// The counts of a [`Meter`] under their field names.
#[derive(Debug, Serialize)]
pub struct Counts {
    #[serde(rename = "redis.idempotency")]
    redis_idempotency: u64,
    #[serde(rename = "redis.rate_limit")]
    redis_rate_limit: u64,
    #[serde(rename = "redis.cache")]
    redis_cache: u64,
    #[serde(rename = "cache.hits")]
    cache_hits: u64,
    #[serde(rename = "cache.misses")]
    cache_misses: u64,
    #[serde(rename = "sql.statements")]
    sql_statements: u64,
    #[serde(rename = "vendor.calls", skip_serializing_if = "BTreeMap::is_empty")]
    vendor_calls: BTreeMap<&'static str, u64>,
}

impl From<&Meter> for Counts {
    fn from(meter: &Meter) -> Self {
        Self {
            redis_idempotency: meter.get(Counter::RedisIdempotency),
            redis_rate_limit: meter.get(Counter::RedisRateLimit),
            redis_cache: meter.get(Counter::RedisCache),
            cache_hits: meter.get(Counter::CacheHit),
            cache_misses: meter.get(Counter::CacheMiss),
            sql_statements: meter.get(Counter::SqlStatement),
            vendor_calls: meter.vendor_calls(),
        }
    }
}

/// A line as it is written.
#[derive(Serialize)]
struct Coded<T> {
    event: EventCode,
    #[serde(flatten)]
    line: T,
}

impl Line<'_> {
    /// Its code.
    pub const EVENT: EventCode = EventCode::Task;

    /// Writes the line.
    pub fn write(&self) {
        log::write(self.outcome.severity(), "task", Coded { event: Self::EVENT, line: self });
    }
}

impl FinishedSweep<'_> {
    /// Its code.
    pub const EVENT: EventCode = EventCode::SweepFinished;

    /// Writes the entry.
    pub(super) fn write(&self) {
        log::write("INFO", "sweep finished", Coded { event: Self::EVENT, line: self });
    }
}
