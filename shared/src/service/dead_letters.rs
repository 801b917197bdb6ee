//! Dead letters: what cannot be done is kept in Postgres, whole, where an operator can replay it.

use axum::body::Bytes;

use super::attempts::chain;
use super::dispatch::{Dispatch, TaskHeaders};
use super::verdict::Verdict;
use crate::db::Db;
use crate::db::dead_letters::{DeadLetter, State};
use crate::envelope::{self, sha256_hex};
use crate::job::Failure;
use crate::queue::Queue;

#[derive(Clone)]
pub(super) struct DeadLetters {
    queue: Queue,
    db: Db,
}

impl DeadLetters {
    pub(super) fn new(queue: Queue, db: Db) -> Self {
        Self { queue, db }
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
            error: &chain(error),
            body,
            user_id: None,
            trace: None,
        };
        self.dead(&letter, error.code()).await
    }

    /// A task that failed for good. If even that cannot be written down, the task stays with Cloud Tasks.
    pub(super) async fn failed(&self, dispatch: &Dispatch, reason: &'static str, error: &str) -> Verdict {
        let id = self.id(dispatch);
        self.dead(&self.letter(&id, dispatch, State::Failed, reason, error), reason).await
    }

    /// Announces a last attempt, so that even one that is killed leaves a record.
    pub(super) async fn started(&self, dispatch: &Dispatch) -> Result<(), Failure> {
        let id = self.id(dispatch);
        let letter = self.letter(&id, dispatch, State::Started, "last_attempt", "the last attempt has begun");
        Ok(self.db.record_dead_letter(&letter).await?)
    }

    /// Takes back what [`Self::started`] announced.
    pub(super) async fn forget_started(&self, dispatch: &Dispatch) {
        if let Err(error) = self.db.remove_started_dead_letter(&self.id(dispatch)).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a last attempt went well and stays announced as dead"
            );
        }
    }

    async fn dead(&self, letter: &DeadLetter<'_>, reason: &'static str) -> Verdict {
        match self.db.record_dead_letter(letter).await.map_err(Failure::from) {
            Ok(()) => {
                tracing::error!(reason, error = letter.error, attempt = letter.attempt, "dead letter");
                Verdict::Dead(reason)
            }
            Err(failure) => {
                tracing::error!(error = chain(&failure), reason, "dead letter could not be written");
                match failure {
                    Failure::Unavailable { retry_after, .. } => Verdict::Unavailable("database", retry_after),
                    Failure::Permanent(_) | Failure::Transient(_) => {
                        Verdict::Retry("dead_letter_not_written")
                    }
                }
            }
        }
    }

    /// All deliveries of one task write the same letter.
    fn id(&self, dispatch: &Dispatch) -> String {
        sha256_hex([self.queue.name(), "\0key\0", &dispatch.key])
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
