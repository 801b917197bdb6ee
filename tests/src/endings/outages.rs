//! A dependency is unavailable.

use std::time::Duration;

use tokio::time::sleep;

use super::Row;
use super::lane::LEASE_DIVISOR;
use super::stage::{Stage, task};
use crate::Delivery;
use crate::acting::Act;
use crate::redis_proxy::ProxyAction;

/// Dispatches during an outage: the first may cost something, and what the others cost is what a day costs.
const DURING: u32 = 3;
/// A lease and its grace, with some room; to be divided.
const LEASE: Duration = Duration::from_secs(70);
/// A connection that was idle for longer than a second is asked for an answer before it is used. Longer than a lease.
const CONNECTIONS_ARE_ASKED: Duration = Duration::from_millis(10_500);
/// Keys that could not be fetched are not asked for again within 10 s.
const KEYS_ARE_ASKED_FOR_AGAIN: Duration = Duration::from_millis(10_500);

pub(super) fn rows() -> Vec<Row> {
    let (end, none) = ("the end of the outage", "nothing: no task waits for Redis");
    vec![
        Row::new("Redis is unavailable", none, |stage| Box::pin(no_redis(stage))),
        Row::new("the month's Redis commands are used up", none, |stage| Box::pin(no_quota(stage))),
        Row::new("Postgres is unavailable before the run", end, |stage| Box::pin(no_postgres(stage))),
        Row::new("Postgres is unavailable when a failure is to be recorded", end, |stage| {
            Box::pin(not_recorded(stage))
        })
        .long(),
        Row::new("Postgres is read-only when a failure is to be recorded", end, |stage| {
            Box::pin(read_only(stage))
        })
        .long(),
        Row::new("Postgres is unavailable when a killed run is to be recorded", end, |stage| {
            Box::pin(kill_not_recorded(stage))
        })
        .long(),
        Row::new("Cloud Tasks is unavailable when a task is to be rescheduled", end, |stage| {
            Box::pin(no_cloud_tasks(stage, Act::Snooze))
        }),
        Row::new("Cloud Tasks is unavailable after a failure", end, |stage| {
            Box::pin(no_cloud_tasks(stage, Act::Fail))
        }),
        Row::new("the issuer's keys are unavailable", end, |stage| Box::pin(no_keys(stage))).long(),
        Row::new("the job meets an outage of a vendor", end, |stage| Box::pin(no_vendor(stage))),
    ]
}

/// A failure is counted and a success is remembered all the same.
async fn no_redis(stage: &mut Stage<'_>) {
    stage.lane.redis_answers(ProxyAction::Fail);
    without_redis(stage).await;
}

async fn no_quota(stage: &mut Stage<'_>) {
    stage.lane.stack.unkind.set_quota(Some(0));
    without_redis(stage).await;
}

async fn without_redis(stage: &mut Stage<'_>) {
    stage.follow(task(&[Act::Fail, Act::Succeed])).await;
    let delivery = task(&[Act::Succeed]);
    stage.follow(delivery.clone()).await;
    stage.follow(delivery.again(1)).await;
}

async fn no_postgres(stage: &mut Stage<'_>) {
    stage.lane.postgres.turn(false);
    let delivery = during(stage, task(&[Act::Succeed]).again(1)).await;
    stage.lane.postgres.turn(true);
    stage.follow(delivery).await;
}

/// The lease stays, and says to the next delivery that its run was killed.
async fn not_recorded(stage: &mut Stage<'_>) {
    let delivery = failing_until_it_is_recorded(stage).await;
    stage.lane.postgres.turn(false);
    let delivery = during(stage, delivery).await;
    stage.lane.postgres.turn(true);
    sleep(LEASE / LEASE_DIVISOR).await;
    stage.follow(delivery).await;
}

async fn read_only(stage: &mut Stage<'_>) {
    let (stack, delivery) = (&stage.lane.stack, failing_until_it_is_recorded(stage).await);
    let name = stack.database.path().trim_start_matches('/').to_owned();
    let end_sessions = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    );
    stack
        .run(&format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = on; {end_sessions}"))
        .await;
    let delivery = during(stage, delivery).await;
    stack
        .run(&format!(
            "BEGIN READ WRITE; ALTER DATABASE \"{name}\" RESET default_transaction_read_only; {end_sessions}; COMMIT"
        ))
        .await;
    sleep(CONNECTIONS_ARE_ASKED).await;
    stage.follow(delivery).await;
}

/// A run of this task that cannot be counted takes itself for the first, and fails; one that can is the second.
async fn failing_until_it_is_recorded(stage: &Stage<'_>) -> Delivery {
    let delivery = task(&[Act::Fail, Act::Succeed]);
    let key = delivery.envelope()["idempotencyKey"].as_str().expect("a key").to_owned();
    stage.lane.stack.run(&format!("INSERT INTO runs VALUES ('{key}', 1)")).await;
    delivery
}

/// The lease of the killed run is put back each time, until its end can be recorded.
async fn kill_not_recorded(stage: &mut Stage<'_>) {
    let delivery = task(&[Act::Abort, Act::Succeed]);
    stage.dispatch(&delivery).await;
    sleep(LEASE / LEASE_DIVISOR).await;
    stage.lane.postgres.turn(false);
    let delivery = during(stage, delivery.again(1)).await;
    stage.lane.postgres.turn(true);
    stage.follow(delivery).await;
}

async fn no_cloud_tasks(stage: &mut Stage<'_>, act: Act) {
    stage.lane.cloud_tasks.turn(false);
    let delivery = during(stage, task(&[act, Act::Succeed])).await;
    stage.lane.cloud_tasks.turn(true);
    stage.follow(delivery).await;
}

async fn no_keys(stage: &mut Stage<'_>) {
    stage.lane.keys.turn(false);
    let delivery = during(stage, task(&[Act::Succeed])).await;
    stage.lane.keys.turn(true);
    sleep(KEYS_ARE_ASKED_FOR_AGAIN).await;
    stage.follow(delivery).await;
}

async fn no_vendor(stage: &mut Stage<'_>) {
    let delivery = during(stage, task(&[Act::Outage, Act::Outage, Act::Outage, Act::Succeed])).await;
    stage.follow(delivery).await;
}

/// Dispatches a task while something is unavailable.
async fn during(stage: &mut Stage<'_>, mut delivery: Delivery) -> Delivery {
    let mut last = 0;
    for _ in 0..DURING {
        (_, last) = stage.measured(&delivery).await;
        delivery.retry_count += 1;
    }
    stage.waits_for_backoff(last);
    delivery
}
