//! Tasks that wait are found, dispatched before their time, deleted and created.

use std::collections::BTreeSet;
use std::time::Duration;

use catchup::queues::CALENDAR_SYNC;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tests::{Delivery, within};

use crate::console::Console;
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
async fn the_tasks_of_a_user_are_found_in_all_queues() {
    let system = with_waiting(2).await;
    let (id, other) = (user(1).to_string(), user(3).to_string());
    let of_user = Delivery::of(CALENDAR_SYNC, &json!({ "userId": id }));
    // Its queue has no function, and does not dispatch.
    system.stack.tasks.create(CALENDAR_SYNC, of_user.body.as_bytes()).await.unwrap();
    let no_queue = system.ops(&["tasks"]);
    assert!(no_queue.code == 2 && no_queue.err.contains("QUEUE"), "{no_queue:?}");
    let found = system.succeeds(&["tasks", "--user", &id, "--json"]).json();
    let queues: BTreeSet<_> =
        found["tasks"].as_array().unwrap().iter().map(|task| task["queue"].as_str().unwrap()).collect();
    assert_eq!(queues, BTreeSet::from(["calendar-sync", "token-refresh"]), "{found}");
    assert_eq!((&found["isCut"], &found["unfinished"]), (&json!(false), &json!([])));
    let cut = system.succeeds(&["tasks", "--user", &id, "--limit", "1"]);
    let words = format!("the first 1 tasks in any queue with user {id}; there are more");
    assert!(cut.out.lines().count() == 2 && cut.err.contains(&words), "{cut:?}");
    let none = system.succeeds(&["tasks", "--user", &other]);
    assert_eq!(none.all(), format!("no tasks in any queue with user {other}\n"));

    let column = "INSERT INTO users (id, email, google_id) VALUES";
    system
        .stack
        .run(&format!("{column} ('{id}', 'a@example.test', 'a'), ('{other}', 'b@example.test', 'b')"))
        .await;
    let said = system.succeeds(&["user", &id]).out;
    let (_, waiting) = said.split_once("tasks that wait, in all queues\n").unwrap();
    let waiting: Vec<_> = waiting.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(waiting.len(), 2, "{said}");
    assert!(
        waiting.iter().any(|line| line.contains("  calendar-sync  0 dispatches, no answer yet")),
        "{said}"
    );
    assert!(system.succeeds(&["user", &other]).out.contains("tasks that wait, in all queues\n  none\n"));

    let console = Console::start(&system.environment()).await;
    let page = console.page(&format!("/users/{id}")).await;
    assert!(
        page.contains(">calendar-sync</a>, dispatches: 0") && page.contains(">token-refresh</a>"),
        "{page}"
    );
    assert!(console.page(&format!("/users/{other}")).await.contains("None in any queue."));
    let page = console.page(&format!("/tasks?user={id}")).await;
    assert!(page.contains("In all queues, the next due first"), "{page}");
    assert!(page.contains(&format!("scripts/ops tasks --user {id}")), "{page}");
    assert_eq!(page.matches("<td data-name=\"task\">").count(), 2, "{page}");

    // Of each queue the first thousand are looked at, and that there are more is said.
    let many = (0..1_001).map(async |n| {
        let task = Delivery::of(CALENDAR_SYNC, &json!({ "userId": user(100 + n) }));
        system.stack.tasks.create(CALENDAR_SYNC, task.body.as_bytes()).await.unwrap();
    });
    futures_util::stream::iter(many).buffer_unordered(16).collect::<Vec<_>>().await;
    let said = system.succeeds(&["tasks", "--user", &other]).err;
    assert!(said.contains("only the first 1000 tasks of calendar-sync were looked at"), "{said}");
    let found = system.succeeds(&["user", &other, "--json"]).json();
    assert_eq!(found["waiting"]["unfinished"], json!(["calendar-sync"]), "{found}");
    for path in [format!("/users/{other}"), format!("/tasks?user={other}")] {
        let page = console.page(&path).await;
        assert!(page.contains("only the first 1000 tasks of calendar-sync were looked at"), "{page}");
    }
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
