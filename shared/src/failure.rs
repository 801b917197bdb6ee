//! How work fails, as far as retrying is concerned. Each client's errors are classified beside that client.

use std::time::Duration;

/// How a task failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Trying again cannot help: a dead letter now.
    #[error("permanent failure")]
    Permanent(#[source] BoxError),
    /// Trying again may help: the queue's backoff, then a dead letter.
    #[error("transient failure")]
    Transient(#[source] BoxError),
    /// Something that every task needs is away: the queue slows down, and no task ends because of it.
    #[error("dependency unavailable")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
        /// What is away.
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

    /// See [`Failure::Unavailable`].
    pub fn unavailable(retry_after: Duration, error: impl Into<BoxError>) -> Self {
        Self::Unavailable { retry_after, source: error.into() }
    }
}
