//! The world: a cheap handle to everything that Google keeps for the users of the application.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use stand_in::Clock;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::account::User;
use crate::calendar::Calendar;
use crate::call::{Call, CallCounts};
use crate::event::Event;
use crate::fault::{Fault, FaultKind, strike};
use crate::person::{ContactGroup, Person};
use crate::push::{Channel, Notification};
use crate::seed::{SeedOptions, seed};
use crate::state::{State, Unknown};

/// A world. Clones share it; every method takes the lock for the time of its call.
#[derive(Debug, Clone)]
pub struct World {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    state: Mutex<State>,
    /// Rung when a notification was put into the outbox.
    posted: Notify,
    /// Held by each notification that is being delivered.
    under_way: Arc<()>,
}

impl World {
    /// The world of a seed. The same options and the same time give the same world.
    #[must_use]
    pub fn seeded(options: SeedOptions) -> Self {
        let state = seed(&options);
        Self {
            inner: Arc::new(Inner {
                clock: options.clock,
                state: Mutex::new(state),
                posted: Notify::new(),
                under_way: Arc::default(),
            }),
        }
    }

    /// The world's time.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.inner.clock.now()
    }

    /// All users, with the tokens as they are now, in the order in which they were made.
    #[must_use]
    pub fn users(&self) -> Vec<User> {
        self.with(|state| state.accounts.iter().map(|account| account.user.clone()).collect())
    }

    /// One user.
    pub fn user(&self, user: Uuid) -> Result<User, Unknown> {
        self.with(|state| Ok(state.account(user)?.user.clone()))
    }

    /// The user's calendars, the primary one first; those whose grant is revoked keep theirs.
    pub fn calendars(&self, user: Uuid) -> Result<Vec<Calendar>, Unknown> {
        self.with(|state| {
            let calendars =
                state.account(user)?.calendars.iter().filter(|calendar_state| !calendar_state.deleted);
            Ok(calendars.map(|calendar_state| calendar_state.calendar.clone()).collect())
        })
    }

    /// The live events of a calendar as `singleEvents=true` lists them, of all times.
    pub fn events(&self, user: Uuid, calendar_id: &str) -> Result<Vec<Event>, Unknown> {
        self.with(|state| {
            let calendar_state = state.account(user)?.calendar_state(calendar_id).ok_or(Unknown::Calendar)?;
            Ok(calendar_state.live_singles().cloned().collect())
        })
    }

    /// Whether a calendar has an entry of its own that changed after `since`, deletions included.
    pub fn changed_since(
        &self,
        user: Uuid,
        calendar_id: &str,
        since: DateTime<Utc>,
    ) -> Result<bool, Unknown> {
        self.with(|state| {
            let calendar_state = state.account(user)?.calendar_state(calendar_id).ok_or(Unknown::Calendar)?;
            Ok(calendar_state
                .records
                .values()
                .any(|record| record.event.is_own_entry() && record.event.updated > since))
        })
    }

    /// The live people of the user's address book.
    pub fn people(&self, user: Uuid) -> Result<Vec<Person>, Unknown> {
        self.with(|state| Ok(state.account(user)?.book.live(0).map(|(_, person)| person).collect()))
    }

    /// How many live people are in the user's address book.
    pub fn people_count(&self, user: Uuid) -> Result<usize, Unknown> {
        self.with(|state| Ok(state.account(user)?.book.len()))
    }

    /// The live contact groups of the user, Google's own first.
    pub fn groups(&self, user: Uuid) -> Result<Vec<ContactGroup>, Unknown> {
        self.with(|state| Ok(state.account(user)?.book.live_groups().cloned().collect()))
    }

    /// The push channels that are open and have not expired.
    pub fn channels(&self, user: Uuid) -> Result<Vec<Channel>, Unknown> {
        let now = self.now();
        self.with(|state| {
            let channels = state.account(user)?.channels.iter();
            Ok(channels.filter(|channel| channel.expiration > now).cloned().collect())
        })
    }

    /// How often this user's tokens called each method.
    #[must_use]
    pub fn calls(&self, user: Uuid) -> CallCounts {
        self.with(|state| state.calls.by_user.get(&user).cloned().unwrap_or_default())
    }

    /// The last calls with this user's tokens, in their order; the oldest of them are forgotten.
    #[must_use]
    pub fn recent_calls(&self, user: Uuid) -> Vec<Call> {
        self.with(|state| state.calls.recent.get(&user).into_iter().flatten().copied().collect())
    }

    /// How often each method was called at all, also with invalid tokens.
    #[must_use]
    pub fn total_calls(&self) -> CallCounts {
        self.with(|state| state.calls.total.clone())
    }

    /// Counts from zero again.
    pub fn reset_calls(&self) {
        self.with(|state| state.calls = crate::call::CallLog::default());
    }

    /// Makes something go wrong.
    pub fn inject(&self, fault: Fault) {
        self.with(|state| state.faults.push(fault));
    }

    /// What is still to go wrong.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.with(|state| state.faults.clone())
    }

    /// Takes all faults away.
    pub fn clear_faults(&self) {
        self.with(|state| state.faults.clear());
    }

    /// Counts a call and says what is to go wrong with it.
    pub(crate) fn receive(
        &self,
        user: Option<Uuid>,
        call: Call,
        calendar: Option<&str>,
    ) -> Option<FaultKind> {
        self.with(|state| {
            state.calls.count(user, call);
            strike(&mut state.faults, user, call, calendar)
        })
    }

    /// How many push notifications have not been answered yet.
    #[must_use]
    pub fn undelivered(&self) -> usize {
        self.with(|state| state.outbox.len() + Arc::strong_count(&self.inner.under_way) - 1)
    }

    /// Waits for the next notification to deliver, which is under way until the value next to it is dropped. Cancelling it loses
    /// none.
    pub(crate) async fn next_notification(&self) -> (Notification, Arc<()>) {
        loop {
            let posted = self.inner.posted.notified();
            let take =
                |state: &mut State| Some((state.outbox.pop_front()?, Arc::clone(&self.inner.under_way)));
            if let Some(notification) = self.with(take) {
                return notification;
            }
            posted.await;
        }
    }

    /// Works on the state, then rings for the notifications that this brought about.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        // A panic of another thread leaves a state that is at worst half a change further: still a world.
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut state);
        if !state.outbox.is_empty() {
            self.inner.posted.notify_one();
        }
        result
    }
}
