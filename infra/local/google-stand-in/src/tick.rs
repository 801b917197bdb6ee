//! Change over time: what users do to their calendars and address books between two syncs.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::account::{GrantState, Integration};
use crate::address_book::{AddressBook, MY_CONTACTS, is_own};
use crate::dice::Dice;
use crate::event::{Event, Recurrence};
use crate::person::PersonName;
use crate::seed_calendar::invent as invent_event;
use crate::seed_person::invent as invent_person;
use crate::state::{Account, State};
use crate::words::{CITIES, FAMILY, GIVEN, GROUPS, MEETINGS};
use crate::world::World;

/// Something that happened in a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// An event was entered.
    EventAdded,
    /// An event got another title or place.
    EventChanged,
    /// An event takes place at another time.
    EventMoved,
    /// An event went to another calendar of the user.
    EventMovedToOtherCalendar,
    /// An event was deleted.
    EventDeleted,
    /// A person was entered.
    PersonAdded,
    /// A person got other data.
    PersonChanged,
    /// A person was deleted.
    PersonDeleted,
    /// A person got another resource name.
    PersonRenamed,
    /// Two people became one.
    PeopleMerged,
    /// A deleted person is there again.
    PersonRestored,
    /// A person joined or left a group.
    MembershipChanged,
    /// A contact group was made.
    GroupAdded,
    /// A contact group got another name.
    GroupRenamed,
    /// A contact group was deleted.
    GroupDeleted,
    /// A user took a grant back.
    GrantRevoked,
    /// A user's push channels, if there are any, broke without a word.
    ChannelSilenced,
}

/// How often each happens among a hundred changes.
const MIX: &[(u64, Change)] = &[
    (21, Change::EventAdded),
    (18, Change::EventChanged),
    (12, Change::EventMoved),
    (2, Change::EventMovedToOtherCalendar),
    (10, Change::EventDeleted),
    (10, Change::PersonAdded),
    (8, Change::PersonChanged),
    (4, Change::PersonDeleted),
    (2, Change::PersonRenamed),
    (2, Change::PeopleMerged),
    (1, Change::PersonRestored),
    (4, Change::MembershipChanged),
    (2, Change::GroupAdded),
    (1, Change::GroupRenamed),
    (1, Change::GroupDeleted),
    (1, Change::GrantRevoked),
    (1, Change::ChannelSilenced),
];
/// How often a change that finds no user it applies to is tried.
const TRIES: usize = 20;
/// At most one user in so many has their grants revoked, however long the world runs.
const REVOKED_ONE_IN: usize = 10;

impl World {
    /// Lets `changes` things happen to users chosen by chance. The same world and the same ticks give the same changes,
    /// whatever was called meanwhile. Says what happened how often.
    #[expect(clippy::must_use_candidate, reason = "a caller may want no more than the changes")]
    pub fn tick(&self, changes: usize) -> BTreeMap<Change, usize> {
        let now = self.now();
        let mut happened = BTreeMap::new();
        for _ in 0..changes {
            // One lock a change: calls in between see a world that is whole.
            let change = self.with(|state| {
                let mut rng = state.rng.clone();
                let change = (0..TRIES).find_map(|_| state.happen(&mut rng, now));
                state.rng = rng;
                change
            });
            if let Some(change) = change {
                *happened.entry(change).or_default() += 1;
            }
        }
        happened
    }
}

fn draw(rng: &mut Dice) -> Change {
    let mut left = rng.below(MIX.iter().map(|(share, _)| share).sum());
    for (share, change) in MIX {
        if left < *share {
            return *change;
        }
        left -= share;
    }
    Change::EventAdded
}

impl State {
    /// Tries one change on one user.
    fn happen(&mut self, rng: &mut Dice, now: DateTime<Utc>) -> Option<Change> {
        let change = draw(rng);
        let place = rng.index(self.accounts.len());
        let account = self.accounts.get(place)?;
        let user = account.user.id;
        match change {
            Change::EventAdded
            | Change::EventChanged
            | Change::EventMoved
            | Change::EventMovedToOtherCalendar
            | Change::EventDeleted => self.happen_to_event(change, user, rng, now)?,
            Change::PersonAdded
            | Change::PersonChanged
            | Change::PersonDeleted
            | Change::PersonRenamed
            | Change::PeopleMerged
            | Change::PersonRestored
            | Change::MembershipChanged => {
                account.user.contacts_grant.as_ref()?;
                happen_to_person(change, &mut self.accounts.get_mut(place)?.book, rng)?;
            }
            Change::GroupAdded | Change::GroupRenamed | Change::GroupDeleted => {
                account.user.contacts_grant.as_ref()?;
                happen_to_group(change, &mut self.accounts.get_mut(place)?.book, rng, now)?;
            }
            Change::GrantRevoked => self.happen_to_grant(user, rng)?,
            // Happens to any user: the sequence of rng must not depend on the channels that callers opened.
            Change::ChannelSilenced => {
                self.accounts.get_mut(place)?.channels.iter_mut().for_each(|channel| channel.silent = true);
            }
        }
        Some(change)
    }

