//! An address book of any size: people are made anew from their number whenever they are asked for, and only those
//! that changed are kept. A book of 100,000 people costs nothing until it is read, and then a page at a time.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chrono::{DateTime, Utc};

use crate::dice::{Dice, mix};
use crate::person::{ContactGroup, GroupType, Labelled, Person};
use crate::seed_person::invent;
use crate::words::GROUPS;

/// The group that every contact belongs to.
pub(crate) const MY_CONTACTS: &str = "contactGroups/myContacts";
const STARRED: &str = "contactGroups/starred";
const SYSTEM_GROUPS: &[&str] = &["myContacts", "starred", "friends", "family", "coworkers", "blocked"];

/// Resource names are decimal; this leaves room for a million people in a book.
const BOOK_SPAN: u64 = 1_000_000;

/// A person that differs from what their number says: `None` when deleted.
#[derive(Debug, Clone)]
struct Change {
    revision: u64,
    person: Option<Person>,
    /// Who was deleted, and may be restored.
    gone: Option<Person>,
}

/// A contact group with its place in the book's history.
#[derive(Debug, Clone)]
pub(crate) struct GroupRecord {
    pub(crate) group: ContactGroup,
    pub(crate) revision: u64,
    pub(crate) deleted: bool,
    pub(crate) updated: DateTime<Utc>,
}

/// One row of a list of people.
#[derive(Debug)]
pub(crate) enum Row {
    Live(Box<Person>),
    Deleted { resource_name: String, etag: String },
}

/// All people and contact groups of a user.
#[derive(Debug, Clone)]
pub(crate) struct AddressBook {
    seed: u64,
    /// People below this number exist from the start, ...
    generated: u64,
    /// ... in the groups below this one.
    generated_groups: usize,
    /// The number of the next new person.
    next: u64,
    changes: BTreeMap<u64, Change>,
    pub(crate) groups: Vec<GroupRecord>,
    pub(crate) revision: u64,
    /// Sync tokens of another epoch have expired.
    pub(crate) epoch: u64,
    /// How many full syncs may still begin; `None` for any number.
    pub(crate) first_pages: Option<u32>,
}

impl AddressBook {
    /// A book of `people` people in `user_groups` groups of the user's own besides Google's.
    pub(crate) fn new(seed: u64, people: u64, user_groups: usize, now: DateTime<Utc>) -> Self {
        let own = GROUPS.iter().take(user_groups).enumerate().map(|(at, name)| {
            (format!("contactGroups/{:x}", mix(seed, at as u64) >> 4), GroupType::UserContactGroup, *name)
        });
        let system = SYSTEM_GROUPS
            .iter()
            .map(|name| (format!("contactGroups/{name}"), GroupType::SystemContactGroup, *name));
        let groups = system.chain(own).map(|(resource_name, group_type, name)| GroupRecord {
            group: ContactGroup {
                etag: etag(&resource_name, 0),
                resource_name,
                group_type,
                name: name.to_owned(),
                member_count: 0,
            },
            revision: 0,
            deleted: false,
            updated: now,
        });
        let groups: Vec<GroupRecord> = groups.collect();
        let mut book = Self {
            seed,
            generated: people,
            generated_groups: groups.len(),
            next: people,
            changes: BTreeMap::new(),
            groups,
            revision: 0,
            epoch: 0,
            first_pages: None,
        };
        for number in 0..people {
            // Memberships come first off the dice, so that counting them need not make the person.
            for name in book.memberships(&mut book.dice(number)) {
                if let Some(record) = book.group_mut(&name) {
                    record.group.member_count += 1;
                }
            }
        }
        book
    }

    /// How many numbers were ever given out; a cursor below this has people left to list.
    pub(crate) fn end(&self) -> u64 {
        self.next
    }

    /// The person of a number; `None` when deleted or never there.
    pub(crate) fn person(&self, number: u64) -> Option<Person> {
        match self.changes.get(&number) {
            Some(change) => change.person.clone(),
            None => (number < self.generated).then(|| self.generate(number)),
        }
    }

