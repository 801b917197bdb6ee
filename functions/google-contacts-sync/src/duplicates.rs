//! Of several contacts of one person the one that is worth most to the user stays, and the others go.

use std::collections::HashMap;

use catchup::db::contacts::{ContactsPage, Duplicates, MatchKeys, OwnData, StoredContact};
use chrono::{DateTime, Utc};
use shared::db;
use uuid::Uuid;

use crate::notes;
use crate::page::{Memberships, shown, update};
use crate::person::ContactFields;

/// What a contact is worth to the user: of several contacts of one person the one with the highest rank stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// The user did not archive it.
    is_in_use: bool,
    own: Own,
}

/// How much of a contact is the user's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Own {
    Nothing,
    /// No more than a note.
    Note,
    /// A value of their own.
    Value,
}

/// What of contacts is the user's own, by the contacts' ids.
struct Owned(HashMap<Uuid, OwnData>);

impl Owned {
    async fn of(page: &mut ContactsPage, contacts: &[Uuid]) -> Result<Self, db::Error> {
        let own = page.own_data(contacts).await?;
        Ok(Self(own.into_iter().map(|own| (own.id, own)).collect()))
    }

    /// Of a contact whose person works at `organization`.
    fn own(&self, contact: Uuid, organization: Option<&str>) -> Own {
        match self.0.get(&contact) {
            Some(own) if own.has_own => Own::Value,
            Some(own) if own.was_changed && notes::is_users(own.custom_notes.as_deref(), organization) => {
                Own::Note
            }
            Some(_) | None => Own::Nothing,
        }
    }

    fn rank(&self, contact: &StoredContact, organization: Option<&str>) -> Rank {
        Rank { is_in_use: !contact.archived_by_user, own: self.own(contact.id, organization) }
    }
}

/// Finds match candidates for people without a contact, by e-mail address, else by number: pairs of the person's index in
/// `people` and the contact, none of which is in `taken`.
///
/// Google gives a person the addresses and numbers of those who are merged into them, so one person may have a candidate by
/// address and another by number. The one by number goes first if it is in use, has no address that says whose it is, and more
/// of it is the user's.
pub(crate) async fn matches(
    page: &mut ContactsPage,
    people: &[&ContactFields],
    taken: &[Uuid],
) -> Result<Vec<(usize, StoredContact)>, db::Error> {
    if people.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<_> = people
        .iter()
        .map(|fields| MatchKeys { email: fields.email.as_deref(), phone: fields.phone.as_deref() })
        .collect();
    let mut matches = page.match_candidates(&keys, taken).await?;
    let numbers: Vec<_> = matches
        .iter()
        .map(|(index, found)| MatchKeys {
            email: None,
            phone: keys[*index].phone.filter(|_| found.email.is_some()),
        })
        .collect();
    if numbers.iter().all(|keys| keys.phone.is_none()) {
        return Ok(matches);
    }
    let taken: Vec<Uuid> = taken.iter().copied().chain(matches.iter().map(|(_, found)| found.id)).collect();
    let mut others = page.match_candidates(&numbers, &taken).await?;
    others.retain(|(_, other)| other.email.is_none() && !other.archived_by_sync && !other.archived_by_user);
    let compared = others.iter().flat_map(|(at, other)| [matches[*at].1.id, other.id]);
    let owned = Owned::of(page, &compared.collect::<Vec<_>>()).await?;
    for (at, other) in others {
        let (index, found) = &mut matches[at];
        let organization = people[*index].organization.as_deref();
        if owned.rank(&other, organization) > owned.rank(found, organization) {
            *found = other;
        }
    }
    Ok(matches)
}

