//! `jobs.dead_letters`: tasks that ended without success, with the body as it arrived.
//!
//! A dead letter is `open` until it is replayed, `replaying` while its new task is created, `sent` after that; it
//! counts its deaths, and each death belongs to one life of its task: nothing late from an earlier life opens it again.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::failures::{TaskRef, dead_letter_id};
use super::{Database, Error, Transaction, shortened};

/// Longest text that is kept, the body aside.
const TEXT_CHARS: usize = 1000;

/// A task that died without a run.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    /// The task.
    pub task_ref: TaskRef<'a>,
    /// Stable code.
    pub reason: &'static str,
    /// For people: no secret, no personal datum.
    pub error: &'a str,
}

/// Which dead letters are meant, of those that were not replayed; each condition that is given must be true.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Of one function.
    pub function: Option<&'a str>,
    /// With this stable code.
    pub reason: Option<&'a str>,
    /// That look the same.
    pub fingerprint: Option<&'a str>,
    /// Of one user.
    pub user_id: Option<Uuid>,
    /// That died from then on.
    pub since: Option<DateTime<Utc>>,
    /// That died before then.
    pub until: Option<DateTime<Utc>>,
}

/// Dead letters of a function that were not replayed.
#[derive(Debug, Clone)]
pub struct OpenCount {
    /// The function.
    pub function: String,
    /// How many.
    pub count: i64,
}

/// A dead letter as it is kept.
#[derive(Debug, Clone)]
pub struct StoredDeadLetter {
    /// Names the task.
    pub id: String,
    /// Name of the function.
    pub function: String,
    /// Key of the task.
    pub key: String,
    /// Short name of the task.
    pub task_name: Option<String>,
    /// `open`, `replaying` or `sent`.
    pub state: String,
    /// How often the task died: the life that a replay begins.
    pub deaths: i32,
    /// Failures of all its lives.
    pub failures: i64,
    /// Stable code.
    pub reason: String,
    /// For people.
    pub error: String,
    /// The same for failures that look the same.
    pub fingerprint: String,
    /// The user whom the task is about.
    pub user_id: Option<Uuid>,
    /// The body as it arrived: personal.
    pub body: Vec<u8>,
    /// When it died for the first time.
    pub created_at: DateTime<Utc>,
    /// When it died last, or was replayed.
    pub updated_at: DateTime<Utc>,
}

/// A run of a dead letter's task, as it is shown.
#[derive(Debug, Clone)]
pub struct StoredFailure {
    /// The task's life.
    pub life: i32,
    /// How it ended.
    pub kind: String,
    /// Stable code.
    pub reason: String,
    /// For people.
    pub error: String,
    /// What ran.
    pub revision: String,
    /// When it ended.
    pub at: DateTime<Utc>,
}

/// The dead letters.
#[derive(Debug, Clone)]
pub struct DeadLetters(Database);

impl From<Database> for DeadLetters {
    fn from(database: Database) -> Self {
        Self(database)
    }
}

