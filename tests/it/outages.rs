//! Something is away, slow, or answers rubbish: no task is lost, and none runs twice where that would reach a person.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use shared::clock::Clock;
use shared::job::{Failure, Outcome};
use shared::queue::Queue;
use tests::probe::{Going, Holding, done};
use tests::redis_proxy::{Fate, RedisProxy};
use tests::{Delivery, Probe, Stack};

const NOWHERE: &str = "http://127.0.0.1:1";
const LAST: u32 = 2;

fn body() -> String {
    json!({ "data": { "n": 1 }, "idempotencyKey": "k" }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_a_harmless_queue_goes_on() {
    let stack = Stack::start().await;
    let probe = Probe::<Going>::answering(done);
    let service = stack.service_with(probe.clone(), [("UPSTASH_REDIS_REST_URL", NOWHERE.to_owned())]);
    assert_eq!(service.deliver(Delivery::new(body())).await.outcome(), "done");
    assert_eq!(service.deliver(Delivery::new(body()).again(LAST)).await.outcome(), "done");
    assert_eq!(probe.runs(), 2);
    assert_eq!(stack.dead_letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_a_queue_that_reaches_people_waits_and_loses_no_attempt() {
    let stack = Stack::start().await;
    let probe = Probe::<Holding>::answering(done);
    let service = stack.service_with(probe.clone(), [("UPSTASH_REDIS_REST_URL", NOWHERE.to_owned())]);
    let answer = service.deliver(Delivery::new(body())).await;
    assert_eq!((answer.status, answer.reason()), (503, "redis"));
    assert!(answer.retry_after.is_some());

    let answer = service.deliver(Delivery::new(body()).again(LAST)).await;
    assert_eq!((answer.status, answer.outcome()), (200, "requeued"), "an outage is never what ends a task");
    let back = stack.take_tasks(Queue::NotificationReminder).await;
    assert_eq!(stack.service(probe.clone()).deliver(back[0].clone()).await.outcome(), "done");
    assert_eq!(probe.runs(), 1);
    assert_eq!(stack.dead_letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_and_errors_from_redis_count_as_redis_away() {
    for fate in [Fate::Garbage, Fate::Fail] {
        let stack = Stack::start().await;
        let proxy = RedisProxy::start(&stack.gateway.url(), move |_| async move { fate });
        let redis = [("UPSTASH_REDIS_REST_URL", proxy.url("p"))];
        let going = stack.service_with(Probe::<Going>::answering(done), redis.clone());
        assert_eq!(going.deliver(Delivery::new(body())).await.outcome(), "done", "{fate:?}");
        let holding = stack.service_with(Probe::<Holding>::answering(done), redis);
        assert_eq!(holding.deliver(Delivery::new(body())).await.status, 503, "{fate:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_goes_away_while_a_job_runs_leaves_it_done() {
    let stack = Stack::start().await;
    let away = Arc::new(AtomicBool::new(false));
    let is_away = Arc::clone(&away);
    let proxy = RedisProxy::start(&stack.gateway.url(), move |_| {
        let fate = if is_away.load(Ordering::SeqCst) { Fate::Fail } else { Fate::Pass };
        async move { fate }
    });
    let probe = Probe::<Holding>::new(move |_| {
        away.store(true, Ordering::SeqCst);
        async { done() }
    });
    let service = stack.service_with(probe.clone(), [("UPSTASH_REDIS_REST_URL", proxy.url("p"))]);
    assert_eq!(service.deliver(Delivery::new(body())).await.outcome(), "done");
    let answer = stack.service(probe.clone()).deliver(Delivery::new(body())).await;
    assert_eq!(answer.outcome(), "deferred", "the lease still guards the task");
    assert_eq!(probe.runs(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_no_dead_letter_is_lost() {
    let stack = Stack::start().await;
    let away = [("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none".to_owned())];
    let service = stack.service_with(Probe::<Going>::answering(|| Err(Failure::permanent("never"))), away);
    for body in ["rubbish".to_owned(), body()] {
        let answer = service.deliver(Delivery::new(body.clone())).await;
        assert_eq!((answer.status, answer.reason()), (503, "database"), "{body}");
    }
    let answer = service.deliver(Delivery::new(body()).again(LAST)).await;
    assert_eq!(
        (answer.status, answer.outcome()),
        (200, "requeued"),
        "the last attempt waits for the database"
    );
    let back = stack.take_tasks(Queue::TokenRefresh).await;
    assert_eq!(
        stack.service(Probe::<Going>::answering(done)).deliver(back[0].clone()).await.outcome(),
        "done"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_a_job_meets_slows_the_queue_and_never_ends_the_task() {
    let stack = Stack::start().await;
    let after = Duration::from_secs(17);
    let service =
        stack.service(Probe::<Going>::answering(move || Err(Failure::unavailable(after, "vendor"))));
    let answer = service.deliver(Delivery::new(body())).await;
    assert_eq!((answer.status, answer.retry_after), (503, Some(17)));
    let answer = service.deliver(Delivery::new(body()).again(LAST)).await;
    assert_eq!((answer.status, answer.outcome()), (200, "requeued"));
    assert_eq!(stack.dead_letters().await, []);
    assert_eq!(stack.take_tasks(Queue::TokenRefresh).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_cloud_tasks_a_task_that_has_to_come_back_stays_where_it_is() {
    let stack = Stack::start().await;
    let until = Clock::system().now() + chrono::TimeDelta::minutes(1);
    let service = stack.service_with(
        Probe::<Going>::answering(move || Ok(Outcome::Snooze(until))),
        [("CLOUD_TASKS_URL", NOWHERE.to_owned())],
    );
    let answer = service.deliver(Delivery::new(body())).await;
    assert_eq!((answer.status, answer.reason()), (503, "cloud_tasks"));
}
