//! The schema `jobs`: the platform's tables, dead letters and sweeps.

use chrono::{DateTime, TimeDelta, Utc};
use shared::db::bulks::{Bulks, NewBulk};
use shared::db::dead_letters::{DeadLetter, DeadLetters, Filter};
use shared::db::failures::{Cause, Failures, Run, TaskRef, TaskState};
use shared::db::operator_actions::{Action, Pace, Via};
use shared::db::sweeps::Sweeps;
use shared::payload::Payload as _;
use shared::queue::{Queue, Retention};
use sqlx::migrate::Migrator;
use tests::acting::Script;
use tests::database::{Database, now};
use uuid::Uuid;

#[tokio::test]
async fn another_product_gets_the_platforms_tables_and_no_other() {
    let database = Database::empty().await;
    let nothing = Migrator::with_migrations(Vec::new());
    shared::db::migrations::migrate(database.options.clone(), &nothing).await.unwrap();
    let tables: Vec<(String,)> = database
        .rows(
            "SELECT tablename::text FROM pg_tables WHERE schemaname <> 'jobs' AND schemaname !~ '^(pg_|inf)'",
        )
        .await;
    assert_eq!(tables, []);
    database.of::<DeadLetters>().record(&dead_letter(b"body"), now()).await.unwrap();
    // Every statement of the engine, on tables of its own alone.
    database.run("CREATE TABLE members (id uuid PRIMARY KEY)").await;
    let retention = Retention { users: "members", aged: &[], personal: &[] };
    let later = now() + TimeDelta::days(100);
    assert_eq!(database.of::<Sweeps>().prune(&retention, later, || true).await.unwrap(), 1);
}

fn dead_letter(body: &[u8]) -> DeadLetter<'_> {
    let task_ref = TaskRef {
        function: "token-refresh",
        key: "key",
        life: 0,
        attempts: 3,
        timeout: TimeDelta::minutes(3),
        company_window: TimeDelta::seconds(70),
        user_id: None,
        body,
        task_name: Some("task"),
        trace: None,
    };
    DeadLetter { task_ref, reason: "reason", error: "error" }
}

fn of_function(since: Option<DateTime<Utc>>) -> Filter<'static> {
    Filter { function: Some("token-refresh"), since, ..Filter::default() }
}

#[tokio::test]
async fn a_dead_letter_keeps_the_body_that_came_first() {
    let database = Database::new().await;
    database.of::<DeadLetters>().record(&dead_letter(b"first\0\xff"), now()).await.unwrap();
    database.of::<DeadLetters>().record(&dead_letter(b"second"), now()).await.unwrap();
    let rows: Vec<(i32, Vec<u8>)> = database.rows("SELECT deaths, body FROM jobs.dead_letters").await;
    assert_eq!(rows, [(1, b"first\0\xff".to_vec())]);
}

#[tokio::test]
async fn a_discarded_dead_letter_leaves_nothing_of_its_task() {
    let database = Database::new().await;
    let dead_letter = dead_letter(b"body");
    let run = Run { id: Uuid::new_v4(), instance: "i", revision: "r", alone: false, began_at: now() };
    let cause = Cause { reason: "permanent", error: "never", fingerprint: "f", is_permanent: true };
    let state =
        database.of::<Failures>().run_failed(&dead_letter.task_ref, &run, &cause, now()).await.unwrap();
    assert_eq!(state, TaskState::Dead);
    let stored = database.of::<DeadLetters>().list_open(&of_function(None), 10).await.unwrap();
    assert_eq!((stored.len(), stored[0].failures, stored[0].state.as_str()), (1, 1, "open"));
    let bulks = database.of::<Bulks>();
    for expected in ["discarded", "gone"] {
        let (id, ids) = (Uuid::new_v4(), [stored[0].id.clone()]);
        let new = NewBulk {
            id,
            action: Action::Discard,
            via: Via::CommandLine,
            filter: &serde_json::Value::Null,
            why: "",
            ids: &ids,
            pace: Pace { rate: 1, again: false },
        };
        bulks.begin(&new, now()).await.unwrap();
        bulks.discard(id, 10, now()).await.unwrap();
        assert_eq!(bulks.members(id, 10).await.unwrap()[0].outcome, expected);
    }
    assert_eq!(database.value::<i64>("SELECT count(*) FROM jobs.failures").await, 0);
}

