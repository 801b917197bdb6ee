//! The migrations of the schema `jobs`.

use catchup::db::migrations::migrate;
use futures_util::future::join_all;
use tests::database::Database;
use tests::repository::each_text_file;

/// What takes something away from statements that read or write it.
const CONTRACTS: [&str; 5] = ["DROP TABLE", "DROP COLUMN", "RENAME", "SET NOT NULL", " TYPE "];
/// Migrations that contract: no revision that one might go back to needs what they take away.
const ALLOWED: [&str; 1] = ["20261126100000_failures.sql"];

#[tokio::test]
async fn migrations_run_any_number_of_times_and_touch_no_other_schema() {
    let database = Database::new().await;
    let tables =
        "SELECT string_agg(tablename, ',' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'";
    let before: String = database.value(tables).await;
    for result in join_all((0..4).map(|_| migrate(database.options.clone()))).await {
        result.unwrap();
    }
    assert_eq!(database.value::<String>(tables).await, before);
    let schemas: Vec<(String,)> = database
        .rows("SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema$)' ORDER BY 1")
        .await;
    assert_eq!(schemas, [("jobs".to_owned(),), ("public".to_owned(),)]);
}

#[test]
fn migrations_take_nothing_away_from_the_revision_before() {
    each_text_file(&["sql"], |path, text| {
        let is_migration = path.iter().any(|folder| folder == "migrations");
        if !is_migration || ALLOWED.iter().any(|name| path.ends_with(name)) {
            return;
        }
        for line in text.lines().filter(|line| !line.trim_start().starts_with("--")) {
            let found = CONTRACTS.iter().find(|words| line.to_uppercase().contains(*words));
            assert_eq!(found, None, "{}: expand first, see infra/docs/runbook.md", path.display());
        }
    });
}
