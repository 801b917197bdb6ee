//! Real processes behind Cloud Tasks, while instances are killed and frozen, Redis forgets, and connections break.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use catchup::queues;
use local_cloud::functions::TaskLine;
use local_cloud::tasks::Settings;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use shared::envelope::sha256_hex;
use shared::queue::Queue;
use tests::acting::{Act, RUNS, Script};
use tests::redis_proxy::{ProxyAction, RedisProxy};
use tests::{Instances, Stack};

const QUEUE: Queue = queues::TOKEN_REFRESH;
/// Leases of two seconds, and runs of four at most.
const LEASE_DIVISOR: u32 = 30;
const BACKOFF_DIVISOR: u32 = 1_000;
const POLL: Duration = Duration::from_millis(50);
const TIMEOUT: Duration = Duration::from_mins(4);
/// Longer than a lease with its grace.
const LONGEST_FREEZE_MS: u64 = 3_500;
const UNDONE: Duration = Duration::from_secs(5);
/// Numbers of tasks that a chain may reach.
const LONGEST_CHAIN: u32 = 200;

enum Fault {
    /// `kill -9`.
    Kill,
    /// `SIGSTOP`, and `SIGCONT` later.
    Freeze,
    /// Redis forgets everything.
    Flush,
    /// Redis loses the latest writes.
    Failover,
}

/// What happens, one after the other, when and where chance will have it. Most kills are found before Redis forgets them.
const FAULTS: [Fault; 8] = [
    Fault::Kill,
    Fault::Freeze,
    Fault::Flush,
    Fault::Kill,
    Fault::Freeze,
    Fault::Kill,
    Fault::Freeze,
    Fault::Failover,
];

/// Failures that count, by the rule of `jobs.failures`: a kill in company proves nothing.
const CHARGED: &str = "
    SELECT key, count(*) FROM jobs.failures f
    WHERE kind IN ('failed', 'permanent', 'started') OR kind = 'killed' AND (alone OR NOT EXISTS (
        SELECT FROM jobs.failures other
        WHERE other.kind = 'killed' AND other.instance = f.instance
          AND (other.function, other.key) <> (f.function, f.key)))
    GROUP BY key";

async fn start() -> Stack {
    let settings =
        Settings { backoff_divisor: BACKOFF_DIVISOR, lease_divisor: LEASE_DIVISOR, ..Settings::default() };
    let stack = Stack::start_with(settings).await;
    stack.run(RUNS).await;
    stack
}

async fn instances(stack: &Stack, count: usize, redis: String) -> Instances {
    let other = [
        ("LEASE_DIVISOR", LEASE_DIVISOR.to_string()),
        ("TIMEOUT_DIVISOR", LEASE_DIVISOR.to_string()),
        ("RETRY_BACKOFF_DIVISOR", BACKOFF_DIVISOR.to_string()),
        ("UPSTASH_REDIS_REST_URL", redis),
    ];
    Instances::start(stack, count, other).await
}

/// Lets the queue dispatch as fast as it can, so many tasks at the same time.
async fn limit(stack: &Stack, concurrent: usize) {
    let http = shared::http::client(TIMEOUT, TIMEOUT);
    let queue = format!("{}/queues/{}", stack.tasks.settings().parent(), QUEUE.cloud_name());
    let limits =
        json!({ "rateLimits": { "maxDispatchesPerSecond": 500, "maxConcurrentDispatches": concurrent } });
    let sent = http.patch(format!("{}/v2/{queue}?updateMask=rateLimits", stack.tasks.url())).json(&limits);
    sent.send().await.unwrap().error_for_status().unwrap();
}

/// Creates a task; returns its short name.
async fn create(stack: &Stack, key: &str, script: &Script) -> String {
    let body = json!({ "data": script, "idempotencyKey": key, "jobName": QUEUE.name() }).to_string();
    let path = stack.tasks.create(QUEUE, body.as_bytes()).await.unwrap();
    path.rsplit('/').next().unwrap().to_owned()
}

fn script(acts: impl Into<Vec<Act>>, after_ms: u64) -> Script {
    Script { acts: acts.into(), after_ms, ..Script::default() }
}

async fn until_quiet(stack: &Stack, told: &str) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let left = stack.tasks.count(QUEUE).await.unwrap();
        if left == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{told}: {left} tasks are left");
        tokio::time::sleep(POLL).await;
    }
}

