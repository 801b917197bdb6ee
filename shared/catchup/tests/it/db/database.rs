//! A database for one test, on the server that `DATABASE_URL` names.

use std::thread;

use catchup::payload::Integration;
use chrono::{DateTime, TimeDelta, Utc};
use shared::db::Database as Handle;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, FromRow, PgConnection};
use uuid::Uuid;

const APPLICATION_SCHEMA: &str = include_str!("../../../../../infra/local/cloud/schema/application.sql");
const POOL_SIZE: u32 = 16;

/// A database with all tables, gone when dropped.
pub(crate) struct Database {
    pub(crate) db: Handle,
    pub(crate) options: PgConnectOptions,
    name: String,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let database = Self::empty().await;
        connect(&database.options).await.execute(APPLICATION_SCHEMA).await.unwrap();
        catchup::db::migrations::migrate(database.options.clone()).await.unwrap();
        database
    }

    /// A database without a table.
    pub(crate) async fn empty() -> Self {
        let name = format!("catchup_db_{}", Uuid::new_v4().simple());
        execute(&server(), &format!("CREATE DATABASE {name}")).await;
        let options = server().database(&name);
        Self { db: Handle::connect_lazily(options.clone(), POOL_SIZE), options, name }
    }

    /// A handle on an aggregate.
    pub(crate) fn of<T: From<Handle>>(&self) -> T {
        self.db.clone().into()
    }

    /// Runs SQL that gives nothing back.
    #[track_caller]
    pub(crate) fn run(&self, sql: impl Into<String>) -> impl Future<Output = ()> {
        let (options, sql) = (self.options.clone(), sql.into());
        async move { execute(&options, &sql).await }
    }

    /// All rows of a query.
    pub(crate) async fn rows<T>(&self, sql: &str) -> Vec<T>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let mut connection = connect(&self.options).await;
        sqlx::query_as(AssertSqlSafe(sql))
            .fetch_all(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The only value of a query.
    pub(crate) async fn value<T>(&self, sql: &str) -> T
    where
        (T,): for<'r> FromRow<'r, PgRow>,
        T: Send + Unpin,
    {
        self.rows::<(T,)>(sql).await.pop().unwrap_or_else(|| panic!("{sql}: no row")).0
    }

    /// A user, and a token for each of these integrations, all connected long ago.
    pub(crate) async fn user(&self, integrations: &[Integration]) -> Uuid {
        let id = Uuid::new_v4();
        self.run(format!(
            "INSERT INTO users (id, email, google_id) VALUES ('{id}', '{id}@example.org', '{id}')"
        ))
        .await;
        for integration in integrations {
            self.run(format!(
                "INSERT INTO oauth_tokens (user_id, provider, access_token, refresh_token, expires_at, created_at)
                 VALUES ('{id}', '{}', 'access', 'refresh', '{}', '{}')",
                integration.as_str(),
                now() + TimeDelta::days(30),
                now() - TimeDelta::days(30),
            ))
            .await;
        }
        id
    }

    /// Where each row of a table is kept: any write moves it.
    pub(crate) async fn places(&self, table: &str) -> Vec<(String, String)> {
        self.rows(&format!("SELECT ctid::text, xmin::text || '/' || xmax::text FROM {table} ORDER BY 1"))
            .await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let dropping = thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(execute(&server(), &sql));
        });
        let _already_failing = dropping.join();
    }
}

/// The time of all tests.
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the server that a developer has is no configuration of the system"
)]
fn server() -> PgConnectOptions {
    let url = std::env::var("DATABASE_URL").unwrap_or_else(|_| {
        panic!(
            "these tests need a Postgres server: run scripts/test, or set DATABASE_URL to one on which databases may be \
             created"
        )
    });
    url.parse().expect("DATABASE_URL is the URL of a Postgres server")
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    let options = options.clone().options([("timezone", "UTC")]).disable_statement_logging();
    PgConnection::connect_with(&options).await.expect("the server of DATABASE_URL answers")
}

async fn execute(options: &PgConnectOptions, sql: &str) {
    let mut connection = connect(options).await;
    connection.execute(AssertSqlSafe(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection.close().await.unwrap();
}
