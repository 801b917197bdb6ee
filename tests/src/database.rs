//! A database for one test, on the server that `DATABASE_URL` names, or on one of this process.

use std::thread;

use catchup::payload::Integration;
use chrono::{DateTime, TimeDelta, Utc};
use local_cloud::Postgres;
use shared::db::Database as Handle;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, Executor, FromRow, PgConnection};
use tokio::sync::OnceCell;
use url::Url;
use uuid::Uuid;

const POOL_SIZE: u32 = 16;

/// One server for all tests of this process; each test has a database of its own.
pub async fn postgres() -> &'static Postgres {
    static POSTGRES: OnceCell<Postgres> = OnceCell::const_new();
    let start = async || {
        Postgres::start(given_server().as_ref()).await.unwrap_or_else(|error| {
            panic!(
                "no Postgres: {error:#}; scripts/install --tests installs it, or set DATABASE_URL to a server"
            )
        })
    };
    POSTGRES.get_or_init(start).await
}

#[expect(
    clippy::disallowed_methods,
    reason = "the server that a developer has is no configuration of the system"
)]
fn given_server() -> Option<Url> {
    Some(std::env::var("DATABASE_URL").ok()?.parse().expect("DATABASE_URL is a URL"))
}

/// A new name for a database.
fn new_name() -> String {
    format!("test_{}", Uuid::new_v4().simple())
}

/// Tables that some versions of the application have, for tests of both.
pub const LATER_SCHEMA: &str = include_str!("../../infra/local/cloud/schema/application-later.sql");

/// A database with all tables, gone when dropped.
pub struct Database {
    /// A handle on it.
    pub db: Handle,
    /// How to connect to it.
    pub options: PgConnectOptions,
    /// Where it is.
    pub url: Url,
    name: String,
}

impl Database {
    /// A new one.
    pub async fn new() -> Self {
        let name = new_name();
        Self::at(postgres().await.create_database(&name).await.expect("a database can be created"), name)
    }

    /// A database without a table.
    pub async fn empty() -> Self {
        let name = new_name();
        Self::at(
            postgres().await.create_empty_database(&name).await.expect("a database can be created"),
            name,
        )
    }

    fn at(url: Url, name: String) -> Self {
        let options: PgConnectOptions = url.as_str().parse().expect("the URL of a database");
        Self { db: Handle::connect_lazily(options.clone(), POOL_SIZE), options, url, name }
    }

    /// A connection to it.
    pub async fn connect(&self) -> PgConnection {
        connect(&self.url).await
    }

    /// A handle on an aggregate.
    #[must_use]
    pub fn of<T: From<Handle>>(&self) -> T {
        self.db.clone().into()
    }

    /// Runs SQL that gives nothing back.
    pub async fn run(&self, sql: impl Into<String>) {
        execute(&self.url, &sql.into()).await;
    }

    /// All rows of a query.
    pub async fn rows<T>(&self, sql: &str) -> Vec<T>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let mut connection = self.connect().await;
        sqlx::query_as(AssertSqlSafe(sql))
            .fetch_all(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The only value of a query.
    pub async fn value<T>(&self, sql: &str) -> T
    where
        (T,): for<'r> FromRow<'r, PgRow>,
        T: Send + Unpin,
    {
        self.rows::<(T,)>(sql).await.pop().unwrap_or_else(|| panic!("{sql}: no row")).0
    }

    /// A user, and a token for each of these integrations, all connected long ago.
    pub async fn user(&self, integrations: &[Integration]) -> Uuid {
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
    pub async fn places(&self, table: &str) -> Vec<(String, String)> {
        self.rows(&format!("SELECT ctid::text, xmin::text || '/' || xmax::text FROM {table} ORDER BY 1"))
            .await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A thread of its own: this one may belong to a runtime, in which nothing may block on another.
        thread::scope(|scope| {
            let dropping = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime
                    .expect("a runtime can be made")
                    .block_on(async { execute(postgres().await.url(), &sql).await });
            });
            let _already_failing = dropping.join();
        });
    }
}

/// The time of all tests of statements.
#[must_use]
pub fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
}

async fn connect(url: &Url) -> PgConnection {
    local_cloud::postgres::connect(url).await.expect("the database answers")
}

async fn execute(url: &Url, sql: &str) {
    let mut connection = connect(url).await;
    connection.execute(AssertSqlSafe(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection.close().await.expect("a connection can be closed");
}
