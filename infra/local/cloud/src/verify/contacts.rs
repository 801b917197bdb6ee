//! Contacts, their groups at Google, and the state of their sync.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use google_stand_in::{Integration, Labelled, Organization, Person};
use sqlx::FromRow;
use uuid::Uuid;

use super::{Check, cut};
use crate::seed::contacts::{INSTAGRAM, OWN_NOTE, TIME_ZONE};
use crate::seed::{Origin, OwnContact};

const TEXT_CHARS: usize = 255;
const PHONE_CHARS: usize = 50;

#[derive(FromRow)]
struct ContactRow {
    id: Uuid,
    name: String,
    phone: Option<String>,
    email: Option<String>,
    linked_in: Option<String>,
    location: Option<String>,
    custom_notes: Option<String>,
    google_resource_name: Option<String>,
    google_etag: Option<String>,
    source: Option<String>,
    archived: bool,
    archived_at_is_set: bool,
    keeps_own_fields: bool,
}

impl Check<'_> {
    pub(super) async fn contacts(&mut self) -> anyhow::Result<()> {
        let rows: Vec<ContactRow> = sqlx::query_as(
            "SELECT id, name, phone, email, linked_in, location, custom_notes, google_resource_name, google_etag, source,
                    COALESCE(archived, false) AS archived, archived_at IS NOT NULL AS archived_at_is_set,
                    COALESCE(
                        (instagram, timezone, frequency_preference::text) = ($2, $3, 'monthly')
                            AND last_contact_date IS NOT NULL,
                        false
                    ) AS keeps_own_fields
             FROM contacts WHERE user_id = $1",
        )
        .bind(self.user.id)
        .bind(INSTAGRAM)
        .bind(TIME_ZONE)
        .fetch_all(&mut *self.db)
        .await?;
        if !self.is_synced(Integration::GoogleContacts) {
            self.same("number of contacts without a sync", rows.len(), self.before.contacts.len());
            return Ok(());
        }
        let people: Vec<Person> =
            self.world.people(self.user.id)?.into_iter().filter(|person| person.name.is_some()).collect();
        let mut linked: BTreeMap<&str, &ContactRow> = BTreeMap::new();
        for row in &rows {
            if let Some(name) = &row.google_resource_name
                && linked.insert(name, row).is_some()
            {
                self.differs(format!("contacts {name}: two rows"));
            }
        }
        for person in &people {
            match linked.get(person.resource_name.as_str()) {
                Some(row) => self.person(row, person),
                None => self.differs(format!("contacts {}: missing", person.resource_name)),
            }
        }
        let before = self.before;
        for contact in &before.contacts {
            match rows.iter().find(|row| row.id == contact.id) {
                Some(row) => self.own_contact(row, contact),
                None => self.differs(format!("contacts {}: deleted", contact.id)),
            }
        }
        let elsewhere = before
            .contacts
            .iter()
            .filter(|contact| matches!(contact.origin, Origin::Gone | Origin::Foreign))
            .count();
        self.same("number of contacts", rows.len(), people.len() + elsewhere);
        self.memberships(&people, &linked).await?;
        self.sync_state(people.len()).await
    }

    fn person(&mut self, row: &ContactRow, person: &Person) {
        let name = person.name.as_ref().map(google_stand_in::PersonName::display).unwrap_or_default();
        let is_own = self.before.contacts.iter().any(|contact| contact.id == row.id);
        let note = person.organizations.first().and_then(organization);
        let fields = [
            ("name", row.name == cut(&name, TEXT_CHARS)),
            ("phone", row.phone == first(&person.phones, PHONE_CHARS)),
            ("email", row.email == first(&person.emails, TEXT_CHARS)),
            ("linked_in", row.linked_in == linked_in(&person.urls)),
            ("location", row.location == location(person)),
            ("google_etag", row.google_etag.as_deref() == Some(&person.etag)),
            ("source", is_own || row.source.as_deref() == Some("google")),
            ("archived", !row.archived && !row.archived_at_is_set),
            ("custom_notes", is_own || row.custom_notes == note),
        ];
        for (field, _) in fields.iter().filter(|(_, same)| !same) {
            self.differs(format!("contacts {}: {field} differs", person.resource_name));
        }
    }

    fn own_contact(&mut self, row: &ContactRow, contact: &OwnContact) {
        let id = contact.id;
        self.same(format!("contacts {id}: fields of the user's own"), row.keeps_own_fields, true);
        let (linked_to, archived) = match &contact.origin {
            Origin::SameAs(name) | Origin::Linked(name) => (Some(name.as_str()), false),
            Origin::Gone => (row.google_resource_name.as_deref(), true),
            Origin::Foreign => (None, false),
        };
        self.same(
            format!("contacts {id}: google_resource_name"),
            row.google_resource_name.as_deref(),
            linked_to,
        );
        self.same(format!("contacts {id}: archived"), row.archived, archived);
        self.same(format!("contacts {id}: archived_at"), row.archived_at_is_set, archived);
        if let Some(note) = contact.expected_note(self.world, self.user.id) {
            self.same(
                format!("contacts {id}: custom_notes"),
                row.custom_notes.as_deref(),
                Some(note.as_str()),
            );
        }
    }

    async fn memberships(
        &mut self,
        people: &[Person],
        linked: &BTreeMap<&str, &ContactRow>,
    ) -> anyhow::Result<()> {
        let rows: Vec<(Uuid, String)> =
            sqlx::query_as("SELECT contact_id, google_group_resource_name FROM contact_google_memberships WHERE user_id = $1")
                .bind(self.user.id)
                .fetch_all(&mut *self.db)
                .await?;
        let mut stored: HashMap<Uuid, BTreeSet<String>> = HashMap::new();
        for (contact, group) in rows {
            stored.entry(contact).or_default().insert(group);
        }
        for person in people {
            let Some(row) = linked.get(person.resource_name.as_str()) else { continue };
            let expected: BTreeSet<String> = person.memberships.iter().cloned().collect();
            let found = stored.remove(&row.id).unwrap_or_default();
            self.same(format!("contact_google_memberships of {}", person.resource_name), found, expected);
        }
        self.same("contact_google_memberships of contacts without a person in Google", stored.len(), 0);
        Ok(())
    }

    async fn sync_state(&mut self, people: usize) -> anyhow::Result<()> {
        let row: Option<(bool, bool, Option<i32>, Option<String>)> = sqlx::query_as(
            "SELECT s.sync_token IS NULL AND o.sync_token IS NOT NULL, last_full_sync_at IS NOT NULL,
                    total_contacts_synced, last_sync_error
             FROM google_contacts_sync_state s LEFT JOIN jobs.contacts_sync_state o USING (user_id)
             WHERE s.user_id = $1",
        )
        .bind(self.user.id)
        .fetch_optional(&mut *self.db)
        .await?;
        let total = i32::try_from(people)?;
        self.same("google_contacts_sync_state", row, Some((true, true, Some(total), None)));
        Ok(())
    }
}

