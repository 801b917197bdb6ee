//! `local-cloud up` with a database that the application made.

use std::io::{BufRead, BufReader, Read as _};
use std::process::{Command, Stdio};

use local_cloud::Postgres;
use local_cloud::postgres::{APPLICATION_SCHEMA, connect};
use sqlx::Executor as _;

use crate::cleanup::programs;

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

    let (mut command, _folder) = up(url.as_str());
    let mut child = command.env("ENCRYPTION_KEY", KEY).spawn().expect("it starts");
    let console = child.stderr.take().expect("its console");
    let mut lines = BufReader::new(console).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("Ctrl-C stops everything")), "everything runs");
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(interrupt.success());
    assert_eq!(child.wait().expect("its end").code(), Some(0));

    let (users, has_ours): (i64, bool) =
        sqlx::query_as("SELECT count(*), to_regclass('jobs.sweeps') IS NOT NULL FROM users")
            .fetch_one(&mut database)
            .await
            .expect("the database is there");
    assert_eq!((users, has_ours), (1, true));
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
