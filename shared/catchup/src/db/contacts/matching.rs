//! Which of a user's free contacts are the people that Google lists.

use shared::db::Error;
use uuid::Uuid;

use super::{Contacts, ContactsPage, StoredContact};

/// Rows of free contacts that one statement removes.
const STEP: i64 = 5_000;

/// What a free contact may be matched by.
#[derive(Debug, Clone, Copy)]
pub struct MatchKeys<'a> {
    /// Compared case-folded.
    pub email: Option<&'a str>,
    /// Compared by its digits.
    pub phone: Option<&'a str>,
}

impl Contacts {
    /// Removes what [`ContactsPage::gather_free`] copied, in bounded steps.
    pub async fn forget_free(&self, user_id: Uuid) -> Result<(), Error> {
        loop {
            let removed = sqlx::query!(
                "
                DELETE FROM jobs.contacts_sync_free
                WHERE (user_id, contact_id) IN (
                    SELECT user_id, contact_id FROM jobs.contacts_sync_free WHERE user_id = $1 LIMIT $2
                )
                ",
                user_id,
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
    /// Copies what the user's free contacts can be matched with to where [`ContactsPage::match_free`] finds it by index,
    /// and returns how many there are.
    pub async fn gather_free(&mut self) -> Result<u64, Error> {
        // Of a part that was killed.
        sqlx::query!("DELETE FROM jobs.contacts_sync_free WHERE user_id = $1", self.user_id)
            .execute(self.tx.statement())
            .await?;
        let gathered = sqlx::query!(
            "
            INSERT INTO jobs.contacts_sync_free (user_id, contact_id, email, phone)
            SELECT $1, id, email, phone
            FROM (
                SELECT id, NULLIF(lower(btrim(email)), '') AS email,
                       NULLIF(regexp_replace(phone, '[^0-9]', '', 'g'), '') AS phone
                FROM contacts
                WHERE user_id = $1
                  AND (google_resource_name IS NULL OR (archived AND archived_at = last_synced_at))
            ) AS free
            WHERE email IS NOT NULL OR phone IS NOT NULL
            ",
            self.user_id,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(gathered.rows_affected())
    }

    /// Finds a free contact for each person that has one, by e-mail, else by phone: pairs of the person's index in
    /// `people` and the contact. Free is one without a person, and one that a sync archived: its person is gone; after
    /// [`ContactsPage::gather_unseen`], also one whose person was not listed.
    /// [`ContactsPage::gather_free`] must have run.
    ///
    /// No contact is given twice, and none of those in `taken`. Of several contacts with one key the first person gets the
    /// best: one that is not archived, then the oldest.
    pub async fn match_free(
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
            ), by_email AS (
                SELECT p.ordinal, k.contact_id
                FROM (
                    SELECT ordinal, email, row_number() OVER (PARTITION BY email ORDER BY ordinal) AS place
                    FROM person WHERE email IS NOT NULL
                ) p
                JOIN (
                    SELECT u.contact_id, u.email, row_number() OVER (
                        PARTITION BY u.email ORDER BY c.archived IS TRUE, c.created_at, c.id
                    ) AS place
                    FROM (SELECT DISTINCT email FROM person) wanted
                    CROSS JOIN LATERAL (
                        SELECT contact_id, email, resource_name FROM jobs.contacts_sync_free
                        WHERE user_id = $1 AND email = wanted.email OFFSET 0
                    ) u
                    JOIN contacts c ON c.id = u.contact_id AND c.id <> ALL ($4) AND (
                        c.google_resource_name IS NULL OR (c.archived AND c.archived_at = c.last_synced_at)
                        OR c.google_resource_name = u.resource_name
                    )
                ) k USING (email, place)
            ), by_phone AS (
                SELECT p.ordinal, k.contact_id
                FROM (
                    SELECT ordinal, phone, row_number() OVER (PARTITION BY phone ORDER BY ordinal) AS place
                    FROM person WHERE phone IS NOT NULL AND ordinal NOT IN (SELECT ordinal FROM by_email)
                ) p
                JOIN (
                    SELECT u.contact_id, u.phone, row_number() OVER (
                        PARTITION BY u.phone ORDER BY c.archived IS TRUE, c.created_at, c.id
                    ) AS place
                    FROM (SELECT DISTINCT phone FROM person) wanted
                    CROSS JOIN LATERAL (
                        SELECT contact_id, phone, resource_name FROM jobs.contacts_sync_free
                        WHERE user_id = $1 AND phone = wanted.phone OFFSET 0
                    ) u
                    JOIN contacts c ON c.id = u.contact_id AND c.id <> ALL ($4) AND (
                        c.google_resource_name IS NULL OR (c.archived AND c.archived_at = c.last_synced_at)
                        OR c.google_resource_name = u.resource_name
                    )
                    WHERE u.contact_id NOT IN (SELECT contact_id FROM by_email)
                ) k USING (phone, place)
            )
            SELECT m.ordinal AS "ordinal!", c.id, c.google_resource_name AS resource_name, c.google_etag AS etag, c.name, c.phone,
                   c.email, c.linked_in, c.location, c.custom_notes,
                   COALESCE(c.source = 'google', false) AS "from_google!",
                   COALESCE(c.archived AND c.archived_at = c.last_synced_at, false) AS "archived_by_sync!",
                   COALESCE(c.archived AND c.archived_at IS DISTINCT FROM c.last_synced_at, false) AS "archived_by_user!",
                   ARRAY(
                       SELECT g.google_group_resource_name FROM contact_google_memberships g WHERE g.contact_id = c.id
                   ) AS "groups!: Vec<String>"
            FROM (SELECT * FROM by_email UNION ALL SELECT * FROM by_phone) m
            JOIN contacts c ON c.id = m.contact_id
            ORDER BY m.ordinal
            "#,
            self.user_id,
            emails.as_slice() as _,
            phones.as_slice() as _,
            taken,
        )
        .fetch_all(self.tx.statement())
        .await?;
        let matches = matches.into_iter().map(|row| {
            let index =
                usize::try_from(row.ordinal - 1).map_err(|error| sqlx::Error::Decode(error.into()))?;
            let contact = StoredContact {
                id: row.id,
                resource_name: row.resource_name,
                etag: row.etag,
                name: row.name,
                phone: row.phone,
                email: row.email,
                linked_in: row.linked_in,
                location: row.location,
                custom_notes: row.custom_notes,
                from_google: row.from_google,
                archived_by_sync: row.archived_by_sync,
                archived_by_user: row.archived_by_user,
                groups: row.groups,
            };
            Ok((index, contact))
        });
        matches.collect()
    }
}
