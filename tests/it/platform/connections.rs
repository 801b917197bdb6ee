//! The pool of database connections.

use std::time::Duration;

use shared::db::Database as Handle;
use tests::database::Database;

#[tokio::test]
async fn a_session_that_postgres_ended_costs_one_statement_and_no_other() {
    let database = Database::new().await;
    let only = Handle::connect_lazily(database.options.clone(), 1);
    let ends = sqlx::query("SELECT pg_terminate_backend(pg_backend_pid())").execute(only.statement()).await;
    assert_eq!(ends.unwrap_err().into_database_error().unwrap().code().as_deref(), Some("57P01"));
    only.ping().await.unwrap();
}

#[tokio::test]
async fn what_a_dropped_transaction_held_is_free_and_its_connection_is_not_used_again() {
    let database = Database::new().await;
    let only = Handle::connect_lazily(database.options.clone(), 1);
    let session = async || {
        sqlx::query_scalar::<_, i32>("SELECT pg_backend_pid()").fetch_one(only.statement()).await.unwrap()
    };
    let first = session().await;
    let mut transaction = only.begin().await.unwrap();
    sqlx::query("CREATE TABLE left_over ()").execute(transaction.statement()).await.unwrap();
    drop(transaction);
    assert_ne!(session().await, first);
    let found: bool = database.value("SELECT to_regclass('left_over') IS NOT NULL").await;
    assert!(!found);
}

#[tokio::test]
async fn a_statement_that_postgres_refuses_leaves_its_connection_as_it_was() {
    let database = Database::new().await;
    let only = Handle::connect_lazily(database.options.clone(), 1);
    let session = async || {
        sqlx::query_scalar::<_, i32>("SELECT pg_backend_pid()").fetch_one(only.statement()).await.unwrap()
    };
    let first = session().await;
    sqlx::query("SELECT 1 / 0").execute(only.statement()).await.unwrap_err();
    assert_eq!(session().await, first);
}

#[tokio::test]
async fn a_server_without_a_free_session_is_asked_again() {
    let database = Database::new().await;
    let role = format!("role_{}", uuid::Uuid::new_v4().simple());
    database.run(format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 1 PASSWORD 'p'")).await;
    let options = database.options.clone().username(&role).password("p");
    let (first, second) = (Handle::connect_lazily(options.clone(), 1), Handle::connect_lazily(options, 1));
    first.ping().await.unwrap();
    let mut waits = tokio::spawn(async move { second.ping().await });
    // The first try is refused long before this; without another one it would have ended.
    tokio::time::timeout(Duration::from_millis(500), &mut waits).await.unwrap_err();
    drop(first);
    waits.await.unwrap().unwrap();
    database.run(format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}
