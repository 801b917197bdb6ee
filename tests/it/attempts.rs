//! A task's attempts are its recorded failures, and every task ends as done, skipped or a dead letter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use catchup::queues;
use chrono::TimeDelta;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::db::bulks::Bulks;
use shared::db::dead_letters::{DeadLetters, Filter};
use shared::db::errors::{self, Errors};
use shared::job::{Failure, Outcome};
use shared::queue::Queue;
use shared::replay::task;
use tests::probe::{Numbered, done};
use tests::redis_proxy::{ProxyAction, RedisProxy};
use tests::stack::Service;
use tests::{Answer, Delivery, Probe, Stack, eventually, within};

const QUEUE: Queue = queues::TOKEN_REFRESH;
const KEY: &str = "jobs:token-refresh:k";

fn attempts() -> u32 {
    QUEUE.policy().attempts
}

fn body() -> String {
    json!({ "data": { "n": 1 }, "idempotencyKey": "k" }).to_string()
}

fn failing() -> Probe<Numbered> {
    Probe::answering(|| Err(Failure::transient("no luck")))
}

fn outcomes(answers: &[Answer]) -> Vec<&str> {
    answers.iter().map(Answer::outcome).collect()
}

/// A run that continues for as long as the process lives: with the clock put forward, as good as killed.
async fn killed_run(stack: &Stack, delivery: Delivery) {
    let service = hanging_run(stack, delivery).await;
    stack.advance(66);
    drop(service);
}

async fn hanging_run(stack: &Stack, delivery: Delivery) -> Service {
    let probe = Probe::<Numbered>::new(|_| std::future::pending());
    let service = stack.service(probe.clone());
    let killed = service.clone();
    tokio::spawn(async move { killed.deliver(delivery).await });
    eventually("the job runs", || probe.runs() > 0).await;
    service
}

