//! Everything the world knows, behind one lock.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::account::{Integration, User};
use crate::address_book::AddressBook;
use crate::calendar::CalendarState;
use crate::call::CallLog;
use crate::dice::Dice;
use crate::fault::Fault;
use crate::push::{Channel, Notification};

/// What a caller named does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No user has this id.
    #[error("no such user")]
    User,
    /// The user has no such calendar.
    #[error("no such calendar")]
    Calendar,
    /// The calendar has no such event.
    #[error("no such event")]
    Event,
    /// The address book has no such person.
    #[error("no such person")]
    Person,
    /// The address book has no such group of the user's own.
    #[error("no such contact group")]
    Group,
    /// The user granted nothing for this integration.
    #[error("no such grant")]
    Grant,
}

/// Whose an access token is, for what, and until when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessToken {
    pub(crate) user: Uuid,
    pub(crate) integration: Integration,
    pub(crate) expires_at: DateTime<Utc>,
}

/// A user with all that Google keeps for them.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) user: User,
    pub(crate) calendars: Vec<CalendarState>,
    /// Revision of the calendar list.
    pub(crate) list_revision: u64,
    /// Sync tokens of the calendar list of another epoch are refused with 410.
    pub(crate) list_epoch: u64,
    pub(crate) book: AddressBook,
    pub(crate) channels: Vec<Channel>,
    /// Integrations whose box on the consent screen the user left unticked.
    pub(crate) unticked: Vec<Integration>,
    /// Integrations whose next refresh hands out a new refresh token.
    pub(crate) rotating: Vec<Integration>,
}

impl Account {
    /// The calendar of an id; `primary` stands for the account's own.
    pub(crate) fn calendar_state(&self, calendar_id: &str) -> Option<&CalendarState> {
        self.calendars.iter().find(|calendar_state| answers_to(calendar_state, calendar_id))
    }

    pub(crate) fn calendar_state_mut(&mut self, calendar_id: &str) -> Option<&mut CalendarState> {
        self.calendars.iter_mut().find(|calendar_state| answers_to(calendar_state, calendar_id))
    }
}

fn answers_to(calendar_state: &CalendarState, calendar_id: &str) -> bool {
    !calendar_state.deleted
        && (calendar_state.calendar.id == calendar_id
            || calendar_state.calendar.primary && calendar_id == "primary")
}

#[derive(Debug)]
pub(crate) struct State {
    /// Told apart from another run of the same seed, so that tokens do not outlive the world they speak of.
    pub(crate) born: DateTime<Utc>,
    /// In the order in which they were made.
    pub(crate) accounts: Vec<Account>,
    /// For identifiers and tokens, whose number depends on who calls.
    pub(crate) ids: Dice,
    /// For changes over time, which must not depend on who calls.
    pub(crate) rng: Dice,
    pub(crate) access_tokens: HashMap<String, AccessToken>,
    pub(crate) refresh_tokens: HashMap<String, (Uuid, Integration)>,
    pub(crate) calls: CallLog,
    pub(crate) faults: Vec<Fault>,
    /// Push notifications that wait to be delivered.
    pub(crate) outbox: VecDeque<Notification>,
}

impl State {
    pub(crate) fn account(&self, user: Uuid) -> Result<&Account, Unknown> {
        self.accounts.iter().find(|account| account.user.id == user).ok_or(Unknown::User)
    }

    pub(crate) fn account_mut(&mut self, user: Uuid) -> Result<&mut Account, Unknown> {
        self.accounts.iter_mut().find(|account| account.user.id == user).ok_or(Unknown::User)
    }

    /// Tells everybody who watches this calendar that it changed.
    pub(crate) fn announce(&mut self, user: Uuid, calendar_id: &str, now: DateTime<Utc>) {
        let Some(account) = self.accounts.iter_mut().find(|account| account.user.id == user) else { return };
        let watching = account.channels.iter_mut().filter(|channel| {
            channel.calendar_id == calendar_id && channel.expiration > now && !channel.silent
        });
        self.outbox.extend(watching.map(|channel| channel.next_notification("exists")));
    }
}
