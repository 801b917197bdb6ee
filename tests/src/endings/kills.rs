//! Processes that are killed while a task runs.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::Row;
use super::lane::QUEUE;
use super::stage::{Stage, slow_task, task, until};
use crate::Delivery;
use crate::acting::Act;
use crate::redis_proxy::ProxyAction;

/// Long enough for another task to begin.
const WHILE: Duration = Duration::from_millis(800);
/// Longer than a task waits for a place in its process.
const LONGER_THAN_A_PLACE: Duration = Duration::from_secs(32);
/// Timeouts longer than that.
const LONG_TIMEOUT: u32 = 3;
/// A dispatch whose run is recorded before it begins.
const MANY: u32 = 20;
/// Shorter than the deadline of a dispatch, for a row that waits for it.
const QUICK: u32 = 60;
/// Longer than an instance that died takes to be another one.
pub(super) const RESTART: Duration = Duration::from_secs(1);

pub(super) fn rows() -> Vec<Row> {
    let (next, replay) = ("the next run, alone in its process", "a replay of the dead letter");
    vec![
        Row::new("the run is killed", next, |stage| {
            Box::pin(async move { stage.follow(task(&[Act::Abort, Act::Succeed])).await })
        })
        .long(),
        Row::new("… each time", replay, |stage| {
            Box::pin(async move { stage.follow(task(&[Act::Abort])).await })
        })
        .long(),
        Row::new("… each time, without Redis", replay, |stage| Box::pin(without_redis(stage)))
            .with("LEASE_DIVISOR", QUICK)
            .with("TIMEOUT_DIVISOR", QUICK)
            .long(),
        Row::new("the run is killed together with another task's (each of the two)", next, |stage| {
            Box::pin(in_company(stage))
        })
        .long(),
        Row::new("the last attempt is killed, and was not alone", replay, |stage| {
            Box::pin(async move { stage.follow(task(&[Act::Fail, Act::Fail, Act::Abort])).await })
        })
        .long(),
        Row::new("the run after a kill is rescheduled", next, |stage| {
            Box::pin(async move { stage.follow(task(&[Act::Abort, Act::Snooze, Act::Succeed])).await })
        })
        .long(),
        Row::new("the process has no place for a task that must be alone", "the other runs' end", |stage| {
            Box::pin(no_place(stage))
        })
        .with("LEASE_DIVISOR", LONG_TIMEOUT)
        .with("TIMEOUT_DIVISOR", LONG_TIMEOUT)
        .long(),
    ]
}

async fn without_redis(stage: &mut Stage<'_>) {
    stage.lane.redis_answers(ProxyAction::Fail);
    let delivery = task(&[Act::Abort]);
    stage.dispatch(&delivery).await;
    sleep(RESTART).await;
    stage.pass_over(MANY - 1);
    for n in 0..QUEUE.policy().attempts {
        stage.dispatch(&delivery.clone().again(MANY + n)).await;
        sleep(QUEUE.policy().dispatch_deadline() / QUICK + Duration::from_millis(100)).await;
    }
    stage.dispatch(&delivery.again(MANY + QUEUE.policy().attempts)).await;
}

async fn in_company(stage: &mut Stage<'_>) {
    stage.tasks(2);
    let (killer, victim) =
        (slow_task(&[Act::Abort, Act::Succeed], WHILE), slow_task(&[Act::Hang, Act::Succeed], WHILE));
    both(stage, [killer.clone(), victim.clone()]).await;
    both(stage, [killer.again(1), victim.again(1)]).await;
    let next: Vec<Delivery> = stage.lane.stack.take_tasks(QUEUE).await;
    let next: [Delivery; 2] = next.try_into().expect("each has a successor");
    for task in &next {
        until(task.due).await;
    }
    both(stage, next).await;
}

/// Dispatches two tasks at the same time.
async fn both(stage: &mut Stage<'_>, [one, other]: [Delivery; 2]) {
    let dispatcher = stage.dispatcher();
    let (one, other) = tokio::join!(dispatcher.dispatch(&one), dispatcher.dispatch(&other));
    stage.saw(one.as_ref());
    stage.saw(other.as_ref());
}

async fn no_place(stage: &mut Stage<'_>) {
    let (dispatcher, other) = (stage.dispatcher(), slow_task(&[Act::Succeed], LONGER_THAN_A_PLACE));
    let run = tokio::spawn(async move { dispatcher.dispatch(&other).await });
    stage.until_runs(1).await;
    let before = stage.lane.commands();
    let mut delivery = task(&[Act::Succeed]);
    let mut envelope: Value = delivery.envelope();
    envelope["alone"] = true.into();
    delivery.body = envelope.to_string();
    stage.dispatch(&delivery).await;
    assert_eq!(stage.lane.commands(), before, "a task without a place calls nothing");
    run.await.expect("it does not panic").expect("an answer");
    let next = stage.next().await.expect("a successor");
    stage.leave_out(stage.lane.commands());
    stage.follow(next).await;
}