/// The task has failed as often as it may but for one run.
async fn fail_but_for_one(stack: &Stack) {
    stack
        .run(
            "INSERT INTO jobs.failures
             SELECT 'token-refresh', 'k', 0, gen_random_uuid(), 'failed', 'transient', '', '', '', 'earlier', false, NULL,
                    now(), now() FROM generate_series(1, 2)",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_task_is_rescheduled_by_its_backoff_and_then_a_dead_letter_that_lists_each_run() {
    let stack = Stack::start().await;
    let probe = failing();
    let service = stack.service(probe.clone());
    let mut delivery = Delivery::new(body());
    for failures in 1..attempts() {
        let before = stack.now();
        let answer = service.deliver(delivery).await;
        assert_eq!((answer.status, answer.outcome(), answer.reason()), (200, "retry", "transient"));
        assert_eq!(stack.dead_letters().await, []);
        delivery = stack.take_tasks(QUEUE).await.remove(0);
        let wait = delivery.due.unwrap() - before;
        let backoff = TimeDelta::from_std(QUEUE.policy().backoff(failures)).unwrap();
        assert!(wait >= backoff - TimeDelta::seconds(1) && wait <= backoff + TimeDelta::seconds(5), "{wait}");
        assert_eq!(delivery.envelope()["n"], json!(failures));
        stack.advance_to(delivery.due);
    }
    let answer = service.deliver(delivery.clone()).await;
    assert_eq!((answer.status, answer.outcome(), answer.reason()), (200, "dead", "transient"));
    assert_eq!(stack.dead_letters().await.len(), 1);
    assert_eq!(stack.failures().await.len(), 3);
    assert_eq!(probe.runs(), attempts());
    assert_eq!(service.deliver(delivery.again(1)).await.outcome(), "duplicate");
    assert_eq!(stack.take_tasks(QUEUE).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permanent_failure_is_a_dead_letter_immediately() {
    let stack = Stack::start().await;
    let probe = Probe::<Numbered>::answering(|| Err(Failure::permanent("never")));
    let service = stack.service(probe.clone());
    let answer = service.deliver(Delivery::new(body())).await;
    assert_eq!((answer.status, answer.outcome(), answer.reason()), (200, "dead", "permanent"));
    assert_eq!(service.deliver(Delivery::new(body())).await.outcome(), "duplicate");
    assert_eq!(probe.runs(), 1);
    let dead_letters = stack.dead_letters().await;
    assert_eq!(dead_letters, [("open".into(), "permanent".into(), body().into_bytes())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_redis_has_forgotten_knows_its_failures_and_its_death() {
    let stack = Stack::start().await;
    let probe = failing();
    let service = stack.service(probe.clone());
    let mut delivery = Delivery::new(body());
    for _ in 1..attempts() {
        service.deliver(delivery).await;
        delivery = stack.take_tasks(QUEUE).await.remove(0);
        stack.redis(&["FLUSHALL"]).await;
    }
    assert_eq!(service.deliver(delivery.clone()).await.outcome(), "dead");
    stack.redis(&["FLUSHALL"]).await;
    let answer = service.deliver(delivery.again(1)).await;
    assert_eq!((answer.outcome(), answer.reason()), ("dead", "attempts_used_up"));
    assert_eq!(probe.runs(), attempts());
    assert_eq!(stack.dead_letters().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_is_recorded_by_the_delivery_that_takes_over_its_lease() {
    let stack = Stack::start().await;
    let delivery = Delivery::new(body());
    killed_run(&stack, delivery.clone()).await;
    let probe = Probe::<Numbered>::new(|context| async move {
        assert_eq!((context.attempt, context.last_attempt), (2, false));
        done()
    });
    let answer = stack.service(probe.clone()).deliver(delivery.again(1)).await;
    assert_eq!(answer.outcome(), "done", "{answer:?}");
    assert_eq!(stack.failures().await, [(0, "killed".into(), "killed".into())]);
    assert_eq!(stack.dead_letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_each_of_its_attempts_a_task_has_as_many_runs_and_one_dead_letter() {
    let stack = Stack::start().await;
    let mut delivery = Delivery::new(body());
    for _ in 0..attempts() {
        killed_run(&stack, delivery.clone()).await;
        delivery.retry_count += 1;
    }
    let probe = Probe::<Numbered>::answering(done);
    let service = stack.service(probe.clone());
    let answer = service.deliver(delivery.clone()).await;
    assert_eq!((answer.outcome(), answer.reason()), ("dead", "attempts_used_up"), "the last run was alone");
    assert_eq!(probe.runs(), 0);
    assert_eq!(u32::try_from(stack.failures().await.len()), Ok(attempts()));
    let dead_letters = stack.dead_letters().await;
    assert_eq!(dead_letters, [("open".into(), "killed".into(), body().into_bytes())]);
    stack.redis(&["FLUSHALL"]).await;
    assert_eq!(service.deliver(delivery.again(9)).await.outcome(), "dead");
    assert_eq!(stack.dead_letters().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_that_would_be_the_last_failure_waits_until_the_other_killed_runs_are_known() {
    let stack = Stack::start().await;
    fail_but_for_one(&stack).await;
    let delivery = Delivery::new(body());
    killed_run(&stack, delivery.clone()).await;
    let probe = Probe::<Numbered>::answering(done);
    let service = stack.service(probe.clone());
    let answer = service.deliver(delivery.again(1)).await;
    assert_eq!((answer.outcome(), answer.reason()), ("requeued", "unproven"), "{answer:?}");
    // Another task's run is found to have died in the same process.
    stack
        .run(
            "INSERT INTO jobs.failures
             SELECT 'token-refresh', 'another', 0, gen_random_uuid(), 'killed', 'killed', '', '', '', instance, false,
                    NULL, at, at FROM jobs.failures WHERE kind = 'killed'",
        )
        .await;
    let answers = {
        let next = stack.take_tasks(QUEUE).await.remove(0);
        stack.advance_to(next.due);
        stack.follow(&service, next).await
    };
    assert_eq!(outcomes(&answers), ["requeued", "done"], "alone, and not charged: {answers:?}");
    assert_eq!(stack.dead_letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn outcome_of_a_run_replaces_killed_and_closes_the_dead_letter() {
    let stack = Stack::start().await;
    fail_but_for_one(&stack).await;
    let (end, has_ended) = (Arc::new(tokio::sync::Notify::new()), Arc::new(AtomicBool::new(false)));
    let finish = Arc::clone(&end);
    let probe = Probe::<Numbered>::new(move |_| {
        let finish = Arc::clone(&finish);
        async move {
            finish.notified().await;
            done()
        }
    });
    let slow = stack.service(probe.clone());
    let delivery = Delivery::new(body()).again(1);
    let run = {
        let (slow, delivery, has_ended) = (slow.clone(), delivery.clone(), Arc::clone(&has_ended));
        tokio::spawn(async move {
            let answer = slow.deliver(delivery).await;
            has_ended.store(true, Ordering::SeqCst);
            answer
        })
    };
    eventually("the job runs", || probe.runs() > 0).await;
    // Frozen beyond its lease and beyond all doubt.
    stack.advance(200);
    let other = stack.service(Probe::<Numbered>::answering(done));
    assert_eq!(other.deliver(delivery.clone().again(2)).await.outcome(), "dead");
    assert_eq!(stack.dead_letters().await.len(), 1);
    end.notify_one();
    assert_eq!(run.await.unwrap().outcome(), "done");
    assert_eq!(stack.dead_letters().await, [], "it did not die");
    let kinds: Vec<_> = stack.failures().await.into_iter().map(|(_, kind, _)| kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "done").count(), 1);
    stack.redis(&["FLUSHALL"]).await;
    assert_eq!(other.deliver(delivery.again(3)).await.outcome(), "duplicate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snooze_a_busy_lock_and_a_shutdown_count_for_nothing() {
    let stack = Stack::start().await;
    let n = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&n);
    let probe = Probe::<Numbered>::answering(move || match count.fetch_add(1, Ordering::SeqCst) {
        0 | 2 | 4 => Ok(Outcome::Snooze(Clock::system().now())),
        1 | 3 => Err(Failure::busy(std::time::Duration::from_secs(5), "lock")),
        _ => done(),
    });
    let answers = stack.follow(&stack.service(probe), Delivery::new(body())).await;
    assert_eq!(outcomes(&answers), ["snoozed", "requeued", "snoozed", "requeued", "snoozed", "done"]);
    assert_eq!(stack.failures().await, []);
    assert_eq!(stack.redis(&["TTL", KEY]).await, redis::Value::Int(86_400));

    let hanging = Probe::<Numbered>::new(|_| std::future::pending());
    let service = stack.service(hanging.clone());
    let other = json!({ "data": { "n": 2 }, "idempotencyKey": "other" }).to_string();
    let running = service.clone();
    let run = tokio::spawn(async move { running.deliver(Delivery::new(other)).await });
    eventually("the job runs", || hanging.runs() > 0).await;
    service.shutdown.interrupt();
    let answer = run.await.unwrap();
    assert_eq!((answer.status, answer.outcome(), answer.reason()), (200, "requeued", "shutdown"));
    assert_eq!(stack.redis(&["EXISTS", "jobs:token-refresh:other"]).await, redis::Value::Int(0), "released");
    assert_eq!(stack.take_tasks(QUEUE).await.len(), 1);
    assert_eq!(stack.failures().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_answers_were_lost_has_one_successor() {
    let stack = Stack::start().await;
    let until = stack.now() + TimeDelta::minutes(5);
    let service = stack.service(Probe::<Numbered>::answering(move || Ok(Outcome::Snooze(until))));
    let delivery = Delivery::new(body());
    for retry in 0..3 {
        assert_eq!(service.deliver(delivery.clone().again(retry)).await.outcome(), "snoozed");
    }
    let next = stack.take_tasks(QUEUE).await;
    assert_eq!(next.len(), 1, "{next:?}");
    let envelope = next[0].envelope();
    assert_eq!((&envelope["n"], &envelope["root"]), (&json!(1), &json!(delivery.task)));
}

#[tokio::test(flavor = "multi_thread")]
async fn dispatches_that_reached_no_instance_cost_nothing() {
    let stack = Stack::start().await;
    let probe = failing();
    let answers = stack.follow(&stack.service(probe.clone()), Delivery::new(body()).again(40)).await;
    assert_eq!(
        outcomes(&answers),
        ["retry", "retry", "dead"],
        "an hour of a bad deployment, and all its attempts"
    );
    assert_eq!(probe.runs(), attempts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_dispatched_often_is_recorded_before_it_runs_and_counts_if_nothing_more_is_heard() {
    let stack = Stack::start().await;
    let without = [("UPSTASH_REDIS_REST_URL", "http://127.0.0.1:1".to_owned())];
    let mut delivery = Delivery::new(body()).again(20);
    let errors = Errors::from(stack.setup([]).database().unwrap());
    let listed = async || {
        let since = stack.now() - TimeDelta::days(1);
        let filter = errors::Filter { since, ..errors::Filter::default() };
        let groups = errors.list(&filter, stack.now(), 10).await.unwrap();
        groups.into_iter().map(|it| (it.reason, it.failures)).collect::<Vec<_>>()
    };
    for attempt in 1..=attempts() {
        let probe = Probe::<Numbered>::new(|_| std::future::pending());
        let service = stack.service_with(probe.clone(), without.clone());
        let (killed, dispatch) = (service.clone(), delivery.clone());
        tokio::spawn(async move { killed.deliver(dispatch).await });
        eventually("the job runs", || probe.runs() > 0).await;
        // While that run may be under way, no other one begins.
        let other = Probe::<Numbered>::answering(done);
        let answer = stack.service_with(other.clone(), without.clone()).deliver(delivery.clone()).await;
        assert_eq!((answer.outcome(), answer.reason(), other.runs()), ("requeued", "unproven", 0));
        if attempt == 1 {
            assert_eq!(listed().await, [], "a run that may be under way is no error");
        }
        let next = stack.take_tasks(QUEUE).await;
        stack.advance(200);
        delivery = next.into_iter().next().unwrap_or(delivery).again(20);
    }
    let answer = stack.service_with(failing(), without).deliver(delivery).await;
    assert_eq!((answer.outcome(), answer.reason()), ("dead", "attempts_used_up"), "{answer:?}");
    assert_eq!(stack.dead_letters().await[0].1, "never_reported_back");
    stack.advance(30 * 60);
    assert_eq!(listed().await, [("never_reported_back".to_owned(), i64::from(attempts()))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_reschedules_are_recorded_and_count_no_attempt() {
    let stack = Stack::start().await;
    let n = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&n);
    let probe = Probe::<Numbered>::answering(move || match count.fetch_add(1, Ordering::SeqCst) {
        0..30 => Ok(Outcome::Snooze(Clock::system().now())),
        _ => done(),
    });
    let answers = stack.follow(&stack.service(probe), Delivery::new(body())).await;
    assert_eq!((answers.len(), answers.last().unwrap().outcome()), (31, "done"));
    assert_eq!(stack.dead_letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn panic_message_is_not_stored_and_the_service_continues() {
    let stack = Stack::start().await;
    let probe = Probe::<Numbered>::new(|context| async move {
        assert!(context.attempt > 1, "alice@example.com");
        done()
    });
    let answers = stack.follow(&stack.service(probe), Delivery::new(body())).await;
    assert_eq!(outcomes(&answers), ["retry", "done"]);
    let errors: Vec<(String,)> = stack.rows("SELECT error FROM jobs.failures").await;
    assert_eq!(errors, [("the job panicked".to_owned(),)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn vendor_messages_are_not_stored() {
    let stack = Stack::start().await;
    let probe = Probe::<Numbered>::answering(|| {
        let error = serde_json::from_str::<u32>(r#""alice@example.com""#).unwrap_err();
        Err(Failure::permanent(error))
    });
    stack.service(probe).deliver(Delivery::new(body())).await;
    let errors: Vec<(String,)> = stack.rows("SELECT error FROM jobs.failures").await;
    let expected = "permanent failure: JSON that does not match the schema at line 1 column 19";
    assert_eq!(errors, [(expected.to_owned(),)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replayed_ten_times_in_three_days_a_dead_letter_makes_one_run() {
    let stack = Stack::start().await;
    stack
        .service(Probe::<Numbered>::answering(|| Err(Failure::permanent("never"))))
        .deliver(Delivery::new(body()))
        .await;
    let probe = Probe::<Numbered>::answering(done);
    let service = stack.service(probe.clone());
    let id: Vec<(String,)> = stack.rows("SELECT id FROM jobs.dead_letters").await;
    for day in 0..10 {
        let expected = if day == 0 { "replayed" } else { "replayed_before" };
        assert_eq!(stack.replay(QUEUE, &id[0].0).await, expected, "more only with --again");
        for task in stack.take_tasks(QUEUE).await {
            assert_eq!(task.envelope()["life"], json!(1));
            assert_eq!(service.deliver(task).await.outcome(), "done", "day {day}");
        }
        stack.advance(8 * 3600);
        if day == 5 {
            stack.redis(&["FLUSHALL"]).await;
        }
    }
    assert_eq!(probe.runs(), 1);
    let states: Vec<(String, i32)> = stack.rows("SELECT state, deaths FROM jobs.dead_letters").await;
    assert_eq!(states, [("sent".to_owned(), 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_was_cut_off_is_continued_and_a_new_death_opens_the_dead_letter_again() {
    let stack = Stack::start().await;
    let probe = failing();
    let service = stack.service(probe.clone());
    stack.follow(&service, Delivery::new(body())).await;
    let database = stack.setup([]).database().unwrap();
    let (bulks, db) = (Bulks::from(database.clone()), DeadLetters::from(database));
    let dead_letter = db.list_open(&Filter::default(), 10).await.unwrap().pop().unwrap();
    let bulk = stack.begin_replay(&dead_letter.id).await;
    // Cut off after the new task was created, twice.
    for _ in 0..2 {
        let begun = bulks.begin_replays(bulk, 1, stack.now()).await.unwrap().remove(0);
        let dead_letter = db.list_open(&Filter::default(), 10).await.unwrap().pop().unwrap();
        assert_eq!(dead_letter.state, "replaying");
        let (name, body) = task(QUEUE, &begun);
        stack.create_task(QUEUE, name, body).await;
    }
    let task = stack.take_tasks(QUEUE).await.remove(0);
    stack.follow(&service, task).await;
    // What is continued only then does not begin yet another life.
    assert_eq!(stack.continue_replay(QUEUE, bulk).await, "replayed");
    assert!(stack.take_tasks(QUEUE).await.is_empty());
    assert_eq!(probe.runs(), 2 * attempts());
    let dead_letters: Vec<(String, i32)> = stack.rows("SELECT state, deaths FROM jobs.dead_letters").await;
    assert_eq!(dead_letters, [("open".to_owned(), 2)]);
    let lives: Vec<_> = stack.failures().await.into_iter().map(|(life, _, _)| life).collect();
    assert_eq!(lives, [0, 0, 0, 1, 1, 1]);
    // A late delivery of the first life changes nothing.
    stack.redis(&["FLUSHALL"]).await;
    service.deliver(Delivery::new(body()).again(3)).await;
    let dead_letters: Vec<(String, i32)> = stack.rows("SELECT state, deaths FROM jobs.dead_letters").await;
    assert_eq!(dead_letters, [("open".to_owned(), 2)]);
    assert_eq!(probe.runs(), 2 * attempts());
}

#[tokio::test(flavor = "multi_thread")]
async fn task_that_meets_a_lease_is_rescheduled_after_its_end_without_an_attempt() {
    let stack = Stack::start().await;
    let delivery = Delivery::new(body());
    let slow = hanging_run(&stack, delivery.clone()).await;
    let probe = Probe::<Numbered>::answering(done);
    let service = stack.service(probe.clone());
    let answer = service.deliver(delivery.clone().again(1)).await;
    assert_eq!((answer.status, answer.outcome()), (200, "deferred"));
    let next = stack.take_tasks(QUEUE).await.remove(0);
    assert!(next.due.unwrap() > stack.now() + TimeDelta::seconds(60), "{:?}", next.due);
    // A clock that is behind, or a slow network: the lease is still there.
    assert_eq!(service.deliver(next.clone()).await.outcome(), "deferred");
    let again = stack.take_tasks(QUEUE).await;
    assert_eq!(again.len(), 1, "the only copy of the task is not lost");
    slow.shutdown.interrupt();
    assert_eq!(stack.take_tasks(QUEUE).await.len(), 0, "the same number has the same name");
    let answers = stack.follow(&service, again[0].clone()).await;
    assert_eq!(answers.last().unwrap().outcome(), "done");
    assert_eq!(probe.runs(), 1);
    assert_eq!(stack.failures().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failed_renewal_ends_nothing_and_a_forgotten_lease_is_taken_again() {
    let stack = Stack::start().await;
    let renewals = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&renewals);
    let proxy = RedisProxy::start(&stack.gateway.url(), move |request| {
        let is_renewal = request.body.contains("IFEQ") && request.body.contains("SET");
        let fails = is_renewal && seen.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if fails { ProxyAction::Fail } else { ProxyAction::Pass } }
    });
    let (end, at_end) = (Arc::new(tokio::sync::Notify::new()), Arc::new(AtomicBool::new(false)));
    let finish = Arc::clone(&end);
    let probe = Probe::<Numbered>::new(move |_| {
        let finish = Arc::clone(&finish);
        async move {
            finish.notified().await;
            done()
        }
    });
    let quick = [("LEASE_DIVISOR", "60".to_owned()), ("UPSTASH_REDIS_REST_URL", proxy.url("p"))];
    let service = stack.service_with(probe.clone(), quick);
    let run = tokio::spawn({
        let (service, at_end) = (service.clone(), Arc::clone(&at_end));
        async move {
            let answer = service.deliver(Delivery::new(body())).await;
            at_end.store(true, Ordering::SeqCst);
            answer
        }
    });
    let holds_lease = async || stack.redis(&["EXISTS", KEY]).await == redis::Value::Int(1);
    eventually("the lease is renewed after a failure", || renewals.load(Ordering::SeqCst) >= 3).await;
    stack.redis(&["DEL", KEY]).await;
    within(std::time::Duration::from_secs(20), "the lease is taken again", holds_lease).await;
    assert!(!at_end.load(Ordering::SeqCst), "the job continues");
    end.notify_one();
    assert_eq!(run.await.unwrap().outcome(), "done");
    assert_eq!(probe.runs(), 1);
}

/// What is in Redis is a lease of ours, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_names_its_run_and_its_end_and_outlives_it() {
    let stack = Stack::start().await;
    hanging_run(&stack, Delivery::new(body())).await;
    let redis::Value::BulkString(text) = stack.redis(&["GET", KEY]).await else { panic!("a lease") };
    let lease: Value = serde_json::from_slice(&text).unwrap();
    let end = lease["until_ms"].as_i64().unwrap();
    assert!((end - stack.now().timestamp_millis() - 60_000).abs() < 5_000);
    assert_eq!(stack.redis(&["TTL", KEY]).await, redis::Value::Int(86_400));
}
