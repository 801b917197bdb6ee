//! Brings one page of people into the database, in one transaction.

use std::collections::{HashMap, HashSet};

use catchup::db::contacts::{ContactsPage, MatchKeys, PersonFields, StoredContact};
use catchup::payload::{ContactsResume, SyncType};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::page::{Memberships, People, new_contact, update};
use crate::person::ContactFields;
use crate::sync::Stop;

/// What a page has done.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Rows written.
    pub(crate) rows: u64,
    /// Contacts that were there before, and that the page changes or has changed in an earlier run.
    pub(crate) met: Vec<Uuid>,
    /// See [`ContactsResume::gathered`].
    pub(crate) gathered: bool,
}

/// Writes what the page changes, and commits it. Nothing is written where nothing changed.
pub(crate) async fn apply(
    mut page: ContactsPage,
    people: &People,
    progress: &ContactsResume,
    now: DateTime<Utc>,
) -> Result<Applied, Stop> {
    let is_full = progress.sync_type == SyncType::Full;
    if is_full && !page.mark_seen(progress.run, &people.present()).await? {
        return Err(Stop::Superseded);
    }
    // Before the others: a person who returns under a new name in the same page takes up the contact.
    let deleted: Vec<&str> = people.deleted.iter().map(String::as_str).collect();
    let archived = page.archive(&deleted, now).await?;
    let Linked { contacts, gone, gathered } =
        linked(&mut page, &people.named, &deleted, progress, now).await?;
    let contact = |fields: &ContactFields| contacts.get(&fields.resource_name);

    let updates: Vec<_> = people.named.iter().filter_map(|fields| update(fields, contact(fields)?)).collect();
    page.update(&updates, now).await?;
    let new_contacts: Vec<PersonFields> =
        people.named.iter().filter(|fields| contact(fields).is_none()).map(new_contact).collect();
    let inserted: HashMap<String, Uuid> = page.insert(&new_contacts, now).await?.into_iter().collect();

    let mut memberships = Memberships::default();
    for fields in &people.named {
        match (contact(fields), inserted.get(&fields.resource_name)) {
            (Some(contact), _) => memberships.replace(contact.id, &contact.groups, &fields.groups),
            (None, Some(id)) => memberships.replace(*id, &[], &fields.groups),
            // Another sync has inserted this person meanwhile, groups included.
            (None, None) => {}
        }
    }
    page.change_memberships(&memberships.joined, &memberships.left).await?;
    page.commit().await?;

    let rows = updates.len() + inserted.len() + memberships.rows() + archived.len();
    let met = contacts.values().map(|contact| contact.id).chain(gone).collect();
    Ok(Applied { rows: rows as u64, met, gathered })
}

/// What the user's contacts have to do with the people of a page.
struct Linked {
    /// The contacts that people are linked to or can be linked to, by the people's resource names.
    contacts: HashMap<String, StoredContact>,
    /// The contacts of deleted people.
    gone: Vec<Uuid>,
    /// Whether the user's free contacts now are ready for matching.
    gathered: bool,
}

async fn linked(
    page: &mut ContactsPage,
    people: &[ContactFields],
    deleted: &[&str],
    progress: &ContactsResume,
    now: DateTime<Utc>,
) -> Result<Linked, Stop> {
    let present: HashSet<&str> = people.iter().map(|fields| fields.resource_name.as_str()).collect();
    let names: Vec<&str> = present.iter().chain(deleted).copied().collect();
    let mut contacts = HashMap::new();
    let mut gone = Vec::new();
    for contact in page.linked(&names).await? {
        match &contact.resource_name {
            Some(name) if present.contains(name.as_str()) => {
                contacts.insert(name.clone(), contact);
            }
            Some(_) | None => gone.push(contact.id),
        }
    }
    let unlinked: Vec<&ContactFields> = people
        .iter()
        .filter(|fields| !contacts.contains_key(&fields.resource_name))
        .filter(|fields| fields.email.is_some() || fields.phone.is_some())
        .collect();
    if unlinked.is_empty() {
        return Ok(Linked { contacts, gone, gathered: progress.gathered });
    }
    if !progress.gathered {
        page.gather_unlinked(progress.run, now).await?;
    }
    let keys: Vec<_> = unlinked
        .iter()
        .map(|fields| MatchKeys { email: fields.email.as_deref(), phone: fields.phone.as_deref() })
        .collect();
    let taken: Vec<Uuid> = contacts.values().map(|contact| contact.id).collect();
    for (index, contact) in page.match_unlinked(progress.run, &keys, &taken).await? {
        contacts.insert(unlinked[index].resource_name.clone(), contact);
    }
    Ok(Linked { contacts, gone, gathered: true })
}
