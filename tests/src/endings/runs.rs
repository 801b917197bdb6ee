//! How runs end, and what a delivery meets that is not the first.

use std::time::Duration;

use serde_json::json;
use shared::db::dead_letters::{DeadLetters, Filter};

use super::Row;
use super::lane::QUEUE;
use super::stage::{Stage, envelope, slow_task, task};
use crate::acting::Act;
use crate::{Answer, Delivery};

/// Long enough for another delivery to meet the run, and shorter than a lease.
const WHILE: Duration = Duration::from_millis(1500);
/// Timeouts of 3 s.
const SHORT_TIMEOUT: u32 = 40;
/// A timeout that is longer than a process gets to stop.
const LONG_TIMEOUT: u32 = 6;

pub(super) fn rows() -> Vec<Row> {
    [ends_well(), fails(), meets_another()].into_iter().flatten().collect()
}

fn ends_well() -> Vec<Row> {
    vec![
        Row::new("the run succeeds", "it has ended", |stage| {
            Box::pin(async move { stage.follow(task(&[Act::Succeed])).await })
        }),
        Row::new("the run has nothing to do", "it has ended", |stage| {
            Box::pin(async move { stage.follow(task(&[Act::Skip])).await })
        }),
        Row::new("the job asks for another time", "that time", |stage| {
            Box::pin(async move { stage.follow(task(&[Act::Snooze, Act::Succeed])).await })
        }),
        Row::new("another session holds a lock that the job needs", "that session", |stage| {
            Box::pin(async move { stage.follow(task(&[Act::Busy, Act::Succeed])).await })
        }),
        Row::new(
            "the instance is stopped (SIGTERM) and the run takes too long",
            "another instance",
            |stage| Box::pin(shutdown(stage)),
        )
        .with("LEASE_DIVISOR", LONG_TIMEOUT)
        .with("TIMEOUT_DIVISOR", LONG_TIMEOUT)
        .long(),
    ]
}

fn fails() -> Vec<Row> {
    let (next, replay) = ("the next run, after the queue's backoff", "a replay of the dead letter");
    vec![
        Row::new("the run fails", next, |stage| {
            Box::pin(async move { stage.follow(task(&[Act::Fail, Act::Succeed])).await })
        }),
        Row::new("… each time", replay, |stage| {
            Box::pin(async move { stage.follow(task(&[Act::Fail])).await })
        }),
        Row::new("the run fails for good", replay, |stage| {
            Box::pin(async move { stage.follow(task(&[Act::FailForGood])).await })
        }),
        Row::new("the run panics", next, |stage| {
            Box::pin(async move { stage.follow(task(&[Act::Panic, Act::Succeed])).await })
        }),
        Row::new("… each time", replay, |stage| {
            Box::pin(async move { stage.follow(task(&[Act::Panic])).await })
        }),
        Row::new("the run exceeds its timeout", next, |stage| {
            Box::pin(async move { stage.follow(task(&[Act::Hang, Act::Succeed])).await })
        })
        .with("LEASE_DIVISOR", SHORT_TIMEOUT)
        .with("TIMEOUT_DIVISOR", SHORT_TIMEOUT)
        .long(),
        Row::new("… each time", replay, |stage| {
            Box::pin(async move { stage.follow(task(&[Act::Hang])).await })
        })
        .with("LEASE_DIVISOR", SHORT_TIMEOUT)
        .with("TIMEOUT_DIVISOR", SHORT_TIMEOUT)
        .long(),
        Row::new("a dead letter is replayed", "the new life", |stage| Box::pin(replayed(stage))),
    ]
}

fn meets_another() -> Vec<Row> {
    vec![
        Row::new("the caller hangs up, or the answer comes too late", "the next dispatch", |stage| {
            Box::pin(hung_up(stage))
        }),
        Row::new("the task is done already", "it has ended", |stage| Box::pin(again(stage, Act::Succeed))),
        Row::new("the task is dead already", "it has ended", |stage| {
            Box::pin(again(stage, Act::FailForGood))
        }),
        Row::new("the key was used for another payload", "a replay of the dead letter", |stage| {
            Box::pin(key_reused(stage))
        }),
        Row::new("another run has the lease", "the end of that run, or of its lease", |stage| {
            Box::pin(leased(stage))
        })
        .long(),
        Row::new("Redis forgets the lease, and another run takes it", "the end of that run", |stage| {
            Box::pin(lost_to_another(stage))
        })
        .long(),
        Row::new("Redis forgets the lease, and another run ends the task", "it has ended", |stage| {
            Box::pin(ended_by_another(stage))
        })
        .long(),
        Row::new("what Redis has under the key cannot be read", "the key's time to live, 24 h", |stage| {
            Box::pin(unknown_value(stage))
        })
        .with("LEASE_DIVISOR", 1)
        .with("TIMEOUT_DIVISOR", 1),
        Row::new("the task was dispatched 500 times", "its successor", |stage| Box::pin(renewed(stage))),
    ]
}

