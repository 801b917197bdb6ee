//! The application's side of a Google world: users, encrypted tokens, schedules, and what was in Postgres before.
//!
//! The functions have to find their way through rows that others left: contacts that a person entered by hand, notes that
//! must survive, schedules that are not due, breakers that are open. [`Seeded`] says what was put there, so that
//! `verify` can tell what should have become of it.

use anyhow::Context as _;
use catchup::google::TokenCipher;
use chrono::{DateTime, TimeDelta, Utc};
use google_stand_in::{Event, Grant, GrantState, Integration, Unknown, User, World};
use secrecy::SecretString;
use sqlx::{Connection, PgConnection};
use url::Url;
use uuid::Uuid;

use crate::postgres::connect;

mod channels;
pub(crate) mod contacts;
mod groups;
pub(crate) mod hours;
mod meetings;
mod notices;
mod reach;

pub use channels::{Condition, OwnChannel};
pub use contacts::{Origin, OwnContact};
pub use groups::OwnGroups;
use hours::Hours;
pub use meetings::{Block, OwnAvailability, OwnSuggestion, SuggestionState};
pub use notices::OwnNotice;
pub use reach::Reach;
pub(crate) use reach::{batches, insert_number, insert_preferences};

/// Rows that are there before the first sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variety {
    /// Users, tokens and schedules that are due: nothing in the way.
    Plain,
    /// Also everything that a sync may meet in a database of some age.
    Varied,
}

/// Where a user's integration stands before the first sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The next sync is due.
    Due,
    /// There is a token, and no schedule yet.
    NoSchedule,
    /// The next sync is due some other day.
    NotDue,
    /// Due, but the circuit breaker is open.
    BreakerOpen,
    /// Due, and the time of the circuit breaker has expired: one sync may try.
    BreakerRetries,
}

impl Start {
    /// By the user's place in the world; the first two users are always due.
    fn of(place: usize, variety: Variety) -> Self {
        match (variety, place % 20) {
            (Variety::Varied, 6 | 11 | 16) => Self::NoSchedule,
            (Variety::Varied, 12) => Self::BreakerOpen,
            (Variety::Varied, 13) => Self::BreakerRetries,
            (Variety::Varied, 15) => Self::NotDue,
            (Variety::Plain | Variety::Varied, _) => Self::Due,
        }
    }
}

/// What was put into the database.
#[derive(Debug)]
pub struct Seeded {
    /// Before this moment.
    pub at: DateTime<Utc>,
    /// Key of the tokens, 64 hexadecimal digits.
    pub encryption_key: String,
    /// In the world's order.
    pub users: Vec<SeededUser>,
}

/// One user's part of it.
#[derive(Debug)]
pub struct SeededUser {
    /// `users.id`.
    pub id: Uuid,
    /// Of both integrations.
    pub start: Start,
    /// Calendars that are in the database already, with their user's choice.
    pub knows_calendars: bool,
    /// Contacts from before.
    pub contacts: Vec<OwnContact>,
    /// Groups from before.
    pub groups: OwnGroups,
    /// How the user is reached.
    pub reach: Reach,
    /// What the user was notified about tokens.
    pub notices: Vec<OwnNotice>,
    /// Suggestions from before.
    pub suggestions: Vec<OwnSuggestion>,
    /// When the user can meet people.
    pub availability: OwnAvailability,
    /// The push channel from before; see [`open_channels`].
    pub channel: Option<OwnChannel>,
}

/// A new key for the tokens: 64 hexadecimal digits.
#[must_use]
pub fn new_encryption_key() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// Fills an empty database with the world's users.
pub async fn seed(
    database: &Url,
    world: &World,
    encryption_key: &str,
    variety: Variety,
) -> anyhow::Result<Seeded> {
    let cipher = encryption_key.parse().context("the encryption key cannot be used")?;
    let mut connection = connect(database).await?;
    let mut transaction = connection.begin().await?;
    let at = world.now();
    let mut users = Vec::new();
    for (place, user) in world.users().iter().enumerate() {
        let mut sower = Sower { db: &mut transaction, world, cipher: &cipher, at, place, variety };
        users.push(sower.user(user).await.with_context(|| format!("cannot seed user {}", user.id))?);
    }
    transaction.commit().await?;
    // The planner knows nothing of rows that came in one go.
    sqlx::query("ANALYZE").execute(&mut connection).await?;
    connection.close().await?;
    Ok(Seeded { at, encryption_key: encryption_key.to_owned(), users })
}