/// Of the contacts of each person the one with the highest rank, the first of equals, by the people's resource names; and the
/// ids of the others.
pub(crate) async fn keep(
    page: &mut ContactsPage,
    people: Vec<(&ContactFields, Vec<StoredContact>)>,
) -> Result<(HashMap<String, StoredContact>, Vec<Uuid>), db::Error> {
    let several = people.iter().filter(|(_, contacts)| contacts.len() > 1);
    let several: Vec<Uuid> = several.flat_map(|(_, contacts)| contacts).map(|contact| contact.id).collect();
    let owned = Owned::of(page, &several).await?;
    let mut kept = HashMap::with_capacity(people.len());
    let mut others = Vec::new();
    for (fields, contacts) in people {
        let rank = |contact: &StoredContact| owned.rank(contact, fields.organization.as_deref());
        let best = contacts.into_iter().reduce(|best, next| {
            let (best, other) = if rank(&next) > rank(&best) { (next, best) } else { (best, next) };
            others.push(other.id);
            best
        });
        kept.extend(best.map(|contact| (fields.resource_name.clone(), contact)));
    }
    Ok((kept, others))
}

/// Contacts of deleted people whose other contact came earlier: one with a higher rank than the other takes the person over.
/// Returns whom that concerned.
pub(crate) async fn take_over_gone(
    page: &mut ContactsPage,
    gone: &[Uuid],
    people: &[ContactFields],
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>, db::Error> {
    let owned_old = Owned::of(page, gone).await?;
    // The other one is in use, so nothing is not more.
    let gone: Vec<Uuid> = gone.iter().copied().filter(|id| owned_old.own(*id, None) > Own::Nothing).collect();
    let mut pairs = page.duplicates_of(&gone).await?;
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let new: Vec<Uuid> = pairs.iter().map(|pair| pair.new.id).collect();
    let owned_new = Owned::of(page, &new).await?;
    let organizations: HashMap<&str, Option<&str>> =
        people.iter().map(|fields| (fields.resource_name.as_str(), fields.organization.as_deref())).collect();
    pairs.retain_mut(|Duplicates { old, new }| {
        let name = new.resource_name.as_deref().unwrap_or_default();
        let organization = organizations.get(name).copied().flatten();
        let (old_rank, new_rank) = (owned_old.rank(old, organization), owned_new.rank(new, organization));
        if new_rank.own > Own::Nothing {
            // The user's note stays on this contact.
            new.custom_notes = organization.map(str::to_owned);
        }
        // A person whom the page matched meanwhile has taken the contact up already.
        old.archived_by_sync && old_rank > new_rank
    });
    take_over(page, &pairs, now).await
}

/// The old contacts take over the people of the new ones, which go. Returns whom that concerned.
pub(crate) async fn take_over(
    page: &mut ContactsPage,
    pairs: &[Duplicates],
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ::tests::database::{Database, now};
    use catchup::db::contacts::Contacts;
    use catchup::payload::Integration::GoogleContacts;
    use shared::telemetry::{Counter, Scope};

    use super::*;
    use crate::page::new_contact;

    #[tokio::test]
    async fn the_number_of_statements_does_not_depend_on_the_number_of_merged_people() {
        let database = Database::new().await;
        let mut counts = Vec::new();
        for people in [1, 20] {
            let user = database.user(&[GoogleContacts]).await;
            let fields = |number: usize| ContactFields {
                resource_name: format!("people/c{number}"),
                name: "Ada".to_owned(),
                ..ContactFields::default()
            };
            let fields: Vec<_> = (0..2 * people).map(fields).collect();
            let mut page = database.of::<Contacts>().page(user).await.unwrap();
            page.insert(&fields.iter().map(new_contact).collect::<Vec<_>>(), now()).await.unwrap();
            let names: Vec<_> = fields.iter().map(|fields| fields.resource_name.as_str()).collect();
            let mut contacts = page.linked(&names).await.unwrap();
            let of_two = |fields| (fields, contacts.split_off(contacts.len() - 2));
            let merged: Vec<_> = fields[..people].iter().map(of_two).collect();
            let scope = Arc::new(Scope::default());
            let meter = Arc::clone(&scope.meter);
            let (kept, others) = scope.enter(keep(&mut page, merged)).await.unwrap();
            assert_eq!((kept.len(), others.len()), (people, people));
            counts.push(meter.get(Counter::SqlStatement));
        }
        assert_eq!(counts, [1, 1]);
    }
}
