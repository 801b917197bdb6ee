//! A bounded number of connections. A statement that waits for one waits here, and not inside the pool: there, a pool that is busy
//! could not be told from a database that cannot be reached.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use sqlx::postgres::{PgQueryResult, PgRow, PgTypeInfo};
use sqlx::{Either, Execute, Executor, PgPool, Postgres, SqlStr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A pool with a queue in front of it.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    pool: PgPool,
    slots: Arc<Semaphore>,
}

impl Connections {
    pub(super) fn new(pool: PgPool, size: u32) -> Self {
        let slots = usize::try_from(size).unwrap_or(Semaphore::MAX_PERMITS);
        Self { pool, slots: Arc::new(Semaphore::new(slots)) }
    }

    /// Begins a transaction; its slot is free again when both are dropped.
    pub(super) async fn begin(
        &self,
    ) -> Result<(sqlx::Transaction<'static, Postgres>, OwnedSemaphorePermit), sqlx::Error> {
        let slot = self.slot().await?;
        Ok((self.pool.begin().await?, slot))
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, sqlx::Error> {
        Arc::clone(&self.slots).acquire_owned().await.map_err(|_closed| sqlx::Error::PoolClosed)
    }
}

/// Where one statement runs.
pub struct Slot<'a>(pub(super) &'a Connections);

impl fmt::Debug for Slot<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Slot")
    }
}

impl<'p> Executor<'p> for Slot<'_> {
    type Database = Postgres;

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
            let slot = connections.slot().await?;
            let rows = connections.pool.fetch_many(query);
            Ok::<_, sqlx::Error>(rows.inspect(move |_| {
                let _held_until_the_last_row = &slot;
            }))
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
            let _slot = connections.slot().await?;
            connections.pool.fetch_optional(query).await
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
            let _slot = connections.slot().await?;
            connections.pool.prepare_with(sql, parameters).await
        })
    }

    #[doc(hidden)]
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<Postgres>, sqlx::Error>>
    where
        'p: 'e,
    {
        let pool = self.0.pool.clone();
        Box::pin(async move { pool.describe(sql).await })
    }
}
