//! Redis forgets, loses what it had acknowledged, or lags behind, at any moment: between any two of its commands.
//!
//! Tasks count their attempts in Postgres, so that none of this changes how often a task fails. A run that is killed is
//! known only by its lease: with that forgotten, it costs one run more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use catchup::queues;
use chrono::TimeDelta;
use futures_util::{StreamExt, stream};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use shared::job::Failure;
use shared::queue::Queue;
use tests::probe::{Numbered, done};
use tests::redis_proxy::{ProxyAction, RedisProxy, Request};
use tests::stack::Service;
use tests::{Answer, Delivery, Probe, Process, Stack};
use tokio::sync::OnceCell;

const QUEUE: Queue = queues::TOKEN_REFRESH;
const NOWHERE: &str = "http://127.0.0.1:1";
/// Faults that each kind of amnesia comes to at least.
const MOMENTS: u32 = 1_000;
/// The share of commands before which something happens.
const FORGETFUL: f64 = 0.4;
/// The same while there are only tasks that kill.
const SELDOM: f64 = 0.15;
/// Writes that a failover undoes are younger than this.
const UNDONE: Duration = Duration::from_secs(5);
const LAG: Duration = Duration::from_secs(2);
/// A lease and its grace are over after this.
const EXPIRY_SECONDS: i64 = 66;
const CONCURRENCY: usize = 16;
/// No task is dispatched more often.
const MAX_DISPATCHES: u32 = 100;

/// What happens to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amnesia {
    /// It forgets everything.
    Flush,
    /// A replica takes over that lacks the latest writes.
    Failover,
    /// One command reads from a replica that lags behind.
    Lag,
}

/// Decides before each command whether something happens.
struct Fault {
    what: Amnesia,
    stack: Arc<Stack>,
    random: Mutex<(StdRng, f64)>,
    moments: AtomicU32,
    redis: OnceCell<redis::aio::MultiplexedConnection>,
}

impl Fault {
    async fn meet(self: Arc<Self>, _: Request) -> ProxyAction {
        let happens = {
            let mut random = self.random.lock().unwrap();
            let share = random.1;
            random.0.random_bool(share)
        };
        self.moments.fetch_add(happens.into(), Ordering::SeqCst);
        match self.what {
            Amnesia::Flush if happens => self.flush().await,
            Amnesia::Failover if happens => {
                self.stack.unkind.lose_writes(UNDONE).await.unwrap();
            }
            Amnesia::Lag => self.stack.unkind.set_replica_lag(if happens { LAG } else { Duration::ZERO }),
            Amnesia::Flush | Amnesia::Failover => {}
        }
        ProxyAction::Pass
    }

    async fn flush(&self) {
        let connect = async || local_cloud::redis::connect(self.stack.redis.url()).await.unwrap();
        let mut redis = self.redis.get_or_init(connect).await.clone();
        let flushed: redis::RedisResult<()> = redis::cmd("FLUSHALL").query_async(&mut redis).await;
        flushed.unwrap();
    }

    fn set_share(&self, share: f64) {
        self.random.lock().unwrap().1 = share;
    }

    fn moments(&self) -> u32 {
        self.moments.load(Ordering::SeqCst)
    }
}

fn delivery(key: &str) -> Delivery {
    Delivery::new(json!({ "data": { "n": 1 }, "idempotencyKey": key }).to_string())
}

fn key_of(delivery: &Delivery) -> String {
    delivery.envelope()["idempotencyKey"].as_str().unwrap().to_owned()
}

/// How often a task with that key fails before it succeeds.
fn failures_of(key: &str) -> u32 {
    let wanted = key.split('-').next().unwrap().parse().unwrap();
    QUEUE.policy().attempts.min(wanted)
}

/// A key for each number of failures from none to all attempts.
fn keys(tag: impl std::fmt::Display, n: u32) -> String {
    format!("{}-{tag}-{n}", n % (QUEUE.policy().attempts + 1))
}

type RunsByKey = Arc<Mutex<BTreeMap<String, u32>>>;

/// A job that fails as often as its key says, and counts the runs of each key.
fn scripted(runs: &RunsByKey) -> Probe<Numbered> {
    let runs = Arc::clone(runs);
    Probe::new(move |context| {
        let n = {
            let mut runs = runs.lock().unwrap();
            let n = runs.entry(context.key.clone()).or_default();
            *n += 1;
            *n
        };
        let fails = n <= failures_of(&context.key);
        std::future::ready(if fails { Err(Failure::transient("no luck")) } else { done() })
    })
}