    /// All live people with their numbers from `from` on.
    pub(crate) fn live(&self, from: u64) -> impl Iterator<Item = (u64, Person)> {
        (from..self.next).filter_map(|number| Some((number, self.person(number)?)))
    }

    /// How many people are in the book, without making any of them.
    pub(crate) fn len(&self) -> usize {
        let deleted = self.changes.values().filter(|change| change.person.is_none()).count();
        usize::try_from(self.next).expect("a book fits into memory") - deleted
    }

    /// Whoever changed from revision `from` to `until`, in the order of the changes, by the revision of the last change.
    pub(crate) fn changed(&self, from: u64, until: u64) -> Vec<(u64, Row)> {
        let mut changed: Vec<_> = self
            .changes
            .iter()
            .filter(|(_, change)| (from..=until).contains(&change.revision))
            .map(|(number, change)| (change.revision, *number, change))
            .collect();
        changed.sort_unstable_by_key(|(revision, number, _)| (*revision, *number));
        let row = |(revision, number, change): (u64, u64, &Change)| {
            let row = match change.person.clone() {
                Some(person) => Row::Live(Box::new(person)),
                None => Row::Deleted {
                    resource_name: self.resource_name(number),
                    etag: etag(&self.resource_name(number), revision),
                },
            };
            (revision, row)
        };
        changed.into_iter().map(row).collect()
    }

    /// The numbers of the people who may be restored.
    pub(crate) fn deleted(&self) -> Vec<u64> {
        let gone = self.changes.iter().filter(|(_, change)| change.gone.is_some());
        gone.map(|(number, _)| *number).collect()
    }

