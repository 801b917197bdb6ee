//! `contacts` and `contact_google_memberships`: one page of an address book, one transaction of set-based statements.
//!
//! A first sync fills the table faster than the server's statistics follow, and a plan that looks through all of a user's
//! contacts for each page would make it quadratic. `LATERAL (… OFFSET 0)` and keys alone leave no choice but one lookup
//! into an index per person.
//!
//! Whom a sync archives, it marks by one moment in `archived_at` and `last_synced_at`; whoever archives a contact by hand
//! has a moment of their own. So a person who returns takes up a contact that a sync archived, and what the user
//! archived stays archived.

use chrono::{DateTime, Utc};
use shared::db::{Error, Transaction};
use uuid::Uuid;

/// The columns of a contact that Google's people are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredContact {
    /// The row.
    pub id: Uuid,
    /// The person that it is linked to.
    pub resource_name: Option<String>,
    /// The person's version that it shows.
    pub etag: Option<String>,
    #[expect(missing_docs, reason = "the column says it")]
    pub name: String,
    #[expect(missing_docs, reason = "the column says it")]
    pub phone: Option<String>,
    #[expect(missing_docs, reason = "the column says it")]
    pub email: Option<String>,
    #[expect(missing_docs, reason = "the column says it")]
    pub linked_in: Option<String>,
    #[expect(missing_docs, reason = "the column says it")]
    pub location: Option<String>,
    #[expect(missing_docs, reason = "the column says it")]
    pub custom_notes: Option<String>,
    /// It came from Google, rather than from the user.
    pub from_google: bool,
    /// A sync archived it, since its person was gone.
    pub archived_by_sync: bool,
    /// Resource names of its Google groups.
    pub groups: Vec<String>,
}

/// What a contact shows of a person. Every text fits its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonFields {
    /// The person.
    pub resource_name: String,
    /// The version of the person.
    pub etag: Option<String>,
    #[expect(missing_docs, reason = "the column says it")]
    pub name: String,
    #[expect(missing_docs, reason = "the column says it")]
    pub phone: Option<String>,
    #[expect(missing_docs, reason = "the column says it")]
    pub email: Option<String>,
    #[expect(missing_docs, reason = "the column says it")]
    pub linked_in: Option<String>,
    #[expect(missing_docs, reason = "the column says it")]
    pub location: Option<String>,
    #[expect(missing_docs, reason = "the column says it")]
    pub custom_notes: Option<String>,
}

/// New values for a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactUpdate {
    /// The row.
    pub id: Uuid,
    /// The note that the new one was made from: a note that the user changed meanwhile is left alone.
    pub notes_before: Option<String>,
    /// What to write.
    pub fields: PersonFields,
}

/// What an unlinked contact may be matched by.
#[derive(Debug, Clone, Copy)]
pub struct MatchKeys<'a> {
    /// Compared case-folded.
    pub email: Option<&'a str>,
    /// Compared by its digits.
    pub phone: Option<&'a str>,
}

/// A membership of a contact in a Google group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The contact.
    pub contact_id: Uuid,
    /// Resource name of the group.
    pub group: String,
}

/// One page of an address book on its way into the database. Nothing counts before [`ContactsPage::commit`].
#[derive(Debug)]
pub struct ContactsPage {
    pub(super) tx: Transaction,
    pub(super) user_id: Uuid,
}

mod sync_runs;
mod sync_state;

pub use sync_state::ContactsSyncState;

handle! {
    /// `contacts` and `contact_google_memberships`: one page of an address book, one transaction of set-based statements.
    Contacts
}

impl Contacts {
    /// Begins a page. Pages of one user wait for each other, so that two syncs at the same time agree on who is new.
    pub async fn page(&self, user_id: Uuid) -> Result<ContactsPage, Error> {
        let mut tx = self.0.begin().await?;
        sqlx::query!(
            "SELECT pg_advisory_xact_lock(hashtextextended('contacts:' || $1::uuid::text, 0))",
            user_id
        )
        .execute(tx.statement())
        .await?;
        Ok(ContactsPage { tx, user_id })
    }
}

impl ContactsPage {
    /// The contacts that are linked to these people, each of whom is named once.
    pub async fn linked(&mut self, resource_names: &[&str]) -> Result<Vec<StoredContact>, Error> {
        if resource_names.is_empty() {
            return Ok(Vec::new());
        }
        let contacts = sqlx::query_as!(
            StoredContact,
            r#"
            SELECT c.id, c.google_resource_name AS resource_name, c.google_etag AS etag, c.name, c.phone, c.email,
                   c.linked_in, c.location, c.custom_notes, COALESCE(c.source = 'google', false) AS "from_google!",
                   COALESCE(c.archived AND c.archived_at = c.last_synced_at, false) AS "archived_by_sync!",
                   ARRAY(
                       SELECT m.google_group_resource_name FROM contact_google_memberships m WHERE m.contact_id = c.id
                   ) AS "groups!: Vec<String>"
            FROM unnest($2::text[]) AS listed(resource_name)
            CROSS JOIN LATERAL (
                SELECT * FROM contacts WHERE user_id = $1 AND google_resource_name = listed.resource_name OFFSET 0
            ) c
            "#,
            self.user_id,
            resource_names as _,
        )
        .fetch_all(self.tx.statement())
        .await?;
        Ok(contacts)
    }

