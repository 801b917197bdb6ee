//! What operators see and do. The commands and the console's pages show what this module finds, and change what it changes:
//! there is no second way.
//!
//! There are several sources. Each may be missing or unavailable; what it would have said is then unknown, and the rest is shown.
//!
//! | source | what | where |
//! |---|---|---|
//! | Postgres | failures, dead letters, messages, actions; of the application's tables, a user's connections | `shared::db`, `catchup::db` |
//! | Cloud Tasks | the queues and the tasks that wait | [`cloud_tasks`] |
//! | Cloud Scheduler | the schedules | [`cloud_scheduler`] |
//! | Cloud Run | the services and their revisions | [`cloud_run`] |
//! | metrics | how tasks end, and how fast: of the functions' processes on this machine | [`numbers`] |
//! | Cloud Monitoring | the same of a project, and the alerts that fire | [`cloud_monitoring`] |
//! | Redis | the lease of a task, and what is cached of a user; asked only for one at a time | `shared::idempotency`, `catchup::cache` |

pub(crate) mod actions;
pub(crate) mod alerts;
pub(crate) mod bulks;
pub(crate) mod cached;
mod cloud_monitoring;
mod cloud_run;
mod cloud_scheduler;
pub(crate) mod cloud_tasks;
pub(crate) mod cost;
pub(crate) mod dead_letters;
pub(crate) mod deploys;
pub(crate) mod doctor;
pub(crate) mod errors;
mod google_api;
pub(crate) mod holds;
pub(crate) mod last_hour;
pub(crate) mod messages;
pub(crate) mod numbers;
pub(crate) mod overview;
pub(crate) mod producers;
pub(crate) mod schedules;
pub(crate) mod task;
pub(crate) mod tasks;
pub(crate) mod usage;
pub(crate) mod user;

use std::sync::Arc;

use catchup::cache::Cache;
use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::clock::Clock;
use shared::config::variables::RETRY_BACKOFF_DIVISOR;
use shared::config::{Config, InvalidConfig};
use shared::db::Database;
use shared::idempotency::Leases;
use shared::pace::Pace;
use shared::redis::Redis;

use cloud_monitoring::CloudMonitoring;
use cloud_run::CloudRun;
use cloud_scheduler::CloudScheduler;
use cloud_tasks::CloudTasks;
use producers::Functions;

/// What cannot be recorded is not done.
const UNCHANGED: &str = "nothing is changed";

/// A source of what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::Display)]
pub(crate) enum Source {
    Postgres,
    #[serde(rename = "Cloud Tasks")]
    #[strum(serialize = "Cloud Tasks")]
    CloudTasks,
    #[serde(rename = "Cloud Scheduler")]
    #[strum(serialize = "Cloud Scheduler")]
    CloudScheduler,
    #[serde(rename = "Cloud Run")]
    #[strum(serialize = "Cloud Run")]
    CloudRun,
    #[serde(rename = "metrics")]
    #[strum(serialize = "metrics")]
    Metrics,
    /// The numbers of a project are of the last hour.
    #[serde(rename = "Cloud Monitoring")]
    #[strum(serialize = "Cloud Monitoring (last hour)")]
    CloudMonitoring,
    #[serde(rename = "Cloud Monitoring (month)")]
    #[strum(serialize = "Cloud Monitoring (month)")]
    CloudMonitoringMonth,
    #[serde(rename = "Cloud Monitoring (alerts)")]
    #[strum(serialize = "Cloud Monitoring (alerts)")]
    CloudMonitoringAlerts,
    Redis,
}

/// When a source was asked, and why it did not say what it was asked for.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Asked {
    pub(crate) source: Source,
    pub(crate) at: DateTime<Utc>,
    pub(crate) problem: Option<String>,
}

/// A list that may be longer than what is shown of it.
#[derive(Debug, Serialize)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    /// There are more.
    #[serde(rename = "isCut")]
    pub(crate) is_cut: bool,
}

impl<T> Listed<T> {
    /// Of what was found when one more than `limit` was asked for.
    pub(crate) fn of(mut items: Vec<T>, limit: u32) -> Self {
        let limit = limit as usize;
        let is_cut = items.len() > limit;
        items.truncate(limit);
        Self { items, is_cut }
    }
}

