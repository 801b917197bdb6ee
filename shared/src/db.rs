//! Postgres: the handle on it, and the platform's own tables in the schema `jobs` (`shared/migrations`), one file per
//! aggregate.
//!
//! A product keeps its SQL behind handles of its own, each made of a [`Database`].

use std::num::NonZeroU32;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Executor as _, PgConnection};
use uuid::Uuid;

use crate::config::{Config, InvalidConfig, variables};
use crate::failure::Failure;
use crate::http::is_loopback_host;
use crate::telemetry::{self, Counter};

pub use connections::Statement;
use connections::{Connection, Connections};
pub use text::shortened;

pub mod bulks;
mod connections;
pub mod dead_letters;
pub mod error_states;
pub mod errors;
pub mod failures;
#[cfg(feature = "migrate")]
pub mod migrations;
pub mod operator_actions;
mod retention;
pub mod sweeps;
mod text;

/// Settings of every connection. A first sync fills a table by orders of magnitude within seconds, long before the server
/// counts it again: plans made for the few rows of before, those of foreign keys included, would read all of it for
/// each new row. There is an index behind every query, so scans are the last resort, and too dear to compile.
/// The timeouts bound what one stopped process can hold up: a transaction that does nothing loses its locks, a session that
/// waits for them gives up sooner than that, and a peer that is gone is noticed.
const SESSION: [(&str, &str); 10] = [
    ("timezone", "UTC"),
    ("statement_timeout", "30s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "15s"),
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "60s"),
    ("enable_seqscan", "off"),
    ("jit", "off"),
];
/// Postgres' code for a right that is missing.
const PERMISSION_DENIED: &str = "42501";
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// When to try again what another session holds: most locks last for milliseconds.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(5);

/// A handle on the database; clones share a small pool that connects on first use.
#[derive(Debug, Clone)]
pub struct Database {
    connections: Connections,
}

/// A statement failed.
#[derive(Debug, thiserror::Error)]
#[error("database statement failed")]
pub struct Error(#[from] sqlx::Error);

impl Error {
    /// The database user has no right to what the statement names.
    #[must_use]
    pub fn is_permission_denied(&self) -> bool {
        let code = self.0.as_database_error().and_then(DatabaseError::code);
        code.as_deref() == Some(PERMISSION_DENIED)
    }
}

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
    #[must_use]
    pub fn of(users: Vec<Uuid>, limit: u32) -> Self {
        let is_full = u32::try_from(users.len()).is_ok_and(|found| found == limit);
        Self { next: users.last().copied().filter(|_| is_full), users }
    }
}

impl Database {
    /// Reads `DATABASE_URL` or the `DATABASE_*` parts; connects on first use.
    pub fn from_config(config: &mut Config) -> Result<Self, InvalidConfig> {
        let size = config.required::<NonZeroU32>(&variables::DATABASE_POOL_SIZE);
        let options = connect_options(config);
        Ok(Self::connect_lazily(options?, size?.get()))
    }

    /// The same for lists with conditions, any of which may be absent: each is planned for those that are given. One plan for all
    /// would read the whole table.
    pub fn for_lists(config: &mut Config) -> Result<Self, InvalidConfig> {
        let size = config.required::<NonZeroU32>(&variables::DATABASE_POOL_SIZE);
        let options = connect_options(config)?.options([("plan_cache_mode", "force_custom_plan")]);
        Ok(Self::connect_lazily(options, size?.get()))
    }

    /// A pool of at most `size` connections, none of them open yet.
    #[must_use]
    pub fn connect_lazily(options: PgConnectOptions, size: u32) -> Self {
        let options = options.options(SESSION).disable_statement_logging();
        Self { connections: Connections::new(options, size) }
    }