#[tokio::test]
async fn dead_letters_are_listed_since_they_died() {
    let database = Database::new().await;
    let dead_letters = database.of::<DeadLetters>();
    dead_letters.record(&dead_letter(b"body"), now()).await.unwrap();
    for (since, expected) in [(now(), 1), (now() + TimeDelta::seconds(1), 0)] {
        let listed = dead_letters.list_open(&of_function(Some(since)), 10).await.unwrap();
        assert_eq!(listed.len(), expected, "{since}");
    }
}

/// Of the only sweep: tasks, succeeded, failed, whether too many failed, and whether it went through all its pages.
async fn sweep(database: &Database) -> (i64, i64, i64, bool, bool) {
    let row = "SELECT tasks, succeeded, failed, high_failure_rate, finished_at IS NOT NULL FROM jobs.sweeps";
    database.rows(row).await.remove(0)
}

/// With the sweep `s` of a queue, which has just begun.
async fn begun(database: &Database) -> (Sweeps, Queue) {
    let queue = Script::QUEUE;
    let name = queue.name();
    database
        .run(format!(
            "INSERT INTO jobs.sweeps (queue, sweep_id, started_at) VALUES ('{name}', 's', '{}')",
            now()
        ))
        .await;
    (database.of(), queue)
}

#[tokio::test]
async fn a_sweep_adds_up_its_pages_and_results() {
    let database = Database::new().await;
    let (db, queue) = begun(&database).await;
    db.add_page(queue, "s", 500, false, now()).await.unwrap();
    for _ in 0..9 {
        db.add_result(queue, "s", 1, 0, 0.1, now()).await.unwrap();
    }
    db.add_result(queue, "s", 0, 1, 0.1, now()).await.unwrap();
    db.add_page(queue, "s", 20, true, now()).await.unwrap();
    assert_eq!(sweep(&database).await, (520, 9, 1, false, true));
}

#[tokio::test]
async fn a_high_failure_rate_is_that_of_a_finished_sweep_and_is_reported_once() {
    let database = Database::new().await;
    let (db, queue) = begun(&database).await;
    let fail = async || db.add_result(queue, "s", 0, 1, 0.1, now()).await.unwrap();
    db.add_page(queue, "s", 10, false, now()).await.unwrap();
    assert!(!fail().await && !fail().await, "two of the ten that are known so far");
    db.add_page(queue, "s", 20, true, now()).await.unwrap();
    assert!(!fail().await, "three of thirty are no more than a tenth");
    assert_eq!(sweep(&database).await, (30, 0, 3, false, true));
    assert!(fail().await);
    assert!(!fail().await, "that is known");
    assert_eq!(sweep(&database).await, (30, 0, 5, true, true));
}

#[tokio::test]
async fn a_task_may_have_several_results() {
    let database = Database::new().await;
    let (db, queue) = begun(&database).await;
    db.add_page(queue, "s", 5, true, now()).await.unwrap();
    assert!(!db.add_result(queue, "s", 9, 1, 0.1, now()).await.unwrap(), "one of ten");
    assert!(db.add_result(queue, "s", 0, 1, 0.1, now()).await.unwrap());
}

#[tokio::test]
async fn the_first_result_of_a_sweep_may_come_before_its_page() {
    let database = Database::new().await;
    let (db, queue) = (database.of::<Sweeps>(), Script::QUEUE);
    assert!(!db.add_result(queue, "s", 0, 1, 0.1, now()).await.unwrap());
    assert_eq!(sweep(&database).await, (0, 0, 1, false, false));
    db.add_page(queue, "s", 2, true, now()).await.unwrap();
    assert!(db.add_result(queue, "s", 1, 0, 0.1, now()).await.unwrap(), "also by a success that comes late");
}
