//! `jobs.sweeps`: what became of a sweep and of the tasks that it created; `jobs.swept_users`: whose tasks are not over.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Database, Error};
use crate::queue::Queue;

/// A sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentSweep {
    /// What names it.
    pub id: String,
    /// Whether it went through all its pages.
    pub is_finished: bool,
}

/// A sweep, and what became of it.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PastSweep {
    /// The queue, by its function.
    pub queue: String,
    /// What names it.
    pub id: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it had gone through all its pages.
    pub finished_at: Option<DateTime<Utc>>,
    /// Tasks that it created.
    pub tasks: i64,
    /// Results of them that were good: a task may have several, and most queues count none.
    pub succeeded: i64,
    /// Those that were bad.
    pub failed: i64,
}

/// A page of a sweep that is about to begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BeginningPage<'a> {
    pub(crate) queue: Queue,
    pub(crate) sweep_id: &'a str,
    /// The sweeps of the same schedule have ids that begin with this.
    pub(crate) prefix: &'a str,
    /// When the next sweep of the schedule is due.
    pub(crate) period_end: DateTime<Utc>,
    /// Not the sweep's first page.
    pub(crate) continues: bool,
}

/// The sweeps.
#[derive(Debug, Clone)]
pub struct Sweeps(pub(super) Database);

impl From<Database> for Sweeps {
    fn from(database: Database) -> Self {
        Self(database)
    }
}

