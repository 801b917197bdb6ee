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
    /// Copies what the user's free contacts can be matched with to where [`ContactsPage::match_unlinked`] finds it
    /// by index. Begins the run, if need be.
    pub async fn gather_unlinked(&mut self, run: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
        sqlx::query!(
            "
            WITH begun AS (
                INSERT INTO jobs.contacts_sync_runs (run, user_id, started_at) VALUES ($1, $2, $3)
                ON CONFLICT DO NOTHING
            )
            INSERT INTO jobs.contacts_sync_unlinked (run, contact_id, email, phone)
            SELECT $1, id, email, phone
            FROM (
                SELECT id, NULLIF(lower(btrim(email)), '') AS email,
                       NULLIF(regexp_replace(phone, '[^0-9]', '', 'g'), '') AS phone
                FROM contacts
                WHERE user_id = $2
                  AND (google_resource_name IS NULL OR (archived AND archived_at = last_synced_at))
            ) AS free
            WHERE email IS NOT NULL OR phone IS NOT NULL
            ON CONFLICT DO NOTHING
            ",
            run,
            self.user_id,
            now,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(())
    }

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

    /// Ends a full sync: archives the Google contacts that it did not meet, but for those that another sync wrote since
    /// the run began, and forgets the run. Returns who was archived; `None` when another task has ended the run before.
    pub async fn archive_unseen(
        &mut self,
        run: Uuid,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<Uuid>>, Error> {
        let archived = sqlx::query_scalar!(
            "
            WITH archived AS (
                UPDATE contacts c SET archived = true, archived_at = $3, last_synced_at = $3
                FROM jobs.contacts_sync_runs r
                WHERE r.run = $2 AND c.user_id = $1 AND c.google_resource_name IS NOT NULL
                  AND c.archived IS NOT TRUE AND (c.last_synced_at < r.started_at) IS NOT FALSE
                  AND NOT EXISTS (
                      SELECT FROM jobs.contacts_sync_seen s WHERE s.run = $2 AND s.resource_name = c.google_resource_name
                  )
                RETURNING c.id
            ), memberships AS (
                DELETE FROM contact_google_memberships m USING archived a WHERE m.contact_id = a.id
            )
            SELECT id FROM archived
            ",
            self.user_id,
            run,
            now,
        )
        .fetch_all(self.tx.statement())
        .await?;
        let ended = sqlx::query!("DELETE FROM jobs.contacts_sync_runs WHERE run = $1", run)
            .execute(self.tx.statement())
            .await?;
        Ok((ended.rows_affected() == 1).then_some(archived))
    }
}
