//! `local-cloud up` with a database that the application made.

use std::io::{BufRead, BufReader, Read as _};
use std::process::{Command, Stdio};

use local_cloud::Postgres;
use local_cloud::postgres::{APPLICATION_SCHEMA, connect};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use crate::cleanup::programs;

/// Every column, index and constraint of the application's tables.
const DEFINITIONS: &str = "
    SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default)
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', tgrelid::regclass, pg_get_triggerdef(oid)) FROM pg_trigger WHERE NOT tgisinternal
    ORDER BY 1";
const TABLES: &str = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
const GIVEN: &str = "http://127.0.0.1:9/given";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// `local-cloud up --database` with one function.
fn up(database: &str) -> (Command, tempfile::TempDir) {
    let folder = programs();
    let mut command = Command::new(env!("CARGO_BIN_EXE_local-cloud"));
    command.args(["up", "--database", database, "--programs"]).arg(folder.path());
    for variable in ["DATABASE_URL", "REDIS_URL", "ENCRYPTION_KEY"] {
        command.env_remove(variable);
    }
    command.stderr(Stdio::piped());
    (command, folder)
}

/// The application's tables: what they are, and every row.
async fn application(database: &mut PgConnection) -> Vec<String> {
    let strings = async |database: &mut PgConnection, sql: String| -> Vec<String> {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(database).await.expect("the database answers")
    };
    let mut found = strings(&mut *database, DEFINITIONS.to_owned()).await;
    for table in strings(&mut *database, TABLES.to_owned()).await {
        let rows = format!("SELECT '{table} ' || t::text FROM \"{table}\" t ORDER BY 1");
        found.extend(strings(&mut *database, rows).await);
    }
    found
}

#[tokio::test]
async fn our_schema_is_added_and_the_rest_is_left_as_it_is() {
    let postgres = Postgres::start(None).await.expect("Postgres starts");
    let url = postgres.create_empty_database("copy").await.expect("a database");
    let mut database = connect(&url).await.expect("a connection");
    database.execute(APPLICATION_SCHEMA).await.expect("the application's tables");
    database
        .execute(
            "INSERT INTO users (id, email, google_id) VALUES (gen_random_uuid(), 'ana@example.test', 'ana')",
        )
        .await
        .expect("a user");
    let before = application(&mut database).await;
    assert!(before.iter().any(|line| line.contains("ana@example.test")) && before.len() > 100, "{before:?}");

    let (mut command, folder) = up(url.as_str());
    command.env("ENCRYPTION_KEY", KEY).env("GOOGLE_API_URL", GIVEN);
    let mut child = command.spawn().expect("it starts");
    let console = child.stderr.take().expect("its console");
    let mut lines = BufReader::new(console).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("Ctrl-C stops everything")), "everything runs");
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(interrupt.success());
    assert_eq!(child.wait().expect("its end").code(), Some(0));

    let has_ours: bool = sqlx::query_scalar("SELECT to_regclass('jobs.sweeps') IS NOT NULL")
        .fetch_one(&mut database)
        .await
        .expect("the database is there");
    assert!(has_ours);
    assert_eq!(application(&mut database).await, before);
    let environment = folder.path().join("adaptive-sync.json");
    let environment = std::fs::read_to_string(environment).expect("the function's environment");
    for given in [GIVEN, KEY] {
        assert!(environment.contains(given), "{given} did not reach the function");
    }
}

#[test]
fn without_the_key_of_its_tokens_nothing_starts() {
    let (mut command, _folder) = up("postgres://ana:hunter2@127.0.0.1:1/copy");
    let mut child = command.spawn().expect("it starts");
    let mut said = String::new();
    child.stderr.take().expect("its console").read_to_string(&mut said).expect("text");
    assert_eq!(child.wait().expect("its end").code(), Some(2));
    assert!(said.contains("--database needs ENCRYPTION_KEY") && !said.contains("hunter2"), "{said}");
}
