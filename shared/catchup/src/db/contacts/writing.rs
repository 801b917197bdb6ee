//! What Google's people write to contacts.

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

use super::ContactsPage;

/// What a contact shows of a person. Every text fits its column.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns say it")]
pub struct PersonFields {
    /// The person.
    pub resource_name: String,
    /// The version of the person.
    pub etag: Option<String>,
    pub name: String,
    pub phone: Option<String>,
    pub email: Option<String>,
    pub linked_in: Option<String>,
    pub location: Option<String>,
    pub custom_notes: Option<String>,
}

/// A contact for a person who has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewContact {
    /// What to write.
    pub fields: PersonFields,
    /// Resource names of the person's groups, each once.
    pub groups: Vec<String>,
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

impl ContactsPage {
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

    /// Adds contacts with their memberships, and returns their ids; those that are there already are left out.
    pub async fn insert(&mut self, people: &[NewContact], now: DateTime<Utc>) -> Result<Vec<Uuid>, Error> {
        if people.is_empty() {
            return Ok(Vec::new());
        }
        let columns = Columns::of(people.iter().map(|person| &person.fields));
        let memberships = people.iter().flat_map(|person| {
            person.groups.iter().map(|group| (person.fields.resource_name.as_str(), group.as_str()))
        });
        let (members, groups): (Vec<&str>, Vec<&str>) = memberships.unzip();
        let inserted = sqlx::query_scalar!(
            "
            WITH inserted AS (
                INSERT INTO contacts
                    (user_id, google_resource_name, google_etag, name, phone, email, linked_in, location, custom_notes,
                     source, last_synced_at)
                SELECT $1, u.resource_name, u.etag, u.name, u.phone, u.email, u.linked_in, u.location, u.notes, 'google', $10
                FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
                    AS u(resource_name, etag, name, phone, email, linked_in, location, notes)
                ON CONFLICT (user_id, google_resource_name) WHERE google_resource_name IS NOT NULL DO NOTHING
                RETURNING google_resource_name, id
            ), memberships AS (
                INSERT INTO contact_google_memberships (user_id, contact_id, google_group_resource_name)
                SELECT $1, inserted.id, m.google_group
                FROM unnest($11::text[], $12::text[]) AS m(resource_name, google_group)
                JOIN inserted ON inserted.google_resource_name = m.resource_name
            )
            SELECT id FROM inserted
            ",
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
            members.as_slice() as _,
            groups.as_slice() as _,
        )
        .fetch_all(self.tx.statement())
        .await?;
        Ok(inserted)
    }

    /// Notes whom the page of a full sync listed, and whom it inserted.
    pub async fn mark_seen(
        &mut self,
        run: Uuid,
        page: i32,
        seen: &[&str],
        inserted: &[Uuid],
    ) -> Result<(), Error> {
        sqlx::query!(
            "INSERT INTO jobs.contacts_sync_pages (user_id, run, page, seen, inserted) VALUES ($1, $2, $3, $4, $5)",
            self.user_id,
            run,
            page,
            seen as _,
            inserted,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(())
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
