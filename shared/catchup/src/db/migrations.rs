//! Migrations of the schema `jobs`: the platform's, and ours.

use shared::db::Database;
use shared::db::migrations::{Error, migrate as migrate_with, pending as pending_with};
use sqlx::postgres::PgConnectOptions;

/// Brings the schema `jobs` up to date; see [`shared::db::migrations::migrate`].
pub async fn migrate(options: PgConnectOptions) -> Result<(), Error> {
    migrate_with(options, &sqlx::migrate!()).await
}

/// What [`migrate`] would apply, in the order of the versions.
pub async fn pending(database: &Database) -> Result<Vec<String>, Error> {
    pending_with(database, &sqlx::migrate!()).await
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap().count();
        let embedded = sqlx::migrate!().iter().count();
        assert_eq!(embedded, files, "rebuild: the folder changed after this file was compiled");
    }
}
