//! Attempts are counted by the function, and every task ends as done, skipped or a dead letter.

use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::json;
use shared::clock::Clock;
use shared::job::{Failure, Outcome};
use shared::queue::Queue;
use tests::probe::Going;
use tests::{Delivery, Probe, Stack};
use tokio::sync::Notify;

const ATTEMPTS: u32 = 3;

fn body() -> String {
    json!({ "data": { "n": 1 }, "idempotencyKey": "k" }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_task_is_retried_and_then_a_dead_letter_with_its_body() {
    let stack = Stack::start().await;
    let probe = Probe::<Going>::answering(|| Err(Failure::transient("no luck")));
    let service = stack.service(probe.clone());
    let delivery = Delivery::new(body());
    for retry in 0..ATTEMPTS - 1 {
        let answer = service.deliver(delivery.clone().again(retry)).await;
        assert_eq!((answer.status, answer.reason()), (500, "transient"));
        assert_eq!(stack.dead_letters().await, []);
    }
    let answer = service.deliver(delivery.again(ATTEMPTS - 1)).await;
    assert_eq!((answer.status, answer.outcome(), answer.reason()), (200, "dead", "transient"));
    assert_eq!(stack.dead_letters().await, [("failed".into(), "transient".into(), body().into_bytes())]);
    assert_eq!(probe.runs(), ATTEMPTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permanent_failure_is_a_dead_letter_at_once_and_gives_its_key_free() {
    let stack = Stack::start().await;
    let probe = Probe::<Going>::answering(|| Err(Failure::permanent("never")));
    let service = stack.service(probe.clone());
    let answer = service.deliver(Delivery::new(body())).await;
    assert_eq!((answer.status, answer.outcome(), answer.reason()), (200, "dead", "permanent"));
    service.deliver(Delivery::new(body())).await;
    assert_eq!(probe.runs(), 2, "a dead letter can be replayed");
    assert_eq!(stack.dead_letters().await.len(), 1, "the same task has one letter");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_attempt_that_goes_well_leaves_no_letter() {
    let stack = Stack::start().await;
    let service = stack.service(Probe::<Going>::answering(|| Ok(Outcome::Done(json!(1)))));
    let answer = service.deliver(Delivery::new(body()).again(ATTEMPTS - 1)).await;
    assert_eq!(answer.outcome(), "done");
    assert_eq!(stack.dead_letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_attempt_is_announced_before_it_runs() {
    let stack = Arc::new(Stack::start().await);
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (running, leave) = (Arc::clone(&begun), Arc::clone(&go_on));
    let probe = Probe::<Going>::new(move |_| {
        let (running, leave) = (Arc::clone(&running), Arc::clone(&leave));
        async move {
            running.notify_one();
            leave.notified().await;
            Ok(Outcome::Done(json!(1)))
        }
    });
    let service = stack.service(probe);
    let run = tokio::spawn(async move { service.deliver(Delivery::new(body()).again(ATTEMPTS - 1)).await });
    begun.notified().await;
    assert_eq!(stack.dead_letters().await, [("started".into(), "last_attempt".into(), body().into_bytes())]);
    go_on.notify_one();
    run.await.unwrap();
    assert_eq!(stack.dead_letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_last_attempt_was_announced_and_never_answered_is_dead_without_another_run() {
    let stack = Stack::start().await;
    let probe = Probe::<Going>::new(|_| std::future::pending());
    let service = stack.service(probe.clone());
    let killed = service.clone();
    let last = tokio::spawn(async move { killed.deliver(Delivery::new(body()).again(ATTEMPTS - 1)).await });
    while stack.dead_letters().await.is_empty() {
        tokio::task::yield_now().await;
    }
    // The container is gone, and its lease has ended.
    last.abort();
    stack.redis(&["DEL", "idempotency:k"]).await;
    let answer = service.deliver(Delivery::new(body()).again(ATTEMPTS)).await;
    assert_eq!((answer.outcome(), answer.reason()), ("dead", "attempts_used_up"));
    assert_eq!(probe.runs(), 1);
    assert_eq!(
        stack.dead_letters().await,
        [("failed".into(), "attempts_used_up".into(), body().into_bytes())]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dispatches_that_met_nobody_do_not_make_a_dead_letter() {
    let stack = Stack::start().await;
    let probe = Probe::<Going>::answering(|| Ok(Outcome::Done(json!(1))));
    let answer = stack.service(probe.clone()).deliver(Delivery::new(body()).again(40)).await;
    assert_eq!(answer.outcome(), "done", "a bad deployment for an hour costs the task nothing");
    assert_eq!(stack.dead_letters().await, []);

    let failing = Probe::<Going>::answering(|| Err(Failure::transient("no luck")));
    let other = json!({ "data": { "n": 2 } }).to_string();
    let answer = stack.service(failing).deliver(Delivery::new(other).again(40)).await;
    assert_eq!((answer.outcome(), answer.reason()), ("dead", "transient"), "it has one attempt, the last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_attempt_that_cannot_come_back_is_not_dead() {
    let stack = Stack::start().await;
    let after = std::time::Duration::from_secs(5);
    let away = Probe::<Going>::answering(move || Err(Failure::unavailable(after, "vendor")));
    let nowhere = [("CLOUD_TASKS_URL", "http://127.0.0.1:1".to_owned())];
    let delivery = Delivery::new(body());
    let answer = stack.service_with(away, nowhere).deliver(delivery.clone().again(ATTEMPTS - 1)).await;
    assert_eq!(answer.status, 503);
    assert_eq!(stack.dead_letters().await, []);
    let well = Probe::<Going>::answering(|| Ok(Outcome::Done(json!(1))));
    assert_eq!(stack.service(well).deliver(delivery.again(ATTEMPTS)).await.outcome(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_panics_with_is_kept_nowhere() {
    let stack = Stack::start().await;
    let probe = Probe::<Going>::new(|_| async { panic!("alice@example.com") });
    let answer = stack.service(probe).deliver(Delivery::new(body()).again(ATTEMPTS - 1)).await;
    assert_eq!(answer.reason(), "panic");
    let error: String = sqlx::query_scalar("SELECT error FROM jobs.dead_letters")
        .fetch_one(&mut stack.connect().await)
        .await
        .unwrap();
    assert_eq!(error, "the job panicked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snoozed_task_comes_back_with_the_attempts_that_it_had() {
    let stack = Stack::start().await;
    let until = Clock::system().now() + TimeDelta::minutes(5);
    let service = stack.service(Probe::<Going>::answering(move || Ok(Outcome::Snooze(until))));
    let answer = service.deliver(Delivery::new(body()).again(1)).await;
    assert_eq!((answer.status, answer.outcome()), (200, "snoozed"));
    let back = stack.take_tasks(Queue::TokenRefresh).await;
    let envelope: serde_json::Value = serde_json::from_str(&back[0].body).unwrap();
    assert_eq!(
        (envelope["priorAttempts"].clone(), envelope["idempotencyKey"].clone()),
        (json!(1), json!("k"))
    );
    let answer = service.deliver(back[0].clone()).await;
    assert_eq!(answer.outcome(), "snoozed", "its key is free");
    assert_eq!(stack.dead_letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_failed_attempt_and_the_service_lives_on() {
    let stack = Stack::start().await;
    let probe = Probe::<Going>::new(|context| async move {
        assert!(context.attempt > 1, "the first attempt panics");
        Ok(Outcome::Done(json!(1)))
    });
    let service = stack.service(probe);
    let delivery = Delivery::new(body());
    let answer = service.deliver(delivery.clone()).await;
    assert_eq!((answer.status, answer.reason()), (500, "panic"));
    assert_eq!(service.deliver(delivery.again(1)).await.outcome(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_interrupts_a_job_and_sends_it_on_without_spending_the_attempt() {
    let stack = Stack::start().await;
    let probe = Probe::<Going>::new(|_| std::future::pending());
    let service = stack.service(probe.clone());
    let running = service.clone();
    let run = tokio::spawn(async move { running.deliver(Delivery::new(body()).again(ATTEMPTS - 1)).await });
    while probe.runs() == 0 {
        tokio::task::yield_now().await;
    }
    service.shutdown.interrupt();
    let answer = run.await.unwrap();
    assert_eq!((answer.status, answer.outcome(), answer.reason()), (200, "requeued", "shutdown"));
    assert_eq!(stack.dead_letters().await, [], "the announcement is taken back");
    let back = stack.take_tasks(Queue::TokenRefresh).await;
    let envelope: serde_json::Value = serde_json::from_str(&back[0].body).unwrap();
    assert_eq!(envelope["priorAttempts"], json!(ATTEMPTS - 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn meeting_a_lease_spends_no_attempt() {
    let stack = Stack::start().await;
    let probe = Probe::<Going>::answering(|| Ok(Outcome::Done(json!(1))));
    let service = stack.service(probe.clone());
    let delivery = Delivery::new(body()).again(1);
    let envelope: shared::envelope::Envelope = serde_json::from_str(&delivery.body).unwrap();
    let until = (Clock::system().now() + TimeDelta::seconds(40)).timestamp_millis();
    let lease = json!({ "lease": "of a killed one", "until_ms": until, "payload": envelope.payload_hash() });
    stack.redis(&["SET", "idempotency:k", &lease.to_string()]).await;

    let answer = service.deliver(delivery.clone()).await;
    assert_eq!((answer.status, answer.outcome()), (200, "deferred"));
    let back = stack.take_tasks(Queue::TokenRefresh).await;
    let envelope: serde_json::Value = serde_json::from_str(&back[0].body).unwrap();
    assert_eq!(envelope["priorAttempts"], json!(1), "one run before this dispatch");

    // A clock that is behind, or a slow network: the lease is still there when the task is back.
    assert_eq!(service.deliver(back[0].clone()).await.outcome(), "deferred");
    let again = stack.take_tasks(Queue::TokenRefresh).await;
    assert_eq!(again.len(), 1, "the only copy of the task is not lost");

    stack.redis(&["DEL", "idempotency:k"]).await;
    assert_eq!(service.deliver(again[0].clone()).await.outcome(), "done");
    assert_eq!(probe.runs(), 1);
}
