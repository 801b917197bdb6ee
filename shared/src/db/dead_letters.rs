//! `jobs.dead_letters`: tasks that ended without success.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Db, Error, text};

/// Longest text that is kept, the body aside.
const TEXT_CHARS: usize = 1000;

/// How far a dead letter has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum State {
    /// The last attempt has begun: if nothing more is heard of it, its container died.
    Started,
    /// The task failed for good.
    Failed,
}

/// A task that ended without success, or may.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    /// Names the task: the same for each of its deliveries.
    pub id: &'a str,
    /// Name of the queue.
    pub queue: &'static str,
    /// Short name of the task.
    pub task_name: Option<&'a str>,
    /// Key of its envelope.
    pub idempotency_key: Option<&'a str>,
    /// The attempt that was the last.
    pub attempt: u32,
    /// See [`State`].
    pub state: State,
    /// Stable code.
    pub reason: &'a str,
    /// For people: no secret, no personal datum.
    pub error: &'a str,
    /// The body as it arrived.
    pub body: &'a [u8],
    /// The user whom the task was about.
    pub user_id: Option<Uuid>,
    /// W3C traceparent.
    pub trace: Option<&'a str>,
}

/// A dead letter as it is kept.
#[derive(Debug, Clone)]
pub struct StoredLetter {
    /// Names the task.
    pub id: String,
    /// Name of the queue.
    pub queue: String,
    /// Short name of the task.
    pub task_name: Option<String>,
    /// The attempt that was the last.
    pub attempt: i32,
    /// `started` or `failed`.
    pub state: String,
    /// Stable code.
    pub reason: String,
    /// For people.
    pub error: String,
    /// The body as it arrived: personal.
    pub body: Vec<u8>,
    /// When it died, or its last attempt began.
    pub updated_at: DateTime<Utc>,
    /// When it was sent again.
    pub replayed_at: Option<DateTime<Utc>>,
}

impl Db {
    /// Letters that wait for somebody, oldest first: of one queue or of all.
    pub async fn open_dead_letters(
        &self,
        queue: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredLetter>, Error> {
        let letters = sqlx::query_as!(
            StoredLetter,
            "
            SELECT id, queue, task_name, attempt, state, reason, error, body, updated_at, replayed_at
            FROM jobs.dead_letters
            WHERE replayed_at IS NULL AND ($1::text IS NULL OR queue = $1)
            ORDER BY created_at, id LIMIT $2
            ",
            queue,
            i64::from(limit),
        )
        .fetch_all(self.statement())
        .await?;
        Ok(letters)
    }

    /// The letter of that id, replayed or not.
    pub async fn dead_letter(&self, id: &str) -> Result<Option<StoredLetter>, Error> {
        let letter = sqlx::query_as!(
            StoredLetter,
            "
            SELECT id, queue, task_name, attempt, state, reason, error, body, updated_at, replayed_at
            FROM jobs.dead_letters WHERE id = $1
            ",
            id,
        )
        .fetch_optional(self.statement())
        .await?;
        Ok(letter)
    }

    /// The letter was sent again; one that died once more since `updated_at` waits again.
    pub async fn dead_letter_replayed(&self, letter: &StoredLetter) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE jobs.dead_letters SET replayed_at = now() WHERE id = $1 AND updated_at = $2",
            letter.id,
            letter.updated_at,
        )
        .execute(self.statement())
        .await?;
        Ok(())
    }

    /// Writes a dead letter. One of the same id keeps its body and takes over the rest.
    pub async fn record_dead_letter(&self, letter: &DeadLetter<'_>) -> Result<(), Error> {
        let state: &str = letter.state.into();
        // What a stranger put into an envelope must not keep its dead letter from being written.
        let stored = |value: &str| text::shortened(value, TEXT_CHARS);
        sqlx::query!(
            "
            INSERT INTO jobs.dead_letters
                (id, queue, task_name, idempotency_key, attempt, state, reason, error, body, user_id, trace)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            ON CONFLICT (id) DO UPDATE
            SET attempt = excluded.attempt, state = excluded.state, reason = excluded.reason, error = excluded.error,
                updated_at = now(), replayed_at = NULL
            ",
            letter.id,
            letter.queue,
            letter.task_name.map(stored),
            letter.idempotency_key.map(stored),
            i32::try_from(letter.attempt).unwrap_or(i32::MAX),
            state,
            stored(letter.reason),
            stored(letter.error),
            letter.body,
            letter.user_id,
            letter.trace.map(stored),
        )
        .execute(self.statement())
        .await?;
        Ok(())
    }

    /// Whether there is a letter of that id: whether a last attempt has begun.
    pub async fn has_dead_letter(&self, id: &str) -> Result<bool, Error> {
        let found = sqlx::query_scalar!("SELECT EXISTS (SELECT FROM jobs.dead_letters WHERE id = $1)", id)
            .fetch_one(self.statement())
            .await?;
        Ok(found.unwrap_or(false))
    }

    /// The last attempt went well after all.
    pub async fn remove_started_dead_letter(&self, id: &str) -> Result<(), Error> {
        sqlx::query!("DELETE FROM jobs.dead_letters WHERE id = $1 AND state = 'started'", id)
            .execute(self.statement())
            .await?;
        Ok(())
    }
}
