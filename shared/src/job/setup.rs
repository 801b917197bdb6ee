//! What jobs are built from.

use crate::clock::Clock;
use crate::config::{Config, Incomplete};
use crate::db::Db;
use crate::oidc::Verifier;
use crate::queue::Queue;
use crate::redis::Redis;
use crate::tasks::{Targets, Tasks};

/// The clients that a job may ask for. Each is made once and shared.
pub struct Setup {
    config: Config,
    clock: Clock,
    db: Result<Db, Incomplete>,
    redis: Result<Redis, Incomplete>,
    tasks: Result<Tasks, Incomplete>,
}

impl Setup {
    /// Clients as the environment describes them, by the machine's clock.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::with_clock(config, Clock::system())
    }

    /// Clients by another clock.
    #[must_use]
    pub fn with_clock(mut config: Config, clock: Clock) -> Self {
        let db = Db::from_config(&mut config);
        let redis = Redis::from_config(&mut config);
        let tasks = Tasks::from_config(&mut config, clock.clone());
        Self { config, clock, db, redis, tasks }
    }

    /// What is configured, and what is wrong with it.
    pub fn config(&mut self) -> &mut Config {
        &mut self.config
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Postgres.
    pub fn db(&self) -> Result<Db, Incomplete> {
        self.db.clone()
    }

    /// Redis over HTTP.
    pub fn redis(&self) -> Result<Redis, Incomplete> {
        self.redis.clone()
    }

    /// The producing side of the queues.
    pub fn tasks(&self) -> Result<Tasks, Incomplete> {
        self.tasks.clone()
    }

    /// The users' OAuth tokens.
    #[cfg(feature = "google")]
    pub fn tokens(&mut self) -> Result<crate::google::Tokens, Incomplete> {
        let db = self.db.clone();
        crate::google::Tokens::from_config(&mut self.config, db, self.clock.clone())
    }

    /// Calendar v3.
    #[cfg(feature = "calendar")]
    pub fn calendar(&mut self) -> Result<crate::google::Calendar, Incomplete> {
        crate::google::Calendar::from_config(&mut self.config)
    }

    /// People v1.
    #[cfg(feature = "people")]
    pub fn people(&mut self) -> Result<crate::google::People, Incomplete> {
        crate::google::People::from_config(&mut self.config)
    }

    /// Limits.
    #[cfg(feature = "rate-limit")]
    pub fn limiter(&self) -> Result<crate::rate_limit::Limiter, Incomplete> {
        Ok(crate::rate_limit::Limiter::new(self.redis()?, self.clock()))
    }

    /// Messages to people.
    #[cfg(feature = "notify")]
    pub fn notifier(&mut self) -> Result<crate::notify::Notifier, Incomplete> {
        let (db, redis, clock) = (self.db(), self.redis(), self.clock());
        let patience = crate::notify::Patience::default();
        crate::notify::Notifier::from_config(&mut self.config, db, redis, clock, patience)
    }

    /// Tiers of the cache.
    #[cfg(feature = "cache")]
    pub fn cache(&mut self) -> Result<crate::cache::Cache, Incomplete> {
        let redis = self.redis.clone();
        crate::cache::Cache::from_config(&mut self.config, redis, self.clock.clone())
    }

    pub(crate) fn verifier(&mut self, queue: Queue) -> Result<Verifier, Incomplete> {
        let audience = Targets::from_config(&mut self.config).map(|targets| targets.base(queue));
        Verifier::from_config(&mut self.config, audience, self.clock.clone())
    }
}
