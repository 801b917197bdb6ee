//! A task that is delivered more than once has its effect once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use shared::clock::Clock;
use shared::idempotency::{Claim, Claims, Held};
use shared::queue::Queue;
use shared::redis::{Patience, Redis};
use tests::probe::{Going, done};
use tests::redis_proxy::{Fate, RedisProxy};
use tests::stack::REDIS_TOKEN;
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
async fn every_body_under_a_key_that_is_reused_is_kept() {
    let stack = Stack::start().await;
    let service = stack.service(Probe::<Going>::answering(done));
    let other = |n: u32| json!({ "data": { "n": n }, "idempotencyKey": "k" }).to_string();
    for n in 1..=3 {
        service.deliver(Delivery::new(other(n))).await;
    }
    let kept: Vec<_> = stack.dead_letters().await.into_iter().map(|(_, _, body)| body).collect();
    assert_eq!(kept, [other(2).into_bytes(), other(3).into_bytes()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_does_not_cut_the_job_off() {
    let stack = Stack::start().await;
    let (begun, go_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (at_begin, at_end) = (Arc::clone(&begun), Arc::clone(&go_on));
    let probe = Probe::<Going>::new(move |_| {
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
    go_on.wait().await;
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
async fn a_renewal_whose_answer_is_late_does_not_lose_the_lease() {
    let stack = Stack::start().await;
    let late = Arc::new(AtomicBool::new(false));
    let is_late = Arc::clone(&late);
    let proxy = RedisProxy::start(&stack.gateway.url(), move |_| {
        let fate = if is_late.swap(false, Ordering::SeqCst) { Fate::AnswerLate } else { Fate::Pass };
        async move { fate }
    });
    let url = proxy.url("p").parse().unwrap();
    let redis = Redis::new(&url, &REDIS_TOKEN.to_owned().into(), Patience::default()).unwrap();
    let claims = Claims::new(redis, Clock::system());
    let time = Duration::from_mins(1);
    let Claim::Mine(mut lease) = claims.claim("k", "hash", time).await.unwrap() else {
        panic!("nobody else is there")
    };
    late.store(true, Ordering::SeqCst);
    assert!(claims.renew(&mut lease, time).await.is_err(), "the answer is lost");
    assert_eq!(claims.renew(&mut lease, time).await.unwrap(), Held::Yes);
    late.store(true, Ordering::SeqCst);
    assert!(claims.renew(&mut lease, time).await.is_err());
    assert_eq!(claims.settle(lease, &json!(1)).await.unwrap(), Held::Yes);
    assert!(matches!(claims.claim("k", "hash", time).await.unwrap(), Claim::Done(Some(_))));
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