/// Delivers tasks and their successors, round by round: all that is queued at the same time, then the clock advances to the
/// last of what is queued next. Each is delivered `copies` times concurrently. Returns the last answer for each key.
async fn rounds(
    stack: &Stack,
    services: &[Service],
    mut waiting: Vec<Delivery>,
    copies: usize,
) -> BTreeMap<String, Answer> {
    let mut last = BTreeMap::new();
    let mut round = 0;
    while !waiting.is_empty() {
        round += 1;
        assert!(round < MAX_DISPATCHES, "tasks without an end: {waiting:?}");
        let deliver = |(n, delivery): (usize, Delivery)| {
            let service = services[n % services.len()].clone();
            async move { (delivery.clone(), service.deliver(delivery).await) }
        };
        let dispatches: Vec<_> = waiting
            .drain(..)
            .flat_map(|delivery| std::iter::repeat_n(delivery, copies))
            .enumerate()
            .collect();
        let answers: Vec<_> =
            stream::iter(dispatches).map(deliver).buffer_unordered(CONCURRENCY).collect().await;
        for (delivery, answer) in answers {
            assert_eq!(answer.status, 200, "{delivery:?}: {answer:?}");
            // Of several copies, one does the work.
            let is_news = !["deferred", "duplicate"].contains(&answer.outcome());
            if is_news || !last.contains_key(&key_of(&delivery)) {
                last.insert(key_of(&delivery), answer);
            }
        }
        waiting = stack.take_tasks(QUEUE).await;
        stack.advance_to(waiting.iter().filter_map(|delivery| delivery.due).max());
    }
    last
}

/// Every task ran as often as its script says, and ended as it says.
async fn check_scripted(stack: &Stack, runs: &RunsByKey, last: &BTreeMap<String, Answer>, seed: &str) {
    let attempts = QUEUE.policy().attempts;
    let dead_letters: Vec<(String, i64)> = stack
        .rows(
            "SELECT key, (SELECT count(*) FROM jobs.failures f
                          WHERE f.function = letter.function AND f.key = letter.key AND kind = 'failed')
             FROM jobs.dead_letters letter WHERE key NOT LIKE 'killer%'",
        )
        .await;
    let dead_letters: BTreeMap<_, _> = dead_letters.into_iter().collect();
    let rows: Vec<(String, i64)> =
        stack.rows("SELECT key, count(*) FROM jobs.failures WHERE kind = 'failed' GROUP BY key").await;
    let rows: BTreeMap<_, _> = rows.into_iter().collect();
    let runs = runs.lock().unwrap();
    assert_eq!(runs.len(), last.len(), "{seed}: every task ran");
    for (key, answer) in last {
        let failures = failures_of(key);
        let dies = failures == attempts;
        assert_eq!(runs[key], if dies { attempts } else { failures + 1 }, "{seed}: runs of {key}");
        assert_eq!(rows.get(key).copied().unwrap_or_default(), i64::from(failures), "{seed}: rows of {key}");
        assert_eq!(answer.outcome(), if dies { "dead" } else { "done" }, "{seed}: end of {key}");
        let listed = dies.then_some(i64::from(attempts));
        assert_eq!(dead_letters.get(key).copied(), listed, "{seed}: runs in the dead letter of {key}");
    }
}

