//! What bad input gets.

use axum::body::Body;
use axum::http::Request;
use catchup::queues;
use serde_json::json;
use shared::job::Outcome;
use shared::queue::JOBS_PATH;
use tests::probe::{Numbered, Renamed, done};
use tests::{Delivery, Probe, Stack};

fn probe() -> Probe<Numbered> {
    Probe::answering(|| Ok(Outcome::Done(json!(1))))
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_no_deployment_can_fix_become_dead_letters_as_they_came() {
    let stack = Stack::start().await;
    let probe = probe();
    let service = stack.service(probe.clone());
    let cases = [
        ("not json", "bad_envelope"),
        ("", "bad_envelope"),
        ("{}", "bad_envelope"),
        ("\u{0}\u{1}", "bad_envelope"),
        (r#"{"data":{"n":1},"jobName":"calendar-sync"}"#, "wrong_job"),
    ];
    for (body, reason) in cases {
        let answer = service.deliver(Delivery::new(body)).await;
        assert_eq!((answer.status, answer.outcome(), answer.reason()), (200, "dead", reason), "{body}");
    }
    let dead_letters = stack.dead_letters().await;
    let expected: Vec<_> = cases
        .iter()
        .map(|(body, reason)| ("open".to_owned(), (*reason).to_owned(), body.as_bytes().to_vec()))
        .collect();
    assert_eq!(dead_letters, expected);
    assert_eq!(probe.runs(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_a_deployment_may_fix_waits_for_three_days() {
    for (body, reason) in [
        (r#"{"data":{"n":1},"v":99}"#, "unknown_version"),
        (r#"{"data":{"n":"one"}}"#, "bad_payload"),
        (r#"{"data":[]}"#, "bad_payload"),
    ] {
        let stack = Stack::start().await;
        let probe = probe();
        let service = stack.service(probe.clone());
        let first = stack.now();
        let mut delivery = Delivery::new(body);
        let mut dispatches = 0;
        let answer = loop {
            let answer = service.deliver(delivery).await;
            dispatches += 1;
            let Some(next) = stack.take_tasks(service.queue).await.pop() else { break answer };
            assert_eq!((answer.outcome(), answer.reason()), ("requeued", "unreadable"), "{body}");
            let wait = next.due.unwrap() - stack.now();
            assert!(wait <= chrono::TimeDelta::minutes(61), "{wait}");
            stack.advance_to(next.due);
            delivery = next;
        };
        assert_eq!((answer.outcome(), answer.reason()), ("dead", reason), "{body}");
        let waited = stack.now() - first;
        assert!(waited >= chrono::TimeDelta::days(3) && waited < chrono::TimeDelta::hours(74), "{waited}");
        assert!(dispatches < 90, "{dispatches}");
        assert_eq!((probe.runs(), stack.dead_letters().await.len()), (0, 1));
        let keys: Vec<(String,)> = stack.rows("SELECT key FROM jobs.dead_letters").await;
        assert!(
            keys[0].0.starts_with("token-refresh:task-"),
            "of the task, and not of its last number: {keys:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_payload_runs_once_a_revision_knows_it_and_an_older_one_is_upgraded() {
    let stack = Stack::start().await;
    let old = stack.service(probe());
    let newer = Delivery::new(r#"{"data":{"number":7},"v":2}"#);
    assert_eq!(old.deliver(newer).await.reason(), "unreadable");
    let waiting = stack.take_tasks(old.queue).await.remove(0);
    let new = Probe::<Renamed>::answering(done);
    let service = stack.service(new.clone());
    assert_eq!(service.deliver(waiting).await.outcome(), "done");
    assert_eq!(service.deliver(Delivery::new(r#"{"data":{"n":7},"v":1}"#)).await.outcome(), "done");
    assert_eq!(service.deliver(Delivery::new(r#"{"data":{"n":7},"v":0}"#)).await.reason(), "unreadable");
    assert_eq!(new.runs(), 2);
    assert_eq!(stack.dead_letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_running_producers_job_names_are_accepted() {
    let stack = Stack::start().await;
    let probe = probe();
    let service = stack.service(probe.clone());
    let name = "suggestion-regen-4f1c-1717171717171";
    let body = format!(r#"{{"data":{{"n":1}},"idempotencyKey":"k","jobName":"{name}"}}"#);
    let mut delivery = Delivery::new(body);
    delivery.path = Some(format!("{JOBS_PATH}{name}"));
    assert_eq!(service.deliver(delivery).await.outcome(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_body_that_is_delivered_twice_is_one_dead_letter() {
    let stack = Stack::start().await;
    let service = stack.service(probe());
    let delivery = Delivery::new("rubbish");
    service.deliver(delivery.clone()).await;
    service.deliver(delivery.again(1)).await;
    assert_eq!(stack.dead_letters().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_names_another_job_is_a_dead_letter_and_any_other_path_is_not_found() {
    let stack = Stack::start().await;
    let service = stack.service(probe());
    let mut delivery = Delivery::new(r#"{"data":{"n":1}}"#);
    delivery.path = Some(queues::CALENDAR_SYNC.path());
    assert_eq!(service.deliver(delivery.clone()).await.reason(), "wrong_job");
    delivery.path = Some("/".to_owned());
    assert_eq!(service.deliver(delivery.clone()).await.outcome(), "done");
    let below = format!("{}/x", queues::TOKEN_REFRESH.path());
    for path in [JOBS_PATH.trim_end_matches('/'), below.as_str(), "/nowhere", "/api"] {
        delivery.path = Some(path.to_owned());
        assert_eq!(service.deliver(delivery.clone()).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_one_megabyte_is_refused() {
    let stack = Stack::start().await;
    let service = stack.service(probe());
    let body = |padding: usize| format!(r#"{{"data":{{"n":1}},"padding":"{}"}}"#, "x".repeat(padding));
    assert_eq!(service.deliver(Delivery::new(body(1_048_576))).await.status, 413);
    assert_eq!(service.deliver(Delivery::new(body(1_048_000))).await.outcome(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_post_runs_a_job() {
    let stack = Stack::start().await;
    let service = stack.service(probe());
    for method in ["GET", "PUT", "DELETE"] {
        let request =
            Request::builder().method(method).uri(queues::TOKEN_REFRESH.path()).body(Body::empty()).unwrap();
        assert_eq!(service.send(request).await.status, 405, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_probes_need_no_token_and_report_the_state() {
    let stack = Stack::start().await;
    let service = stack.service(probe());
    for path in ["/health/live", "/health/ready", "/metrics"] {
        let answer = service.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    let away =
        stack.service_with(probe(), [("DATABASE_URL", "postgres://unknown@127.0.0.1:1/none".to_owned())]);
    let answer = away.send(Request::get("/health/ready").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 503);
    let answer = away.send(Request::get("/health/live").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letter_of_an_unreadable_body_has_its_user() {
    let stack = Stack::start().await;
    let user = uuid::Uuid::new_v4();
    let body = format!(r#"{{"data":{{"userId":"{user}"}},"jobName":"calendar-sync"}}"#);
    assert_eq!(stack.service(probe()).deliver(Delivery::new(body)).await.reason(), "wrong_job");
    let users: Vec<(uuid::Uuid,)> = stack.rows("SELECT user_id FROM jobs.dead_letters").await;
    assert_eq!(users, [(user,)]);
}
