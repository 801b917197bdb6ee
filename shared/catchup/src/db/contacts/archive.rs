//! Contacts whose people are gone are archived, and never deleted.

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

use super::ContactsPage;

/// Contacts that one statement archives.
const STEP: i64 = 2_000;

/// What a full sync did not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unseen {
    /// Contacts whose people were not listed.
    pub unseen: u64,
    /// Contacts with a person that were there before the run.
    pub before: u64,
}

impl ContactsPage {
    /// Archives the contacts of people that were deleted in Google, and returns who was not archived before. They are free
    /// for another person: `gathered` puts them where [`ContactsPage::match_free`] finds them.
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
            ), free AS (
                INSERT INTO jobs.contacts_sync_free (user_id, contact_id, email, phone)
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

    /// What a full sync, all of whose pages are written, did not list.
    pub async fn unseen(&mut self, run: Uuid) -> Result<Unseen, Error> {
        let count = sqlx::query!(
            r#"
            SELECT count(*) FILTER (
                       WHERE (c.last_synced_at < r.run_started_at) IS NOT FALSE AND c.google_resource_name NOT IN (
                           SELECT unnest(p.seen) FROM jobs.contacts_sync_pages p WHERE p.user_id = $1 AND p.run = $2
                       )
                   ) AS "unseen!",
                   count(*) - (
                       SELECT COALESCE(sum(cardinality(p.inserted)), 0)
                       FROM jobs.contacts_sync_pages p WHERE p.user_id = $1 AND p.run = $2
                   ) AS "before!"
            FROM jobs.contacts_sync_state r
            JOIN contacts c ON c.user_id = r.user_id
            WHERE r.user_id = $1 AND r.run = $2 AND c.google_resource_name IS NOT NULL AND c.archived IS NOT TRUE
            "#,
            self.user_id,
            run,
        )
        .fetch_one(self.tx.statement())
        .await?;
        Ok(Unseen { unseen: count.unseen.cast_unsigned(), before: u64::try_from(count.before).unwrap_or(0) })
    }

    /// Puts the contacts whose people a full sync did not list among those that [`ContactsPage::match_free`] finds, for as
    /// long as they keep their person.
    pub async fn gather_unseen(&mut self, run: Uuid) -> Result<(), Error> {
        sqlx::query!(
            "
            INSERT INTO jobs.contacts_sync_free (user_id, contact_id, email, phone, resource_name)
            SELECT $1, c.id, NULLIF(lower(btrim(c.email)), ''), NULLIF(regexp_replace(c.phone, '[^0-9]', '', 'g'), ''),
                   c.google_resource_name
            FROM jobs.contacts_sync_state r
            JOIN contacts c ON c.user_id = r.user_id
            WHERE r.user_id = $1 AND r.run = $2 AND c.google_resource_name IS NOT NULL
              AND c.archived IS NOT TRUE AND (c.last_synced_at < r.run_started_at) IS NOT FALSE
              AND c.google_resource_name NOT IN (
                  SELECT unnest(p.seen) FROM jobs.contacts_sync_pages p WHERE p.user_id = $1 AND p.run = $2
              )
            ON CONFLICT (user_id, contact_id) DO UPDATE SET resource_name = excluded.resource_name
            ",
            self.user_id,
            run,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(())
    }

    /// Archives some of the contacts whose people a full sync did not list, but for those that another sync wrote since the
    /// run began. Returns whom; nobody when all are.
    pub async fn archive_unseen(&mut self, run: Uuid, now: DateTime<Utc>) -> Result<Vec<Uuid>, Error> {
        let archived = sqlx::query_scalar!(
            "
            WITH archived AS (
                UPDATE contacts c SET archived = true, archived_at = $3, last_synced_at = $3
                WHERE c.id IN (
                    SELECT u.id
                    FROM jobs.contacts_sync_state r
                    JOIN contacts u ON u.user_id = r.user_id
                    WHERE r.user_id = $1 AND r.run = $2 AND u.google_resource_name IS NOT NULL
                      AND u.archived IS NOT TRUE AND (u.last_synced_at < r.run_started_at) IS NOT FALSE
                      AND u.google_resource_name NOT IN (
                          SELECT unnest(p.seen) FROM jobs.contacts_sync_pages p WHERE p.user_id = $1 AND p.run = $2
                      )
                    LIMIT $4
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
            STEP,
        )
        .fetch_all(self.tx.statement())
        .await?;
        Ok(archived)
    }
}
