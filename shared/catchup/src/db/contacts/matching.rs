//! Which of a user's contacts are the people that Google lists: match candidates, by e-mail address, else by number.

use shared::db::Error;
use uuid::Uuid;

use super::{Contacts, ContactsPage, StoredContact};
use crate::payload::SyncType;

/// Rows of match candidates that one statement removes.
const STEP: i64 = 5_000;

/// What a contact may be matched by.
#[derive(Debug, Clone, Copy)]
pub struct MatchKeys<'a> {
    /// Compared case-folded.
    pub email: Option<&'a str>,
    /// Compared by its digits.
    pub phone: Option<&'a str>,
}

impl Contacts {
    /// Removes the match candidates of a run, in bounded steps: those of another run of the user, which has begun
    /// meanwhile, stay.
    pub async fn forget_candidates(&self, user_id: Uuid, run: Uuid) -> Result<(), Error> {
        loop {
            let removed = sqlx::query!(
                "
                DELETE FROM jobs.contacts_sync_candidates
                WHERE (user_id, contact_id) IN (
                    SELECT user_id, contact_id FROM jobs.contacts_sync_candidates
                    WHERE user_id = $1
                      AND NOT EXISTS (SELECT FROM jobs.contacts_sync_state WHERE user_id = $1 AND run <> $2)
                    LIMIT $3
                )
                ",
                user_id,
                run,
                STEP,
            )
            .execute(self.0.statement())
            .await?;
            if removed.rows_affected() < STEP.unsigned_abs() {
                return Ok(());
            }
        }
    }
}

impl ContactsPage {
    /// Copies what the user's contacts without a person can be matched with to where [`ContactsPage::match_candidates`] finds
    /// it by index, and returns how many there are.
    ///
    /// In an incremental sync also those of the contacts that a sync archived, as their people are gone. A full sync knows
    /// only at its end who is gone, and then has better candidates: see [`ContactsPage::gather_unseen`].
    pub async fn gather_candidates(&mut self, sync_type: SyncType) -> Result<u64, Error> {
        self.clear_candidates().await?;
        let gathered = sqlx::query!(
            "
            INSERT INTO jobs.contacts_sync_candidates (user_id, contact_id, email, phone)
            SELECT $1, id, email, phone
            FROM (
                SELECT id, NULLIF(lower(btrim(email)), '') AS email,
                       NULLIF(regexp_replace(phone, '[^0-9]', '', 'g'), '') AS phone
                FROM contacts
                WHERE user_id = $1 AND CASE
                    WHEN archived IS NOT TRUE THEN google_resource_name IS NULL
                    ELSE NOT $2::boolean AND (google_resource_name IS NULL OR archived_at = last_synced_at)
                END
            ) AS candidate
            WHERE email IS NOT NULL OR phone IS NOT NULL
            ",
            self.user_id,
            sync_type == SyncType::Full,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(gathered.rows_affected())
    }

    /// Removes what a part left that was killed, or what was gathered for the pages.
    pub(super) async fn clear_candidates(&mut self) -> Result<(), Error> {
        sqlx::query!("DELETE FROM jobs.contacts_sync_candidates WHERE user_id = $1", self.user_id)
            .execute(self.tx.statement())
            .await?;
        Ok(())
    }

    /// Finds a candidate for each person that has one, by e-mail, else by phone: pairs of the person's index in `people`
    /// and the contact, which still has no person, or one that is gone.
    /// [`ContactsPage::gather_candidates`] or [`ContactsPage::gather_unseen`] must have run.
    ///
    /// No contact is given twice, and none of those in `taken`. Of several contacts with one key the first person gets the
    /// best: one that is not archived, then the one that a sync archived last, then one that the user archived; of equals
    /// the oldest.
    pub async fn match_candidates(
        &mut self,
        people: &[MatchKeys<'_>],
        taken: &[Uuid],
    ) -> Result<Vec<(usize, StoredContact)>, Error> {
        let emails: Vec<Option<&str>> = people.iter().map(|person| person.email).collect();
        let phones: Vec<Option<&str>> = people.iter().map(|person| person.phone).collect();
        let matches = sqlx::query!(
            r#"
            WITH person AS (
                SELECT ordinal, NULLIF(lower(btrim(email)), '') AS email,
                       NULLIF(regexp_replace(phone, '[^0-9]', '', 'g'), '') AS phone
                FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS p(email, phone, ordinal)
            ), found AS (
                SELECT k.email, k.phone, c.id, (c.archived AND c.archived_at = c.last_synced_at) IS TRUE AS archived_by_sync,
                       c.archived IS TRUE AS archived, c.archived_at, c.created_at
                FROM (
                    SELECT e.* FROM (SELECT DISTINCT email FROM person) wanted
                    CROSS JOIN LATERAL (
                        SELECT * FROM jobs.contacts_sync_candidates
                        WHERE user_id = $1 AND email = wanted.email OFFSET 0
                    ) e
                    UNION
                    SELECT n.* FROM (SELECT DISTINCT phone FROM person) wanted
                    CROSS JOIN LATERAL (
                        SELECT * FROM jobs.contacts_sync_candidates
                        WHERE user_id = $1 AND phone = wanted.phone OFFSET 0
                    ) n
                ) k
                CROSS JOIN LATERAL (SELECT * FROM contacts WHERE id = k.contact_id OFFSET 0) c
                WHERE c.id <> ALL ($4) AND (
                    c.google_resource_name IS NULL OR (c.archived AND c.archived_at = c.last_synced_at)
                    OR c.google_resource_name = k.resource_name
                )
            ), ranked AS (
                SELECT id, email, phone, row_number() OVER (
                    ORDER BY archived, NOT archived_by_sync, CASE WHEN archived_by_sync THEN archived_at END DESC,
                             created_at, id
                ) AS rank
                FROM found
            ), by_email AS (
                SELECT p.ordinal, k.id
                FROM (
                    SELECT ordinal, email, row_number() OVER (PARTITION BY email ORDER BY ordinal) AS place
                    FROM person WHERE email IS NOT NULL
                ) p
                JOIN (
                    SELECT id, email, row_number() OVER (PARTITION BY email ORDER BY rank) AS place FROM ranked
                ) k USING (email, place)
            ), by_phone AS (
                SELECT p.ordinal, k.id
                FROM (
                    SELECT ordinal, phone, row_number() OVER (PARTITION BY phone ORDER BY ordinal) AS place
                    FROM person WHERE phone IS NOT NULL AND ordinal NOT IN (SELECT ordinal FROM by_email)
                ) p
                JOIN (
                    SELECT id, phone, row_number() OVER (PARTITION BY phone ORDER BY rank) AS place
                    FROM ranked WHERE id NOT IN (SELECT id FROM by_email)
                ) k USING (phone, place)
            )
            SELECT ordinal AS "ordinal!", id AS "id!"
            FROM (SELECT * FROM by_email UNION ALL SELECT * FROM by_phone) matched
            ORDER BY ordinal
            "#,
            self.user_id,
            emails.as_slice() as _,
            phones.as_slice() as _,
            taken,
        )
        .fetch_all(self.tx.statement())
        .await?;
        let ids: Vec<Uuid> = matches.iter().map(|row| row.id).collect();
        let mut contacts = self.by_id(&ids).await?;
        let mut found = Vec::with_capacity(matches.len());
        for row in matches {
            let index =
                usize::try_from(row.ordinal - 1).map_err(|error| sqlx::Error::Decode(error.into()))?;
            found.extend(contacts.remove(&row.id).map(|contact| (index, contact)));
        }
        Ok(found)
    }
}