impl OwnContact {
    /// The note after the sync, where the user's own or an earlier one was in its way.
    fn expected_note(&self, world: &google_stand_in::World, user: Uuid) -> Option<String> {
        let note = self.note?;
        let name = match &self.origin {
            Origin::Foreign => return Some(note.to_owned()),
            Origin::Linked(name) | Origin::SameAs(name) => name,
            Origin::Gone => return None,
        };
        let person = world.people(user).ok()?.into_iter().find(|person| person.resource_name == *name)?;
        let text = person.organizations.first().and_then(organization)?;
        Some(if note == OWN_NOTE { format!("{note}\n{text}") } else { text })
    }
}

/// The value marked as primary, else the first.
fn first(values: &[Labelled], chars: usize) -> Option<String> {
    let value = values.iter().find(|value| value.primary).or(values.first())?;
    Some(cut(&value.value, chars))
}

fn linked_in(urls: &[Labelled]) -> Option<String> {
    urls.iter().find(|url| url.value.contains("linkedin.com/")).map(|url| cut(&url.value, TEXT_CHARS))
}

fn location(person: &Person) -> Option<String> {
    let lines: Vec<&str> = person.addresses.first()?.formatted.lines().collect();
    Some(cut(&lines.join(", "), TEXT_CHARS).trim_end().to_owned())
}

fn organization(organization: &Organization) -> Option<String> {
    match (&organization.title, &organization.name) {
        (Some(title), Some(name)) => Some(format!("{title} at {name}")),
        (Some(text), None) | (None, Some(text)) => Some(text.clone()),
        (None, None) => None,
    }
}
