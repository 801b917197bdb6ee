//! Codes of the platform's log entries that a metric, an alert, a test or an operator's search depends on. A
//! product has an enum of its own for its entries.

use serde::Serialize;

/// What an entry is about, in its field `event`. The wording next to it is free and may change at any time.
///
/// Codes are never renamed: `infra/gcp/metrics.json` counts by them, and so may what operators have saved.
///
/// ```
/// use shared::telemetry::EventCode;
///
/// assert_eq!(EventCode::RedisUnavailable.to_string(), "redis_unavailable");
/// tracing::warn!(event = %EventCode::RedisUnavailable, "task runs without a lease");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::Display, strum::EnumString)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum EventCode {
    /// The canonical line of one dispatch.
    Task,
    /// The service accepts requests from now on.
    Listening,
    /// The service cannot listen, and ends.
    NotListening,
    /// The service ended although work was left after the time that Cloud Run gives.
    StoppedAtWork,
    /// Code panicked at the `place` of the entry.
    Panic,
    /// A task ended without success; its dead letter is in `jobs.dead_letters`.
    DeadLetter,
    /// A run failed; its row is in `jobs.failures`.
    RunFailed,
    /// A task is dispatched more often than its failures explain.
    ManyDispatches,
    /// Something that every task needs does not work.
    DependencyUnavailable,
    /// The keys of the identity tokens' issuer cannot be fetched.
    IssuerKeysUnavailable,
    /// The state of a task could not be recorded in Postgres.
    NotRecorded,
    /// The end of a run is recorded neither in Redis nor in Postgres.
    RunNotRecorded,
    /// Cloud Tasks did not take the successor of a task.
    NotRescheduled,
    /// Redis gave no lease, and the task runs without one.
    RedisUnavailable,
    /// A task is done, and Redis does not know.
    DoneNotStored,
    /// A lease was not renewed in time.
    LeaseNotRenewed,
    /// A sweep went through all its pages.
    SweepFinished,
    /// A function that was called directly, without Cloud Tasks, did not do its work.
    DirectCallFailed,
}
