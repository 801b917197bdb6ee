//! Postgres: all SQL of the project, one file an aggregate.
//!
//! The application's tables are used as they are; what is ours lives in the schema `jobs` (`shared/migrations`).

use std::num::NonZeroU32;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::config::{Config, Incomplete, variables};
use crate::failure::Failure;
use crate::telemetry::{self, Counter};

pub mod availability;
pub mod batches;
pub mod calendar_events;
pub mod calendar_positions;
pub mod calendar_sync_runs;
pub mod calendar_sync_state;
pub mod calendars;
pub mod circuit_breaker;
pub mod contact_groups;
pub mod contacts;
mod contacts_sync_runs;
pub mod contacts_sync_state;
pub mod dead_letters;
pub mod deliveries;
#[cfg(feature = "migrate")]
pub mod migrations;
pub mod oauth_tokens;
pub mod recipients;
pub mod reminders;
mod retention;
pub mod suggestions;
pub mod sweeps;
pub mod sync_metrics;
pub mod sync_schedule;
mod text;
pub mod token_health;
mod users;
pub mod webhook_channels;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Settings of every connection. A first sync fills a table by orders of magnitude within seconds, long before the server
/// counts it again: plans made for the few rows of before, those of foreign keys included, would read all of it for
/// each new row. There is an index behind every query, so scans are the last resort, and too dear to compile.
const SESSION: [(&str, &str); 4] =
    [("timezone", "UTC"), ("statement_timeout", "30s"), ("enable_seqscan", "off"), ("jit", "off")];
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// A handle on the database; clones share a small pool that connects on first use.
#[derive(Debug, Clone)]
pub struct Db {
    pool: PgPool,
}

/// A statement failed.
#[derive(Debug, thiserror::Error)]
#[error("database statement failed")]
pub struct Error(#[from] sqlx::Error);

/// One page of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Users who are due, in the order of their ids.
    pub users: Vec<Uuid>,
    /// The next page begins behind this user; `None` when this was the last.
    pub next: Option<Uuid>,
}

impl Page {
    /// What a query for `limit` users found.
    fn of(users: Vec<Uuid>, limit: u32) -> Self {
        let is_full = u32::try_from(users.len()).is_ok_and(|found| found == limit);
        Self { next: users.last().copied().filter(|_| is_full), users }
    }
}

impl Db {
    /// Reads `DATABASE_URL` or the `DATABASE_*` parts; connects on first use.
    pub fn from_config(config: &mut Config) -> Result<Self, Incomplete> {
        let size = config.required::<NonZeroU32>(&variables::DATABASE_POOL_SIZE);
        let options = connect_options(config);
        Ok(Self::connect_lazily(options?, size?.get()))
    }

    /// A pool of at most `size` connections, none of them open yet.
    #[must_use]
    pub fn connect_lazily(options: PgConnectOptions, size: u32) -> Self {
        let options = options.options(SESSION).disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(size)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(options);
        Self { pool }
    }

    /// Where one statement runs; counts it.
    fn statement(&self) -> &PgPool {
        telemetry::count(Counter::SqlStatement, 1);
        &self.pool
    }

    /// Several statements that count together or not at all.
    async fn begin(&self) -> Result<Work, Error> {
        Ok(Work(self.pool.begin().await?))
    }

    /// Asks the database for an answer, for readiness checks.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query_scalar!("SELECT 1").fetch_one(self.statement()).await?;
        Ok(())
    }
}

/// A transaction; dropped without [`Work::commit`] it leaves nothing behind.
#[derive(Debug)]
struct Work(Transaction<'static, Postgres>);

impl Work {
    /// Where one statement of the transaction runs; counts it.
    fn statement(&mut self) -> &mut PgConnection {
        telemetry::count(Counter::SqlStatement, 1);
        &mut self.0
    }

    async fn commit(self) -> Result<(), Error> {
        Ok(self.0.commit().await?)
    }
}

fn connect_options(config: &mut Config) -> Result<PgConnectOptions, Incomplete> {
    if let Some(url) = config.optional::<PgConnectOptions>(&variables::DATABASE_URL)? {
        return Ok(url);
    }
    if config.optional::<String>(&variables::DATABASE_HOST)?.is_none() {
        return Err(config.problem(&variables::DATABASE_URL, "is not set, and DATABASE_HOST neither"));
    }
    let host = config.required::<String>(&variables::DATABASE_HOST);
    let port = config.required(&variables::DATABASE_PORT);
    let name = config.required::<String>(&variables::DATABASE_NAME);
    let user = config.required::<String>(&variables::DATABASE_USER);
    let password = config.optional::<String>(&variables::DATABASE_PASSWORD);
    let (host, port) = (host?, port?);
    let options = PgConnectOptions::new_without_pgpass().port(port).database(&name?).username(&user?);
    let options = if host.starts_with('/') { options.socket(host) } else { options.host(&host) };
    Ok(match password? {
        Some(password) => options.password(&password),
        None => options,
    })
}

impl From<Error> for Failure {
    /// Without an answer the database is away for every task; a refused statement concerns this one.
    fn from(error: Error) -> Self {
        let away = match &error.0 {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed => true,
            // Class 08: connection; 53: resources (too many connections); 57P: shutting down or starting up.
            sqlx::Error::Database(refused) => refused
                .code()
                .is_some_and(|code| ["08", "53", "57P"].iter().any(|class| code.starts_with(class))),
            _ => false,
        };
        if away { Self::unavailable(RETRY_AFTER, error) } else { Self::transient(error) }
    }
}