/// The sources, as far as they are configured.
#[derive(Clone)]
pub(crate) struct Operations {
    pub(crate) clock: Clock,
    database: Result<Database, String>,
    tasks: Result<CloudTasks, String>,
    /// None on a machine that has Cloud Tasks and no Cloud Scheduler.
    scheduler: Result<Option<CloudScheduler>, String>,
    /// The same of Cloud Run.
    run: Result<Option<CloudRun>, String>,
    /// None on a machine whose functions are asked themselves.
    monitoring: Result<Option<CloudMonitoring>, String>,
    leases: Result<Leases, String>,
    cache: Result<Cache, String>,
    functions: Functions,
    pace: Pace,
    /// By what the backoffs of the queues are divided: those of the local cloud.
    backoff_divisor: u32,
}

impl Operations {
    /// Reads where the sources are from the environment, as the functions do; asks nothing yet.
    pub(crate) fn from_process() -> Self {
        Self::from_config(Config::from_process)
    }

    /// Each source reads the configuration for itself: what one lacks does not concern the others.
    pub(crate) fn from_config(config: impl Fn() -> Config) -> Self {
        let clock = Clock::system();
        let pace = Pace::from_config(&mut config()).unwrap_or_default();
        let redis = configured(&config, Redis::from_config);
        let cache = redis
            .clone()
            .and_then(|redis| configured(&config, |config| Cache::from_config(config, redis, clock.clone())));
        let leases = redis.map(|redis| Leases::new(redis, clock.clone(), pace, Arc::from("ops")));
        Self {
            database: configured(&config, Database::for_lists),
            tasks: configured(&config, CloudTasks::from_config),
            scheduler: configured(&config, CloudScheduler::from_config),
            run: configured(&config, CloudRun::from_config),
            monitoring: configured(&config, CloudMonitoring::from_config),
            functions: Functions::from_config(&mut config()),
            backoff_divisor: config().optional(&RETRY_BACKOFF_DIVISOR).ok().flatten().unwrap_or(1),
            clock,
            leases,
            cache,
            pace,
        }
    }

    /// The database, for what cannot be shown or done without it.
    pub(crate) fn database(&self) -> anyhow::Result<Database> {
        self.database.clone().map_err(anyhow::Error::msg)
    }

    pub(crate) fn cloud_tasks(&self) -> anyhow::Result<&CloudTasks> {
        self.tasks.as_ref().map_err(|problem| anyhow::Error::msg(problem.clone()))
    }

    /// None on a machine without it.
    pub(crate) fn cloud_scheduler(&self) -> anyhow::Result<Option<&CloudScheduler>> {
        let scheduler = self.scheduler.as_ref().map_err(|problem| anyhow::Error::msg(problem.clone()))?;
        Ok(scheduler.as_ref())
    }

    /// None on a machine without it.
    pub(crate) fn cloud_run(&self) -> anyhow::Result<Option<&CloudRun>> {
        let run = self.run.as_ref().map_err(|problem| anyhow::Error::msg(problem.clone()))?;
        Ok(run.as_ref())
    }

    /// None on a machine whose functions are asked themselves.
    fn cloud_monitoring(&self) -> anyhow::Result<Option<&CloudMonitoring>> {
        let monitoring = self.monitoring.as_ref().map_err(|problem| anyhow::Error::msg(problem.clone()))?;
        Ok(monitoring.as_ref())
    }

    pub(crate) fn leases(&self) -> anyhow::Result<&Leases> {
        self.leases.as_ref().map_err(|problem| anyhow::Error::msg(problem.clone()))
    }

    fn cache(&self) -> anyhow::Result<&Cache> {
        self.cache.as_ref().map_err(|problem| anyhow::Error::msg(problem.clone()))
    }

    /// What a source says, and what is to be said about the source.
    pub(crate) async fn ask<T>(
        &self,
        source: Source,
        question: impl Future<Output = anyhow::Result<T>>,
    ) -> (Option<T>, Asked) {
        let answer = question.await;
        let at = self.clock.now();
        match answer {
            Ok(answer) => (Some(answer), Asked { source, at, problem: None }),
            Err(error) => (None, Asked { source, at, problem: Some(format!("{error:#}")) }),
        }
    }
}

fn configured<T>(
    config: impl Fn() -> Config,
    read: impl FnOnce(&mut Config) -> Result<T, InvalidConfig>,
) -> Result<T, String> {
    let mut config = config();
    read(&mut config).map_err(|_invalid| {
        let problems: Vec<_> =
            config.problems().iter().map(|it| format!("{} {}", it.name, it.what)).collect();
        problems.join("; ")
    })
}
