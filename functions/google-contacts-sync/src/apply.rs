//! Brings one page of people into the database, in one transaction.

use std::collections::{HashMap, HashSet};

use catchup::db::contacts::{ContactsPage, ListedPage, MatchKeys, NewContact, StoredContact};
use catchup::payload::SyncType;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::page::{Memberships, People, new_contact, update};
use crate::person::ContactFields;
use crate::sync::Stop;
use crate::twins;

/// What a page has done.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Rows written.
    pub(crate) rows: u64,
    /// Contacts that were there before, and that the page changes or has changed in an earlier run.
    pub(crate) met: Vec<Uuid>,
}

/// The user's free contacts, as far as a part has looked for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Free {
    /// Not yet.
    Unknown,
    /// There is none that could be matched.
    None,
    /// They are ready for matching.
    Gathered,
}

/// Writes what the page changes, and commits it. No contact is written where nothing changed.
pub(crate) async fn apply(
    mut page: ContactsPage,
    people: &People,
    sync_type: SyncType,
    listed: ListedPage<'_>,
    free: &mut Free,
    now: DateTime<Utc>,
) -> Result<Applied, Stop> {
    if !page.take_place(listed, now).await? {
        return Err(Stop::Superseded);
    }
    let Linked { mut contacts, met, merged, gone } = linked(&mut page, people, now).await?;
    // Before the others: a person who returns under a new name in the same page takes up the contact.
    let archived = page.archive(&gone, *free != Free::Unknown, now).await?;
    if !archived.is_empty() && *free == Free::None {
        *free = Free::Gathered;
    }
    matched(&mut page, &people.named, &mut contacts, free).await?;
    let contact = |fields: &ContactFields| contacts.get(&fields.resource_name);

    let updates: Vec<_> = people.named.iter().filter_map(|fields| update(fields, contact(fields)?)).collect();
    page.update(&updates, now).await?;
    let new_contacts: Vec<NewContact> =
        people.named.iter().filter(|fields| contact(fields).is_none()).map(new_contact).collect();
    let inserted = page.insert(&new_contacts, now).await?;
    let joined: usize = new_contacts.iter().map(|new| new.groups.len()).sum();

    let mut memberships = Memberships::default();
    for fields in &people.named {
        if let Some(contact) = contact(fields) {
            memberships.replace(contact.id, &contact.groups, &fields.groups);
        }
    }
    page.change_memberships(&memberships.joined, &memberships.left).await?;
    let taken_over = twins::take_over_gone(&mut page, &archived, now).await?;
    if sync_type == SyncType::Full {
        let inserted: Vec<Uuid> = inserted.iter().map(|(_, id)| *id).collect();
        page.mark_seen(listed.run, listed.number, &people.present(), &inserted).await?;
    }
    page.commit().await?;

    let rows = updates.len()
        + inserted.len()
        + joined
        + memberships.rows()
        + archived.len()
        + merged.len()
        + taken_over.len();
    let met =
        contacts.values().map(|contact| contact.id).chain(met).chain(merged).chain(taken_over).collect();
    Ok(Applied { rows: rows as u64, met })
}

/// What the user's contacts have to do with the people of a page.
struct Linked<'a> {
    /// The contacts that people are linked to, by the people's resource names.
    contacts: HashMap<String, StoredContact>,
    /// The contacts of deleted people.
    met: Vec<Uuid>,
    /// The contacts of people who were merged into another, whose contact stays.
    merged: Vec<Uuid>,
    /// Deleted people whose contact is no other person's now.
    gone: Vec<&'a str>,
}

/// Finds the contacts of people by their resource names, else by those that they had before. Of several contacts of one
/// person the one that has most of the user's stays.
async fn linked<'a>(
    page: &mut ContactsPage,
    people: &'a People,
    now: DateTime<Utc>,
) -> Result<Linked<'a>, Stop> {
    let present: HashSet<&str> = people.present().into_iter().collect();
    let previous = people.named.iter().flat_map(|fields| &fields.previous).map(String::as_str);
    let deleted = people.deleted.iter().map(String::as_str);
    let names: HashSet<&str> = present.iter().copied().chain(previous).chain(deleted).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let mut stored: HashMap<String, StoredContact> = HashMap::new();
    for mut contact in page.linked(&names).await? {
        if let Some(name) = contact.resource_name.take() {
            contact.resource_name = Some(name.clone());
            stored.insert(name, contact);
        }
    }
    let mut contacts = HashMap::new();
    let mut merged = Vec::new();
    for fields in &people.named {
        let mut candidates: Vec<StoredContact> = stored.remove(&fields.resource_name).into_iter().collect();
        for name in fields.previous.iter().filter(|name| !present.contains(name.as_str())) {
            let taken = !candidates.is_empty();
            // What the user archived is no reason to put another contact away.
            if let Some(contact) = stored.remove(name) {
                if taken && contact.archived_by_user {
                    stored.insert(name.clone(), contact);
                } else {
                    candidates.push(contact);
                }
            }
        }
        if candidates.is_empty() {
            continue;
        }
        let (kept, others) = twins::keep(page, candidates, fields.organization.as_deref()).await?;
        merged.extend(others.iter().map(|contact| contact.id));
        contacts.insert(fields.resource_name.clone(), kept);
    }
    page.retire(&merged, false, now).await?;
    let gone: Vec<&str> =
        people.deleted.iter().map(String::as_str).filter(|name| stored.contains_key(*name)).collect();
    let met = gone.iter().filter_map(|name| Some(stored.get(*name)?.id)).collect();
    Ok(Linked { contacts, met, merged, gone })
}

/// Finds free contacts for people without one, by e-mail address, else by number.
async fn matched(
    page: &mut ContactsPage,
    people: &[ContactFields],
    contacts: &mut HashMap<String, StoredContact>,
    free: &mut Free,
) -> Result<(), Stop> {
    let unlinked: Vec<&ContactFields> = people
        .iter()
        .filter(|fields| !contacts.contains_key(&fields.resource_name))
        .filter(|fields| fields.email.is_some() || fields.phone.is_some())
        .collect();
    if unlinked.is_empty() || *free == Free::None {
        return Ok(());
    }
    if *free == Free::Unknown {
        *free = if page.gather_free().await? > 0 { Free::Gathered } else { Free::None };
        if *free == Free::None {
            return Ok(());
        }
    }
    let keys: Vec<_> = unlinked
        .iter()
        .map(|fields| MatchKeys { email: fields.email.as_deref(), phone: fields.phone.as_deref() })
        .collect();
    let taken: Vec<Uuid> = contacts.values().map(|contact| contact.id).collect();
    for (index, contact) in page.match_free(&keys, &taken).await? {
        contacts.insert(unlinked[index].resource_name.clone(), contact);
    }
    Ok(())
}
