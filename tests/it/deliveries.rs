//! A task that is delivered more than once has its effect once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use shared::job::{Failure, Outcome};
use shared::queue::Queue;
use tests::probe::Going;
use tests::{Delivery, Probe, Stack};
use tokio::sync::Barrier;

fn done() -> Result<Outcome, Failure> {
    Ok(Outcome::Done(json!({ "n": 7 })))
}

fn body() -> String {
    json!({ "data": { "n": 1 }, "idempotencyKey": "k", "jobName": "token-refresh" }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_deliveries_at_the_same_time_have_one_effect_and_leave_no_task() {
    let stack = Stack::start().await;
    let all_met_the_lease = Arc::new(Barrier::new(50));
    let gate = Arc::clone(&all_met_the_lease);
    let probe = Probe::<Going>::new(move |_| {
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

    let back = stack.take_tasks(Queue::TokenRefresh).await;
    assert_eq!(back.len(), 1, "all that met one lease come back as one task");
    let answer = service.deliver(back[0].clone()).await;
    assert_eq!(
        (answer.status, answer.outcome(), answer.body["duplicate"].clone()),
        (200, "duplicate", json!(true))
    );
    assert_eq!(answer.body["result"], json!({ "n": 7 }));
    assert_eq!(probe.runs(), 1);
    assert_eq!(stack.take_tasks(Queue::TokenRefresh).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_costs_two_billed_commands_and_an_idle_function_none() {
    let stack = Stack::start().await;
    let service = stack.service(Probe::<Going>::answering(done));
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
    let probe = Probe::<Going>::answering(done);
    let service = stack.service(probe.clone());
    service.deliver(Delivery::new(body())).await;
    let other = json!({ "data": { "n": 2 }, "idempotencyKey": "k" }).to_string();
    let answer = service.deliver(Delivery::new(other.clone())).await;
    assert_eq!((answer.status, answer.outcome(), answer.reason()), (200, "dead", "key_reused"));
    assert_eq!(probe.runs(), 1);
    let letters = stack.dead_letters().await;
    assert_eq!(letters, [("failed".into(), "key_reused".into(), other.into_bytes())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_running_application_marked_as_processed_is_a_duplicate() {
    let stack = Stack::start().await;
    let probe = Probe::<Going>::answering(done);
    let service = stack.service(probe.clone());
    stack.redis(&["SET", "idempotency:k", "\"1\""]).await;
    let answer = service.deliver(Delivery::new(body())).await;
    assert_eq!(
        (answer.status, answer.outcome(), answer.body["result"].clone()),
        (200, "duplicate", json!(null))
    );
    assert_eq!(probe.runs(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tasks_whose_key_only_names_their_content_both_run() {
    let stack = Stack::start().await;
    let probe = Probe::<Going>::answering(done);
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