/// Kills every run of a task until it is dead; returns how many runs there were. Cloud Tasks dispatches again after
/// `again_after` so many retries.
async fn kill_until_dead(
    stack: &Stack,
    key: &str,
    redis_url: &str,
    again_after: impl Fn(u32) -> TimeDelta,
) -> u32 {
    let (mut waiting, mut runs) = (vec![delivery(key)], 0);
    for _ in 0..MAX_DISPATCHES {
        waiting.extend(stack.take_tasks(QUEUE).await);
        waiting.sort_by_key(|delivery| delivery.due);
        if waiting.is_empty() {
            return runs;
        }
        let next = waiting.remove(0);
        stack.advance_to(next.due);
        let probe = Probe::<Numbered>::new(|_| std::future::pending());
        let redis = [("UPSTASH_REDIS_REST_URL", redis_url.to_owned())];
        let process = Process::start(stack, probe.clone(), redis);
        let has_begun = async {
            while probe.runs() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let answer = tokio::select! {
            answer = process.deliver(next.clone()) => answer,
            () = has_begun => None,
        };
        drop(process);
        if answer.is_none() {
            runs += 1;
            let retries = next.retry_count + 1;
            let due = Some(stack.now() + again_after(retries));
            waiting.push(Delivery { due, ..next.again(retries) });
        } else {
            assert_eq!(answer.as_ref().map(|answer| answer.status), Some(200), "{key}: {answer:?}");
        }
    }
    panic!("{key} does not die");
}

/// One dead letter, and rows of exactly as many runs as there are attempts.
async fn check_killed(stack: &Stack, key: &str) {
    let rows: Vec<(i64,)> = stack
        .rows(&format!(
            "SELECT count(*) FROM jobs.failures WHERE key = '{key}' AND kind IN ('killed', 'started')"
        ))
        .await;
    assert_eq!(rows, [(i64::from(QUEUE.policy().attempts),)], "{key}");
    let dead_letters: Vec<(String, i32)> =
        stack.rows(&format!("SELECT state, deaths FROM jobs.dead_letters WHERE key = '{key}'")).await;
    assert_eq!(dead_letters, [("open".to_owned(), 1)], "{key}");
}

async fn amnesia(what: Amnesia, seed: u64, tasks: u32, copies: usize, killers: u32) {
    let started = Instant::now();
    let stack = Arc::new(Stack::start().await);
    if what != Amnesia::Flush {
        stack.unkind.set_undo_window(UNDONE);
    }
    let fault = Arc::new(Fault {
        what,
        stack: Arc::clone(&stack),
        random: Mutex::new((StdRng::seed_from_u64(seed), FORGETFUL)),
        moments: AtomicU32::new(0),
        redis: OnceCell::new(),
    });
    let happens = Arc::clone(&fault);
    let proxy = RedisProxy::start(&stack.gateway.url(), move |request| Arc::clone(&happens).meet(request));
    let runs = RunsByKey::default();
    let probe = scripted(&runs);
    let services = ["p0", "p1"]
        .map(|name| stack.service_with(probe.clone(), [("UPSTASH_REDIS_REST_URL", proxy.url(name))]));
    let first = (0..tasks).map(|n| delivery(&keys("task", n))).collect();
    let last = rounds(&stack, &services, first, copies).await;
    let told = format!("{what:?}, seed {seed}");
    check_scripted(&stack, &runs, &last, &told).await;
    let (moments, scripted_runs) = (fault.moments(), probe.runs());
    println!("{told}: {moments} moments, {scripted_runs} runs of {tasks} tasks, {:?}", started.elapsed());

    fault.set_share(SELDOM);
    stack.reset_clock();
    let (mut killed, mut most) = (0, 0);
    let after = |_| TimeDelta::seconds(EXPIRY_SECONDS);
    for n in 0..killers {
        let (key, before) = (format!("killer-{n}"), fault.moments());
        let runs = kill_until_dead(&stack, &key, &proxy.url("p0"), after).await;
        check_killed(&stack, &key).await;
        let hidden = if what == Amnesia::Lag { 0 } else { fault.moments() - before };
        let attempts = QUEUE.policy().attempts;
        assert!(
            (attempts..=attempts + hidden).contains(&runs),
            "{told}: {runs} runs of {key}, {hidden} moments"
        );
        killed += runs;
        most = most.max(runs);
    }
    let moments = fault.moments();
    println!(
        "{told}: {moments} moments, {killed} runs of {killers} killers, {most} at most, {:?}",
        started.elapsed()
    );
    assert!(moments >= MOMENTS, "only {moments} moments");
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_everything_at_any_moment_changes_no_count() {
    amnesia(Amnesia::Flush, 1, 450, 1, 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_undoes_five_seconds_at_any_moment_changes_no_count() {
    amnesia(Amnesia::Failover, 2, 450, 1, 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_lag_two_seconds_at_any_moment_change_no_count() {
    amnesia(Amnesia::Lag, 3, 250, 2, 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_without_redis_changes_no_count_and_ends_every_task() {
    /// Cloud Tasks takes no task further ahead of its own clock than 30 days.
    const MONTH: TimeDelta = TimeDelta::days(28);
    let started = Instant::now();
    let stack = Stack::start().await;
    let runs = RunsByKey::default();
    let probe = scripted(&runs);
    let service = stack.service_with(probe.clone(), [("UPSTASH_REDIS_REST_URL", NOWHERE.to_owned())]);
    let (mut last, mut killers, mut day) = (BTreeMap::new(), Vec::new(), 0);
    let end = stack.now() + MONTH;
    while stack.now() < end {
        let first = (0..8).map(|n| delivery(&keys(day, n))).collect();
        last.extend(rounds(&stack, std::slice::from_ref(&service), first, 1).await);
        if day % 7 == 0 {
            let key = format!("killer-{day}");
            let backoff = |retries| TimeDelta::from_std(QUEUE.policy().backoff(retries)).unwrap();
            killers.push(kill_until_dead(&stack, &key, NOWHERE, backoff).await);
            check_killed(&stack, &key).await;
        }
        stack.advance(24 * 3_600);
        day += 1;
    }
    check_scripted(&stack, &runs, &last, "a month").await;
    println!(
        "a month: {day} days, {} runs of {} tasks, {killers:?} runs of killers, {:?}",
        probe.runs(),
        last.len(),
        started.elapsed()
    );
    // 20 dispatches without a record, then each run is recorded before it begins.
    let most = 20 + QUEUE.policy().attempts;
    assert!(killers.iter().all(|runs| *runs <= most), "{killers:?}");
}
