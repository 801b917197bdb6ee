//! Two contacts of one person become one: the contact that has the user's own data stays, and the other one goes.

use std::collections::{HashMap, HashSet};

use catchup::db::contacts::{ContactsPage, OwnData, StoredContact, Twins};
use chrono::{DateTime, Utc};
use shared::db;
use uuid::Uuid;

use crate::notes;
use crate::page::{Memberships, shown, update};

/// Of several contacts of one person the one that has most of the user's, the first of equals; and the others.
pub(crate) async fn keep(
    page: &mut ContactsPage,
    mut contacts: Vec<StoredContact>,
    organization: Option<&str>,
) -> Result<(StoredContact, Vec<StoredContact>), db::Error> {
    let mut best = 0;
    if contacts.len() > 1 {
        let ids: Vec<Uuid> = contacts.iter().map(|contact| contact.id).collect();
        let ranks: HashMap<Uuid, u8> =
            page.own_data(&ids).await?.iter().map(|own| (own.id, rank(own, organization))).collect();
        for (index, contact) in contacts.iter().enumerate() {
            if ranks.get(&contact.id) > ranks.get(&contacts[best].id) {
                best = index;
            }
        }
    }
    let kept = contacts.swap_remove(best);
    Ok((kept, contacts))
}

/// How much of a contact is the user's: a value of their own, no more than a note, or nothing.
fn rank(own: &OwnData, organization: Option<&str>) -> u8 {
    if own.has_own {
        2
    } else {
        u8::from(own.was_changed && notes::is_users(own.custom_notes.as_deref(), organization))
    }
}

/// People who were deleted and whose other contact came earlier: the contact with the user's own data takes the person
/// over. Returns whom that concerned.
pub(crate) async fn take_over_gone(
    page: &mut ContactsPage,
    gone: &[Uuid],
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>, db::Error> {
    let own = owned(page, gone).await?;
    let gone: Vec<Uuid> = gone.iter().copied().filter(|id| own.contains(id)).collect();
    let mut pairs = page.twins_of(&gone).await?;
    let new: Vec<Uuid> = pairs.iter().map(|pair| pair.new.id).collect();
    let own = owned(page, &new).await?;
    // A person whom the page matched meanwhile has taken the contact up already.
    pairs.retain(|pair| pair.old.archived_by_sync && !own.contains(&pair.new.id));
    take_over(page, &pairs, now).await
}

async fn owned(page: &mut ContactsPage, contacts: &[Uuid]) -> Result<HashSet<Uuid>, db::Error> {
    let own = page.own_data(contacts).await?;
    Ok(own.iter().filter(|own| rank(own, None) > 0).map(|own| own.id).collect())
}

/// The old contacts take over the people of the new ones, which go. Returns whom that concerned.
pub(crate) async fn take_over(
    page: &mut ContactsPage,
    pairs: &[Twins],
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>, db::Error> {
    let new: Vec<Uuid> = pairs.iter().map(|pair| pair.new.id).collect();
    page.retire(&new, true, now).await?;
    let updates: Vec<_> = pairs.iter().filter_map(|pair| update(&shown(&pair.new), &pair.old)).collect();
    page.update(&updates, now).await?;
    let mut memberships = Memberships::default();
    for pair in pairs {
        memberships.replace(pair.old.id, &pair.old.groups, &shown(&pair.new).groups);
    }
    page.change_memberships(&memberships.joined, &memberships.left).await?;
    Ok(pairs.iter().flat_map(|pair| [pair.old.id, pair.new.id]).collect())
}
