//! The world at its beginning: users of every kind that the functions have to cope with, by their place in the list.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use stand_in::Clock;

use crate::account::{Grant, GrantState, Integration, User};
use crate::address_book::AddressBook;
use crate::call::CallLog;
use crate::dice::{Dice, mix};
use crate::seed_calendar;
use crate::state::{AccessToken, Account, State};
use crate::words::{FAMILY, GIVEN, ZONES};

/// What the seeded world is to be like.
#[derive(Debug, Clone)]
pub struct SeedOptions {
    /// The same seed gives the same world.
    pub seed: u64,
    /// How many users.
    pub users: usize,
    /// How many people the largest address book has; the others are mostly small.
    pub max_contacts: u64,
    /// A user (by place in the list) with an address book of [`HUGE_BOOK`] people.
    pub huge_user: Option<usize>,
    /// Both integrations for everybody, and nothing that does not work.
    pub usual_only: bool,
    /// The world's time.
    pub clock: Clock,
}

/// People in the address book of [`SeedOptions::huge_user`].
pub const HUGE_BOOK: u64 = 100_000;

impl Default for SeedOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            users: 50,
            max_contacts: 5_000,
            huge_user: None,
            usual_only: false,
            clock: Clock::system(),
        }
    }
}

/// What is special about a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Both integrations, with tokens of any age.
    Usual,
    /// Took both grants back.
    Revoked,
    /// Took only the contacts grant back.
    ContactsRevoked,
    /// The application never got a refresh token, and the access token has expired.
    NoRefreshToken,
    /// As before, but the access token still lives for most of an hour.
    NoRefreshTokenYetFresh,
    /// Granted both; neither calendars nor contacts.
    Empty,
    /// Granted nothing.
    NothingGranted,
    CalendarOnly,
    ContactsOnly,
    /// Has [`SeedOptions::max_contacts`] people.
    LargestBook,
}

impl Kind {
    /// The first two are usual, so that a small world has users to work with.
    const fn of(place: usize) -> Self {
        match place {
            2 => Self::Revoked,
            3 => Self::NoRefreshToken,
            4 => Self::Empty,
            5 => Self::NothingGranted,
            6 => Self::CalendarOnly,
            7 => Self::ContactsOnly,
            8 => Self::NoRefreshTokenYetFresh,
            9 => Self::LargestBook,
            10 => Self::ContactsRevoked,
            _ => Self::Usual,
        }
    }

    const fn grants(self, integration: Integration) -> bool {
        match (self, integration) {
            (Self::NothingGranted, _)
            | (Self::CalendarOnly, Integration::GoogleContacts)
            | (Self::ContactsOnly, Integration::GoogleCalendar) => false,
            (
                Self::Usual
                | Self::Revoked
                | Self::ContactsRevoked
                | Self::NoRefreshToken
                | Self::NoRefreshTokenYetFresh
                | Self::Empty
                | Self::LargestBook
                | Self::CalendarOnly
                | Self::ContactsOnly,
                _,
            ) => true,
        }
    }
}

pub(crate) fn seed(options: &SeedOptions) -> State {
    // Whole microseconds, as Postgres keeps them.
    let now = options.clock.now().trunc_subsecs(6);
    let mut state = State {
        born: now,
        accounts: Vec::with_capacity(options.users),
        ids: Dice::new(mix(options.seed, u64::MAX)),
        rng: Dice::new(mix(options.seed, u64::MAX - 1)),
        access_tokens: HashMap::new(),
        refresh_tokens: HashMap::new(),
        calls: CallLog::default(),
        faults: Vec::new(),
        outbox: VecDeque::new(),
    };
    for place in 0..options.users {
        let dice = Dice::new(mix(options.seed, place as u64));
        let account = account(options, place, dice, now);
        let user = account.user.id;
        for grant in Integration::ALL.iter().filter_map(|integration| account.user.grant(*integration)) {
            if let Some(token) = &grant.refresh_token {
                state.refresh_tokens.insert(token.clone(), (user, grant.integration));
            }
            if grant.state == GrantState::Granted {
                let token = AccessToken {
                    user,
                    integration: grant.integration,
                    expires_at: grant.access_token_expires_at,
                };
                state.access_tokens.insert(grant.access_token.clone(), token);
            }
        }
        state.accounts.push(account);
    }
    state
}

