//! `jobs.failures`: the failed runs of tasks. A task's attempts are its rows here, and its death is decided in
//! the transaction that writes the last of them.
//!
//! What a run records about itself wins: it replaces what others supposed (`started`, `killed`) and is replaced by
//! nothing.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Database, Error, Transaction, shortened};

/// Longest text that is kept.
const TEXT_CHARS: usize = 1000;

/// A task in one of its lives, as far as its failures are concerned.
#[derive(Debug, Clone, Copy)]
pub struct TaskRef<'a> {
    /// Name of the function.
    pub function: &'static str,
    /// Key of the task.
    pub key: &'a str,
    /// How often the task was replayed.
    pub life: u32,
    /// Failures that end it.
    pub attempts: u32,
    /// How long a run may take.
    pub timeout: TimeDelta,
    /// How long after a kill the other runs that died with it may still be found.
    pub company_window: TimeDelta,
    /// The user whom the task is about.
    pub user_id: Option<Uuid>,
    /// The body as it arrived, for the dead letter.
    pub body: &'a [u8],
    /// Short name of the task, for the dead letter.
    pub task_name: Option<&'a str>,
    /// W3C traceparent, for the dead letter.
    pub trace: Option<&'a str>,
}

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The run.
    pub id: Uuid,
    /// The process.
    pub instance: &'a str,
    /// What the process ran.
    pub revision: &'a str,
    /// No other job ran in the process at the same time.
    pub alone: bool,
    /// When it began.
    pub began_at: DateTime<Utc>,
}

/// Why a run failed.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    /// Stable code.
    pub reason: &'static str,
    /// For people: no secret, no personal datum.
    pub error: &'a str,
    /// The same for failures that look the same.
    pub fingerprint: &'a str,
    /// No other attempt can help.
    pub is_permanent: bool,
}

/// A run as it is recorded, whatever became of it.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedRun {
    /// Name of the function.
    pub function: String,
    /// The task's life.
    pub life: i32,
    /// The run.
    pub run: Uuid,
    /// `failed`, `permanent`, `killed` and `started` count; `ended` and `done` do not.
    pub kind: String,
    /// Stable code.
    pub reason: String,
    /// For people.
    pub error: String,
    /// What the process ran.
    pub revision: String,
    /// The process.
    pub instance: String,
    /// The user whom the task is about.
    pub user_id: Option<Uuid>,
    /// When it began.
    pub began_at: DateTime<Utc>,
    /// When it ended.
    pub at: DateTime<Utc>,
}

/// The state of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// It may run.
    Go {
        /// Failures so far.
        failures: u32,
        /// Its last run was killed: the next one has to be alone in its process.
        alone: bool,
    },
    /// A run may still be under way, or it is not yet known what a kill proves.
    Wait(DateTime<Utc>),
    /// It ran.
    Done,
    /// It has a dead letter.
    Dead,
}

/// What the rows of one life say.
struct Count {
    is_done: bool,
    is_permanent: bool,
    failures: i64,
    /// Until when one of the counted kills may turn out to be shared with other runs.
    unproven_until: Option<DateTime<Utc>>,
    /// Until when a run that was recorded before it began may be under way.
    running_until: Option<DateTime<Utc>>,
    last_kind: Option<String>,
    deaths: i32,
}

impl Count {
    fn state(&self, task_ref: &TaskRef<'_>) -> TaskState {
        let failures = u32::try_from(self.failures).unwrap_or(u32::MAX);
        let has_dead_letter = u32::try_from(self.deaths).unwrap_or_default() > task_ref.life;
        if self.is_done {
            TaskState::Done
        } else if has_dead_letter || self.is_permanent {
            TaskState::Dead
        } else if failures >= task_ref.attempts {
            self.unproven_until.map_or(TaskState::Dead, TaskState::Wait)
        } else if let Some(until) = self.running_until {
            TaskState::Wait(until)
        } else {
            TaskState::Go { failures, alone: self.last_kind.as_deref() == Some("killed") }
        }
    }
}

/// The failures of tasks.
#[derive(Debug, Clone)]
pub struct Failures(Database);

impl From<Database> for Failures {
    fn from(database: Database) -> Self {
        Self(database)
    }
}