async fn shutdown(stage: &mut Stage<'_>) {
    let (delivery, dispatcher) = (task(&[Act::Hang, Act::Succeed]), stage.dispatcher());
    let run = tokio::spawn(async move { dispatcher.dispatch(&delivery).await });
    stage.until_runs(1).await;
    stage.function.with(|processes| processes[0].terminate());
    let answer = run.await.expect("it does not panic");
    stage.saw(answer.as_ref());
    let next = stage.next().await.expect("a successor");
    stage.follow(next).await;
}

async fn replayed(stage: &mut Stage<'_>) {
    stage.follow(task(&[Act::FailForGood, Act::Succeed])).await;
    let stack = &stage.lane.stack;
    let db = DeadLetters::from(stack.setup([]).database().expect("a database"));
    let dead_letter =
        db.list_open(&Filter::default(), 1).await.expect("Postgres answers").pop().expect("a dead letter");
    for expected in ["replayed", "replayed_before"] {
        assert_eq!(stack.replay(QUEUE, &dead_letter.id).await, expected, "one replay is enough");
    }
    let next = stage.next().await.expect("a new life");
    stage.follow(next).await;
}

async fn hung_up(stage: &mut Stage<'_>) {
    let delivery = slow_task(&[Act::Succeed], WHILE);
    let (dispatcher, dispatch) = (stage.dispatcher(), delivery.clone());
    let run = tokio::spawn(async move { dispatcher.dispatch(&dispatch).await });
    stage.until_runs(1).await;
    run.abort();
    stage.saw(None);
    stage.line(&delivery.task, "done").await;
    stage.follow(delivery.again(1)).await;
}

async fn again(stage: &mut Stage<'_>, act: Act) {
    let delivery = task(&[act]);
    stage.follow(delivery.clone()).await;
    stage.follow(delivery.again(1)).await;
}

async fn key_reused(stage: &mut Stage<'_>) {
    let more = json!({ "idempotencyKey": "of-a-producer" });
    stage.follow(envelope(&json!({ "acts": [] }), &more)).await;
    stage.follow(envelope(&json!({ "acts": [Act::Fail] }), &more)).await;
}

async fn leased(stage: &mut Stage<'_>) {
    let delivery = slow_task(&[Act::Succeed], WHILE);
    let (dispatcher, dispatch) = (stage.dispatcher(), delivery.clone());
    let run = tokio::spawn(async move { dispatcher.dispatch(&dispatch).await });
    stage.until_runs(1).await;
    stage.dispatch(&delivery.again(1)).await;
    let answer = run.await.expect("it does not panic");
    stage.saw(answer.as_ref());
    let next = stage.next().await.expect("a successor");
    stage.follow(next).await;
}

/// A run that never ends meets, when it renews its lease, that of a delivery that found none.
async fn lost_to_another(stage: &mut Stage<'_>) {
    let delivery = slow_task(&[Act::Hang, Act::Succeed], WHILE);
    let (first, second) = forgotten(stage, delivery).await;
    stage.saw(first.as_ref());
    stage.saw(second.as_ref());
    let next = stage.next().await.expect("a successor");
    stage.follow(next).await;
}

/// The same, when the other run has ended.
async fn ended_by_another(stage: &mut Stage<'_>) {
    let (first, second) = forgotten(stage, task(&[Act::Hang, Act::Succeed])).await;
    stage.saw(second.as_ref());
    stage.saw(first.as_ref());
}

async fn forgotten(stage: &Stage<'_>, delivery: Delivery) -> (Option<Answer>, Option<Answer>) {
    let (dispatcher, dispatch) = (stage.dispatcher(), delivery.clone());
    let run = tokio::spawn(async move { dispatcher.dispatch(&dispatch).await });
    stage.until_runs(1).await;
    stage.lane.stack.redis(&["FLUSHALL"]).await;
    let second = stage.dispatcher().dispatch(&delivery.again(1)).await;
    (run.await.expect("it does not panic"), second)
}

/// Its successors are dispatched without their waits, which their times tell.
async fn unknown_value(stage: &mut Stage<'_>) {
    let mut delivery = task(&[Act::Succeed]);
    let key = delivery.envelope()["idempotencyKey"].as_str().expect("a key").to_owned();
    let key = format!("jobs:{}:{key}", QUEUE.name());
    stage.lane.stack.redis(&["SET", &key, "rubbish"]).await;
    for _ in 0..3 {
        let (wait, commands) = stage.measured_wait(&delivery).await;
        stage.waits(&[Duration::from_secs(wait.as_secs())], commands);
        delivery = stage.successor().await.expect("a successor");
    }
    stage.lane.stack.redis(&["DEL", &key]).await;
    stage.follow(delivery).await;
}

async fn renewed(stage: &mut Stage<'_>) {
    const RENEWED_AFTER: u32 = 500;
    stage.pass_over(RENEWED_AFTER);
    stage.follow(task(&[Act::Succeed]).again(RENEWED_AFTER)).await;
}
