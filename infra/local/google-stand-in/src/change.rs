//! Explicit changes to the world, for tests and for the operator of the local stack.

use chrono::{TimeDelta, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use crate::account::{GrantState, Integration};
use crate::address_book::{AddressBook, MY_CONTACTS};
use crate::calendar::{Calendar, CalendarState};
use crate::event::{Event, Recurrence, new_id};
use crate::person::{ContactGroup, Person};
use crate::state::{State, Unknown};
use crate::world::World;

type Time = chrono::DateTime<Utc>;

impl World {
    /// Puts an event into a calendar. An empty id gets a new one; an event of UTC whole days takes the calendar's zone.
    pub fn add_event(&self, user: Uuid, calendar_id: &str, event: Event) -> Result<Event, Unknown> {
        let now = self.now();
        self.with(|state| state.add_event(user, calendar_id, event, now))
    }

    /// Puts one meeting into the primary calendars of all its guests at the same moment, which announces it on all their
    /// channels at the same time.
    pub fn add_meeting(&self, guests: &[Uuid], event: &Event) -> Result<(), Unknown> {
        let now = self.now();
        self.with(|state| {
            guests
                .iter()
                .try_for_each(|guest| state.add_event(*guest, "primary", event.clone(), now).map(drop))
        })
    }

    /// Changes an event in every calendar of the user that it appears in.
    pub fn change_event(
        &self,
        user: Uuid,
        calendar_id: &str,
        event_id: &str,
        change: impl FnOnce(&mut Event),
    ) -> Result<Event, Unknown> {
        let now = self.now();
        self.with(|state| state.change_event(user, calendar_id, event_id, now, change))
    }

    /// Moves an event `by` so much later (or earlier); whole days by whole days.
    pub fn move_event(
        &self,
        user: Uuid,
        calendar_id: &str,
        event_id: &str,
        by: TimeDelta,
    ) -> Result<Event, Unknown> {
        self.change_event(user, calendar_id, event_id, |event| event.time = event.time.shifted(by))
    }

    /// Moves an event to another calendar, where it keeps its id; in the first one it is cancelled.
    pub fn move_event_to(&self, user: Uuid, from: &str, event_id: &str, to: &str) -> Result<Event, Unknown> {
        let now = self.now();
        self.with(|state| state.move_event_to(user, from, event_id, to, now))
    }

    /// Deletes an event from every calendar of the user that it appears in; a recurring one with all its instances.
    pub fn delete_event(&self, user: Uuid, calendar_id: &str, event_id: &str) -> Result<(), Unknown> {
        let now = self.now();
        self.with(|state| state.delete_event(user, calendar_id, event_id, now))
    }

    /// Adds a calendar; an empty id gets a new one.
    pub fn add_calendar(&self, user: Uuid, mut calendar: Calendar) -> Result<Calendar, Unknown> {
        let now = self.now();
        self.with(|state| {
            if calendar.id.is_empty() {
                calendar.id = format!("{}@group.calendar.google.com", state.ids.hex(2));
            }
            let account = state.account_mut(user)?;
            account.list_revision += 1;
            account.calendars.push(CalendarState::new(calendar.clone(), account.list_revision, now));
            Ok(calendar)
        })
    }

    /// The user hides a calendar from their list, or shows it again.
    pub fn hide_calendar(&self, user: Uuid, calendar_id: &str, hidden: bool) -> Result<(), Unknown> {
        self.with(|state| {
            let account = state.account_mut(user)?;
            account.list_revision += 1;
            let revision = account.list_revision;
            let calendar_state = account.calendar_state_mut(calendar_id).ok_or(Unknown::Calendar)?;
            calendar_state.hidden = hidden;
            calendar_state.listed_at = revision;
            Ok(())
        })
    }

    /// Deletes a calendar: its events answer 404, an incremental calendar list shows it as deleted.
    pub fn delete_calendar(&self, user: Uuid, calendar_id: &str) -> Result<(), Unknown> {
        self.with(|state| {
            let account = state.account_mut(user)?;
            account.list_revision += 1;
            let revision = account.list_revision;
            let calendar_state = account.calendar_state_mut(calendar_id).ok_or(Unknown::Calendar)?;
            calendar_state.deleted = true;
            calendar_state.listed_at = revision;
            let id = calendar_state.calendar.id.clone();
            account.channels.retain(|channel| channel.calendar_id != id);
            Ok(())
        })
    }

    /// Adds a person; resource name and etag are given here. Without memberships they join `myContacts`.
    pub fn add_person(&self, user: Uuid, mut person: Person) -> Result<Person, Unknown> {
        if person.memberships.is_empty() {
            person.memberships.push(MY_CONTACTS.to_owned());
        }
        self.with(|state| Ok(state.account_mut(user)?.book.add(person)))
    }

    /// Changes a person.
    pub fn change_person(
        &self,
        user: Uuid,
        resource_name: &str,
        change: impl FnOnce(&mut Person),
    ) -> Result<Person, Unknown> {
        self.with(|state| {
            let book = &mut state.account_mut(user)?.book;
            let number = book.number(resource_name).ok_or(Unknown::Person)?;
            let mut person = book.person(number).ok_or(Unknown::Person)?;
            change(&mut person);
            book.set(number, Some(person)).ok_or(Unknown::Person)
        })
    }

    /// Deletes a person.
    pub fn delete_person(&self, user: Uuid, resource_name: &str) -> Result<(), Unknown> {
        self.with(|state| {
            let book = &mut state.account_mut(user)?.book;
            let number = book.number(resource_name).ok_or(Unknown::Person)?;
            book.person(number).ok_or(Unknown::Person)?;
            book.set(number, None);
            Ok(())
        })
    }

    /// Gives a person another resource name, as linking them to a profile does; with `new_first` the list of changes says
    /// who is new before it says who is gone.
    pub fn rename_person(&self, user: Uuid, resource_name: &str, new_first: bool) -> Result<Person, Unknown> {
        self.with_person(user, resource_name, |book, number| book.rename(number, new_first))
    }

    /// Merges a person into another, who keeps their resource name.
    pub fn merge_people(&self, user: Uuid, from: &str, into: &str) -> Result<Person, Unknown> {
        self.with_person(user, from, |book, number| book.merge(number, book.number(into)?))
    }

    /// Brings a deleted person back, under the same resource name or another one.
    pub fn restore_person(&self, user: Uuid, resource_name: &str, renamed: bool) -> Result<Person, Unknown> {
        self.with_person(user, resource_name, |book, number| book.restore(number, renamed))
    }

    fn with_person(
        &self,
        user: Uuid,
        resource_name: &str,
        change: impl FnOnce(&mut AddressBook, u64) -> Option<Person>,
    ) -> Result<Person, Unknown> {
        self.with(|state| {
            let book = &mut state.account_mut(user)?.book;
            let number = book.number(resource_name).ok_or(Unknown::Person)?;
            change(book, number).ok_or(Unknown::Person)
        })
    }

    /// Lets so many full syncs of the user's address book begin, and refuses the first page of any other with 429; `None`
    /// refuses none.
    pub fn limit_full_syncs(&self, user: Uuid, left: Option<u32>) -> Result<(), Unknown> {
        self.with(|state| {
            state.account_mut(user)?.book.first_pages = left;
            Ok(())
        })
    }

    /// Replaces the user's address book by one of `people` people (at most a million). Older sync tokens expire.
    pub fn add_address_book(&self, user: Uuid, people: u64) -> Result<(), Unknown> {
        let now = self.now();
        self.with(|state| {
            let seed = state.ids.roll();
            let account = state.account_mut(user)?;
            let epoch = account.book.epoch + 1;
            account.book = AddressBook::new(seed, people, LARGE_BOOK_GROUPS, now);
            account.book.epoch = epoch;
            Ok(())
        })
    }

    /// Adds a contact group of the user's own.
    pub fn add_group(&self, user: Uuid, name: &str) -> Result<ContactGroup, Unknown> {
        let now = self.now();
        self.with(|state| Ok(state.account_mut(user)?.book.add_group(name, now)))
    }

    /// Renames a contact group.
    pub fn rename_group(&self, user: Uuid, resource_name: &str, name: &str) -> Result<(), Unknown> {
        let now = self.now();
        self.with(|state| {
            let book = &mut state.account_mut(user)?.book;
            let found = book.change_group(resource_name, Some(now), |group| name.clone_into(&mut group.name));
            found.then_some(()).ok_or(Unknown::Group)
        })
    }

    /// Deletes a contact group of the user's own, and everybody's membership in it.
    pub fn delete_group(&self, user: Uuid, resource_name: &str) -> Result<(), Unknown> {
        let now = self.now();
        self.with(|state| {
            state.account_mut(user)?.book.delete_group(resource_name, now).then_some(()).ok_or(Unknown::Group)
        })
    }

    /// Expires every sync token of the user: 410 from Calendar, 400 `EXPIRED_SYNC_TOKEN` from People.
    pub fn expire_sync_tokens(&self, user: Uuid) -> Result<(), Unknown> {
        self.with(|state| {
            let account = state.account_mut(user)?;
            account.list_epoch += 1;
            account.book.epoch += 1;
            for calendar_state in &mut account.calendars {
                calendar_state.epoch += 1;
            }
            Ok(())
        })
    }

    /// The user takes the grant back: refreshing answers `invalid_grant`, every access token 401.
    pub fn revoke_grant(&self, user: Uuid, integration: Integration) -> Result<(), Unknown> {
        self.with(|state| state.revoke(user, integration))
    }

    /// The user grants again: the refresh token works as before. Access tokens have to be asked for anew.
    pub fn restore_grant(&self, user: Uuid, integration: Integration) -> Result<(), Unknown> {
        self.with(|state| {
            state.grant_mut(user, integration)?.state = GrantState::Granted;
            Ok(())
        })
    }

    /// The user leaves the integration's box on the consent screen unticked (granular consent): tokens are handed out, and
    /// open nothing.
    pub fn untick_box(&self, user: Uuid, integration: Integration) -> Result<(), Unknown> {
        self.with(|state| {
            state.grant_mut(user, integration)?;
            state.account_mut(user)?.unticked.push(integration);
            Ok(())
        })
    }

    /// The user ticks the box.
    pub fn tick_box(&self, user: Uuid, integration: Integration) -> Result<(), Unknown> {
        self.with(|state| {
            state.account_mut(user)?.unticked.retain(|unticked| *unticked != integration);
            Ok(())
        })
    }

    /// The next refresh hands out a new refresh token; the old one ends when the new one is first used.
    pub fn rotate_refresh_token(&self, user: Uuid, integration: Integration) -> Result<(), Unknown> {
        self.with(|state| {
            state.grant_mut(user, integration)?;
            state.account_mut(user)?.rotating.push(integration);
            Ok(())
        })
    }
}

const LARGE_BOOK_GROUPS: usize = 5;

impl State {
    pub(crate) fn add_event(
        &mut self,
        user: Uuid,
        calendar_id: &str,
        mut event: Event,
        now: Time,
    ) -> Result<Event, Unknown> {
        if event.id.is_empty() {
            event.id = new_id(&mut self.ids);
        }
        let calendar_state =
            self.account_mut(user)?.calendar_state_mut(calendar_id).ok_or(Unknown::Calendar)?;
        if event.time_zone == Tz::UTC || event.is_all_day() {
            event.time_zone = calendar_state.calendar.time_zone;
        }
        if event.created == Time::UNIX_EPOCH {
            event.created = now;
        }
        let event = calendar_state.put(event, now).clone();
        let id = calendar_state.calendar.id.clone();
        self.announce(user, &id, now);
        Ok(event)
    }

    pub(crate) fn change_event(
        &mut self,
        user: Uuid,
        calendar_id: &str,
        event_id: &str,
        now: Time,
        change: impl FnOnce(&mut Event),
    ) -> Result<Event, Unknown> {
        let account = self.account_mut(user)?;
        let calendar_state = account.calendar_state(calendar_id).ok_or(Unknown::Calendar)?;
        let mut event =
            calendar_state.event(event_id).filter(|event| event.live()).cloned().ok_or(Unknown::Event)?;
        change(&mut event);
        event_id.clone_into(&mut event.id);
        if let Recurrence::Instance { exception, .. } = &mut event.recurrence {
            *exception = true;
        }
        let mut changed = Vec::new();
        let mut newest = event.clone();
        for calendar_state in
            account.calendars.iter_mut().filter(|calendar_state| shows(calendar_state, event_id))
        {
            newest = calendar_state.put(event.clone(), now).clone();
            changed.push(calendar_state.calendar.id.clone());
        }
        for id in changed {
            self.announce(user, &id, now);
        }
        Ok(newest)
    }

    pub(crate) fn move_event_to(
        &mut self,
        user: Uuid,
        from: &str,
        event_id: &str,
        to: &str,
        now: Time,
    ) -> Result<Event, Unknown> {
        let account = self.account_mut(user)?;
        account.calendar_state(to).ok_or(Unknown::Calendar)?;
        let calendar_state = account.calendar_state_mut(from).ok_or(Unknown::Calendar)?;
        let event =
            calendar_state.event(event_id).filter(|event| event.live()).cloned().ok_or(Unknown::Event)?;
        calendar_state.cancel(event_id, now);
        let from = calendar_state.calendar.id.clone();
        self.announce(user, &from, now);
        self.add_event(user, to, event, now)
    }

    pub(crate) fn delete_event(
        &mut self,
        user: Uuid,
        calendar_id: &str,
        event_id: &str,
        now: Time,
    ) -> Result<(), Unknown> {
        let account = self.account_mut(user)?;
        let calendar_state = account.calendar_state(calendar_id).ok_or(Unknown::Calendar)?;
        if !shows(calendar_state, event_id) {
            return Err(Unknown::Event);
        }
        let mut changed = Vec::new();
        for calendar_state in
            account.calendars.iter_mut().filter(|calendar_state| shows(calendar_state, event_id))
        {
            calendar_state.cancel(event_id, now);
            changed.push(calendar_state.calendar.id.clone());
        }
        for id in changed {
            self.announce(user, &id, now);
        }
        Ok(())
    }
}

fn shows(calendar_state: &CalendarState, event_id: &str) -> bool {
    !calendar_state.deleted && calendar_state.event(event_id).is_some_and(Event::live)
}
