//! What a page of people changes among the contacts.

use std::collections::{BTreeSet, HashMap};

use catchup::db::contacts::{ContactUpdate, Membership, NewContact, PersonFields, StoredContact};
use catchup::google::people::Person;
use uuid::Uuid;

use crate::notes;
use crate::person::{ContactFields, Listed};

/// A page of people, each once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct People {
    pub(crate) named: Vec<ContactFields>,
    pub(crate) nameless: Vec<String>,
    pub(crate) deleted: Vec<String>,
}

impl People {
    /// Sorts a page. Of a person who is listed twice, the last word counts.
    pub(crate) fn of(page: Vec<Person>) -> Self {
        let listed: Vec<Listed> = page.into_iter().filter_map(Listed::of).collect();
        let last: HashMap<String, usize> = listed
            .iter()
            .enumerate()
            .map(|(index, person)| (person.resource_name().to_owned(), index))
            .collect();
        let mut people = Self::default();
        for (index, person) in listed.into_iter().enumerate() {
            if last[person.resource_name()] != index {
                continue;
            }
            match person {
                Listed::Named(fields) => people.named.push(fields),
                Listed::Nameless(resource_name) => people.nameless.push(resource_name),
                Listed::Deleted(resource_name) => people.deleted.push(resource_name),
            }
        }
        people
    }

    pub(crate) fn len(&self) -> u64 {
        (self.named.len() + self.nameless.len() + self.deleted.len()) as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everybody who is in the address book.
    pub(crate) fn present(&self) -> Vec<&str> {
        self.named
            .iter()
            .map(|fields| &fields.resource_name)
            .chain(&self.nameless)
            .map(String::as_str)
            .collect()
    }
}

/// What must be written to a contact for it to show the person; `None` when it does already.
///
/// A contact that came from Google shows what Google has and nothing else. One that the user made keeps what Google
/// does not know. One that a sync archived is there again.
pub(crate) fn update(fields: &ContactFields, contact: &StoredContact) -> Option<ContactUpdate> {
    let shown = |google: &Option<String>, stored: &Option<String>| match google {
        Some(value) => Some(value.clone()),
        None if contact.from_google => None,
        None => stored.clone(),
    };
    let notes = contact.custom_notes.as_deref();
    // A note that was merged with this version of the person is the user's to change.
    let merged_before = fields.etag.is_some() && fields.etag == contact.etag;
    let fields = PersonFields {
        resource_name: fields.resource_name.clone(),
        etag: fields.etag.clone(),
        name: fields.name.clone(),
        phone: shown(&fields.phone, &contact.phone),
        email: shown(&fields.email, &contact.email),
        linked_in: shown(&fields.linked_in, &contact.linked_in),
        location: shown(&fields.location, &contact.location),
        custom_notes: if merged_before {
            contact.custom_notes.clone()
        } else {
            let was_linked = contact.from_google || contact.resource_name.is_some();
            notes::merge(notes, was_linked, fields.organization.as_deref())
        },
    };
    let same = !contact.archived_by_sync
        && contact.resource_name.as_deref() == Some(&fields.resource_name)
        && contact.etag == fields.etag
        && contact.name == fields.name
        && contact.phone == fields.phone
        && contact.email == fields.email
        && contact.linked_in == fields.linked_in
        && contact.location == fields.location
        && contact.custom_notes == fields.custom_notes;
    (!same).then(|| ContactUpdate { id: contact.id, notes_before: contact.custom_notes.clone(), fields })
}

/// A contact for a new person.
pub(crate) fn new_contact(fields: &ContactFields) -> NewContact {
    let shown = PersonFields {
        resource_name: fields.resource_name.clone(),
        etag: fields.etag.clone(),
        name: fields.name.clone(),
        phone: fields.phone.clone(),
        email: fields.email.clone(),
        linked_in: fields.linked_in.clone(),
        location: fields.location.clone(),
        custom_notes: fields.organization.clone(),
    };
    NewContact { fields: shown, groups: fields.groups.iter().cloned().collect() }
}

/// The person that a contact from Google shows.
pub(crate) fn shown(contact: &StoredContact) -> ContactFields {
    ContactFields {
        resource_name: contact.resource_name.clone().unwrap_or_default(),
        previous: Vec::new(),
        etag: contact.etag.clone(),
        name: contact.name.clone(),
        phone: contact.phone.clone(),
        email: contact.email.clone(),
        linked_in: contact.linked_in.clone(),
        location: contact.location.clone(),
        organization: contact.custom_notes.clone(),
        groups: contact.groups.iter().cloned().collect(),
    }
}

/// Changes of memberships.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Memberships {
    pub(crate) joined: Vec<Membership>,
    pub(crate) left: Vec<Membership>,
}

impl Memberships {
    /// Notes what makes the stored groups of a contact equal to the person's.
    pub(crate) fn replace(&mut self, contact_id: Uuid, stored: &[String], groups: &BTreeSet<String>) {
        let membership = |group: &String| Membership { contact_id, group: group.clone() };
        self.joined.extend(groups.iter().filter(|group| !stored.contains(group)).map(membership));
        self.left.extend(stored.iter().filter(|group| !groups.contains(*group)).map(membership));
    }

