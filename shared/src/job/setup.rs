//! What jobs are built from.

use crate::clock::Clock;
use crate::config::{Config, InvalidConfig};
use crate::db::Database;
use crate::db::sweeps::Sweeps;
use crate::oidc::Verifier;
use crate::queue::Queue;
use crate::redis::Redis;
use crate::tasks::{Targets, Tasks};

/// The clients that a job may ask for. Each is made once and shared.
pub struct Setup {
    config: Config,
    clock: Clock,
    database: Result<Database, InvalidConfig>,
    redis: Option<Result<Redis, InvalidConfig>>,
    tasks: Result<Tasks, InvalidConfig>,
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
        let database = Database::from_config(&mut config);
        let tasks = Tasks::from_config(&mut config, clock.clone());
        Self { config, clock, database, redis: None, tasks }
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
    pub fn database(&self) -> Result<Database, InvalidConfig> {
        self.database.clone()
    }

    /// The sweeps.
    pub fn sweeps(&self) -> Result<Sweeps, InvalidConfig> {
        self.database().map(Sweeps::from)
    }

    /// Redis over HTTP. Its variables are needed only by a service that asks for it.
    pub fn redis(&mut self) -> Result<Redis, InvalidConfig> {
        self.redis.get_or_insert_with(|| Redis::from_config(&mut self.config)).clone()
    }

    /// The producing side of the queues.
    pub fn tasks(&self) -> Result<Tasks, InvalidConfig> {
        self.tasks.clone()
    }

    /// Limits.
    #[cfg(feature = "rate-limit")]
    pub fn limiter(&mut self) -> Result<crate::rate_limit::Limiter, InvalidConfig> {
        Ok(crate::rate_limit::Limiter::new(self.redis()?, self.clock()))
    }

    /// Tiers of the cache.
    #[cfg(feature = "cache")]
    pub fn cache(&mut self) -> Result<crate::cache::Cache, InvalidConfig> {
        Ok(crate::cache::Cache::new(self.redis()?, self.clock()))
    }

    pub(crate) fn verifier(&mut self, queue: Queue) -> Result<Verifier, InvalidConfig> {
        let audience = Targets::from_config(&mut self.config).map(|targets| targets.base(queue));
        Verifier::from_config(&mut self.config, audience, self.clock.clone())
    }
}