impl DeadLetters {
    /// Dead letters that were not replayed, oldest first.
    pub async fn list_open(&self, filter: &Filter<'_>, limit: u32) -> Result<Vec<StoredDeadLetter>, Error> {
        let dead_letters = sqlx::query_as!(
            StoredDeadLetter,
            r#"
            SELECT id, function, key, task_name, state, deaths, reason, error, fingerprint, user_id, body, created_at,
                   updated_at,
                   (SELECT count(*) FROM jobs.failures f
                    WHERE f.function = letter.function AND f.key = letter.key
                      AND f.kind IN ('failed', 'permanent', 'killed', 'started')) AS "failures!"
            FROM jobs.dead_letters letter
            WHERE state <> 'sent' AND ($1::text IS NULL OR function = $1) AND ($2::text IS NULL OR reason = $2)
              AND ($3::text IS NULL OR fingerprint = $3) AND ($4::uuid IS NULL OR user_id = $4)
              AND updated_at >= COALESCE($5::timestamptz, '-infinity')
              AND updated_at < COALESCE($6::timestamptz, 'infinity')
            ORDER BY created_at, id LIMIT $7
            "#,
            filter.function,
            filter.reason,
            filter.fingerprint,
            filter.user_id,
            filter.since,
            filter.until,
            i64::from(limit),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(dead_letters)
    }

    /// The ids of dead letters that were not replayed, oldest first.
    pub async fn open_ids(&self, filter: &Filter<'_>, limit: u32) -> Result<Vec<String>, Error> {
        let ids = sqlx::query_scalar!(
            "
            SELECT id FROM jobs.dead_letters
            WHERE state <> 'sent' AND ($1::text IS NULL OR function = $1) AND ($2::text IS NULL OR reason = $2)
              AND ($3::text IS NULL OR fingerprint = $3) AND ($4::uuid IS NULL OR user_id = $4)
              AND updated_at >= COALESCE($5::timestamptz, '-infinity')
              AND updated_at < COALESCE($6::timestamptz, 'infinity')
            ORDER BY created_at, id LIMIT $7
            ",
            filter.function,
            filter.reason,
            filter.fingerprint,
            filter.user_id,
            filter.since,
            filter.until,
            i64::from(limit),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(ids)
    }

    /// How many dead letters were not replayed.
    pub async fn count_open(&self, filter: &Filter<'_>) -> Result<i64, Error> {
        let count = sqlx::query_scalar!(
            r#"
            SELECT count(*) AS "count!" FROM jobs.dead_letters
            WHERE state <> 'sent' AND ($1::text IS NULL OR function = $1) AND ($2::text IS NULL OR reason = $2)
              AND ($3::text IS NULL OR fingerprint = $3) AND ($4::uuid IS NULL OR user_id = $4)
              AND updated_at >= COALESCE($5::timestamptz, '-infinity')
              AND updated_at < COALESCE($6::timestamptz, 'infinity')
            "#,
            filter.function,
            filter.reason,
            filter.fingerprint,
            filter.user_id,
            filter.since,
            filter.until,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(count)
    }

    /// How many dead letters of each function were not replayed; a function without one is not listed.
    pub async fn open_by_function(&self) -> Result<Vec<OpenCount>, Error> {
        let counts = sqlx::query_as!(
            OpenCount,
            r#"SELECT function, count(*) AS "count!" FROM jobs.dead_letters WHERE state <> 'sent' GROUP BY function"#,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(counts)
    }

    /// The dead letters with that key, sent or not: of one function, or of all of these.
    pub async fn of_key(&self, functions: &[&str], key: &str) -> Result<Vec<StoredDeadLetter>, Error> {
        let dead_letters = sqlx::query_as!(
            StoredDeadLetter,
            r#"
            SELECT id, function, key, task_name, state, deaths, reason, error, fingerprint, user_id, body, created_at,
                   updated_at,
                   (SELECT count(*) FROM jobs.failures f
                    WHERE f.function = letter.function AND f.key = letter.key
                      AND f.kind IN ('failed', 'permanent', 'killed', 'started')) AS "failures!"
            FROM jobs.dead_letters letter WHERE function = ANY ($1) AND key = $2 ORDER BY function
            "#,
            functions as _,
            key,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(dead_letters)
    }

    /// The dead letter of that id, sent or not.
    pub async fn get(&self, id: &str) -> Result<Option<StoredDeadLetter>, Error> {
        let dead_letter = sqlx::query_as!(
            StoredDeadLetter,
            r#"
            SELECT id, function, key, task_name, state, deaths, reason, error, fingerprint, user_id, body, created_at,
                   updated_at,
                   (SELECT count(*) FROM jobs.failures f
                    WHERE f.function = letter.function AND f.key = letter.key
                      AND f.kind IN ('failed', 'permanent', 'killed', 'started')) AS "failures!"
            FROM jobs.dead_letters letter WHERE id = $1
            "#,
            id,
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(dead_letter)
    }

    /// Every failed run of every life of a dead letter's task, in their order.
    pub async fn failures_of(&self, dead_letter: &StoredDeadLetter) -> Result<Vec<StoredFailure>, Error> {
        let failures = sqlx::query_as!(
            StoredFailure,
            "
            SELECT life, kind, reason, error, revision, at FROM jobs.failures
            WHERE function = $1 AND key = $2 AND kind IN ('failed', 'permanent', 'killed', 'started')
            ORDER BY life, at
            ",
            dead_letter.function,
            dead_letter.key,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(failures)
    }

    /// Writes the dead letter of a task that died without a run: its body is of no use.
    pub async fn record(&self, dead_letter: &DeadLetter<'_>, now: DateTime<Utc>) -> Result<(), Error> {
        let mut transaction = self.0.begin().await?;
        transaction
            .open_dead_letter(
                &dead_letter.task_ref,
                dead_letter.reason,
                dead_letter.error,
                dead_letter.reason,
                now,
            )
            .await?;
        transaction.commit().await
    }
}

impl Transaction {
    /// Opens the dead letter for the last of the task's recorded failures.
    pub(super) async fn open_dead_letter_for_failures(
        &mut self,
        task_ref: &TaskRef<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let last = sqlx::query!(
            "
            SELECT reason, error, fingerprint FROM jobs.failures
            WHERE function = $1 AND key = $2 AND life = $3 AND kind IN ('failed', 'permanent', 'killed', 'started')
            ORDER BY kind = 'permanent' DESC, at DESC LIMIT 1
            ",
            task_ref.function,
            task_ref.key,
            task_ref.life.cast_signed(),
        )
        .fetch_one(self.statement())
        .await?;
        self.open_dead_letter(task_ref, &last.reason, &last.error, &last.fingerprint, now).await
    }

    /// The death of life n counts only where n deaths are known.
    async fn open_dead_letter(
        &mut self,
        task_ref: &TaskRef<'_>,
        reason: &str,
        error: &str,
        fingerprint: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        sqlx::query!(
            "
            INSERT INTO jobs.dead_letters AS old
                (id, function, key, task_name, state, deaths, reason, error, fingerprint, body, user_id, trace,
                 created_at, updated_at)
            VALUES ($1, $2, $3, $4, 'open', $5 + 1, $6, $7, $8, $9, $10, $11, $12, $12)
            ON CONFLICT (id) DO UPDATE
            SET state = 'open', deaths = excluded.deaths, reason = excluded.reason, error = excluded.error,
                fingerprint = excluded.fingerprint, updated_at = excluded.updated_at
            WHERE old.deaths = $5
            ",
            dead_letter_id(task_ref.function, task_ref.key),
            task_ref.function,
            task_ref.key,
            task_ref.task_name.map(|name| shortened(name, TEXT_CHARS)),
            task_ref.life.cast_signed(),
            shortened(reason, TEXT_CHARS),
            shortened(error, TEXT_CHARS),
            shortened(fingerprint, TEXT_CHARS),
            task_ref.body,
            task_ref.user_id,
            task_ref.trace.map(|trace| shortened(trace, TEXT_CHARS)),
            now,
        )
        .execute(self.statement())
        .await?;
        Ok(())
    }

    /// The task did not die in this life after all.
    pub(super) async fn close_dead_letter(
        &mut self,
        id: &str,
        life: u32,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let deaths = life.cast_signed();
        sqlx::query!(
            "DELETE FROM jobs.dead_letters WHERE id = $1 AND deaths = 1 AND $2 = 0 AND state = 'open'",
            id,
            deaths,
        )
        .execute(self.statement())
        .await?;
        sqlx::query!(
            "
            UPDATE jobs.dead_letters SET state = 'sent', deaths = $2, updated_at = $3
            WHERE id = $1 AND deaths = $2 + 1 AND state = 'open'
            ",
            id,
            deaths,
            now,
        )
        .execute(self.statement())
        .await?;
        Ok(())
    }
}