    /// Where one statement runs; counts it.
    #[must_use]
    pub fn statement(&self) -> Statement<'_> {
        telemetry::count(Counter::SqlStatement, 1);
        Statement(&self.connections)
    }

    /// Several statements that count together or not at all.
    pub async fn begin(&self) -> Result<Transaction, Error> {
        let mut connection = self.connections.take().await?;
        connection.as_mut().execute("BEGIN").await?;
        Ok(Transaction { connection })
    }

    /// Asks whether records can be written. An error also while the database is read-only, or lacks rights or tables of ours.
    pub async fn check_writable(&self) -> Result<(), Error> {
        sqlx::query!("UPDATE jobs.failures SET reason = reason WHERE false")
            .execute(self.statement())
            .await?;
        Ok(())
    }

    /// Asks the database for an answer, for readiness checks.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query_scalar!("SELECT 1").fetch_one(self.statement()).await?;
        Ok(())
    }
}

/// A transaction; dropped without [`Transaction::commit`] it leaves nothing behind.
#[derive(Debug)]
pub struct Transaction {
    connection: Connection,
}

impl Transaction {
    /// Where one statement of the transaction runs; counts it.
    pub fn statement(&mut self) -> &mut PgConnection {
        telemetry::count(Counter::SqlStatement, 1);
        self.connection.as_mut()
    }

    /// Makes all of it count.
    pub async fn commit(mut self) -> Result<(), Error> {
        let committed = self.connection.as_mut().execute("COMMIT").await;
        self.connection.give_back(committed)?;
        Ok(())
    }
}

fn connect_options(config: &mut Config) -> Result<PgConnectOptions, InvalidConfig> {
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
    let options = if host.starts_with('/') {
        options.socket(host)
    } else {
        // Over a network, only with TLS.
        let mode = if is_loopback_host(&host) { PgSslMode::Prefer } else { PgSslMode::Require };
        options.host(&host).ssl_mode(mode)
    };
    Ok(match password? {
        Some(password) => options.password(&password),
        None => options,
    })
}

/// Whose fault a refused statement is, by its SQLSTATE.
///
/// Source: <https://www.postgresql.org/docs/15/errcodes-appendix.html>.
fn fault(code: &str) -> Fault {
    match code {
        // Read-only, and rights, tables, columns, schemas or the database that are missing.
        "25006" | "25P03" | PERMISSION_DENIED | "42P01" | "42703" | "3D000" | "3F000" => Fault::Ours,
        // Connection; authorization; resources, too many connections among them; shutting down or starting up.
        _ if ["08", "28", "53", "57P"].iter().any(|class| code.starts_with(class)) => Fault::Ours,
        // Another session holds the lock.
        "55P03" => Fault::Busy,
        _ => Fault::Statement,
    }
}

enum Fault {
    /// Every task would meet it.
    Ours,
    /// It ends when another session is done.
    Busy,
    /// This statement's, or chance.
    Statement,
}

impl From<Error> for Failure {
    /// A database that cannot be used is an outage; a lock that another session holds costs no attempt; a refused
    /// statement concerns this task.
    fn from(error: Error) -> Self {
        let fault = match &error.0 {
            // Waiting for a connection of the pool has no limit, so a timeout of the pool means that none could be made.
            // A peer that does not speak the protocol is no Postgres: a proxy in front of one that is gone, for instance.
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Fault::Ours,
            sqlx::Error::Database(refused) => {
                refused.code().map_or(Fault::Statement, |code| fault(code.as_ref()))
            }
            // The enum is open; what is left is this statement's: a row that is not there or cannot be read.
            _ => Fault::Statement,
        };
        match fault {
            Fault::Ours => Self::unavailable(RETRY_AFTER, error),
            Fault::Busy => Self::busy(BUSY_RETRY_AFTER, error),
            Fault::Statement => Self::transient(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_over_a_network_is_reached_with_tls() {
        #[track_caller]
        fn check(host: &str, expected: PgSslMode) {
            let parts = [("DATABASE_HOST", host), ("DATABASE_NAME", "name"), ("DATABASE_USER", "user")];
            let options = connect_options(&mut Config::from_pairs(parts)).unwrap();
            assert_eq!(options.get_ssl_mode() as u8, expected as u8, "{host}");
        }
        check("10.0.0.3", PgSslMode::Require);
        check("db.example.test", PgSslMode::Require);
        check("127.0.0.1", PgSslMode::Prefer);
        check("::1", PgSslMode::Prefer);
        check("localhost", PgSslMode::Prefer);
        check("/cloudsql/project:region:instance", PgSslMode::Prefer);
    }
}
