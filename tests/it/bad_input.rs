//! What bad input gets.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use shared::job::Outcome;
use tests::probe::Going;
use tests::{Delivery, Probe, Stack};

fn probe() -> Probe<Going> {
    Probe::answering(|| Ok(Outcome::Done(json!(1))))
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_bodies_become_dead_letters_as_they_came() {
    let stack = Stack::start().await;
    let probe = probe();
    let service = stack.service(probe.clone());
    let cases = [
        ("not json", "bad_envelope"),
        ("", "bad_envelope"),
        ("{}", "bad_envelope"),
        ("\u{0}\u{1}", "bad_envelope"),
        (r#"{"data":{"n":1},"jobName":"calendar-sync"}"#, "wrong_job"),
        (r#"{"data":{"n":1},"v":99}"#, "unknown_version"),
        (r#"{"data":{"n":"one"}}"#, "bad_payload"),
        (r#"{"data":[]}"#, "bad_payload"),
    ];
    for (body, reason) in cases {
        let answer = service.deliver(Delivery::new(body)).await;
        assert_eq!((answer.status, answer.outcome(), answer.reason()), (200, "dead", reason), "{body}");
    }
    let letters = stack.dead_letters().await;
    let expected: Vec<_> = cases
        .iter()
        .map(|(body, reason)| ("failed".to_owned(), (*reason).to_owned(), body.as_bytes().to_vec()))
        .collect();
    assert_eq!(letters, expected);
    assert_eq!(probe.runs(), 0);
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
    delivery.path = Some("/api/jobs/calendar-sync".to_owned());
    assert_eq!(service.deliver(delivery.clone()).await.reason(), "wrong_job");
    delivery.path = Some("/".to_owned());
    assert_eq!(service.deliver(delivery.clone()).await.outcome(), "done");
    for path in ["/api/jobs", "/api/jobs/token-refresh/x", "/nowhere", "/api"] {
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
            Request::builder().method(method).uri("/api/jobs/token-refresh").body(Body::empty()).unwrap();
        assert_eq!(service.send(request).await.status, 405, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_need_no_token_and_say_how_things_are() {
    let stack = Stack::start().await;
    let service = stack.service(probe());
    for path in ["/health/live", "/health/ready", "/metrics"] {
        let answer = service.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    let away =
        stack.service_with(probe(), [("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none".to_owned())]);
    let answer = away.send(Request::get("/health/ready").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 503);
    let answer = away.send(Request::get("/health/live").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200);
}
