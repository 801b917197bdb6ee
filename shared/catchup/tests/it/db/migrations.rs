//! The migrations of the schema `jobs`.

use catchup::db::migrations::migrate;
use futures_util::future::join_all;
use tests::database::Database;

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
