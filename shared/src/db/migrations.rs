//! Migrations of the schema `jobs`. Nothing outside of it is created, altered or dropped.

use std::collections::BTreeSet;

use sqlx::migrate::{Migrate as _, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::Database;

/// The schema of all tables that are ours, the migrations' own included.
const SCHEMA: &str = "jobs";
const TABLE: &str = "jobs.migrations";

/// The schema `jobs` could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("cannot connect")]
    Connect(#[from] sqlx::Error),
    /// A migration failed; it left nothing behind.
    #[error("migration of the schema `jobs`")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

/// Brings the schema `jobs` up to date: the platform's tables and those of a `product`, in the order of their versions. May
/// run any number of times, also at the same time: a lock of the database lets one at a time through.
pub async fn migrate(options: PgConnectOptions, product: &Migrator) -> Result<(), Error> {
    let mut connection = PgConnection::connect_with(&options.options([("timezone", "UTC")])).await?;
    migrator(product).run(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// The migrations that this program has and the database has not, in the order of their versions: the version and what it is about.
pub async fn pending(database: &Database, product: &Migrator) -> Result<Vec<String>, Error> {
    let mut transaction = database.begin().await.map_err(|error| error.0)?;
    let applied = transaction.statement().list_applied_migrations(TABLE).await?;
    let applied: BTreeSet<_> = applied.into_iter().map(|it| it.version).collect();
    let migrator = migrator(product);
    let mut pending: Vec<_> = migrator.iter().filter(|it| !applied.contains(&it.version)).collect();
    pending.sort_by_key(|it| it.version);
    Ok(pending.into_iter().map(|it| format!("{} {}", it.version, it.description)).collect())
}

fn migrator(product: &Migrator) -> Migrator {
    let own = sqlx::migrate!();
    let mut migrator = Migrator::with_migrations(own.iter().chain(product.iter()).cloned().collect());
    migrator.create_schema(SCHEMA);
    migrator.dangerous_set_table_name(TABLE);
    migrator
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap().count();
        assert_eq!(
            sqlx::migrate!().iter().count(),
            files,
            "rebuild: the folder changed after this file was compiled"
        );
    }
}
