//! How work fails, as far as retrying is concerned. Each client's errors are classified next to that client.

use std::time::Duration;

/// How a task failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Another attempt cannot help: a dead letter immediately.
    #[error("permanent failure")]
    Permanent(#[source] BoxError),
    /// Another attempt may help: after the queue's backoff, until the attempts are used up.
    #[error("transient failure")]
    Transient(#[source] BoxError),
    /// Another session holds what this task needs, for a moment: the task is rescheduled, and no run is counted.
    #[error("busy")]
    Busy {
        /// When to try again.
        retry_after: Duration,
        /// What is held.
        source: BoxError,
    },
    /// A shared dependency is unavailable: the queue slows down, and no run is counted.
    #[error("dependency unavailable")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
        /// What is unavailable.
        source: BoxError,
    },
}

/// Any error, as the source of a [`Failure`].
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Failure {
    /// See [`Failure::Permanent`].
    pub fn permanent(error: impl Into<BoxError>) -> Self {
        Self::Permanent(error.into())
    }

    /// See [`Failure::Transient`].
    pub fn transient(error: impl Into<BoxError>) -> Self {
        Self::Transient(error.into())
    }

    /// See [`Failure::Busy`].
    pub fn busy(retry_after: Duration, error: impl Into<BoxError>) -> Self {
        Self::Busy { retry_after, source: error.into() }
    }

    /// See [`Failure::Unavailable`].
    pub fn unavailable(retry_after: Duration, error: impl Into<BoxError>) -> Self {
        Self::Unavailable { retry_after, source: error.into() }
    }
}
