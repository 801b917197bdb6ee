//! Dead letters: what cannot be done is kept in Postgres, whole, where an operator can replay it.

use std::time::Duration;

use axum::body::Bytes;

use super::comeback::{Comeback, Then};
use super::dispatch::{Dispatch, TaskHeaders};
use super::verdict::Verdict;
use crate::db::dead_letters::{DeadLetter, State};
use crate::db::{self, Db};
use crate::envelope::{self, sha256_hex};
use crate::failure::Failure;
use crate::queue::Queue;
use crate::telemetry::chain;

/// Longer than a statement may take. A database that is cut off would otherwise hold the answer back for minutes.
const TIMEOUT: Duration = Duration::from_secs(40);
const RETRY_AFTER: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(super) struct DeadLetters {
    queue: Queue,
    db: Db,
    comeback: Comeback,
}

/// The database did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("database does not answer")]
struct Silent;

async fn in_time<T>(statement: impl Future<Output = Result<T, db::Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(TIMEOUT, statement).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Failure::unavailable(RETRY_AFTER, Silent)),
    }
}

impl DeadLetters {
    pub(super) fn new(queue: Queue, db: Db, comeback: Comeback) -> Self {
        Self { queue, db, comeback }
    }

    /// A body that no retry can make usable.
    pub(super) async fn unusable(
        &self,
        headers: &TaskHeaders,
        body: &Bytes,
        error: &envelope::Error,
    ) -> Verdict {
        let id = match &headers.name {
            Some(name) => sha256_hex([self.queue.name().as_bytes(), b"\0task\0", name.as_bytes()]),
            None => sha256_hex([self.queue.name().as_bytes(), b"\0body\0", body.as_ref()]),
        };
        let letter = DeadLetter {
            id: &id,
            queue: self.queue.name(),
            task_name: headers.name.as_deref(),
            idempotency_key: None,
            attempt: headers.retry_count.saturating_add(1),
            state: State::Failed,
            reason: error.code(),
            error: &error.to_string(),
            body,
            user_id: None,
            trace: None,
        };
        match self.write(&letter).await {
            Ok(()) => Verdict::Dead(error.code()),
            Err(Failure::Unavailable { retry_after, .. }) => Verdict::Unavailable("database", retry_after),
            Err(Failure::Permanent(_) | Failure::Transient(_)) => Verdict::Retry("dead_letter_not_written"),
        }
    }

    /// A task that failed for good. If even that cannot be written down, the task stays in its queue.
    pub(super) async fn failed(&self, dispatch: &Dispatch, reason: &'static str, error: &str) -> Then {
        let id = self.id(dispatch);
        match self.write(&self.letter(&id, dispatch, State::Failed, reason, error)).await {
            Ok(()) => Then::Answer(Verdict::Dead(reason)),
            Err(failure) => self.unwritten(dispatch, &failure),
        }
    }

    /// Announces a last attempt, so that even one that is killed leaves a record; answers why that was not possible.
    pub(super) async fn started(&self, dispatch: &Dispatch) -> Result<(), Then> {
        let id = self.id(dispatch);
        let letter = self.letter(&id, dispatch, State::Started, "last_attempt", "the last attempt has begun");
        in_time(self.db.record_dead_letter(&letter))
            .await
            .map_err(|failure| self.unwritten(dispatch, &failure))
    }

    /// Whether a last attempt was ever announced.
    pub(super) async fn was_started(&self, dispatch: &Dispatch) -> Result<bool, Then> {
        let id = self.id(dispatch);
        in_time(self.db.has_dead_letter(&id)).await.map_err(|failure| self.unwritten(dispatch, &failure))
    }

    /// Takes back what [`Self::started`] announced.
    pub(super) async fn forget_started(&self, dispatch: &Dispatch) {
        if let Err(failure) = in_time(self.db.remove_started_dead_letter(&self.id(dispatch))).await {
            tracing::error!(error = chain(&failure), "a last attempt went well and stays announced as dead");
        }
    }

    async fn write(&self, letter: &DeadLetter<'_>) -> Result<(), Failure> {
        in_time(self.db.record_dead_letter(letter)).await?;
        tracing::error!(
            reason = letter.reason,
            error = letter.error,
            attempt = letter.attempt,
            "dead letter"
        );
        Ok(())
    }

    fn unwritten(&self, dispatch: &Dispatch, failure: &Failure) -> Then {
        tracing::error!(error = chain(failure), "dead letter could not be written");
        match failure {
            Failure::Unavailable { retry_after, .. } => {
                self.comeback.after_outage(dispatch, "database", *retry_after)
            }
            Failure::Permanent(_) | Failure::Transient(_) => {
                Then::Answer(Verdict::Retry("dead_letter_not_written"))
            }
        }
    }

    /// All deliveries of one task write the same letter; another payload under the same key is another task.
    fn id(&self, dispatch: &Dispatch) -> String {
        sha256_hex([self.queue.name(), "\0key\0", &dispatch.key, "\0", &dispatch.envelope.payload_hash()])
    }

    fn letter<'a>(
        &self,
        id: &'a str,
        dispatch: &'a Dispatch,
        state: State,
        reason: &'static str,
        error: &'a str,
    ) -> DeadLetter<'a> {
        DeadLetter {
            id,
            queue: self.queue.name(),
            task_name: dispatch.headers.name.as_deref(),
            idempotency_key: Some(&dispatch.key),
            attempt: dispatch.attempt(),
            state,
            reason,
            error,
            body: &dispatch.body,
            user_id: dispatch.user_id,
            trace: dispatch.envelope.trace.as_deref(),
        }
    }
}