async fn counts(stack: &Stack, sql: &str) -> BTreeMap<String, u32> {
    let rows: Vec<(String, i64)> = stack.rows(sql).await;
    rows.into_iter().map(|(key, n)| (key, u32::try_from(n).unwrap())).collect()
}

async fn dead_letters(stack: &Stack) -> BTreeSet<String> {
    let keys: Vec<(String,)> = stack.rows("SELECT key FROM jobs.dead_letters").await;
    keys.into_iter().map(|(key,)| key).collect()
}

/// How the chain of tasks ended that began with the task of that name.
fn end_of<'a>(lines: &BTreeMap<&str, Vec<&'a TaskLine>>, name: &str) -> Option<&'a str> {
    let names = std::iter::once(name.to_owned()).chain((1..LONGEST_CHAIN).map(|n| {
        let hash = sha256_hex([QUEUE.name(), "\0", &format!("{name}#{n}")]);
        format!("{}-{}", &hash[..32], QUEUE.name())
    }));
    let lines = names.filter_map(|name| lines.get(name.as_str())).flatten();
    let mut outcomes = lines.map(|line| line.outcome.as_str());
    outcomes.rfind(|outcome| ["done", "skipped", "dead", "duplicate"].contains(outcome))
}

/// What a task does, and how often it fails; `None` is a task that dies with its first failure.
fn mixed(n: usize, random: &mut StdRng) -> (Script, Option<u32>) {
    use Act::{Busy, Fail, FailForGood, Hang, Outage, Panic, Skip, Snooze, Succeed};
    let after_ms = random.random_range(300..2_000);
    let (acts, failures): (&[Act], _) = match n % 12 {
        0..3 => (&[Fail], Some(QUEUE.policy().attempts)),
        3 => (&[Panic], Some(QUEUE.policy().attempts)),
        4 => (&[FailForGood], None),
        5 => (&[Snooze, Busy, Succeed], Some(0)),
        6 => (&[Outage, Succeed], Some(0)),
        7 => (&[Skip], Some(0)),
        8 if n < 12 => (&[Hang, Succeed], Some(1)),
        8 => (&[Fail, Succeed], Some(1)),
        _ => (&[Succeed], Some(0)),
    };
    (script(acts, after_ms), failures)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_task_ends_as_it_should_whatever_happens_to_its_instances_and_to_redis() {
    const SEED: u64 = 7;
    const TASKS: usize = 100;
    const INSTANCES: usize = 3;
    let started = Instant::now();
    let stack = start().await;
    stack.unkind.set_undo_window(UNDONE);
    let breaks = Arc::new(Mutex::new(StdRng::seed_from_u64(SEED)));
    let proxy = RedisProxy::start(&stack.gateway.url(), move |_| {
        let is_broken = breaks.lock().unwrap().random_bool(0.03);
        std::future::ready(if is_broken { ProxyAction::LoseAnswer } else { ProxyAction::Pass })
    });
    let instances = instances(&stack, INSTANCES, proxy.url("p")).await;
    let mut random = StdRng::seed_from_u64(SEED);
    let mut tasks = BTreeMap::new();
    for n in 0..TASKS {
        let (script, failures) = mixed(n, &mut random);
        let key = format!("task-{n}");
        tasks.insert(key.clone(), (create(&stack, &key, &script).await, failures));
    }
    stack.tasks.route(QUEUE, instances.address()).await.unwrap();

    let [mut kills, mut freezes, mut lapses] = [0_u32; 3];
    let end = Instant::now() + Duration::from_secs(24);
    for fault in FAULTS.iter().cycle().take_while(|_| Instant::now() < end) {
        tokio::time::sleep(Duration::from_millis(random.random_range(200..900))).await;
        let n = random.random_range(0..INSTANCES);
        match fault {
            Fault::Kill => {
                instances.kill(n);
                kills += 1;
            }
            Fault::Freeze => {
                instances.freeze(n);
                let frozen = random.random_range(100..LONGEST_FREEZE_MS);
                tokio::time::sleep(Duration::from_millis(frozen)).await;
                instances.thaw(n);
                freezes += 1;
            }
            Fault::Flush => {
                stack.unkind.flush().await.unwrap();
                lapses += 1;
            }
            Fault::Failover => {
                stack.unkind.lose_writes(UNDONE).await.unwrap();
                lapses += 1;
            }
        }
    }
    let told = format!("seed {SEED}");
    until_quiet(&stack, &told).await;

    let lines = instances.lines();
    let mut by_name: BTreeMap<&str, Vec<&TaskLine>> = BTreeMap::new();
    for line in &lines {
        by_name.entry(&line.task).or_default().push(line);
    }
    let runs = counts(&stack, "SELECT key, count(*) FROM runs GROUP BY key").await;
    let failed =
        counts(&stack, "SELECT key, count(*) FROM jobs.failures WHERE kind = 'failed' GROUP BY key").await;
    let killed =
        counts(&stack, "SELECT key, count(*) FROM jobs.failures WHERE kind = 'killed' GROUP BY key").await;
    let (charged, dead_letters) = (counts(&stack, CHARGED).await, dead_letters(&stack).await);
    let of = |counts: &BTreeMap<String, u32>, key: &str| counts.get(key).copied().unwrap_or_default();
    let attempts = QUEUE.policy().attempts;
    let mut excess = 0;
    for (key, (name, failures)) in &tasks {
        let (failed, killed, charged) = (of(&failed, key), of(&killed, key), of(&charged, key));
        let facts = format!(
            "{told}, {key}: {failed} failed, {killed} killed, {charged} charged, {} runs, wanted {failures:?}",
            of(&runs, key)
        );
        let ended = end_of(&by_name, name);
        assert!(ended.is_some(), "{facts}: no end");
        let is_dead = dead_letters.contains(key);
        match *failures {
            Some(failures) if failures < attempts => {
                assert!(!is_dead || charged >= attempts, "{facts}: a dead letter");
                assert!(failed <= failures, "{facts}: a row without a failure");
            }
            Some(_) => {
                assert!(is_dead, "{facts}: no dead letter");
                assert!(failed + killed >= attempts, "{facts}: too few");
                excess += failed.saturating_sub(attempts);
            }
            None => assert!(is_dead, "{facts}: no dead letter"),
        }
    }
    println!(
        "{told}: {kills} kills, {freezes} freezes, {lapses} lapses of Redis, {} dispatches, {} runs, {} killed, \
         {} dead_letters, {excess} runs in excess, {:?}",
        lines.len(),
        runs.values().sum::<u32>(),
        killed.values().sum::<u32>(),
        dead_letters.len(),
        started.elapsed()
    );
    assert!(excess <= lapses, "{told}: {excess} runs too many, {lapses} lapses of Redis");
}

#[tokio::test(flavor = "multi_thread")]
async fn innocents_are_not_charged_for_the_task_that_kills_the_instances_they_share_with_it() {
    const TASKS: usize = 1_000;
    const INSTANCES: usize = 2;
    const CONCURRENCY: usize = 16;
    let started = Instant::now();
    let stack = start().await;
    let instances = instances(&stack, INSTANCES, stack.gateway.url()).await;
    limit(&stack, INSTANCES * CONCURRENCY).await;
    for n in 0..TASKS {
        create(&stack, &format!("innocent-{n}"), &script([Act::Succeed], 20)).await;
        if n == TASKS / 10 {
            create(&stack, "killer", &script([Act::Abort], 30)).await;
        }
    }
    stack.tasks.route(QUEUE, instances.address()).await.unwrap();
    until_quiet(&stack, "innocents").await;

    let runs = counts(&stack, "SELECT key, count(*) FROM runs GROUP BY key").await;
    let killed =
        counts(&stack, "SELECT key, count(*) FROM jobs.failures WHERE kind = 'killed' GROUP BY key").await;
    println!(
        "innocents: {} tasks, {} runs, {} of them killed, {} runs of the killer, {:?}",
        runs.len(),
        runs.values().sum::<u32>(),
        killed.values().sum::<u32>(),
        runs["killer"],
        started.elapsed()
    );
    assert_eq!(runs.len(), TASKS + 1, "every task ran");
    assert_eq!(dead_letters(&stack).await, BTreeSet::from(["killer".to_owned()]));
    let mut charged = counts(&stack, CHARGED).await;
    let attempts = QUEUE.policy().attempts;
    // Its first kill may have counted until its company was found.
    assert!(charged.remove("killer").is_some_and(|kills| kills <= attempts));
    assert_eq!(charged, BTreeMap::new(), "no other task is charged");
    assert!(runs["killer"] <= attempts + 1, "{} runs", runs["killer"]);
}
