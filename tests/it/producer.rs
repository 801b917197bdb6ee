//! The producing side, against Cloud Tasks and without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use catchup::queues;
use local_cloud::Background;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::config::Config;
use shared::job::{Failure, Outcome};
use shared::tasks::{Enqueued, Options, Summary, Tasks};
use tests::probe::Numbered;
use tests::{Probe, Stack, eventually};

fn producer(stack: &Stack, other: &[(&'static str, String)]) -> Tasks {
    let mut environment = stack.environment();
    environment.extend(other.iter().cloned());
    Tasks::from_config(&mut Config::from_pairs(environment), Clock::system())
        .expect("the environment is complete")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_carries_its_envelope_and_its_schedule() {
    let stack = Stack::start().await;
    let tasks = producer(&stack, &[]);
    let at = Clock::system().now() + chrono::TimeDelta::hours(1);
    tasks.enqueue(&Numbered { n: 5 }, Options::default().at(at).named("five")).await.unwrap();
    let listed = stack.tasks.list(queues::TOKEN_REFRESH).await.unwrap();
    let scheduled = listed[0]["scheduleTime"].as_str().unwrap();
    assert_eq!(
        scheduled.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_millis(),
        at.timestamp_millis()
    );
    assert_eq!(listed[0]["dispatchDeadline"], "180s");
    let name = listed[0]["name"].as_str().unwrap().rsplit('/').next().unwrap();
    assert!(
        name.split('-').next().unwrap().chars().all(|digit| digit.is_ascii_hexdigit()),
        "the hash comes first: {name}"
    );

    let task = stack.take_tasks(queues::TOKEN_REFRESH).await.remove(0);
    let envelope: Value = serde_json::from_str(&task.body).unwrap();
    assert_eq!(envelope["data"], json!({ "n": 5 }));
    assert_eq!(envelope["jobName"], "token-refresh");
    assert_eq!((&envelope["v"], &envelope["n"]), (&json!(1), &Value::Null));
    assert!(envelope["enqueuedAt"].is_string() && envelope["idempotencyKey"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_used_once_also_after_its_task_ended() {
    let stack = Stack::start().await;
    let tasks = producer(&stack, &[]);
    let named = || Options::default().named("the same");
    assert_eq!(tasks.enqueue(&Numbered { n: 1 }, named()).await.unwrap(), Enqueued::Created);
    assert_eq!(tasks.enqueue(&Numbered { n: 1 }, named()).await.unwrap(), Enqueued::Existing);
    assert_eq!(stack.take_tasks(queues::TOKEN_REFRESH).await.len(), 1);
    assert_eq!(tasks.enqueue(&Numbered { n: 1 }, named()).await.unwrap(), Enqueued::Existing);
    assert_eq!(tasks.enqueue(&Numbered { n: 1 }, Options::default()).await.unwrap(), Enqueued::Created);
}

#[tokio::test(flavor = "multi_thread")]
async fn debounced_changes_within_a_window_are_one_task() {
    let stack = Stack::start().await;
    let tasks = producer(&stack, &[]);
    let debounced = || Options::default().debounced("user", Duration::from_hours(24));
    for _ in 0..5 {
        tasks.enqueue(&Numbered { n: 1 }, debounced()).await.unwrap();
    }
    let task = stack.tasks.list(queues::TOKEN_REFRESH).await.unwrap().remove(0);
    let time =
        |text: &serde_json::Value| text.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let begins = time(&task["scheduleTime"]);
    let taken = stack.take_tasks(queues::TOKEN_REFRESH).await;
    assert_eq!(taken.len(), 1);
    // Runs that began within the window do not cover it.
    let envelope: serde_json::Value = serde_json::from_str(&taken[0].body).unwrap();
    assert_eq!(time(&envelope["enqueuedAt"]), begins);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_are_created_once() {
    let stack = Stack::start().await;
    let tasks = producer(&stack, &[]);
    let sweep = || (0..300).map(|n| (Numbered { n }, Options::default().named(format_args!("sweep:{n}"))));
    let (first, second) = tokio::join!(tasks.enqueue_many(sweep()), tasks.enqueue_many(sweep()));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.created + second.created, 300);
    assert_eq!(first.existing + second.existing, 300);
    assert_eq!(stack.tasks.count(queues::TOKEN_REFRESH).await.unwrap(), 300);
    assert_eq!(tasks.enqueue_many(sweep()).await.unwrap(), Summary { created: 0, existing: 300 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_enqueue_is_an_error_that_the_caller_sees() {
    let stack = Stack::start().await;
    let away = producer(&stack, &[("CLOUD_TASKS_URL", "http://127.0.0.1:1".to_owned())]);
    assert!(away.enqueue(&Numbered { n: 1 }, Options::default()).await.is_err());
    let elsewhere = producer(&stack, &[("GCP_PROJECT_ID", "another".to_owned())]);
    assert!(elsewhere.enqueue(&Numbered { n: 1 }, Options::default()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_cloud_tasks_the_function_is_called_directly() {
    let stack = Stack::start().await;
    let probe = Probe::<Numbered>::answering(|| Ok(Outcome::Done(json!(1))));
    let asked = Arc::new(AtomicU32::new(0));
    let identity = {
        let (token, asked) = (
            stack.issuer.token(&stack.tasks.settings().function_url(queues::TOKEN_REFRESH)),
            Arc::clone(&asked),
        );
        Background::start("identity", |listener| async move {
            let answer = get(move || {
                asked.fetch_add(1, Ordering::SeqCst);
                async move { token }
            });
            axum::serve(listener, Router::new().route("/identity", answer)).await
        })
        .unwrap()
    };
    let service = stack.service(probe.clone());
    let router = service.router.clone();
    let function =
        Background::start("function", |listener| async move { axum::serve(listener, router).await }).unwrap();
    let tasks = producer(
        &stack,
        &[
            ("USE_CLOUD_TASKS", "false".to_owned()),
            ("CLOUD_RUN_URL", function.url()),
            ("IDENTITY_URL", format!("{}/identity", identity.url())),
        ],
    );
    tasks.enqueue(&Numbered { n: 1 }, Options::default()).await.unwrap();
    assert_eq!(probe.runs(), 1);
    assert_eq!(asked.load(Ordering::SeqCst), 1);

    tasks.enqueue(&Numbered { n: 2 }, Options::default().delay(Duration::from_millis(50))).await.unwrap();
    eventually("the job runs after its delay", || probe.runs() == 2).await;
    assert_eq!(stack.tasks.count(queues::TOKEN_REFRESH).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_name_that_is_taken_counts_as_existing_and_no_other_conflict() {
    let stack = Stack::start().await;
    for (status, exists) in [("ALREADY_EXISTS", true), ("ABORTED", false)] {
        let refusal = json!({ "error": { "code": 409, "status": status, "message": "alice@example.com" } });
        let server = Background::start("cloud-tasks", |listener| async move {
            let answer = axum::routing::any(move || async move { (StatusCode::CONFLICT, Json(refusal)) });
            axum::serve(listener, Router::new().fallback(answer)).await
        })
        .unwrap();
        let tasks = producer(&stack, &[("CLOUD_TASKS_URL", server.url())]);
        let answer = tasks.enqueue(&Numbered { n: 1 }, Options::default().named("x")).await;
        match answer {
            Ok(enqueued) => assert!(exists && enqueued == Enqueued::Existing),
            Err(error) => {
                assert!(!exists);
                assert!(!format!("{error} {error:?}").contains("alice"), "{error:?}");
                assert!(matches!(Failure::from(error), Failure::Unavailable { .. }));
            }
        }
    }
}
