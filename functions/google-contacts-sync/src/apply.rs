//! Brings one page of people into the database, in one transaction.

use std::collections::{HashMap, HashSet};
use std::iter;

use catchup::db::contacts::{ContactsPage, ListedPage, NewContact, StoredContact};
use catchup::payload::SyncType;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::duplicates;
use crate::page::{Memberships, People, new_contact, update};
use crate::person::ContactFields;
use crate::sync::Stop;

/// What a page has done.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Rows written.
    pub(crate) rows: u64,
    /// Contacts that were there before, and that the page changes or has changed in an earlier run.
    pub(crate) affected: Vec<Uuid>,
}

/// The match candidates among the user's contacts, as far as a part has looked for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Candidates {
    /// Not yet.
    Unknown,
    /// There is none.
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
    candidates: &mut Candidates,
    now: DateTime<Utc>,
) -> Result<Applied, Stop> {
    if !page.take_place(listed, now).await? {
        return Err(Stop::Superseded);
    }
    let Linked { mut contacts, deleted, merged, gone } = linked(&mut page, people, now).await?;
    // Before the others: a person who returns under a new name in the same page takes up the contact.
    let archived = page.archive(&gone, *candidates != Candidates::Unknown, now).await?;
    if !archived.is_empty() && *candidates == Candidates::None {
        *candidates = Candidates::Gathered;
    }
    matched(&mut page, &people.named, sync_type, &mut contacts, candidates).await?;
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
    let taken_over = duplicates::take_over_gone(&mut page, &archived, &people.named, now).await?;
    if sync_type == SyncType::Full {
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
    let linked = contacts.values().map(|contact| contact.id);
    let affected = linked.chain(deleted).chain(merged).chain(taken_over).collect();
    Ok(Applied { rows: rows as u64, affected })
}

/// What the user's contacts have to do with the people of a page.
struct Linked<'a> {
    /// The contacts that people are linked to, by the people's resource names.
    contacts: HashMap<String, StoredContact>,
    /// The contacts of deleted people.
    deleted: Vec<Uuid>,
    /// The contacts of people who were merged into another, whose contact stays.
    merged: Vec<Uuid>,
    /// Deleted people whose contact is no other person's now.
    gone: Vec<&'a str>,
}

/// Finds the contacts of people by their resource names, else by those that they had before. Of several contacts of one
/// person the one that is worth most to the user stays.
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
    let stored = page.linked(&names).await?;
    let mut stored: HashMap<String, StoredContact> =
        stored.into_iter().filter_map(|contact| Some((contact.resource_name.clone()?, contact))).collect();
    let mut found = Vec::new();
    for fields in &people.named {
        let previous = fields.previous.iter().filter(|name| !present.contains(name.as_str()));
        let names = iter::once(&fields.resource_name).chain(previous);
        let contacts: Vec<StoredContact> = names.filter_map(|name| stored.remove(name)).collect();
        found.push((fields, contacts));
    }
    let (contacts, merged) = duplicates::keep(page, found).await?;
    page.retire(&merged, false, now).await?;
    let gone: Vec<&str> =
        people.deleted.iter().map(String::as_str).filter(|name| stored.contains_key(*name)).collect();
    let deleted = gone.iter().filter_map(|name| Some(stored.get(*name)?.id)).collect();
    Ok(Linked { contacts, deleted, merged, gone })
}

/// Finds match candidates for people without a contact.
async fn matched(
    page: &mut ContactsPage,
    people: &[ContactFields],
    sync_type: SyncType,
    contacts: &mut HashMap<String, StoredContact>,
    candidates: &mut Candidates,
) -> Result<(), Stop> {
    let unlinked: Vec<&ContactFields> = people
        .iter()
        .filter(|fields| !contacts.contains_key(&fields.resource_name))
        .filter(|fields| fields.email.is_some() || fields.phone.is_some())
        .collect();
    if unlinked.is_empty() {
        return Ok(());
    }
    if *candidates == Candidates::Unknown {
        let gathered = page.gather_candidates(sync_type).await?;
        *candidates = if gathered > 0 { Candidates::Gathered } else { Candidates::None };
    }
    if *candidates == Candidates::None {
        return Ok(());
    }
    let taken: Vec<Uuid> = contacts.values().map(|contact| contact.id).collect();
    for (index, contact) in duplicates::matches(page, &unlinked, &taken).await? {
        contacts.insert(unlinked[index].resource_name.clone(), contact);
    }
    Ok(())
}
