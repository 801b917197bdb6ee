//! `jobs.sweeps`: what became of a sweep and of the tasks that it created.

use chrono::{DateTime, Utc};

use super::{Db, Error};
use crate::queue::Queue;

/// A sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentSweep {
    /// What names it.
    pub id: String,
    /// Whether it went through all its pages.
    pub is_finished: bool,
}

impl Db {
    /// Adds a page to a sweep. Count only tasks that are new, so that a page which runs twice counts once.
    pub async fn sweep_page(
        &self,
        queue: Queue,
        sweep_id: &str,
        created: u64,
        finished: bool,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        sqlx::query!(
            "
            INSERT INTO jobs.sweeps AS s (queue, sweep_id, started_at, tasks, finished_at)
            VALUES ($1, $2, $3, $4, CASE WHEN $5::boolean THEN $3::timestamptz END)
            ON CONFLICT (queue, sweep_id) DO UPDATE
            SET tasks = s.tasks + excluded.tasks, finished_at = COALESCE(excluded.finished_at, s.finished_at)
            ",
            queue.name(),
            sweep_id,
            now,
            created.cast_signed(),
            finished,
        )
        .execute(self.statement())
        .await?;
        Ok(())
    }

    /// The `limit` sweeps of a queue that began last.
    pub async fn recent_sweeps(&self, queue: Queue, limit: u32) -> Result<Vec<RecentSweep>, Error> {
        let sweeps = sqlx::query_as!(
            RecentSweep,
            r#"
            SELECT sweep_id AS id, finished_at IS NOT NULL AS "is_finished!"
            FROM jobs.sweeps WHERE queue = $1 ORDER BY started_at DESC LIMIT $2
            "#,
            queue.name(),
            i64::from(limit),
        )
        .fetch_all(self.statement())
        .await?;
        Ok(sweeps)
    }

    /// Adds the results of a sweep's task. A sweep that went through all its pages is marked as long as failures are more
    /// than the share `high_above` of its tasks, or of its results if these are more; answers whether this result is what
    /// marks it. Several that come at the same time may all be told so.
    pub async fn sweep_result(
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
        .fetch_one(self.statement())
        .await?;
        Ok(becomes_high)
    }
}
