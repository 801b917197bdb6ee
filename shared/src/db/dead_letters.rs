//! Dead letters: tasks that ended without success.

use uuid::Uuid;

use super::{Db, Error};

/// What is kept of a task that ended without success.
#[derive(Debug, Clone)]
pub struct DeadLetter<'a> {
    /// The same for all deliveries of one task.
    pub id: &'a str,
    /// The queue, as its function is named.
    pub queue: &'static str,
    /// Short name of the task.
    pub task_name: Option<&'a str>,
    /// The task's key, if its envelope could be read.
    pub idempotency_key: Option<&'a str>,
    /// 1 for the first run.
    pub attempt: u32,
    /// Whether the task may still succeed.
    pub state: State,
    /// A stable name of what happened.
    pub reason: &'a str,
    /// The error and what it came from.
    pub error: &'a str,
    /// The body as it arrived.
    pub body: &'a [u8],
    /// The user that the task is about.
    pub user_id: Option<Uuid>,
    /// W3C traceparent.
    pub trace: Option<&'a str>,
}

/// Whether a task may still succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum State {
    /// Its last attempt has begun.
    Started,
    /// It has failed.
    Failed,
}

impl Db {
    /// Writes a dead letter, or what is new about it; the body that came first stays.
    pub async fn record_dead_letter(&self, letter: &DeadLetter<'_>) -> Result<(), Error> {
        let state: &'static str = letter.state.into();
        sqlx::query(
            "INSERT INTO jobs.dead_letters (id, queue, task_name, idempotency_key, attempt, state, reason, error, body, user_id, trace)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (id) DO UPDATE SET attempt = excluded.attempt, state = excluded.state, reason = excluded.reason,
                 error = excluded.error, updated_at = now(), replayed_at = NULL",
        )
        .bind(letter.id)
        .bind(letter.queue)
        .bind(letter.task_name)
        .bind(letter.idempotency_key)
        .bind(i32::try_from(letter.attempt).unwrap_or(i32::MAX))
        .bind(state)
        .bind(letter.reason)
        .bind(letter.error)
        .bind(letter.body)
        .bind(letter.user_id)
        .bind(letter.trace)
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Removes a letter whose task succeeded after all; one that has failed stays.
    pub async fn remove_started_dead_letter(&self, id: &str) -> Result<(), Error> {
        sqlx::query("DELETE FROM jobs.dead_letters WHERE id = $1 AND state = 'started'")
            .bind(id)
            .execute(self.pool())
            .await?;
        Ok(())
    }
}
