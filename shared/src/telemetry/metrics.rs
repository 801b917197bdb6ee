//! Totals of the process, as Prometheus reads them. They cost nothing until they are read.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter as Total;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::meter::Counter;
use crate::clock::Clock;

type Label = (&'static str, &'static str);

/// Upper bounds in seconds; 10 s and 30 s are the thresholds of the latency alerts.
const DURATION_BUCKETS: [f64; 12] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];

struct Metrics {
    registry: Registry,
    redis_commands: Family<[Label; 1], Total>,
    cache_lookups: Family<[Label; 1], Total>,
    sql_statements: Total,
    vendor_calls: Family<[Label; 1], Total>,
    vendor_call_duration: Family<[Label; 2], Histogram>,
    tasks: Family<[Label; 2], Total>,
    task_duration: Family<[Label; 1], Histogram>,
    task_wait: Family<[Label; 1], Histogram>,
    sweep_finished: Family<[(&'static str, String); 2], Gauge>,
    process_start: Gauge,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let mut metrics = Metrics {
        registry: Registry::default(),
        redis_commands: Family::default(),
        cache_lookups: Family::default(),
        sql_statements: Total::default(),
        vendor_calls: Family::default(),
        vendor_call_duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
        tasks: Family::default(),
        task_duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
        task_wait: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
        sweep_finished: Family::default(),
        process_start: Gauge::default(),
    };
    metrics.process_start.set(Clock::system().now().timestamp());
    let registry = &mut metrics.registry;
    registry.register(
        "redis_commands",
        "Redis commands as billed, by purpose",
        metrics.redis_commands.clone(),
    );
    registry.register("cache_lookups", "Lookups in the cache, by result", metrics.cache_lookups.clone());
    registry.register("sql_statements", "SQL statements", metrics.sql_statements.clone());
    registry.register("vendor_calls", "Calls to vendors, by method", metrics.vendor_calls.clone());
    registry.register(
        "vendor_call_duration_seconds",
        "Time from a call to its answer, by method and result",
        metrics.vendor_call_duration.clone(),
    );
    registry.register("tasks", "Dispatches, by queue and outcome", metrics.tasks.clone());
    registry.register("task_duration_seconds", "Time from dispatch to answer", metrics.task_duration.clone());
    registry.register("task_wait_seconds", "Time from schedule to dispatch", metrics.task_wait.clone());
    registry.register(
        "sweep_finished_timestamp_seconds",
        "When a sweep last went through all its pages, by queue and part",
        metrics.sweep_finished.clone(),
    );
    registry.register(
        "process_start_time_seconds",
        "Since when this process counts",
        metrics.process_start.clone(),
    );
    metrics
});

pub(super) fn count(counter: Counter, n: u64) {
    let (family, label) = match counter {
        Counter::RedisIdempotency => (&METRICS.redis_commands, ("purpose", "idempotency")),
        Counter::RedisRateLimit => (&METRICS.redis_commands, ("purpose", "rate_limit")),
        Counter::RedisCache => (&METRICS.redis_commands, ("purpose", "cache")),
        Counter::CacheHit => (&METRICS.cache_lookups, ("result", "hit")),
        Counter::CacheMiss => (&METRICS.cache_lookups, ("result", "miss")),
        Counter::VendorCall(method) => (&METRICS.vendor_calls, ("method", method)),
        Counter::SqlStatement => {
            METRICS.sql_statements.inc_by(n);
            return;
        }
    };
    family.get_or_create(&[label]).inc_by(n);
}

/// The media type of [`render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Counts one dispatch, and how long its task had waited if that is known.
pub fn count_task(queue: &'static str, outcome: &'static str, duration: Duration, wait: Option<Duration>) {
    METRICS.tasks.get_or_create(&[("queue", queue), ("outcome", outcome)]).inc();
    METRICS.task_duration.get_or_create(&[("queue", queue)]).observe(duration.as_secs_f64());
    if let Some(wait) = wait {
        METRICS.task_wait.get_or_create(&[("queue", queue)]).observe(wait.as_secs_f64());
    }
}

/// Notes that a sweep is finished now.
pub(super) fn note_sweep(queue: &'static str, part: &str) {
    let labels = [("queue", queue.to_owned()), ("part", part.to_owned())];
    METRICS.sweep_finished.get_or_create(&labels).set(Clock::system().now().timestamp());
}

/// Notes how long a call to a vendor took.
pub(super) fn time_vendor_call(method: &'static str, ok: bool, duration: Duration) {
    let labels = [("method", method), ("result", if ok { "ok" } else { "error" })];
    METRICS.vendor_call_duration.get_or_create(&labels).observe(duration.as_secs_f64());
}

/// All totals in the OpenMetrics text format, which Prometheus reads.
#[must_use]
pub fn render() -> String {
    let mut text = String::new();
    // Writing into a string cannot fail; a half-written page would be seen by the scraper.
    let _infallible = encode(&mut text, &METRICS.registry);
    text
}
