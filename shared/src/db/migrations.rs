//! Migrations of the schema `jobs`. Nothing outside of it is created, altered or dropped.

use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

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