    /// Finds a free contact for each person that has one, by e-mail, else by phone: pairs of the person's index in
    /// `people` and the contact. Free is one without a person, and one that a sync archived: its person is gone.
    /// [`ContactsPage::gather_unlinked`] must have run.
    ///
    /// No contact is given twice, and none of those in `taken`. Of several contacts with one key the first person gets the best: one that is not
    /// archived, then the oldest.
    pub async fn match_unlinked(
        &mut self,
        run: Uuid,
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
                        SELECT contact_id, email FROM jobs.contacts_sync_unlinked
                        WHERE run = $1 AND email = wanted.email OFFSET 0
                    ) u
                    JOIN contacts c ON c.id = u.contact_id AND c.id <> ALL ($4) AND (
                        c.google_resource_name IS NULL OR (c.archived AND c.archived_at = c.last_synced_at)
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
                        SELECT contact_id, phone FROM jobs.contacts_sync_unlinked
                        WHERE run = $1 AND phone = wanted.phone OFFSET 0
                    ) u
                    JOIN contacts c ON c.id = u.contact_id AND c.id <> ALL ($4) AND (
                        c.google_resource_name IS NULL OR (c.archived AND c.archived_at = c.last_synced_at)
                    )
                    WHERE u.contact_id NOT IN (SELECT contact_id FROM by_email)
                ) k USING (phone, place)
            )
            SELECT m.ordinal AS "ordinal!", c.id, c.google_resource_name AS resource_name, c.google_etag AS etag, c.name, c.phone,
                   c.email, c.linked_in, c.location, c.custom_notes,
                   COALESCE(c.source = 'google', false) AS "from_google!",
                   COALESCE(c.archived AND c.archived_at = c.last_synced_at, false) AS "archived_by_sync!",
                   ARRAY(
                       SELECT g.google_group_resource_name FROM contact_google_memberships g WHERE g.contact_id = c.id
                   ) AS "groups!: Vec<String>"
            FROM (SELECT * FROM by_email UNION ALL SELECT * FROM by_phone) m
            JOIN contacts c ON c.id = m.contact_id
            ORDER BY m.ordinal
            "#,
            run,
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
                groups: row.groups,
            };
            Ok((index, contact))
        });
        matches.collect()
    }

    /// Writes new values to contacts, linking them. What a sync archived is there again. Columns that are not Google's
    /// stay as they are.
    pub async fn update(&mut self, updates: &[ContactUpdate], now: DateTime<Utc>) -> Result<(), Error> {
        if updates.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = updates.iter().map(|update| update.id).collect();
        let notes_before: Vec<Option<&str>> =
            updates.iter().map(|update| update.notes_before.as_deref()).collect();
        let columns = Columns::of(updates.iter().map(|update| &update.fields));
        sqlx::query!(
            "
            UPDATE contacts c
            SET google_resource_name = u.resource_name, google_etag = u.etag, name = u.name, phone = u.phone,
                email = u.email, linked_in = u.linked_in, location = u.location,
                custom_notes =
                    CASE WHEN c.custom_notes IS NOT DISTINCT FROM u.notes_before THEN u.notes ELSE c.custom_notes END,
                archived = c.archived AND NOT COALESCE(c.archived_at = c.last_synced_at, false),
                archived_at = NULLIF(c.archived_at, c.last_synced_at), last_synced_at = $11
            FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                        $9::text[], $10::text[])
                AS u(id, resource_name, etag, name, phone, email, linked_in, location, notes, notes_before)
            WHERE c.id = u.id
            ",
            &ids,
            columns.resource_names.as_slice() as _,
            columns.etags.as_slice() as _,
            columns.names.as_slice() as _,
            columns.phones.as_slice() as _,
            columns.emails.as_slice() as _,
            columns.linked_in.as_slice() as _,
            columns.locations.as_slice() as _,
            columns.notes.as_slice() as _,
            notes_before.as_slice() as _,
            now,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(())
    }

    /// Adds contacts, and returns the resource name and id of each.
    pub async fn insert(
        &mut self,
        people: &[PersonFields],
        now: DateTime<Utc>,
    ) -> Result<Vec<(String, Uuid)>, Error> {
        if people.is_empty() {
            return Ok(Vec::new());
        }
        let columns = Columns::of(people);
        let rows = sqlx::query!(
            r#"
            INSERT INTO contacts
                (user_id, google_resource_name, google_etag, name, phone, email, linked_in, location, custom_notes,
                 source, last_synced_at)
            SELECT $1, u.resource_name, u.etag, u.name, u.phone, u.email, u.linked_in, u.location, u.notes, 'google', $10
            FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
                AS u(resource_name, etag, name, phone, email, linked_in, location, notes)
            ON CONFLICT (user_id, google_resource_name) WHERE google_resource_name IS NOT NULL DO NOTHING
            RETURNING google_resource_name AS "resource_name!", id
            "#,
            self.user_id,
            columns.resource_names.as_slice() as _,
            columns.etags.as_slice() as _,
            columns.names.as_slice() as _,
            columns.phones.as_slice() as _,
            columns.emails.as_slice() as _,
            columns.linked_in.as_slice() as _,
            columns.locations.as_slice() as _,
            columns.notes.as_slice() as _,
            now,
        )
        .fetch_all(self.tx.statement())
        .await?;
        Ok(rows.into_iter().map(|row| (row.resource_name, row.id)).collect())
    }

    /// Archives the contacts of people that were deleted in Google, and returns who was not archived before.
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

    /// Adds and removes memberships. Who leaves a Google group also leaves the `CatchUp` group that it is mapped to,
    /// unless another Google group leads there.
    pub async fn change_memberships(
        &mut self,
        joined: &[Membership],
        left: &[Membership],
    ) -> Result<(), Error> {
        if joined.is_empty() && left.is_empty() {
            return Ok(());
        }
        let columns = |memberships: &[Membership]| -> (Vec<Uuid>, Vec<String>) {
            memberships.iter().map(|membership| (membership.contact_id, membership.group.clone())).unzip()
        };
        let ((joined_ids, joined_groups), (left_ids, left_groups)) = (columns(joined), columns(left));
        sqlx::query!(
            "
            WITH joined AS (SELECT * FROM unnest($2::uuid[], $3::text[]) AS j(contact_id, google_group)),
            departed AS (SELECT * FROM unnest($4::uuid[], $5::text[]) AS l(contact_id, google_group)),
            removed AS (
                DELETE FROM contact_google_memberships m USING departed d
                WHERE m.contact_id = d.contact_id AND m.google_group_resource_name = d.google_group
            ), mapped AS (
                DELETE FROM contact_groups c
                USING departed d
                JOIN google_contact_groups g
                    ON g.user_id = $1 AND g.google_resource_name = d.google_group AND g.sync_enabled IS NOT FALSE
                WHERE c.contact_id = d.contact_id AND c.group_id = g.catchup_group_id
                  AND NOT EXISTS (
                      SELECT FROM google_contact_groups o
                      JOIN contact_google_memberships m
                          ON m.contact_id = c.contact_id AND m.google_group_resource_name = o.google_resource_name
                      WHERE o.user_id = $1 AND o.catchup_group_id = c.group_id
                        AND (m.contact_id, m.google_group_resource_name) NOT IN (SELECT * FROM departed)
                  )
            )
            INSERT INTO contact_google_memberships (user_id, contact_id, google_group_resource_name)
            SELECT $1, contact_id, google_group FROM joined
            ON CONFLICT (contact_id, google_group_resource_name) DO NOTHING
            ",
            self.user_id,
            &joined_ids,
            &joined_groups,
            &left_ids,
            &left_groups,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(())
    }

    /// Makes all of it count.
    pub async fn commit(self) -> Result<(), Error> {
        self.tx.commit().await
    }
}

/// People, turned into one array per column.
#[derive(Default)]
struct Columns<'a> {
    resource_names: Vec<&'a str>,
    etags: Vec<Option<&'a str>>,
    names: Vec<&'a str>,
    phones: Vec<Option<&'a str>>,
    emails: Vec<Option<&'a str>>,
    linked_in: Vec<Option<&'a str>>,
    locations: Vec<Option<&'a str>>,
    notes: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(people: impl IntoIterator<Item = &'a PersonFields>) -> Self {
        let mut columns = Self::default();
        for person in people {
            columns.resource_names.push(&person.resource_name);
            columns.etags.push(person.etag.as_deref());
            columns.names.push(&person.name);
            columns.phones.push(person.phone.as_deref());
            columns.emails.push(person.email.as_deref());
            columns.linked_in.push(person.linked_in.as_deref());
            columns.locations.push(person.location.as_deref());
            columns.notes.push(person.custom_notes.as_deref());
        }
        columns
    }
}
