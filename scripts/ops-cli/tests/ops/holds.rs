//! Queues are paused and resumed, and it is known by whom and why.

use serde_json::json;
use tests::Delivery;

use crate::operator::{System, ops_with};

fn state(system: &System, queue: &str) -> (String, String) {
    let queues = system.ops(&["queues", "--json"]).json();
    let row = queues["queues"].as_array().unwrap().iter().find(|row| row["queue"] == queue).unwrap().clone();
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    (text("state"), text("why"))
}

#[tokio::test(flavor = "multi_thread")]
async fn resume_all_leaves_what_is_held_for_a_reason_of_its_own() {
    let system = System::start().await;
    // Those without a function are paused until they have one.
    system.succeeds(&["resume", "--all"]);
    system.succeeds(&["pause", "calendar-sync-queue", "--why", "Google is slow"]);
    let (now, why) = state(&system, "calendar-sync");
    assert_eq!(now, "paused");
    assert!(why.starts_with("paused by ") && why.ends_with(": Google is slow"), "{why}");

    let said = system.succeeds(&["pause", "--all", "--why", "Postgres moves"]).err;
    assert!(said.contains("calendar-sync-queue: is paused already"), "{said}");
    assert_eq!(state(&system, "token-refresh").0, "paused");
    let said = system.succeeds(&["resume", "--all", "--dry-run"]).err;
    let others = catchup::queues::all().count() - 1;
    assert_eq!(said.matches("+ gcloud tasks queues resume ").count(), others, "{said}");
    assert_eq!(state(&system, "token-refresh").0, "paused");
    let said = system.succeeds(&["resume", "--all"]).err;
    assert!(said.contains("calendar-sync-queue: stays paused: paused by "), "{said}");
    assert!(said.contains("scripts/ops resume calendar-sync resumes it"), "{said}");
    assert_eq!(state(&system, "token-refresh").0, "running");
    assert_eq!(state(&system, "calendar-sync").0, "paused");
    let resumed = system.succeeds(&["resume", "calendar-sync", "token-refresh", "--json"]).json();
    let outcomes = [("calendar-sync", "changed"), ("token-refresh", "unchanged")]
        .map(|(queue, outcome)| json!({ "queue": queue, "outcome": outcome, "why": null }));
    assert_eq!(resumed, json!({ "queues": outcomes }));
    assert_eq!(state(&system, "calendar-sync").0, "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_can_be_paused_while_postgres_is_unavailable() {
    let system = System::start().await;
    let mut environment = system.environment();
    environment.insert("DATABASE_URL", "postgres://unknown@127.0.0.1:1/none".to_owned());
    let said = ops_with(&environment, &["pause", "token-refresh"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("it is done, but not recorded"), "{said:?}");
    let (now, why) = state(&system, "token-refresh");
    assert_eq!(
        (now.as_str(), why.as_str()),
        ("paused", "paused, and not by scripts/ops pause as far as is recorded")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_does_not_say_is_unknown_and_the_rest_is_shown() {
    let system = System::start().await;
    for (variable, value, source) in [
        ("DATABASE_URL", "postgres://unknown@127.0.0.1:1/none", "Postgres"),
        ("CLOUD_TASKS_URL", "http://127.0.0.1:1", "Cloud Tasks"),
    ] {
        let mut environment = system.environment();
        environment.insert(variable, value.to_owned());
        let said = ops_with(&environment, &["queues"]);
        assert_eq!(said.code, 1, "not all is known: {said:?}");
        assert!(said.err.contains(&format!("not known from {source}: ")), "{said:?}");
        let row = said.out.lines().find(|line| line.starts_with("token-refresh ")).unwrap();
        assert!(row.contains('?'), "{row}");
        assert_eq!(row.contains("running"), source == "Postgres", "{row}");
    }
    let mut environment = system.environment();
    environment.remove("DATABASE_URL");
    let said = ops_with(&environment, &["queues"]);
    assert!(said.err.contains("not known from Postgres: DATABASE_URL is not set"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tasks_that_wait_are_counted() {
    let system = System::start().await;
    system.stack.tasks.pause(System::QUEUE).await.unwrap();
    for n in 0..3 {
        let task = Delivery::of(System::QUEUE, &json!({ "n": n }));
        system.stack.tasks.create(System::QUEUE, task.body.as_bytes()).await.unwrap();
    }
    let queues = system.succeeds(&["queues", "--json"]).json();
    let row =
        queues["queues"].as_array().unwrap().iter().find(|row| row["queue"] == "token-refresh").unwrap();
    assert_eq!(
        (&row["tasks"], &row["isCut"], &row["inFlight"]),
        (&json!(3), &json!(false), &json!(0)),
        "{row}"
    );
    assert!(row["oldestDue"].is_string(), "{row}");
}
