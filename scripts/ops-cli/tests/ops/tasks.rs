//! Tasks that wait are found, dispatched before their time, deleted and created.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Delivery, within};

use crate::operator::{System, user};

const LIMIT: Duration = Duration::from_secs(20);

/// A system whose queue holds so many tasks, each about a user of its own.
async fn with_waiting(tasks: u32) -> System {
    let system = System::start().await;
    system.stack.tasks.pause(System::QUEUE).await.unwrap();
    for n in 1..=tasks {
        let task = Delivery::of(System::QUEUE, &json!({ "n": n, "userId": user(n) }));
        system.stack.tasks.create(System::QUEUE, task.body.as_bytes()).await.unwrap();
    }
    system
}

fn tasks(system: &System, conditions: &[&str]) -> Vec<Value> {
    let listed = system.succeeds(&[&["tasks", "token-refresh", "--json"], conditions].concat()).json();
    listed["tasks"].as_array().unwrap().clone()
}

async fn actions(system: &System) -> Vec<(String, Option<i64>, Value)> {
    system.stack.rows("SELECT action, changed, filter FROM jobs.operator_actions ORDER BY at").await
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_found_by_user_key_and_time() {
    let system = with_waiting(3).await;
    let all = tasks(&system, &[]);
    assert_eq!(all.len(), 3);
    let second = &tasks(&system, &["--user", &user(2).to_string()])[..];
    let [task] = second else { panic!("{second:?}") };
    assert_eq!((&task["user"], &task["dispatches"]), (&json!(user(2)), &json!(0)), "{task}");
    for text in [&task["key"], &task["name"]] {
        assert_eq!(tasks(&system, &["--key", text.as_str().unwrap()]), second);
    }
    assert_eq!(tasks(&system, &["--since", "1h"]).len(), 3);

    let cut = system.succeeds(&["tasks", "token-refresh-queue", "--limit", "2"]);
    assert_eq!(cut.out.lines().count(), 3, "{cut:?}");
    assert!(
        cut.err.contains("the first 2 tasks in token-refresh-queue; there are more: --limit N shows N"),
        "{cut:?}"
    );
    assert!(!cut.out.contains(r#""n""#), "no body: {cut:?}");
    let empty = system.succeeds(&["tasks", "token-refresh", "--key", "another-key"]);
    assert_eq!(empty.all(), "no tasks in token-refresh-queue with key another-key\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_task_is_run_while_its_queue_is_paused() {
    let system = with_waiting(2).await;
    system.fix();
    let first = tasks(&system, &["--user", &user(1).to_string()]).remove(0);
    let name = first["name"].as_str().unwrap();
    let unknown = system.ops(&["run", name]);
    assert_eq!(unknown.code, 2, "Cloud Tasks named it: {unknown:?}");
    assert!(unknown.err.contains("does not say its queue; pass --queue QUEUE"), "{unknown:?}");
    let dry = system.succeeds(&["run", name, "--queue", "token-refresh", "--dry-run", "--json"]).json();
    assert_eq!(dry, json!({ "queue": "token-refresh", "task": name, "isDone": false }));
    assert_eq!(system.probe.runs(), 0);
    let said = system.succeeds(&["run", name, "--queue", "token-refresh", "--why", "a person waits"]).err;
    assert!(said.contains(&format!("+ gcloud tasks run {name} --queue=token-refresh-queue ")), "{said}");
    within(LIMIT, "it has ended", async || tasks(&system, &[]).len() == 1).await;
    assert_eq!(system.probe.runs(), 1);
    let filter = json!({ "queue": "token-refresh", "task": name });
    assert_eq!(actions(&system).await, [("run_task".to_owned(), Some(1), filter)]);
    let again = system.ops(&["run", name, "--queue", "token-refresh"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("it has ended, or there was none"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_deleted_only_when_that_is_confirmed() {
    let system = with_waiting(2).await;
    let first = tasks(&system, &["--user", &user(1).to_string()]).remove(0);
    let name = first["name"].as_str().unwrap();
    // The key of a task without one of its own says its queue.
    let key = first["key"].as_str().unwrap();
    let unasked = system.ops(&["delete", key]);
    assert_eq!(unasked.code, 1);
    assert!(unasked.err.contains("stdin is not a terminal; pass --yes"), "{unasked:?}");
    assert!(actions(&system).await.is_empty());
    let deleted = system.succeeds(&["delete", key, "--yes", "--why", "it is not wanted", "--json"]).json();
    assert_eq!(deleted, json!({ "queue": "token-refresh", "task": name, "isDone": true }));
    let left = tasks(&system, &[]);
    assert!(left.len() == 1 && left[0]["name"] != name, "{left:?}");
    let filter = json!({ "queue": "token-refresh", "task": name });
    assert_eq!(actions(&system).await, [("delete_task".to_owned(), Some(1), filter)]);
    assert_eq!(system.probe.runs(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_created_as_the_functions_create_theirs() {
    let system = with_waiting(0).await;
    let (about, other) = (user(1).to_string(), user(2).to_string());
    let dry = system.succeeds(&["enqueue", "token-refresh", "--user", &about, "--dry-run"]);
    assert_eq!((dry.out.as_str(), tasks(&system, &[]).len()), ("", 0), "{dry:?}");
    let created = ["enqueue", "token-refresh", "--user", &about, "--in", "2h", "--why", "asked for"];
    let name = system.succeeds(&created).out;
    let task = tasks(&system, &[]).remove(0);
    assert_eq!(
        (&task["name"], &task["key"], &task["user"]),
        (&json!(name.trim()), &json!(name.trim()), &json!(about))
    );
    let due = task["dueAt"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let hours = (due - system.stack.now()).num_minutes();
    assert!((115..=120).contains(&hours), "{task}");
    let payloads = system.stack.tasks.payloads(System::QUEUE).await.unwrap();
    assert_eq!(payloads, [json!({ "userId": about })]);

    let at = ["enqueue", "token-refresh", "--user", &other, "--at", "2026-01-01T00:00:00Z", "--json"];
    let second = system.succeeds(&at).json();
    let name = second["task"].as_str().unwrap();
    assert_eq!(tasks(&system, &["--key", name])[0]["user"], json!(other), "the past is now");
    let recorded = actions(&system).await;
    assert!(
        recorded.iter().all(|(action, changed, _)| action == "enqueue" && *changed == Some(1)),
        "{recorded:?}"
    );
    assert_eq!(recorded.len(), 2);
}