    /// Takes one of the full syncs that may begin; false when none is left.
    pub(crate) fn take_first_page(&mut self) -> bool {
        match &mut self.first_pages {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    /// Gives a person another resource name, as linking them to a profile does; with `new_first` the list of changes says
    /// who is new before it says who is gone.
    pub(crate) fn rename(&mut self, number: u64, new_first: bool) -> Option<Person> {
        let mut person = self.person(number)?;
        person.previous_resource_names.push(person.resource_name.clone());
        if new_first {
            let renamed = self.add(person);
            self.set(number, None);
            Some(renamed)
        } else {
            self.set(number, None);
            Some(self.add(person))
        }
    }

    /// Merges one person into another, who keeps their resource name and gets the addresses, numbers and groups of both.
    pub(crate) fn merge(&mut self, from: u64, into: u64) -> Option<Person> {
        let (other, mut person) = (self.person(from)?, self.person(into)?);
        if from == into {
            return None;
        }
        let add = |values: &mut Vec<Labelled>, others: Vec<Labelled>| {
            let new =
                others.into_iter().filter(|other| values.iter().all(|value| value.value != other.value));
            let new: Vec<_> = new.map(|value| Labelled { primary: false, ..value }).collect();
            values.extend(new);
        };
        add(&mut person.emails, other.emails);
        add(&mut person.phones, other.phones);
        person.name = person.name.or(other.name);
        let groups = other.memberships.into_iter().filter(|group| !person.memberships.contains(group));
        let groups: Vec<_> = groups.collect();
        person.memberships.extend(groups);
        person.previous_resource_names.extend(other.previous_resource_names);
        person.previous_resource_names.push(other.resource_name);
        self.set(from, None);
        self.set(into, Some(person))
    }

    /// Brings a deleted person back, under the same resource name or another one.
    pub(crate) fn restore(&mut self, number: u64, renamed: bool) -> Option<Person> {
        let mut person = self.changes.get(&number).filter(|change| change.person.is_none())?.gone.clone()?;
        if renamed {
            person.previous_resource_names.push(person.resource_name.clone());
            self.changes.get_mut(&number)?.gone = None;
            Some(self.add(person))
        } else {
            self.set(number, Some(person))
        }
    }

    /// The number behind a resource name of this book.
    pub(crate) fn number(&self, resource_name: &str) -> Option<u64> {
        let digits: u64 = resource_name.strip_prefix("people/c")?.parse().ok()?;
        let number = digits.checked_sub(self.first_id())?;
        (number < self.next).then_some(number)
    }

    /// Adds a person and gives them their resource name.
    pub(crate) fn add(&mut self, person: Person) -> Person {
        let number = self.next;
        self.next += 1;
        self.set(number, Some(person)).expect("a person was put there")
    }

    /// Puts a person in place of the one with this number, or deletes them.
    pub(crate) fn set(&mut self, number: u64, person: Option<Person>) -> Option<Person> {
        self.revision += 1;
        let revision = self.revision;
        let before = if number < self.next { self.person(number) } else { None };
        let person = person.map(|mut person| {
            person.resource_name = self.resource_name(number);
            person.etag = etag(&person.resource_name, revision);
            person
        });
        let members =
            |person: &Option<Person>| person.as_ref().map_or_else(Vec::new, |p| p.memberships.clone());
        let (left, joined) = (members(&before), members(&person));
        let gone = if person.is_none() { before } else { None };
        self.changes.insert(number, Change { revision, person: person.clone(), gone });
        for name in left.iter().filter(|name| !joined.contains(name)) {
            self.recount(name, |count| count.saturating_sub(1));
        }
        for name in joined.iter().filter(|name| !left.contains(name)) {
            self.recount(name, |count| count + 1);
        }
        person
    }

    fn recount(&mut self, name: &str, count: impl FnOnce(usize) -> usize) {
        self.change_group(name, None, |group| group.member_count = count(group.member_count));
    }

    /// Changes a live group as the newest change of the book; false when there is none of that name.
    pub(crate) fn change_group(
        &mut self,
        name: &str,
        now: Option<DateTime<Utc>>,
        change: impl FnOnce(&mut ContactGroup),
    ) -> bool {
        self.revision += 1;
        let revision = self.revision;
        let Some(record) = self.group_mut(name) else { return false };
        change(&mut record.group);
        record.revision = revision;
        record.group.etag = etag(name, revision);
        record.updated = now.unwrap_or(record.updated);
        true
    }

    /// Adds a group of the user's own.
    pub(crate) fn add_group(&mut self, name: &str, now: DateTime<Utc>) -> ContactGroup {
        self.revision += 1;
        let resource_name = format!("contactGroups/{:x}", mix(self.seed, self.revision.rotate_left(32)) >> 4);
        let group = ContactGroup {
            etag: etag(&resource_name, self.revision),
            resource_name,
            group_type: GroupType::UserContactGroup,
            name: name.to_owned(),
            member_count: 0,
        };
        let record =
            GroupRecord { group: group.clone(), revision: self.revision, deleted: false, updated: now };
        self.groups.push(record);
        group
    }

    /// Deletes a group of the user's own, and everybody's membership in it. False when there is none.
    pub(crate) fn delete_group(&mut self, name: &str, now: DateTime<Utc>) -> bool {
        if !self.live_groups().any(|group| group.resource_name == name && is_own(group)) {
            return false;
        }
        let members: Vec<_> =
            self.live(0).filter(|(_, person)| person.memberships.iter().any(|m| m == name)).collect();
        for (number, mut person) in members {
            person.memberships.retain(|membership| membership != name);
            self.set(number, Some(person));
        }
        self.change_group(name, Some(now), |_| ());
        if let Some(record) = self.group_mut(name) {
            record.deleted = true;
        }
        true
    }

    pub(crate) fn live_groups(&self) -> impl Iterator<Item = &ContactGroup> {
        self.groups.iter().filter(|record| !record.deleted).map(|record| &record.group)
    }

    fn group_mut(&mut self, name: &str) -> Option<&mut GroupRecord> {
        self.groups.iter_mut().find(|record| !record.deleted && record.group.resource_name == name)
    }

    fn first_id(&self) -> u64 {
        (1_000_000 + self.seed % 8_000_000) * BOOK_SPAN
    }

    fn resource_name(&self, number: u64) -> String {
        format!("people/c{}", self.first_id() + number)
    }

    fn dice(&self, number: u64) -> Dice {
        Dice::new(mix(self.seed, number))
    }

    fn generate(&self, number: u64) -> Person {
        let mut dice = self.dice(number);
        let memberships = self.memberships(&mut dice);
        let resource_name = self.resource_name(number);
        let mut person =
            Person { etag: etag(&resource_name, 0), resource_name, memberships, ..invent(&mut dice, number) };
        if number > 0 && dice.chance(4) {
            self.share_a_value(&mut person, number, &mut dice);
        }
        person
    }

    /// Gives the person an address or number of an earlier person, written differently: the same human twice.
    fn share_a_value(&self, person: &mut Person, number: u64, dice: &mut Dice) {
        let mut other = self.dice(dice.below(number));
        let _ = self.memberships(&mut other);
        let other = invent(&mut other, 0);
        if let (Some(mine), Some(theirs)) = (person.emails.first_mut(), other.emails.first()) {
            mine.value = theirs.value.to_uppercase();
        } else if let (Some(mine), Some(theirs)) = (person.phones.first_mut(), other.phones.first()) {
            mine.value = theirs.value.chars().filter(char::is_ascii_digit).collect();
        }
    }

    fn memberships(&self, dice: &mut Dice) -> Vec<String> {
        let mut names = vec![MY_CONTACTS.to_owned()];
        if dice.chance(5) {
            names.push(STARRED.to_owned());
        }
        let own = &self.groups[SYSTEM_GROUPS.len()..self.generated_groups];
        for at in [dice.index(8), dice.index(40)] {
            if let Some(record) = own.get(at).filter(|record| !names.contains(&record.group.resource_name)) {
                names.push(record.group.resource_name.clone());
            }
        }
        names
    }
}

/// Whether the user made it, and so may delete it.
pub(crate) fn is_own(group: &ContactGroup) -> bool {
    group.group_type == GroupType::UserContactGroup
}

fn etag(name: &str, revision: u64) -> String {
    format!("%{}", STANDARD_NO_PAD.encode(format!("{name}:{revision}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(people: u64) -> AddressBook {
        AddressBook::new(11, people, 4, DateTime::UNIX_EPOCH)
    }

    fn members(book: &AddressBook, group: &str) -> usize {
        book.live(0).filter(|(_, person)| person.memberships.iter().any(|name| name == group)).count()
    }

    #[test]
    fn generated_person_is_deterministic() {
        assert_eq!(book(50).person(31), book(50).person(31));
    }

    #[test]
    fn group_count_equals_its_members_after_changes() {
        let mut book = book(300);
        book.set(7, None);
        book.add(Person { memberships: vec![STARRED.to_owned()], ..Person::default() });
        let own = book.live_groups().last().expect("groups").resource_name.clone();
        book.delete_group(&own, DateTime::UNIX_EPOCH);
        for group in book.live_groups() {
            assert_eq!(group.member_count, members(&book, &group.resource_name), "{}", group.name);
        }
        assert_eq!(members(&book, &own), 0);
        assert_eq!(book.len(), 300);
    }

    #[test]
    fn resource_name_round_trips_to_its_number() {
        let book = book(20);
        let person = book.person(13).expect("person");
        assert_eq!(book.number(&person.resource_name), Some(13));
        assert_eq!(book.number("people/c1"), None);
    }

    #[test]
    fn some_people_lack_a_name_and_some_share_an_address_in_another_case() {
        let people: Vec<Person> = book(2_000).live(0).map(|(_, person)| person).collect();
        assert!(people.iter().any(|person| person.name.is_none()));
        let addresses: Vec<&str> =
            people.iter().flat_map(|person| &person.emails).map(|email| email.value.as_str()).collect();
        assert!(addresses.iter().any(|a| addresses.iter().any(|b| a != b && a.eq_ignore_ascii_case(b))));
    }
}
