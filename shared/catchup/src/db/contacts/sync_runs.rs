//! `jobs.contacts_sync_*`: what a sync of contacts remembers between its pages, in the database instead of in memory.

use chrono::{DateTime, TimeDelta, Utc};
use shared::db::Error;
use uuid::Uuid;

use super::{Contacts, ContactsPage};

/// A run that began this long ago has been given up.
const GIVEN_UP_AFTER: TimeDelta = TimeDelta::days(2);

impl Contacts {
    /// Begins a run, and clears away what runs that were given up left behind. Beginning it again changes nothing.
    pub async fn begin_run(&self, run: Uuid, user_id: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
        sqlx::query!(
            "
            WITH given_up AS (DELETE FROM jobs.contacts_sync_runs WHERE started_at < $4 AND run <> $1)
            INSERT INTO jobs.contacts_sync_runs (run, user_id, started_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
            ",
            run,
            user_id,
            now,
            now - GIVEN_UP_AFTER,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// Ends a run without consequences.
    pub async fn end_run(&self, run: Uuid) -> Result<(), Error> {
        sqlx::query!("DELETE FROM jobs.contacts_sync_runs WHERE run = $1", run)
            .execute(self.0.statement())
            .await?;
        Ok(())
    }
}

impl ContactsPage {
    /// Marks people as met by a full sync. `false` when the run has ended: another task has finished it.
    pub async fn mark_seen(&mut self, run: Uuid, resource_names: &[&str]) -> Result<bool, Error> {
        let running = sqlx::query_scalar!(
            r#"
            WITH running AS (SELECT run FROM jobs.contacts_sync_runs WHERE run = $1), seen AS (
                INSERT INTO jobs.contacts_sync_seen (run, resource_name)
                SELECT running.run, met.resource_name
                FROM running CROSS JOIN unnest($2::text[]) AS met(resource_name)
                ON CONFLICT DO NOTHING
            )
            SELECT EXISTS (SELECT FROM running) AS "running!"
            "#,
            run,
            resource_names as _,
        )
        .fetch_one(self.tx.statement())
        .await?;
        Ok(running)
    }
}