    fn happen_to_event(
        &mut self,
        change: Change,
        user: Uuid,
        rng: &mut Dice,
        now: DateTime<Utc>,
    ) -> Option<()> {
        let account = self.account(user).ok()?;
        let calendars: Vec<_> =
            account.calendars.iter().filter(|calendar_state| !calendar_state.deleted).collect();
        let calendar_state = calendars.get(rng.index(calendars.len()))?;
        let calendar_id = calendar_state.calendar.id.clone();
        if change == Change::EventAdded {
            let mut event = invent_event(&account.user, calendar_state.calendar.time_zone, rng, now);
            event.status = crate::event::EventStatus::Confirmed;
            self.add_event(user, &calendar_id, event, now).ok()?;
            return Some(());
        }
        let events: Vec<&Event> = calendar_state.live_singles().collect();
        let event = *events.get(rng.index(events.len()))?;
        let id = event.id.clone();
        match change {
            Change::EventMovedToOtherCalendar => {
                // Neither an instance nor an event that the other calendar has already.
                let to = calendars.iter().find(|other| other.event(&id).is_none())?.calendar.id.clone();
                if event.recurrence != Recurrence::None {
                    return None;
                }
                self.move_event_to(user, &calendar_id, &id, &to, now).ok()?;
            }
            Change::EventDeleted => self.delete_event(user, &calendar_id, &id, now).ok()?,
            _ => {
                let by = TimeDelta::hours(rng.between(1, 72));
                let (title, room) = (rng.pick(MEETINGS), rng.between(1, 40));
                let edit = |event: &mut Event| {
                    if change == Change::EventMoved {
                        event.time = event.time.shifted(by);
                    } else {
                        event.summary = Some(title.to_owned());
                        event.location = Some(format!("Room {room}"));
                    }
                };
                self.change_event(user, &calendar_id, &id, now, edit).ok()?;
            }
        }
        Some(())
    }

    fn happen_to_grant(&mut self, user: Uuid, rng: &mut Dice) -> Option<()> {
        let revoked = |account: &&Account| {
            Integration::ALL
                .iter()
                .filter_map(|integration| account.user.grant(*integration))
                .any(|grant| grant.state == GrantState::Revoked)
        };
        if self.accounts.iter().filter(revoked).count() * REVOKED_ONE_IN >= self.accounts.len() {
            return None;
        }
        let integration = rng.pick(&Integration::ALL);
        let grant = self.grant_mut(user, integration).ok()?;
        if grant.state == GrantState::Revoked {
            return None;
        }
        self.revoke(user, integration).ok()
    }
}

fn happen_to_person(change: Change, book: &mut AddressBook, rng: &mut Dice) -> Option<()> {
    let (given, family) = (rng.pick(GIVEN), rng.pick(FAMILY));
    if change == Change::PersonAdded {
        let mut person = invent_person(rng, book.end());
        person.memberships.push(MY_CONTACTS.to_owned());
        book.add(person);
        return Some(());
    }
    let number = rng.below(book.end());
    match change {
        Change::PersonRenamed => return book.rename(number, rng.chance(50)).map(|_| ()),
        Change::PeopleMerged => return book.merge(number, rng.below(book.end())).map(|_| ()),
        Change::PersonRestored => {
            let deleted = book.deleted();
            let number = *deleted.get(rng.index(deleted.len()))?;
            return book.restore(number, rng.chance(50)).map(|_| ());
        }
        _ => {}
    }
    let mut person = book.person(number)?;
    match change {
        Change::PersonDeleted => {
            book.set(number, None);
            return Some(());
        }
        Change::MembershipChanged => {
            let own: Vec<String> = book
                .live_groups()
                .filter(|group| is_own(group))
                .map(|group| group.resource_name.clone())
                .collect();
            let group = own.get(rng.index(own.len()))?;
            if person.memberships.contains(group) {
                person.memberships.retain(|name| name != group);
            } else {
                person.memberships.push(group.clone());
            }
        }
        _ => {
            person.name = Some(PersonName { given: given.to_owned(), family: family.to_owned() });
            if let Some(phone) = person.phones.first_mut() {
                phone.value = format!("+44 20 7946 {:04}", rng.below(10_000));
            }
            if let Some(address) = person.addresses.first_mut() {
                let (city, country) = rng.pick(CITIES);
                address.formatted = format!("1 New Street\n{city}\n{country}");
                city.clone_into(&mut address.city);
                country.clone_into(&mut address.country);
            }
        }
    }
    book.set(number, Some(person)).map(|_| ())
}

fn happen_to_group(change: Change, book: &mut AddressBook, rng: &mut Dice, now: DateTime<Utc>) -> Option<()> {
    let name = format!("{} {}", rng.pick(GROUPS), rng.below(1_000));
    if change == Change::GroupAdded {
        book.add_group(&name, now);
        return Some(());
    }
    let own = book.live_groups().filter(|group| is_own(group));
    let own: Vec<String> = own.map(|group| group.resource_name.clone()).collect();
    let group = own.get(rng.index(own.len()))?;
    let done = if change == Change::GroupDeleted {
        book.delete_group(group, now)
    } else {
        book.change_group(group, Some(now), |group| group.name = name)
    };
    done.then_some(())
}
