//! What is cached of users, and what a change drops.
//!
//! The running application's own values are not read here, only dropped: `contact:list:`, `contact:profile:`,
//! `suggestion:list:` and `user:prefs:`, each with an id.

use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use shared::cache::{CacheKey, Error, Lifetime};
use shared::clock::Clock;
use shared::config::{Config, InvalidConfig};
use shared::job::Setup;
use shared::redis::{self, Redis};
use uuid::Uuid;

use crate::span::Spans;
use crate::variables::LEGACY_SLOT_CACHE;

mod legacy;

use legacy::LegacySlots;

/// The cache of what users see; clones share it.
#[derive(Debug, Clone)]
pub struct Cache {
    engine: shared::cache::Cache,
    /// With `LEGACY_SLOT_CACHE`.
    legacy: Option<LegacySlots>,
}

/// What a user's calendars leave free between two days. Ours alone: the application's `calendar:slots:` keys have no
/// generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalendarSlots {
    /// The user.
    pub user_id: Uuid,
    /// The zone of the user's all-day events, an IANA name.
    pub zone: &'static str,
    /// First day, UTC.
    pub from: NaiveDate,
    /// Last day, UTC.
    pub to: NaiveDate,
}

impl CalendarSlots {
    fn scope_of(user_id: Uuid) -> String {
        format!("jobs:slots:{user_id}")
    }
}

impl CacheKey for CalendarSlots {
    type Value = Spans;
    const TIME_TO_LIVE: Duration = Duration::from_hours(1);

    fn scope(&self) -> String {
        Self::scope_of(self.user_id)
    }

    fn part(&self) -> Option<String> {
        Some(format!("{}:{}_{}", self.zone, self.from, self.to))
    }
}

impl Cache {
    /// Reads `LEGACY_SLOT_CACHE`.
    pub fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let drops_legacy_slots = setup.config().required::<bool>(&LEGACY_SLOT_CACHE);
        let (engine, redis) = (setup.cache()?, setup.redis()?);
        Ok(Self::over(engine, redis, drops_legacy_slots?))
    }

    /// The same outside a job, over that Redis.
    pub fn from_config(config: &mut Config, redis: Redis, clock: Clock) -> Result<Self, InvalidConfig> {
        let drops_legacy_slots = config.required::<bool>(&LEGACY_SLOT_CACHE)?;
        Ok(Self::over(shared::cache::Cache::new(redis.clone(), clock), redis, drops_legacy_slots))
    }

    fn over(engine: shared::cache::Cache, redis: Redis, drops_legacy_slots: bool) -> Self {
        Self { engine, legacy: drops_legacy_slots.then(|| LegacySlots::new(redis)) }
    }

    /// The cached slots, else what `load` gives, which is then cached.
    pub async fn slots<E>(
        &self,
        key: &CalendarSlots,
        load: impl Future<Output = Result<Spans, E>>,
    ) -> Result<Arc<Spans>, E> {
        self.engine.get_or_load(key, load).await
    }

    /// The user's contacts changed, of those that were there before perhaps these: one command for some hundreds of them.
    pub async fn contacts_changed(&self, user_id: Uuid, contact_ids: &[Uuid]) -> Result<(), Error> {
        let scopes: Vec<_> = std::iter::once(contact_list(user_id)).chain(profiles(contact_ids)).collect();
        self.engine.drop_scopes(&scopes).await
    }

    /// A suggestion of the user changed: one command.
    pub async fn suggestions_changed(&self, user_id: Uuid) -> Result<(), Error> {
        self.engine.drop_scopes(&[suggestion_list(user_id)]).await
    }

    /// The user's preferences changed: one command.
    pub async fn preferences_changed(&self, user_id: Uuid) -> Result<(), Error> {
        self.engine.drop_scopes(&[preferences(user_id)]).await
    }

    /// The user's calendar events changed: one command, and with `LEGACY_SLOT_CACHE` a bounded search.
    pub async fn events_changed(&self, user_id: Uuid) -> Result<(), Error> {
        self.engine.drop_parts::<CalendarSlots>(&CalendarSlots::scope_of(user_id)).await?;
        let Some(legacy) = &self.legacy else { return Ok(()) };
        self.engine.drop_scopes(&legacy.find(user_id).await?).await
    }

    /// What the running application caches of the user and of these contacts, and how long: one command for each key.
    pub async fn look(
        &self,
        user_id: Uuid,
        contact_ids: &[Uuid],
    ) -> Result<Vec<(String, Option<Lifetime>)>, redis::Error> {
        let mut found = Vec::new();
        for key in keys(user_id, contact_ids) {
            let lifetime = self.engine.lifetime(&key).await?;
            found.push((key, lifetime));
        }
        Ok(found)
    }

    /// Drops all that is cached of the user, and the profiles of these contacts.
    pub async fn drop_all(&self, user_id: Uuid, contact_ids: &[Uuid]) -> Result<(), Error> {
        self.engine.drop_scopes(&keys(user_id, contact_ids)).await?;
        self.events_changed(user_id).await
    }
}

fn keys(user_id: Uuid, contact_ids: &[Uuid]) -> Vec<String> {
    let lists = [contact_list(user_id), suggestion_list(user_id), preferences(user_id)];
    lists.into_iter().chain(profiles(contact_ids)).collect()
}

fn contact_list(user_id: Uuid) -> String {
    format!("contact:list:{user_id}")
}

fn suggestion_list(user_id: Uuid) -> String {
    format!("suggestion:list:{user_id}")
}

fn preferences(user_id: Uuid) -> String {
    format!("user:prefs:{user_id}")
}

fn profiles(contact_ids: &[Uuid]) -> impl Iterator<Item = String> {
    contact_ids.iter().map(|contact_id| format!("contact:profile:{contact_id}"))
}