fn account(options: &SeedOptions, place: usize, mut dice: Dice, now: DateTime<Utc>) -> Account {
    let kind = if options.usual_only { Kind::Usual } else { Kind::of(place) };
    let (given, family) = (dice.pick(GIVEN), dice.pick(FAMILY));
    let plain: String = given.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase();
    let mut user = User {
        id: dice.uuid(),
        name: format!("{given} {family}"),
        email: format!("{plain}.{place}@example.test"),
        time_zone: ZONES[place % ZONES.len()],
        calendar_grant: None,
        contacts_grant: None,
    };
    for integration in Integration::ALL.into_iter().filter(|integration| kind.grants(*integration)) {
        *user.grant_mut(integration) = Some(grant(kind, integration, &mut dice, now));
    }
    let calendars = if kind == Kind::Empty || user.calendar_grant.is_none() {
        Vec::new()
    } else {
        seed_calendar::calendars(&user, &mut dice, now)
    };
    let people = if user.contacts_grant.is_none() { 0 } else { people(options, place, kind, &mut dice) };
    let groups = if people == 0 { 0 } else { dice.index(7) };
    Account {
        list_revision: 0,
        list_epoch: 0,
        book: AddressBook::new(dice.roll(), people, groups, now),
        user,
        calendars,
        channels: Vec::new(),
        unticked: Vec::new(),
        rotating: Vec::new(),
    }
}

fn grant(kind: Kind, integration: Integration, dice: &mut Dice, now: DateTime<Utc>) -> Grant {
    let revoked = match kind {
        Kind::Revoked => true,
        Kind::ContactsRevoked => integration == Integration::GoogleContacts,
        Kind::Usual
        | Kind::NoRefreshToken
        | Kind::NoRefreshTokenYetFresh
        | Kind::Empty
        | Kind::NothingGranted
        | Kind::CalendarOnly
        | Kind::ContactsOnly
        | Kind::LargestBook => false,
    };
    let drawn = match dice.below(5) {
        0 | 1 => -dice.between(1, 2_880),
        2 => dice.between(1, 4),
        _ => dice.between(10, 59),
    };
    let minutes_left = match kind {
        Kind::NoRefreshToken => -120,
        Kind::NoRefreshTokenYetFresh => 50,
        Kind::Usual
        | Kind::Revoked
        | Kind::ContactsRevoked
        | Kind::Empty
        | Kind::NothingGranted
        | Kind::CalendarOnly
        | Kind::ContactsOnly
        | Kind::LargestBook => drawn,
    };
    let refreshable = !matches!(kind, Kind::NoRefreshToken | Kind::NoRefreshTokenYetFresh);
    let refresh_token = format!("1//{}", dice.hex(4));
    Grant {
        integration,
        refresh_token: refreshable.then_some(refresh_token),
        state: if revoked { GrantState::Revoked } else { GrantState::Granted },
        access_token: format!("ya29.{}", dice.hex(6)),
        access_token_expires_at: now + TimeDelta::minutes(minutes_left),
    }
}

/// Mostly small books, a few large ones.
fn people(options: &SeedOptions, place: usize, kind: Kind, dice: &mut Dice) -> u64 {
    let (low, high) = match dice.below(20) {
        0 => (0, 0),
        1..=8 => (1, 50),
        9..=14 => (50, 300),
        15..=18 => (300, 1_000),
        _ => (1_000, 2_500),
    };
    let drawn = low + dice.below(high - low + 1);
    if options.huge_user == Some(place) {
        return HUGE_BOOK;
    }
    match kind {
        Kind::Empty => 0,
        Kind::LargestBook => options.max_contacts,
        // The first two are there to work with.
        Kind::Usual if place < 2 => drawn.max(30).min(options.max_contacts),
        Kind::Usual
        | Kind::Revoked
        | Kind::ContactsRevoked
        | Kind::NoRefreshToken
        | Kind::NoRefreshTokenYetFresh
        | Kind::NothingGranted
        | Kind::CalendarOnly
        | Kind::ContactsOnly => drawn.min(options.max_contacts),
    }
}