impl Failures {
    /// The task's state; writes the dead letter if it is missing.
    pub async fn task_state(&self, task_ref: &TaskRef<'_>, now: DateTime<Utc>) -> Result<TaskState, Error> {
        let mut transaction = self.failures_of(task_ref).await?;
        let state = transaction.settle(task_ref, now).await?;
        transaction.commit().await?;
        Ok(state)
    }

    /// The task's state; writes nothing.
    pub async fn look(&self, task_ref: &TaskRef<'_>, now: DateTime<Utc>) -> Result<TaskState, Error> {
        // Dropped, it leaves nothing behind.
        let mut transaction = self.0.begin().await?;
        Ok(transaction.count(task_ref, now).await?.state(task_ref))
    }

    /// Every recorded run of the tasks with this key, in all their lives, in their order: of these functions.
    pub async fn of_key(&self, functions: &[&str], key: &str) -> Result<Vec<RecordedRun>, Error> {
        let runs = sqlx::query_as!(
            RecordedRun,
            "
            SELECT function, life, run, kind, reason, error, revision, instance, user_id, began_at, at
            FROM jobs.failures WHERE function = ANY ($1) AND key = $2 ORDER BY function, life, at
            ",
            functions as _,
            key,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(runs)
    }

    /// Records a run before it begins, so that it counts if nothing more is heard of it.
    pub async fn run_started(
        &self,
        task_ref: &TaskRef<'_>,
        run: &Run<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let cause = Cause {
            reason: "never_reported_back",
            error: "the run never reported back",
            fingerprint: "never_reported_back",
            is_permanent: false,
        };
        let mut transaction = self.failures_of(task_ref).await?;
        transaction.write(task_ref, run, "started", &cause, now).await?;
        transaction.commit().await
    }

    /// Records, on behalf of a run whose lease expired at `expired_at`, that it was killed; unless the run has said itself
    /// how it ended, or the task has ended. Returns the task's state now.
    pub async fn run_killed(
        &self,
        task_ref: &TaskRef<'_>,
        run: &Run<'_>,
        expired_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<TaskState, Error> {
        let cause = Cause {
            reason: "killed",
            error: "the process was killed or stopped answering while the task ran",
            fingerprint: "killed",
            is_permanent: false,
        };
        let mut transaction = self.failures_of(task_ref).await?;
        let before = transaction.count(task_ref, now).await?.state(task_ref);
        let state = match before {
            TaskState::Done | TaskState::Dead => before,
            TaskState::Go { .. } | TaskState::Wait(_) => {
                transaction.write(task_ref, run, "killed", &cause, expired_at).await?;
                transaction.settle(task_ref, now).await?
            }
        };
        transaction.commit().await?;
        Ok(state)
    }

    /// Records a failed run; the last failure, or a permanent one, writes the dead letter in the same transaction. Answers
    /// the task's state now.
    pub async fn run_failed(
        &self,
        task_ref: &TaskRef<'_>,
        run: &Run<'_>,
        cause: &Cause<'_>,
        now: DateTime<Utc>,
    ) -> Result<TaskState, Error> {
        let kind = if cause.is_permanent { "permanent" } else { "failed" };
        let mut transaction = self.failures_of(task_ref).await?;
        transaction.write(task_ref, run, kind, cause, now).await?;
        let state = transaction.settle(task_ref, now).await?;
        transaction.commit().await?;
        Ok(state)
    }

    /// Records that a run whose lease may be taken for that of a killed one ended well: it counts for nothing, and if the
    /// task is done, the dead letter that its supposed death opened is closed.
    pub async fn run_ended(
        &self,
        task_ref: &TaskRef<'_>,
        run: &Run<'_>,
        is_done: bool,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let kind = if is_done { "done" } else { "ended" };
        let cause = Cause { reason: kind, error: "", fingerprint: "", is_permanent: false };
        let mut transaction = self.failures_of(task_ref).await?;
        transaction.write(task_ref, run, kind, &cause, now).await?;
        if is_done {
            transaction
                .close_dead_letter(&dead_letter_id(task_ref.function, task_ref.key), task_ref.life, now)
                .await?;
        }
        transaction.commit().await
    }

    /// A transaction that alone counts or writes this task's failures.
    async fn failures_of(&self, task_ref: &TaskRef<'_>) -> Result<Transaction, Error> {
        let mut transaction = self.0.begin().await?;
        let name = format!("failures:{}:{}", task_ref.function, task_ref.key);
        sqlx::query!("SELECT FROM pg_advisory_xact_lock(hashtextextended($1, 0))", name)
            .execute(transaction.statement())
            .await?;
        Ok(transaction)
    }
}

impl Transaction {
    async fn write(
        &mut self,
        task_ref: &TaskRef<'_>,
        run: &Run<'_>,
        kind: &str,
        cause: &Cause<'_>,
        at: DateTime<Utc>,
    ) -> Result<(), Error> {
        sqlx::query!(
            "
            INSERT INTO jobs.failures AS old
                (function, key, life, run, kind, reason, error, fingerprint, revision, instance, alone, user_id, began_at, at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
            ON CONFLICT (function, key, life, run) DO UPDATE
            SET kind = excluded.kind, reason = excluded.reason, error = excluded.error,
                fingerprint = excluded.fingerprint, at = excluded.at
            WHERE old.kind = 'started' OR old.kind = 'killed' AND excluded.kind <> 'killed'
            ",
            task_ref.function,
            task_ref.key,
            task_ref.life.cast_signed(),
            run.id,
            kind,
            cause.reason,
            shortened(cause.error, TEXT_CHARS),
            cause.fingerprint,
            run.revision,
            run.instance,
            run.alone,
            task_ref.user_id,
            run.began_at,
            at,
        )
        .execute(self.statement())
        .await?;
        Ok(())
    }

    /// Counts, and writes the dead letter if there should be one and is none.
    async fn settle(&mut self, task_ref: &TaskRef<'_>, now: DateTime<Utc>) -> Result<TaskState, Error> {
        let count = self.count(task_ref, now).await?;
        let state = count.state(task_ref);
        let has_dead_letter = u32::try_from(count.deaths).unwrap_or_default() > task_ref.life;
        if state == TaskState::Dead && !has_dead_letter {
            self.open_dead_letter_for_failures(task_ref, now).await?;
        }
        Ok(state)
    }

    /// Kills that share an instance prove nothing about any of their tasks, unless the run was alone on it.
    async fn count(&mut self, task_ref: &TaskRef<'_>, now: DateTime<Utc>) -> Result<Count, Error> {
        let count = sqlx::query_as!(
            Count,
            r#"
            WITH runs AS (
                SELECT f.*, f.kind = 'killed' AND NOT f.alone AND EXISTS (
                    SELECT FROM jobs.failures other
                    WHERE other.kind = 'killed' AND other.instance = f.instance
                      AND (other.function, other.key) <> (f.function, f.key)
                ) AS in_company
                FROM jobs.failures f
                WHERE f.function = $1 AND f.key = $2 AND f.life = $3
            )
            SELECT
                COALESCE(bool_or(kind = 'done'), false) AS "is_done!",
                COALESCE(bool_or(kind = 'permanent'), false) AS "is_permanent!",
                count(*) FILTER (
                    WHERE kind = 'failed' OR kind = 'killed' AND NOT in_company
                       OR kind = 'started' AND began_at + $5::interval <= $4
                ) AS "failures!",
                max(at + $6::interval) FILTER (
                    WHERE kind = 'killed' AND NOT alone AND NOT in_company AND at + $6::interval > $4
                ) AS unproven_until,
                max(began_at + $5::interval) FILTER (
                    WHERE kind = 'started' AND began_at + $5::interval > $4
                ) AS running_until,
                (array_agg(kind ORDER BY at DESC) FILTER (WHERE kind IN ('failed', 'permanent', 'killed')))[1] AS last_kind,
                COALESCE((SELECT deaths FROM jobs.dead_letters WHERE id = $7), 0) AS "deaths!"
            FROM runs
            "#,
            task_ref.function,
            task_ref.key,
            task_ref.life.cast_signed(),
            now,
            interval(task_ref.timeout),
            interval(task_ref.company_window),
            dead_letter_id(task_ref.function, task_ref.key),
        )
        .fetch_one(self.statement())
        .await?;
        Ok(count)
    }
}

fn interval(time: TimeDelta) -> sqlx::postgres::types::PgInterval {
    sqlx::postgres::types::PgInterval {
        months: 0,
        days: 0,
        microseconds: time.num_microseconds().unwrap_or(i64::MAX),
    }
}

/// The dead letter of a task, in all its lives.
pub(super) fn dead_letter_id(function: &str, key: &str) -> String {
    crate::envelope::sha256_hex([function, "\0", key])
}
