//! Contacts whose people are gone are archived, and never deleted.

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

use super::ContactsPage;

impl ContactsPage {
    /// Archives the contacts of people that were deleted in Google, and answers who was not archived before.
    pub async fn archive(&mut self, resource_names: &[&str], now: DateTime<Utc>) -> Result<Vec<Uuid>, Error> {
        if resource_names.is_empty() {
            return Ok(Vec::new());
        }
        let archived = sqlx::query_scalar!(
            "
            WITH archived AS (
                UPDATE contacts c SET archived = true, archived_at = $3, last_synced_at = $3
                FROM unnest($2::text[]) AS deleted(resource_name)
                CROSS JOIN LATERAL (
                    SELECT id FROM contacts WHERE user_id = $1 AND google_resource_name = deleted.resource_name OFFSET 0
                ) gone
                WHERE c.id = gone.id AND c.archived IS NOT TRUE
                RETURNING c.id
            ), memberships AS (
                DELETE FROM contact_google_memberships m USING archived a WHERE m.contact_id = a.id
            )
            SELECT id FROM archived
            ",
            self.user_id,
            resource_names as _,
            now,
        )
        .fetch_all(self.tx.statement())
        .await?;
        Ok(archived)
    }

    /// Ends a full sync: archives the Google contacts that it did not meet, but for those that another sync wrote since
    /// the run began, and forgets the run. Answers who was archived; `None` when another task has ended the run before.
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