    /// How many rows they take.
    pub(crate) fn rows(&self) -> usize {
        self.joined.len() + self.left.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ada() -> ContactFields {
        ContactFields {
            resource_name: "people/c1".into(),
            etag: Some("1".into()),
            name: "Ada".into(),
            email: Some("ada@example.org".into()),
            organization: Some("Engineer at Acme".into()),
            ..ContactFields::default()
        }
    }

    fn showing(fields: &ContactFields) -> StoredContact {
        let fields = new_contact(fields).fields;
        StoredContact {
            id: Uuid::nil(),
            resource_name: Some(fields.resource_name),
            etag: fields.etag,
            name: fields.name,
            phone: fields.phone,
            email: fields.email,
            linked_in: fields.linked_in,
            location: fields.location,
            custom_notes: fields.custom_notes,
            from_google: true,
            archived_by_sync: false,
            archived_by_user: false,
            groups: Vec::new(),
        }
    }

    #[test]
    fn a_contact_that_shows_the_person_is_left_alone() {
        assert_eq!(update(&ada(), &showing(&ada())), None);
    }

    #[test]
    fn what_google_dropped_goes_from_a_contact_that_came_from_google() {
        let contact = StoredContact { phone: Some("1".into()), ..showing(&ada()) };
        assert_eq!(update(&ada(), &contact).unwrap().fields.phone, None);
    }

    #[test]
    fn a_contact_that_the_user_made_keeps_what_google_does_not_know() {
        let made = StoredContact {
            resource_name: None,
            etag: None,
            name: "ada l.".into(),
            phone: Some("1".into()),
            custom_notes: Some("Likes tea".into()),
            from_google: false,
            ..showing(&ada())
        };
        let fields = update(&ada(), &made).unwrap().fields;
        assert_eq!((fields.name.as_str(), fields.phone.as_deref()), ("Ada", Some("1")));
        assert_eq!(fields.custom_notes.as_deref(), Some("Likes tea\nEngineer at Acme"));
        let linked = StoredContact { from_google: false, phone: Some("1".into()), ..showing(&ada()) };
        assert_eq!(update(&ada(), &linked), None);
    }

    #[test]
    fn a_note_of_the_users_is_not_taken_for_an_earlier_organization() {
        let unlinked = StoredContact {
            resource_name: None,
            etag: None,
            custom_notes: Some("Lunch at Nobu".into()),
            from_google: false,
            ..showing(&ada())
        };
        let note = |contact| update(&ada(), &contact).unwrap().fields.custom_notes.unwrap();
        assert_eq!(note(unlinked.clone()), "Lunch at Nobu\nEngineer at Acme");
        let linked = StoredContact { resource_name: Some(ada().resource_name), ..unlinked.clone() };
        assert_eq!(note(linked), "Engineer at Acme");
        let was_linked = StoredContact { from_google: true, ..unlinked };
        assert_eq!(note(was_linked), "Engineer at Acme");
    }

    #[test]
    fn a_contact_that_a_sync_archived_is_written_again() {
        let contact = StoredContact { archived_by_sync: true, ..showing(&ada()) };
        assert_eq!(update(&ada(), &contact).unwrap().fields, new_contact(&ada()).fields);
    }

    #[test]
    fn a_note_that_the_user_emptied_stays_empty_until_the_person_changes() {
        let contact = StoredContact { custom_notes: None, ..showing(&ada()) };
        assert_eq!(update(&ada(), &contact), None);
        let changed = ContactFields { etag: Some("2".into()), ..ada() };
        assert_eq!(
            update(&changed, &contact).unwrap().fields.custom_notes.as_deref(),
            Some("Engineer at Acme")
        );
    }

    #[test]
    fn memberships_become_equal() {
        let mut changes = Memberships::default();
        changes.replace(Uuid::nil(), &["a".into(), "b".into()], &["b".into(), "c".into()].into());
        let groups =
            |memberships: &[Membership]| memberships.iter().map(|one| one.group.clone()).collect::<Vec<_>>();
        assert_eq!(
            (groups(&changes.joined), groups(&changes.left)),
            (vec!["c".to_owned()], vec!["a".to_owned()])
        );
        assert_eq!(changes.rows(), 2);
    }

    #[test]
    fn of_a_person_listed_twice_the_last_word_counts() {
        let person = |name: &str, deleted: bool| {
            serde_json::from_value::<Person>(json!({
                "resourceName": "people/c1", "names": [{"displayName": name}], "metadata": {"deleted": deleted},
            }))
            .unwrap()
        };
        let people = People::of(vec![person("Ada", false), person("Ada K.", false)]);
        assert_eq!(people.named.iter().map(|fields| fields.name.as_str()).collect::<Vec<_>>(), ["Ada K."]);
        let people = People::of(vec![person("Ada", false), person("", true)]);
        assert_eq!((people.present().len(), people.deleted.len()), (0, 1));
    }
}
