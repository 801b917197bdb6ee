//! A task that is delivered more than once has its effect once.

use std::sync::Arc;
use std::time::Duration;

use catchup::queues;
use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::job::Failure;
use tests::probe::{Elsewhere, Numbered, done};
use tests::{Delivery, Probe, Stack};
use tokio::sync::Barrier;

fn body() -> String {
    json!({ "data": { "n": 1 }, "idempotencyKey": "k", "jobName": "token-refresh" }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_deliveries_at_the_same_time_have_one_effect_and_leave_no_task() {
    let stack = Stack::start().await;
    let all_met_the_lease = Arc::new(Barrier::new(50));
    let gate = Arc::clone(&all_met_the_lease);
    let probe = Probe::<Numbered>::new(move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.wait().await;
            done()
        }
    });
    let service = stack.service(probe.clone());
    let delivery = Delivery::new(body());
    let answers = join_all((0..50).map(|_| {
        let (service, delivery, gate) = (service.clone(), delivery.clone(), Arc::clone(&all_met_the_lease));
        async move {
            let answer = service.deliver(delivery).await;
            if answer.outcome() == "deferred" {
                gate.wait().await;
            }
            answer
        }
    }))
    .await;

    assert_eq!(probe.runs(), 1);
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.outcome() == "done").count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.outcome() == "deferred").count(), 49);

    let back = stack.take_tasks(queues::TOKEN_REFRESH).await;
    assert_eq!(back.len(), 1, "all that met one lease are rescheduled as one task");
    let answer = service.deliver(back[0].clone()).await;
    assert_eq!(
        (answer.status, answer.outcome(), answer.body["duplicate"].clone()),
        (200, "duplicate", json!(true))
    );
    assert_eq!(answer.body["result"], json!({ "n": 7 }));
    assert_eq!(probe.runs(), 1);
    assert_eq!(stack.take_tasks(queues::TOKEN_REFRESH).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_costs_two_billed_commands_and_an_idle_function_none() {
    let stack = Stack::start().await;
    let service = stack.service(Probe::<Numbered>::answering(done));
    assert_eq!(stack.billing.bill().billed, 0, "nothing is asked at the start");
    service.deliver(Delivery::new(body())).await;
    assert_eq!(stack.billing.bill().billed, 2, "{:?}", stack.billing.bill());
    service.deliver(Delivery::new(json!({ "data": { "n": 2 } }).to_string())).await;
    assert_eq!(stack.billing.bill().billed, 4);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stack.billing.bill().billed, 4, "nothing is asked while idle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_another_payload_is_a_dead_letter() {
    let stack = Stack::start().await;
    let probe = Probe::<Numbered>::answering(done);
    let service = stack.service(probe.clone());
    service.deliver(Delivery::new(body())).await;
    let other = json!({ "data": { "n": 2 }, "idempotencyKey": "k" }).to_string();
    let answer = service.deliver(Delivery::new(other.clone())).await;
    assert_eq!((answer.status, answer.outcome(), answer.reason()), (200, "dead", "key_reused"));
    assert_eq!(probe.runs(), 1);
    let dead_letters = stack.dead_letters().await;
    assert_eq!(dead_letters, [("open".into(), "key_reused".into(), other.into_bytes())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_payload_under_the_key_of_a_dead_task_is_kept_too() {
    let stack = Stack::start().await;
    let dead = Probe::<Numbered>::answering(|| Err(Failure::permanent("never")));
    let service = stack.service(dead);
    service.deliver(Delivery::new(body())).await;
    let other = json!({ "data": { "n": 2 }, "idempotencyKey": "k" }).to_string();
    let answer = service.deliver(Delivery::new(other)).await;
    assert_eq!((answer.outcome(), answer.reason()), ("dead", "key_reused"));
    assert_eq!(stack.dead_letters().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_body_under_a_key_that_is_reused_is_kept() {
    let stack = Stack::start().await;
    let service = stack.service(Probe::<Numbered>::answering(done));
    let other = |n: u32| json!({ "data": { "n": n }, "idempotencyKey": "k" }).to_string();
    for n in 1..=3 {
        service.deliver(Delivery::new(other(n))).await;
    }
    let kept: Vec<_> = stack.dead_letters().await.into_iter().map(|(_, _, body)| body).collect();
    assert_eq!(kept, [other(2).into_bytes(), other(3).into_bytes()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_continues_after_its_caller_disconnects() {
    let stack = Stack::start().await;
    let (begun, proceed) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (at_begin, at_end) = (Arc::clone(&begun), Arc::clone(&proceed));
    let probe = Probe::<Numbered>::new(move |_| {
        let (at_begin, at_end) = (Arc::clone(&at_begin), Arc::clone(&at_end));
        async move {
            at_begin.wait().await;
            at_end.wait().await;
            done()
        }
    });
    let service = stack.service(probe.clone());
    let caller = service.clone();
    let call = tokio::spawn(async move { caller.deliver(Delivery::new(body())).await });
    begun.wait().await;
    call.abort();
    proceed.wait().await;
    loop {
        let answer = service.deliver(Delivery::new(body())).await;
        if answer.outcome() == "duplicate" {
            break;
        }
        assert_eq!(answer.outcome(), "deferred");
    }
    assert_eq!(probe.runs(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_running_application_are_ignored() {
    let stack = Stack::start().await;
    let probe = Probe::<Numbered>::answering(done);
    let service = stack.service(probe.clone());
    stack.redis(&["SET", "idempotency:k", "\"1\""]).await;
    assert_eq!(service.deliver(Delivery::new(body())).await.outcome(), "done");
    assert_eq!(probe.runs(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_and_payload_for_two_functions_are_two_tasks() {
    let stack = Stack::start().await;
    let probe = Probe::<Numbered>::answering(done);
    let other = Probe::<Elsewhere>::answering(done);
    let body = json!({ "data": { "n": 1 }, "idempotencyKey": "k" }).to_string();
    assert_eq!(stack.service(probe).deliver(Delivery::new(body.clone())).await.outcome(), "done");
    assert_eq!(stack.service(other).deliver(Delivery::new(body)).await.outcome(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_a_newer_revision_writes_differently_is_the_same_sweep() {
    let stack = Stack::start().await;
    let probe = Probe::<Numbered>::answering(done);
    let service = stack.service(probe.clone());
    let body = |data: Value| json!({ "data": data, "idempotencyKey": "named-by-us" }).to_string();
    let delivery = |data| Delivery::new(body(data)).task("named-by-us");
    assert_eq!(service.deliver(delivery(json!({ "n": 1 }))).await.outcome(), "done");
    let newer = json!({ "n": 1, "optional": true });
    assert_eq!(service.deliver(delivery(newer)).await.outcome(), "duplicate", "the first payload counts");
    assert_eq!(probe.runs(), 1);
    assert_eq!(stack.dead_letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tasks_whose_key_only_names_their_content_both_run() {
    let stack = Stack::start().await;
    let probe = Probe::<Numbered>::answering(done);
    let service = stack.service(probe.clone());
    let data = r#"{"n":1}"#;
    let key = shared::envelope::sha256_hex(["token-refresh", data]);
    let body = format!(r#"{{"data":{data},"idempotencyKey":"{key}","jobName":"token-refresh"}}"#);
    let (monday, tuesday) = (Delivery::new(body.clone()), Delivery::new(body));
    service.deliver(monday.clone()).await;
    service.deliver(monday).await;
    assert_eq!(probe.runs(), 1, "redeliveries of one task are recognised");
    service.deliver(tuesday).await;
    assert_eq!(probe.runs(), 2);
}
