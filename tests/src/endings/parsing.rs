//! Bodies that cannot be read, or that kill the process that reads them.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use shared::clock::Clock;
use tokio::time::sleep;

use super::Row;
use super::kills::RESTART;
use super::lane::QUEUE;
use super::stage::{Stage, envelope, task_of};
use crate::Delivery;
use crate::acting::Script;

/// Until the wait grows no more.
const UNTIL_THE_LONGEST_WAIT: usize = 7;
/// A dispatch that is recorded before its body is parsed.
const SUSPECTED: u32 = 20;
/// Shorter than the deadline of a dispatch, for rows that wait for it.
const QUICK: u32 = 30;

pub(super) fn rows() -> Vec<Row> {
    let (replay, revision) = ("a replay of the dead letter", "a revision that can read it; else three days");
    vec![
        Row::new("the body is no envelope", replay, |stage| {
            Box::pin(async move { stage.follow(Delivery::new("rubbish")).await })
        }),
        Row::new("the task is another queue's", replay, |stage| {
            Box::pin(async move {
                stage.follow(envelope(&json!({}), &json!({ "jobName": "calendar-sync" }))).await;
            })
        }),
        Row::new("the payload does not match the schema", revision, |stage| {
            Box::pin(unreadable(stage, json!([]), json!({})))
        }),
        Row::new("… for three days", replay, |stage| {
            Box::pin(unreadable_for_days(stage, json!([]), json!({})))
        }),
        Row::new("the payload is of a newer version", revision, |stage| {
            Box::pin(unreadable(stage, json!({}), json!({ "v": 99 })))
        }),
        Row::new("… for three days", replay, |stage| {
            Box::pin(unreadable_for_days(stage, json!({}), json!({ "v": 99 })))
        }),
        Row::new("parsing the body panics", replay, |stage| {
            Box::pin(harmful(stage, Script { alarm: true, ..Script::default() }))
        })
        .with("LEASE_DIVISOR", QUICK)
        .with("TIMEOUT_DIVISOR", QUICK)
        .long(),
        Row::new("parsing the body kills the process", replay, |stage| {
            Box::pin(harmful(stage, Script { poison: true, ..Script::default() }))
        })
        .with("LEASE_DIVISOR", QUICK)
        .with("TIMEOUT_DIVISOR", QUICK)
        .long(),
    ]
}

/// Its successors are dispatched without their waits, which their times tell.
async fn unreadable(stage: &mut Stage<'_>, data: Value, more: Value) {
    let (mut delivery, mut waits, mut most) = (envelope(&data, &more), Vec::new(), 0);
    for _ in 0..UNTIL_THE_LONGEST_WAIT {
        let (wait, commands) = stage.measured_wait(&delivery).await;
        waits.push(Duration::from_mins((wait.as_secs() + 5) / 60));
        most = most.max(commands);
        delivery = stage.successor().await.expect("a successor");
    }
    stage.waits(&waits, most);
}

async fn unreadable_for_days(stage: &mut Stage<'_>, data: Value, mut more: Value) {
    more["unreadableSince"] = json!(Clock::system().now() - TimeDelta::days(4));
    stage.follow(envelope(&data, &more)).await;
}

/// After so many dispatches each one is recorded before the body is parsed; one that comes while that may still be
/// parsed is turned away.
async fn harmful(stage: &mut Stage<'_>, script: Script) {
    let delivery = task_of(&script);
    if stage.dispatch(&delivery).await.is_some() {
        stage.line(&delivery.task, "retry").await;
    }
    sleep(RESTART).await;
    stage.pass_over(SUSPECTED - 1);
    for n in 0..QUEUE.policy().attempts {
        stage.dispatch(&delivery.clone().again(SUSPECTED + 2 * n)).await;
        sleep(RESTART).await;
        stage.dispatch(&delivery.clone().again(SUSPECTED + 2 * n + 1)).await;
        sleep(QUEUE.policy().dispatch_deadline() / QUICK + Duration::from_millis(100)).await;
    }
    stage.dispatch(&delivery.again(SUSPECTED + 2 * QUEUE.policy().attempts)).await;
}
