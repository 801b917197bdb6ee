//! A bounded number of connections. A statement that waits for one waits as long as it takes: a pool that is busy is no
//! outage; a connection that cannot be made in time is one.
//!
//! The pool is deadpool's and not sqlx's, which asks Postgres for an answer after each use and has one timeout for both
//! kinds of waiting.

use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, QueueMode, RecycleResult, TimeoutType};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgQueryResult, PgRow, PgSeverity, PgTypeInfo};
use sqlx::{ConnectOptions, Connection as _, Either, Execute, Executor, PgConnection, Postgres, SqlStr};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Postgres that restarts, or has all its connections in use, may have one in a moment: pauses between two tries, within
/// [`CONNECT_TIMEOUT`].
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A connection that was taken longer ago is asked for an answer before it is used: a proxy in between may have closed it.
const CHECK_AFTER: Duration = Duration::from_secs(1);
/// An answer that takes longer does not come.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that were not taken for this long are closed: a burst of work left them behind.
const MAX_IDLE: Duration = Duration::from_mins(10);
/// Each connection meets a changed address or certificate some day.
const MAX_AGE: Duration = Duration::from_mins(30);

/// A pool that connects on first use; clones share it.
#[derive(Clone)]
pub(super) struct Connections(Pool<Connector>);

struct Connector(PgConnectOptions);

impl Manager for Connector {
    type Type = PgConnection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<PgConnection, sqlx::Error> {
        let mut pause = SHORTEST_PAUSE;
        loop {
            match self.0.connect().await {
                Err(error) if is_momentary(&error) => tokio::time::sleep(pause).await,
                connected => return connected,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn recycle(&self, connection: &mut PgConnection, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if metrics.last_used() > CHECK_AFTER {
            connection.ping().await?;
        }
        Ok(())
    }
}

/// Whether a connection may be made in a moment: nothing listens, all connections are in use, or Postgres starts.
fn is_momentary(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
        sqlx::Error::Database(refused) => matches!(refused.code().as_deref(), Some("53300" | "57P03")),
        _ => false,
    }
}

impl Connections {
    pub(super) fn new(options: PgConnectOptions, size: u32) -> Self {
        let pool = Pool::builder(Connector(options))
            .max_size(size.try_into().unwrap_or(usize::MAX))
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(CONNECT_TIMEOUT))
            .recycle_timeout(Some(CHECK_TIMEOUT))
            .build()
            .expect("a runtime for the timeouts is given");
        Self(pool)
    }

    pub(super) async fn take(&self) -> Result<Connection, sqlx::Error> {
        self.0.retain(|_, metrics| metrics.age() < MAX_AGE && metrics.last_used() < MAX_IDLE);
        match self.0.get().await {
            Ok(connection) => Ok(Connection(Some(connection))),
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle | TimeoutType::Wait)) => {
                Err(sqlx::Error::PoolTimedOut)
            }
            Err(PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_)) => {
                Err(sqlx::Error::PoolClosed)
            }
        }
    }

    /// One of its own, which is not counted: for what holds it for long.
    pub(super) async fn detached(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = self.take().await?;
        Ok(Object::take(connection.0.take().expect("nothing has taken it")))
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Connections({:?})", self.0.status())
    }
}

/// A connection in use. Dropped without [`Connection::give_back`], it is closed: what it was used for was cut off, and an open
/// transaction ends with it.
pub(super) struct Connection(Option<Object<Connector>>);

impl Connection {
    pub(super) fn as_mut(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect("only `give_back` and `drop` take it")
    }

    /// For the next use, unless this one has broken the connection.
    pub(super) fn give_back<T>(mut self, used: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        let is_usable = match &used {
            Ok(_) => true,
            // A statement that Postgres refuses leaves the connection as it was, unless Postgres also ends the session.
            Err(sqlx::Error::Database(refused)) => refused
                .try_downcast_ref::<PgDatabaseError>()
                .is_some_and(|refused| !matches!(refused.severity(), PgSeverity::Fatal | PgSeverity::Panic)),
            Err(_) => false,
        };
        if is_usable {
            drop(self.0.take());
        }
        used
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Connection")
    }
}

/// Where one statement runs, on a connection of its own.
#[derive(Debug)]
pub struct Statement<'a>(pub(super) &'a Connections);

impl<'p> Executor<'p> for Statement<'_> {
    type Database = Postgres;

    /// All rows are read before the first is handed out: no statement of ours reads more than a page.
    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let connections = self.0.clone();
        let rows = async move {
            let mut connection = connections.take().await?;
            let rows: Result<Vec<_>, _> = connection.as_mut().fetch_many(query).try_collect().await;
            Ok::<_, sqlx::Error>(stream::iter(connection.give_back(rows)?.into_iter().map(Ok)))
        };
        stream::once(rows).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let connections = self.0.clone();
        Box::pin(async move {
            let mut connection = connections.take().await?;
            let row = connection.as_mut().fetch_optional(query).await;
            connection.give_back(row)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<sqlx::postgres::PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        let connections = self.0.clone();
        Box::pin(async move {
            let mut connection = connections.take().await?;
            let statement = connection.as_mut().prepare_with(sql, parameters).await;
            connection.give_back(statement)
        })
    }

    #[doc(hidden)]
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<Postgres>, sqlx::Error>>
    where
        'p: 'e,
    {
        let connections = self.0.clone();
        Box::pin(async move {
            let mut connection = connections.take().await?;
            let description = connection.as_mut().describe(sql).await;
            connection.give_back(description)
        })
    }
}