impl Sweeps {
    /// The newest sweeps of these queues, at most `per_queue` of each, the newest first.
    pub async fn newest(&self, queues: &[&str], per_queue: u32) -> Result<Vec<PastSweep>, Error> {
        let sweeps = sqlx::query_as!(
            PastSweep,
            r#"
            SELECT newest.queue AS "queue!", newest.sweep_id AS "id!", newest.started_at AS "started_at!", newest.finished_at,
                   newest.tasks AS "tasks!", newest.succeeded AS "succeeded!", newest.failed AS "failed!"
            FROM UNNEST($1::text[]) AS asked (queue)
            CROSS JOIN LATERAL (
                SELECT queue, sweep_id, started_at, finished_at, tasks, succeeded, failed FROM jobs.sweeps
                WHERE queue = asked.queue ORDER BY started_at DESC LIMIT $2
            ) AS newest
            ORDER BY newest.started_at DESC
            "#,
            queues as _,
            i64::from(per_queue),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(sweeps)
    }

    /// Begins a page of a sweep; `false`, and nothing recorded, when the sweep is superseded.
    ///
    /// Due users are found by their state, so a sweep that began later covers this one, whichever period it is of: one
    /// that began after this one, or, for a sweep that comes late, after this one's period. A sweep that continues is
    /// superseded by a finished one only: if sweeps took longer than their period, the last users would never be swept.
    pub(crate) async fn begin_page(
        &self,
        page: BeginningPage<'_>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let begins = sqlx::query_scalar!(
            r#"
            WITH other AS (
                SELECT EXISTS (
                    SELECT FROM jobs.sweeps s
                    WHERE s.queue = $1 AND s.sweep_id <> $2 AND starts_with(s.sweep_id, $3)
                      AND (s.finished_at IS NOT NULL OR NOT $6)
                      AND s.started_at >= $4
                      AND s.started_at > ALL (
                        SELECT started_at FROM jobs.sweeps WHERE queue = $1 AND sweep_id = $2
                      )
                ) AS supersedes
            ), begun AS (
                INSERT INTO jobs.sweeps (queue, sweep_id, started_at)
                SELECT $1, $2, $5 FROM other WHERE NOT supersedes AND NOT $6
                ON CONFLICT DO NOTHING
            )
            SELECT NOT supersedes AS "begins!" FROM other
            "#,
            page.queue.name(),
            page.sweep_id,
            page.prefix,
            page.period_end,
            now,
            page.continues,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(begins)
    }

    /// Adds a page to a sweep that has begun. Count only tasks that are new, so that a page which runs twice counts once.
    pub async fn add_page(
        &self,
        queue: Queue,
        sweep_id: &str,
        created: u64,
        finished: bool,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        sqlx::query!(
            "
            UPDATE jobs.sweeps
            SET tasks = tasks + $3, finished_at = CASE WHEN $4::boolean THEN $5::timestamptz ELSE finished_at END
            WHERE queue = $1 AND sweep_id = $2
            ",
            queue.name(),
            sweep_id,
            created.cast_signed(),
            finished,
            now,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// Of these users, in the order of their ids, those for whom the sweep creates a task in the queue: whose task of
    /// an earlier sweep has ended. Its own ones count as open until `until`, [`Self::users_swept`] or
    /// [`Self::user_task_ended`].
    ///
    /// A name does not serve for this: Cloud Tasks blocks it for up to a day after its task. A row is written before the
    /// task is created and kept after it, so a page that runs twice neither misses nor repeats a user.
    pub async fn sweep_users(
        &self,
        queue: Queue,
        sweep_id: &str,
        users: &[Uuid],
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Uuid>, Error> {
        let users = sqlx::query_scalar!(
            r#"
            WITH swept AS (
                INSERT INTO jobs.swept_users AS s (user_id, queue, sweep_id, until)
                SELECT user_id, $1, $2, $4 FROM unnest($3::uuid[]) AS u (user_id) ORDER BY user_id
                ON CONFLICT (user_id, queue) DO UPDATE SET sweep_id = excluded.sweep_id, until = excluded.until
                WHERE s.sweep_id <> excluded.sweep_id AND s.until <= $5
                RETURNING user_id
            )
            SELECT user_id AS "user_id!" FROM swept
            UNION
            SELECT user_id FROM jobs.swept_users WHERE user_id = ANY ($3) AND queue = $1 AND sweep_id = $2
            ORDER BY 1
            "#,
            queue.name(),
            sweep_id,
            users,
            until,
            now,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(users)
    }

    /// The tasks of these users were created, and count as open until `until`; those that have ended meanwhile do not.
    pub async fn users_swept(
        &self,
        queue: Queue,
        sweep_id: &str,
        users: &[Uuid],
        creating_until: DateTime<Utc>,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        sqlx::query!(
            "
            UPDATE jobs.swept_users SET until = $5
            WHERE user_id = ANY ($3) AND queue = $1 AND sweep_id = $2 AND until > $6 AND until <= $4
            ",
            queue.name(),
            sweep_id,
            users,
            creating_until,
            until,
            now,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// The user's task of a sweep has ended: the next sweep may create another.
    pub(crate) async fn user_task_ended(
        &self,
        queue: Queue,
        user_id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE jobs.swept_users SET until = $3 WHERE user_id = $1 AND queue = $2 AND until > $3",
            user_id,
            queue.name(),
            now,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// The `limit` sweeps of a queue that began last.
    pub async fn recent(&self, queue: Queue, limit: u32) -> Result<Vec<RecentSweep>, Error> {
        let sweeps = sqlx::query_as!(
            RecentSweep,
            r#"
            SELECT sweep_id AS id, finished_at IS NOT NULL AS "is_finished!"
            FROM jobs.sweeps WHERE queue = $1 ORDER BY started_at DESC LIMIT $2
            "#,
            queue.name(),
            i64::from(limit),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(sweeps)
    }

    /// Adds the results of a sweep's task. A sweep that went through all its pages is marked as long as failures are
    /// more than the share `high_above` of its tasks, or of its results if these are more; returns whether this result
    /// is what marks it. Several that come at the same time may all be told so.
    pub async fn add_result(
        &self,
        queue: Queue,
        sweep_id: &str,
        succeeded: u64,
        failed: u64,
        high_above: f64,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let becomes_high = sqlx::query_scalar!(
            r#"
            WITH before AS (SELECT high_failure_rate FROM jobs.sweeps WHERE queue = $1 AND sweep_id = $2)
            INSERT INTO jobs.sweeps AS s (queue, sweep_id, started_at, succeeded, failed)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (queue, sweep_id) DO UPDATE
            SET succeeded = s.succeeded + excluded.succeeded, failed = s.failed + excluded.failed,
                high_failure_rate = s.finished_at IS NOT NULL AND s.failed + excluded.failed
                    > $6::float8
                      * GREATEST(s.tasks, s.succeeded + excluded.succeeded + s.failed + excluded.failed)
            RETURNING high_failure_rate AND NOT COALESCE((SELECT high_failure_rate FROM before), false)
                AS "becomes_high!"
            "#,
            queue.name(),
            sweep_id,
            now,
            succeeded.cast_signed(),
            failed.cast_signed(),
            high_above,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(becomes_high)
    }
}
