//! What became of a dispatch.

use chrono::{DateTime, Utc};
use serde_json::Value;
use std::time::Duration;

use crate::job::Failure;

/// What became of a dispatch; `respond` has the answer to each.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// The job ran.
    Done(Value),
    /// The task ran before.
    Duplicate(Option<Value>),
    /// There was nothing to do.
    Skipped(&'static str),
    /// The job asked to come back.
    Snoozed(DateTime<Utc>),
    /// Another delivery is at it; a new task comes back when its lease ends.
    Deferred(DateTime<Utc>),
    /// Interrupted through no fault of its own; a new task goes on, with the attempts that it had.
    Requeued(&'static str),
    /// The attempt failed; there are more.
    Retry(&'static str),
    /// Something that every task needs is away.
    Unavailable(&'static str, Duration),
    /// Nothing more can be done; a dead letter keeps the task.
    Dead(&'static str),
    /// The caller showed no acceptable token.
    Unauthorized(&'static str),
    /// The caller may not call.
    Forbidden,
    /// The body is too large.
    TooLarge,
    /// The body did not come.
    NoBody,
}

/// Why a job gave no outcome.
#[derive(Debug)]
pub(super) enum Interruption {
    /// It failed.
    Failed(Failure),
    /// The payload cannot be used.
    Unusable(crate::envelope::Error),
    /// Its time was over.
    TimedOut,
    /// It panicked; where stands in the log.
    Panicked,
    /// The instance has to go.
    Cancelled,
}
