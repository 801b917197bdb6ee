//! A dependency is unavailable, slow, or returns malformed answers: no task is lost, no attempt is counted, and all of them
//! continue as soon as it is available.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use catchup::db::suggestions::Suggestions;
use catchup::queues;
use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::json;
use shared::db::Database;
use shared::job::{Failure, Outcome};
use shared::queue::Queue;
use tests::probe::{Numbered, done};
use tests::redis_proxy::{ProxyAction, RedisProxy};
use tests::stack::Service;
use tests::{Answer, Delivery, Probe, Stack};

const NOWHERE: &str = "http://127.0.0.1:1";
const QUEUE: Queue = queues::TOKEN_REFRESH;

fn body_of(key: &str) -> String {
    json!({ "data": { "n": 1 }, "idempotencyKey": key }).to_string()
}

fn body() -> String {
    body_of("k")
}

fn failing() -> Probe<Numbered> {
    Probe::answering(|| Err(Failure::transient("no luck")))
}

/// A proxy in front of Redis that fails while the switch is on.
fn proxy_with(stack: &Stack, action: ProxyAction) -> (RedisProxy, Arc<AtomicBool>) {
    let is_off = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&is_off);
    let proxy = RedisProxy::start(&stack.gateway.url(), move |_| {
        let action = if switch.load(Ordering::SeqCst) { action } else { ProxyAction::Pass };
        async move { action }
    });
    (proxy, is_off)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_every_task_runs_and_every_failure_is_counted() {
    let stack = Stack::start().await;
    let without = [("UPSTASH_REDIS_REST_URL", NOWHERE.to_owned())];
    let probe = failing();
    let answers =
        stack.follow(&stack.service_with(probe.clone(), without.clone()), Delivery::new(body())).await;
    assert_eq!(answers.last().unwrap().outcome(), "dead");
    assert_eq!(probe.runs(), QUEUE.policy().attempts);

    let probe = Probe::<Numbered>::answering(done);
    let service = stack.service_with(probe.clone(), without);
    let delivery = Delivery::new(body_of("other"));
    assert_eq!(service.deliver(delivery.clone()).await.outcome(), "done");
    assert_eq!(service.deliver(delivery.again(1)).await.outcome(), "duplicate", "Postgres remembers");
    assert_eq!(probe.runs(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_without_redis_take_no_attempt_from_a_task_that_fails_once_afterwards() {
    let stack = Stack::start().await;
    let (proxy, is_off) = proxy_with(&stack, ProxyAction::Fail);
    is_off.store(true, Ordering::SeqCst);
    let after = Duration::from_secs(30);
    let away = Probe::<Numbered>::answering(move || Err(Failure::unavailable(after, "vendor")));
    let redis = [("UPSTASH_REDIS_REST_URL", proxy.url("p"))];
    let service = stack.service_with(away, redis.clone());
    let delivery = Delivery::new(body());
    for retry in 0..6 {
        assert_eq!(service.deliver(delivery.clone().again(retry)).await.status, 503);
        stack.advance(30);
    }
    is_off.store(false, Ordering::SeqCst);
    let probe = failing();
    let answers = stack.follow(&stack.service_with(probe.clone(), redis), delivery.again(6)).await;
    assert_eq!(answers.last().unwrap().outcome(), "dead");
    assert_eq!(probe.runs(), QUEUE.policy().attempts, "all of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_answers_and_errors_of_redis_count_as_unavailable() {
    for action in [ProxyAction::Garbage, ProxyAction::Fail, ProxyAction::Quota] {
        let stack = Stack::start().await;
        let (proxy, is_off) = proxy_with(&stack, action);
        is_off.store(true, Ordering::SeqCst);
        let redis = [("UPSTASH_REDIS_REST_URL", proxy.url("p"))];
        let probe = Probe::<Numbered>::answering(done);
        let answer = stack.service_with(probe, redis).deliver(Delivery::new(body())).await;
        assert_eq!(answer.outcome(), "done", "{action:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_is_unavailable_at_the_end_leaves_the_task_done() {
    let stack = Stack::start().await;
    let (proxy, is_off) = proxy_with(&stack, ProxyAction::Fail);
    let probe = Probe::<Numbered>::new(move |_| {
        is_off.store(true, Ordering::SeqCst);
        async { done() }
    });
    let service = stack.service_with(probe.clone(), [("UPSTASH_REDIS_REST_URL", proxy.url("p"))]);
    let delivery = Delivery::new(body());
    assert_eq!(service.deliver(delivery.clone()).await.outcome(), "done");
    let answers = stack.follow(&stack.service(probe.clone()), delivery.again(1)).await;
    let outcomes: Vec<_> = answers.iter().map(Answer::outcome).collect();
    assert_eq!(outcomes, ["deferred", "duplicate"], "the lease, then what Postgres remembers");
    assert_eq!(probe.runs(), 1);
    assert_eq!(stack.dead_letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_redis_lost_while_the_job_ran_does_not_run_it_again() {
    let stack = Arc::new(Stack::start().await);
    let flushed = Arc::clone(&stack);
    let probe = Probe::<Numbered>::new(move |_| {
        let stack = Arc::clone(&flushed);
        async move {
            stack.redis(&["FLUSHALL"]).await;
            done()
        }
    });
    let service = stack.service(probe.clone());
    let delivery = Delivery::new(body());
    assert_eq!(service.deliver(delivery.clone()).await.outcome(), "done");
    assert_eq!(service.deliver(delivery.again(1)).await.outcome(), "duplicate");
    assert_eq!(probe.runs(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_was_taken_without_an_answer_is_no_killed_run() {
    let stack = Stack::start().await;
    let commands = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&commands);
    // The client repeats a command once.
    let proxy = RedisProxy::start(&stack.gateway.url(), move |_| {
        let is_lost = seen.fetch_add(1, Ordering::SeqCst) < 2;
        std::future::ready(if is_lost { ProxyAction::LoseAnswer } else { ProxyAction::Pass })
    });
    let probe = failing();
    let service = stack.service_with(probe.clone(), [("UPSTASH_REDIS_REST_URL", proxy.url("p"))]);
    let answers = stack.follow(&service, Delivery::new(body())).await;
    let outcomes: Vec<_> = answers.iter().map(Answer::outcome).collect();
    assert_eq!(outcomes, ["retry", "retry", "dead"]);
    assert_eq!(probe.runs(), QUEUE.policy().attempts);
    let kinds: Vec<_> = stack.failures().await.into_iter().map(|(_, kind, _)| kind).collect();
    assert_eq!(kinds, ["failed"; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_nothing_is_lost_and_nothing_is_counted() {
    let stack = Stack::start().await;
    let away = [("DATABASE_URL", "postgres://unknown@127.0.0.1:1/none".to_owned())];
    for body in ["rubbish".to_owned(), body()] {
        let service = stack.service_with(failing(), away.clone());
        let answer = service.deliver(Delivery::new(body.clone())).await;
        assert_eq!((answer.status, answer.reason()), (503, "database"), "{body}");
    }
    // The failure without an acknowledgement is recorded by the delivery that finds the expired lease.
    let delivery = Delivery::new(body());
    let probe = Probe::<Numbered>::answering(done);
    let answers = stack.follow(&stack.service(probe.clone()), delivery.again(1)).await;
    assert_eq!(answers.last().unwrap().outcome(), "done");
    assert_eq!((probe.runs(), stack.failures().await.len()), (1, 1));
}

/// What a refused statement makes of a task; the message of the database is in no answer.
async fn check_lacking_rights(stack: &Stack, break_it: &str, repair: &str, service: &Service, db: &Database) {
    stack.run(break_it).await;
    let delivery = Delivery::new(body_of(break_it));
    let before = stack.billing.bill().billed;
    for retry in 0..20 {
        let answer = service.deliver(delivery.clone().again(retry)).await;
        assert_eq!((answer.status, answer.reason()), (503, "database"), "{break_it}: {answer:?}");
    }
    let spent = stack.billing.bill().billed - before;
    assert!(spent <= 4, "{break_it}: {spent} Redis commands");
    stack.run(repair).await;
    if repair.contains("pg_terminate_backend") {
        stack.until_sessions_are_over(service, db).await;
    }
    let answers = stack.follow(service, delivery.again(20)).await;
    assert_eq!(answers.last().unwrap().outcome(), "done", "{break_it}: {answers:?}");
    assert_eq!(stack.dead_letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_lacks_rights_or_tables_is_an_outage() {
    let stack = Stack::start().await;
    let setup = stack.setup([]);
    let db = setup.database().unwrap();
    let of_job = db.clone();
    let probe = Probe::<Numbered>::new(move |_| {
        let db = of_job.clone();
        async move {
            // Reads and writes a table, as a job does.
            shared::db::sweeps::Sweeps::from(db)
                .add_page(QUEUE, "s", 1, true, chrono::DateTime::UNIX_EPOCH)
                .await?;
            done()
        }
    });
    let service = stack.service(probe);
    let name = stack.database.path().trim_start_matches('/').to_owned();
    // New sessions are read-only, and the old ones end.
    let end_sessions = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    );
    check_lacking_rights(
        &stack,
        &format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = on; {end_sessions}"),
        &format!("BEGIN READ WRITE; ALTER DATABASE \"{name}\" RESET default_transaction_read_only; {end_sessions}; COMMIT"),
        &service,
        &db,
    )
    .await;
    check_lacking_rights(
        &stack,
        "ALTER TABLE jobs.failures RENAME TO gone; ALTER TABLE jobs.sweeps RENAME TO gone_too",
        "ALTER TABLE jobs.gone RENAME TO failures; ALTER TABLE jobs.gone_too RENAME TO sweeps",
        &service,
        &db,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_lock_counts_no_attempt_and_blocks_no_other_task() {
    let stack = Stack::start().await;
    let db = stack.setup([]).database().unwrap();
    let user = uuid::Uuid::new_v4();
    let waiting = {
        let db = db.clone();
        Probe::<Numbered>::new(move |_| {
            let db = db.clone();
            async move {
                Suggestions::from(db).begin(user).await?;
                done()
            }
        })
    };
    let frozen = stack.hold_suggestions(user).await;
    let service = stack.service(waiting);
    let tasks = (0..8).map(|n| service.deliver(Delivery::new(body_of(&format!("waits-{n}")))));
    let others = stack.service(Probe::<Numbered>::new(move |_| {
        let db = db.clone();
        async move {
            db.ping().await?;
            done()
        }
    }));
    let other = others.deliver(Delivery::new(body_of("other")));
    let (answers, other) = tokio::join!(join_all(tasks), other);
    assert_eq!(other.outcome(), "done");
    for answer in answers {
        assert_eq!(
            (answer.status, answer.outcome(), answer.reason()),
            (200, "requeued", "busy"),
            "{answer:?}"
        );
    }
    drop(frozen);
    for task in stack.take_tasks(QUEUE).await {
        assert_eq!(service.deliver(task).await.outcome(), "done");
    }
    assert_eq!(stack.failures().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_transaction_loses_its_locks() {
    let stack = Stack::start().await;
    let setup = stack.setup([]);
    let user = uuid::Uuid::new_v4();
    let frozen = Suggestions::new(&setup).unwrap().begin(user).await.unwrap();
    let other = Suggestions::new(&setup).unwrap();
    let mut waits = 0;
    loop {
        match other.begin(user).await {
            Ok(_) => break,
            Err(error) => assert!(matches!(Failure::from(error), Failure::Busy { .. })),
        }
        waits += 1;
        assert!(waits < 10, "the lock is never free");
    }
    drop(frozen);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_a_job_meets_slows_the_queue_and_never_ends_the_task() {
    let stack = Stack::start().await;
    let after = Duration::from_secs(17);
    let service =
        stack.service(Probe::<Numbered>::answering(move || Err(Failure::unavailable(after, "vendor"))));
    for retry in 0..10 {
        let answer = service.deliver(Delivery::new(body()).again(retry)).await;
        assert_eq!((answer.status, answer.retry_after), (503, Some(17)));
    }
    assert_eq!((stack.dead_letters().await, stack.failures().await), (vec![], vec![]));
    assert_eq!(stack.take_tasks(QUEUE).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_cloud_tasks_a_task_stays_queued_and_costs_no_more_commands() {
    let stack = Stack::start().await;
    let until = stack.now() + TimeDelta::minutes(1);
    let service = stack.service_with(
        Probe::<Numbered>::answering(move || Ok(Outcome::Snooze(until))),
        [("CLOUD_TASKS_URL", NOWHERE.to_owned())],
    );
    let delivery = Delivery::new(body());
    for retry in 0..20 {
        let answer = service.deliver(delivery.clone().again(retry)).await;
        assert_eq!((answer.status, answer.reason()), (503, "cloud_tasks"));
    }
    assert!(stack.billing.bill().billed <= 4, "{:?}", stack.billing.bill());
    assert_eq!(
        stack.service(Probe::<Numbered>::answering(done)).deliver(delivery.again(20)).await.outcome(),
        "done"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_cloud_tasks_would_delete_one_day_is_replaced_by_its_successor() {
    let stack = Stack::start().await;
    let probe = Probe::<Numbered>::answering(done);
    let service = stack.service(probe.clone());
    let answer = service.deliver(Delivery::new(body()).again(500)).await;
    assert_eq!((answer.outcome(), answer.reason(), probe.runs()), ("requeued", "renewed", 0));
    let answers = stack.follow(&service, stack.take_tasks(QUEUE).await.remove(0)).await;
    assert_eq!(answers.last().unwrap().outcome(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_and_rights_that_are_missing_are_outages_of_ours() {
    let stack = Stack::start().await;
    let role = format!("limited_{}", uuid::Uuid::new_v4().simple());
    stack.run(&format!("CREATE ROLE {role} LOGIN")).await;
    for (user, what) in [("unknown_role", "28000"), (role.as_str(), "42501")] {
        let mut database = stack.database.clone();
        database.set_username(user).unwrap();
        let service = stack.service_with(failing(), [("DATABASE_URL", database.to_string())]);
        let delivery = Delivery::new(body_of(what));
        for retry in 0..5 {
            let answer = service.deliver(delivery.clone().again(retry)).await;
            assert_eq!((answer.status, answer.reason()), (503, "database"), "{what}: {answer:?}");
        }
    }
    assert_eq!((stack.failures().await, stack.dead_letters().await), (vec![], vec![]));
    stack.run(&format!("DROP ROLE {role}")).await;
}
