//! Contacts whose people are gone are archived, and never deleted.

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

use super::ContactsPage;

/// Contacts that one statement archives.
const STEP: i64 = 2_000;

/// What a full sync did not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissedContacts {
    /// Contacts whose people were not listed.
    pub unseen: u64,
    /// Contacts with a person that were there before the run.
    pub before: u64,
}

impl ContactsPage {
    /// Archives the contacts of people that were deleted in Google, and returns which were not archived before. They may be
    /// matched with another person: `gathered` puts them where [`ContactsPage::match_candidates`] finds them.
    pub async fn archive(
        &mut self,
        resource_names: &[&str],
        gathered: bool,
        now: DateTime<Utc>,
    ) -> Result<Vec<Uuid>, Error> {
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
                RETURNING c.id, c.email, c.phone
            ), memberships AS (
                DELETE FROM contact_google_memberships m USING archived a WHERE m.contact_id = a.id
            ), candidates AS (
                INSERT INTO jobs.contacts_sync_candidates (user_id, contact_id, email, phone)
                SELECT $1, id, NULLIF(lower(btrim(email)), ''), NULLIF(regexp_replace(phone, '[^0-9]', '', 'g'), '')
                FROM archived
                WHERE $4::boolean
                ON CONFLICT DO NOTHING
            )
            SELECT id FROM archived
            ",
            self.user_id,
            resource_names as _,
            now,
            gathered,
        )
        .fetch_all(self.tx.statement())
        .await?;
        Ok(archived)
    }

    /// Copies the contacts whose people a full sync, all of whose pages are written, did not list to where
    /// [`ContactsPage::match_candidates`] finds them, for as long as they keep their person; if it inserted any contact, those
    /// that are archived, too, by a sync or by the user. Returns how many there are.
    ///
    /// A contact that another sync wrote since the run began is left out.
    pub async fn gather_unseen(&mut self, run: Uuid) -> Result<u64, Error> {
        self.clear_candidates().await?;
        let gathered = sqlx::query!(
            "
            INSERT INTO jobs.contacts_sync_candidates (user_id, contact_id, email, phone, resource_name)
            SELECT $1, c.id, NULLIF(lower(btrim(c.email)), ''), NULLIF(regexp_replace(c.phone, '[^0-9]', '', 'g'), ''),
                   c.google_resource_name
            FROM jobs.contacts_sync_state r
            JOIN contacts c ON c.user_id = r.user_id
            WHERE r.user_id = $1 AND r.run = $2 AND (c.last_synced_at < r.run_started_at) IS NOT FALSE
              AND (c.google_resource_name IN (
                  SELECT unnest(p.seen) FROM jobs.contacts_sync_pages p WHERE p.user_id = $1 AND p.run = $2
              )) IS NOT TRUE
              AND CASE
                  WHEN c.archived IS NOT TRUE THEN c.google_resource_name IS NOT NULL
                  ELSE EXISTS (
                      SELECT FROM jobs.contacts_sync_pages p
                      WHERE p.user_id = $1 AND p.run = $2 AND p.inserted <> '{}'
                  )
              END
            ",
            self.user_id,
            run,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(gathered.rows_affected())
    }

    /// How many contacts [`ContactsPage::gather_unseen`] found that are not archived, of how many.
    pub async fn missed(&mut self, run: Uuid) -> Result<MissedContacts, Error> {
        let count = sqlx::query!(
            r#"
            SELECT (
                       SELECT count(*)
                       FROM jobs.contacts_sync_candidates k
                       JOIN contacts c ON c.id = k.contact_id AND c.archived IS NOT TRUE
                       WHERE k.user_id = $1
                   ) AS "unseen!",
                   (
                       SELECT count(*) FROM contacts
                       WHERE user_id = $1 AND google_resource_name IS NOT NULL AND archived IS NOT TRUE
                   ) - (
                       SELECT COALESCE(sum(cardinality(inserted)), 0) FROM jobs.contacts_sync_pages
                       WHERE user_id = $1 AND run = $2
                   ) AS "before!"
            "#,
            self.user_id,
            run,
        )
        .fetch_one(self.tx.statement())
        .await?;
        Ok(MissedContacts {
            unseen: count.unseen.cast_unsigned(),
            before: u64::try_from(count.before).unwrap_or(0),
        })
    }

    /// Archives some of the contacts that [`ContactsPage::gather_unseen`] found and that still have their person. Returns
    /// which; `None` when none is left.
    pub async fn archive_unseen(&mut self, now: DateTime<Utc>) -> Result<Option<Vec<Uuid>>, Error> {
        let step = sqlx::query!(
            r#"
            WITH step AS (
                DELETE FROM jobs.contacts_sync_candidates
                WHERE (user_id, contact_id) IN (
                    SELECT user_id, contact_id FROM jobs.contacts_sync_candidates WHERE user_id = $1 LIMIT $3
                )
                RETURNING contact_id, resource_name
            ), archived AS (
                UPDATE contacts c SET archived = true, archived_at = $2, last_synced_at = $2
                FROM step s
                WHERE c.id = s.contact_id AND c.google_resource_name = s.resource_name AND c.archived IS NOT TRUE
                RETURNING c.id
            ), memberships AS (
                DELETE FROM contact_google_memberships m USING archived a WHERE m.contact_id = a.id
            )
            SELECT (SELECT count(*) FROM step) AS "candidates!", ARRAY(SELECT id FROM archived) AS "archived!"
            "#,
            self.user_id,
            now,
            STEP,
        )
        .fetch_one(self.tx.statement())
        .await?;
        Ok((step.candidates > 0).then_some(step.archived))
    }
}