/// Opens push channels that notify `address`, for some of the users.
pub async fn open_channels(
    database: &Url,
    world: &World,
    seeded: &mut Seeded,
    address: &str,
) -> anyhow::Result<()> {
    let mut connection = connect(database).await?;
    for (place, (user, seeded_user)) in world.users().iter().zip(&mut seeded.users).enumerate() {
        seeded_user.channel = channels::open(&mut connection, world, user, place, address, seeded.at).await?;
    }
    connection.close().await?;
    Ok(())
}

/// Puts one user into the database.
struct Sower<'a> {
    db: &'a mut PgConnection,
    world: &'a World,
    cipher: &'a TokenCipher,
    at: DateTime<Utc>,
    place: usize,
    variety: Variety,
}

impl Sower<'_> {
    async fn user(&mut self, user: &User) -> anyhow::Result<SeededUser> {
        sqlx::query(
            "INSERT INTO users (id, email, name, timezone, google_id, auth_provider, onboarding_completed)
             VALUES ($1, $2, $3, $4, $5, 'google', true)",
        )
        .bind(user.id)
        .bind(&user.email)
        .bind(&user.name)
        .bind(user.time_zone.name())
        .bind(user.id.simple().to_string())
        .execute(&mut *self.db)
        .await?;
        let start = Start::of(self.place, self.variety);
        for grant in Integration::ALL.into_iter().filter_map(|integration| user.grant(integration)) {
            self.token(user, grant).await?;
            self.health(user, grant).await?;
            self.schedule(user, grant.integration, start).await?;
            self.breaker(user, grant.integration, start).await?;
        }
        let varied = self.variety == Variety::Varied;
        let knows_calendars = varied && user.calendar_grant.is_some() && !self.place.is_multiple_of(3);
        if knows_calendars {
            self.calendars(user).await?;
        }
        let people =
            if varied && user.contacts_grant.is_some() { self.world.people(user.id)? } else { Vec::new() };
        let contacts = contacts::plan(&people);
        for contact in &contacts {
            contact.insert(self.db, user.id, self.at).await?;
        }
        let groups = if people.is_empty() {
            OwnGroups::default()
        } else {
            groups::plan(self.world, user.id, &people)?
        };
        groups.insert(self.db, user.id).await?;
        let mut seeded = SeededUser {
            id: user.id,
            start,
            knows_calendars,
            contacts,
            groups,
            reach: Reach::unknown(user),
            notices: Vec::new(),
            suggestions: Vec::new(),
            availability: OwnAvailability::default(),
            channel: None,
        };
        if varied {
            self.messages(user, &mut seeded).await?;
            self.meetings(user, &mut seeded).await?;
        }
        Ok(seeded)
    }

    /// How the user is reached, and what there is to say already.
    async fn messages(&mut self, user: &User, seeded: &mut SeededUser) -> anyhow::Result<()> {
        seeded.notices = notices::plan(user, self.place, self.at);
        for notice in &seeded.notices {
            notice.insert(self.db, user.id, self.at).await?;
        }
        let is_free = seeded.notices.is_empty();
        seeded.reach = Reach::plan(user, self.place, self.at, is_free);
        seeded.reach.insert(self.db, user, self.cipher).await?;
        Ok(())
    }

    /// Whom the user is to meet, and when that is possible.
    async fn meetings(&mut self, user: &User, seeded: &mut SeededUser) -> anyhow::Result<()> {
        seeded.availability = OwnAvailability::plan(self.place);
        seeded.availability.insert(self.db, seeded.id).await?;
        let hours = Hours::new(seeded.availability, seeded.reach.home(user));
        let busy = busy(self.world, seeded.id)?;
        seeded.suggestions = meetings::plan(&seeded.contacts, self.place, self.at, &busy, &hours);
        for suggestion in &seeded.suggestions {
            suggestion.insert(self.db, seeded.id, self.at).await?;
        }
        if let Some(friend) = seeded.contacts.iter().find(|contact| contact.is_close_friend) {
            meetings::insert_close_friend(self.db, seeded.id, friend.id).await?;
        }
        Ok(())
    }

    async fn token(&mut self, user: &User, grant: &Grant) -> anyhow::Result<()> {
        let encrypted = |token: &str| self.cipher.encrypt(&SecretString::from(token.to_owned()));
        sqlx::query(
            "INSERT INTO oauth_tokens
                (user_id, provider, access_token, refresh_token, token_type, expires_at, scope, email)
             VALUES ($1, $2, $3, $4, 'Bearer', $5, $6, $7)",
        )
        .bind(user.id)
        .bind(grant.integration.provider())
        .bind(encrypted(&grant.access_token))
        .bind(grant.refresh_token.as_deref().map(encrypted))
        .bind(grant.access_token_expires_at)
        .bind(grant.integration.scope())
        .bind(&user.email)
        .execute(&mut *self.db)
        .await?;
        Ok(())
    }

    /// Some were never checked, some some days ago; some that work again are still said to have expired.
    async fn health(&mut self, user: &User, grant: &Grant) -> anyhow::Result<()> {
        const NEVER: usize = 0;
        const WORKS_AGAIN: usize = 1;
        if self.variety == Variety::Plain || self.place % 4 == NEVER {
            return Ok(());
        }
        let works_again = self.place % 4 == WORKS_AGAIN && works(grant);
        let (user_id, integration) = (user.id, grant.integration.provider());
        sqlx::query(
            "INSERT INTO token_health (user_id, integration_type, status, last_checked) VALUES ($1, $2, $3, $4)",
        )
        .bind(user_id)
        .bind(integration)
        .bind(if works_again { "expired" } else { "valid" })
        .bind((self.at - TimeDelta::days(2)).naive_utc())
        .execute(&mut *self.db)
        .await?;
        Ok(())
    }

    async fn schedule(&mut self, user: &User, integration: Integration, start: Start) -> anyhow::Result<()> {
        const HOUR_MS: i64 = 3_600_000;
        let next = match start {
            Start::NoSchedule => return Ok(()),
            Start::NotDue => self.at + TimeDelta::hours(3),
            Start::Due | Start::BreakerOpen | Start::BreakerRetries => self.at - TimeDelta::minutes(1),
        };
        // Default, longest and shortest interval, as the running application writes them.
        let [default, longest, shortest] = match integration {
            Integration::GoogleCalendar => [24 * HOUR_MS, 24 * HOUR_MS, 4 * HOUR_MS],
            Integration::GoogleContacts => [7 * 24 * HOUR_MS, 30 * 24 * HOUR_MS, 24 * HOUR_MS],
        };
        sqlx::query(
            "INSERT INTO sync_schedule
                (user_id, integration_type, current_frequency_ms, default_frequency_ms, min_frequency_ms,
                 max_frequency_ms, next_sync_at)
             VALUES ($1, $2, $3, $3, $4, $5, $6)",
        )
        .bind(user.id)
        .bind(integration.provider())
        .bind(default)
        .bind(longest)
        .bind(shortest)
        .bind(next.naive_utc())
        .execute(&mut *self.db)
        .await?;
        Ok(())
    }

    async fn breaker(&mut self, user: &User, integration: Integration, start: Start) -> anyhow::Result<()> {
        let retry_at = match start {
            Start::Due | Start::NoSchedule | Start::NotDue => return Ok(()),
            Start::BreakerOpen => self.at + TimeDelta::minutes(50),
            Start::BreakerRetries => self.at - TimeDelta::minutes(5),
        };
        let opened_at = retry_at - TimeDelta::hours(1);
        sqlx::query(
            "INSERT INTO circuit_breaker_state
                (user_id, integration_type, state, failure_count, last_failure_at, last_failure_reason, opened_at,
                 next_retry_at)
             VALUES ($1, $2, 'open', 3, $3, 'google answers 503', $3, $4)",
        )
        .bind(user.id)
        .bind(integration.provider())
        .bind(opened_at.naive_utc())
        .bind(retry_at.naive_utc())
        .execute(&mut *self.db)
        .await?;
        Ok(())
    }

    async fn calendars(&mut self, user: &User) -> anyhow::Result<()> {
        for calendar in self.world.calendars(user.id)? {
            sqlx::query(
                "INSERT INTO google_calendars (user_id, calendar_id, name, selected, is_primary)
                 VALUES ($1, $2, 'An earlier name', $3, $4)",
            )
            .bind(user.id)
            .bind(&calendar.id)
            .bind(calendar.selected)
            .bind(calendar.primary)
            .execute(&mut *self.db)
            .await?;
        }
        Ok(())
    }
}

/// When the user's calendars have events.
fn busy(world: &World, user: Uuid) -> Result<Vec<meetings::Period>, Unknown> {
    let mut busy = Vec::new();
    for calendar in world.calendars(user)? {
        let events = world.events(user, &calendar.id)?;
        busy.extend(events.iter().filter(|event| event.busy()).map(Event::instants));
    }
    Ok(busy)
}

/// Whether refreshing this grant's tokens works.
#[must_use]
pub fn works(grant: &Grant) -> bool {
    grant.state == GrantState::Granted && grant.refresh_token.is_some()
}
