//! The canonical log line: everything that is known about one dispatch, under fixed names.
//!
//! Log-based metrics and alerts read these names, so they are a contract; they stand here and nowhere else.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::{Counter, Meter, log};

/// One dispatch. Labels are low in cardinality; everything else is a field.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Queue, as in `infra/queues.json`.
    #[serde(rename = "task.queue")]
    pub queue: &'static str,
    /// Short name that Cloud Tasks gave the task.
    #[serde(rename = "task.name")]
    pub task: String,
    /// 1 for the first run.
    #[serde(rename = "task.attempt")]
    pub attempt: u32,
    /// See `service::respond::Verdict`.
    #[serde(rename = "task.outcome")]
    pub outcome: &'static str,
    /// Stable reason of a skip or a failure.
    #[serde(rename = "task.reason", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The status that was answered.
    #[serde(rename = "task.status")]
    pub status: u16,
    /// From the request's arrival to its answer.
    #[serde(rename = "task.duration_ms")]
    pub duration_ms: f64,
    /// From the time for which the task was scheduled to its arrival.
    #[serde(rename = "task.waited_ms", skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<i64>,
    /// The user that the task is about.
    #[serde(rename = "user.id", skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Uuid>,
    /// What happened on the way, counted.
    #[serde(flatten)]
    pub counts: Counts,
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

impl Line {
    /// Writes the line. A dead letter is an error, a failed attempt a warning, the rest is information.
    pub fn write(&self) {
        let severity = match self.outcome {
            "dead" => "ERROR",
            "retry" | "unavailable" | "refused" => "WARNING",
            _ => "INFO",
        };
        log::write(severity, "task", self);
    }
}
