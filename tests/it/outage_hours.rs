//! An hour without one of the shared dependencies: a task that waits costs next to nothing, is not charged, and runs with
//! the first dispatch afterwards.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use catchup::queues;
use chrono::TimeDelta;
use serde_json::json;
use shared::job::{Failure, Outcome};
use shared::queue::Queue;
use tests::probe::Numbered;
use tests::redis_proxy::{ProxyAction, RedisProxy};
use tests::stack::Service;
use tests::{Answer, Delivery, Probe, Stack, Switch};
use url::Url;

const QUEUE: Queue = queues::TOKEN_REFRESH;
/// Cloud Tasks dispatches a task this often while it gets 503.
const SECONDS_BETWEEN_DISPATCHES: i64 = 30;
const DISPATCHES: u32 = 120;
/// What a task that waits for an hour may cost.
const MAX_REDIS_COMMANDS: u64 = 20;

/// The same URL with another place to connect to.
fn by_way_of(url: &Url, address: SocketAddr) -> String {
    let mut url = url.clone();
    url.set_host(Some(&address.ip().to_string())).expect("the URL has a host");
    url.set_port(Some(address.port())).expect("the URL has a host");
    url.into()
}

fn address(url: &Url) -> SocketAddr {
    *url.socket_addrs(|| None).expect("the URL has a place").first().expect("one at least")
}

/// A way to the server at `url` that can be cut, and the URL of that way.
fn switch(url: &str) -> (Switch, String) {
    let url: Url = url.parse().expect("a URL");
    let switch = Switch::start(address(&url));
    let by_way = by_way_of(&url, switch.address());
    (switch, by_way.trim_end_matches('/').to_owned())
}

/// Dispatches a task for an hour, then lets it fail until it is dead. `probe` fails once the outage has ended.
async fn check_hour(
    stack: &Stack,
    service: &Service,
    probe: &Probe<Numbered>,
    waits_for: &str,
    end_outage: impl AsyncFnOnce(),
) {
    let delivery = Delivery::new(json!({ "data": { "n": 1 }, "idempotencyKey": "k" }).to_string());
    for retry in 0..DISPATCHES {
        let answer = service.deliver(delivery.clone().again(retry)).await;
        assert_eq!((answer.status, answer.reason()), (503, waits_for), "dispatch {retry}: {answer:?}");
        stack.advance(SECONDS_BETWEEN_DISPATCHES);
    }
    let billed = stack.billing.bill().billed;
    println!("an hour without {waits_for}: {billed} Redis commands");
    assert!(billed < MAX_REDIS_COMMANDS, "{:?}", stack.billing.bill());
    end_outage().await;
    assert_eq!(stack.dead_letters().await, []);
    assert_eq!(charged(stack).await, 0);

    let before = probe.runs();
    let answer = service.deliver(delivery.again(DISPATCHES)).await;
    assert_eq!(
        (answer.outcome(), probe.runs() - before),
        ("retry", 1),
        "the first dispatch runs it: {answer:?}"
    );
    let next = stack.take_tasks(QUEUE).await.remove(0);
    stack.advance_to(next.due);
    let answers = stack.follow(service, next).await;
    let outcomes: Vec<_> = answers.iter().map(Answer::outcome).collect();
    assert_eq!(outcomes, ["retry", "dead"], "it has all its attempts");
    assert_eq!(probe.runs() - before, QUEUE.policy().attempts);
    assert_eq!(charged(stack).await, i64::from(QUEUE.policy().attempts));
}

/// Rows that count for the task.
async fn charged(stack: &Stack) -> i64 {
    let rows: Vec<(i64,)> =
        stack.rows("SELECT count(*) FROM jobs.failures WHERE kind NOT IN ('done', 'ended')").await;
    rows[0].0
}

fn failed() -> Result<Outcome, Failure> {
    Err(Failure::transient("no luck"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_without_redis() {
    let stack = Stack::start().await;
    let is_out = Arc::new(AtomicBool::new(true));
    // Nothing reaches the gateway, which counts what is billed: the tries are counted.
    let tries = Arc::new(AtomicU64::new(0));
    let (seen, counted) = (Arc::clone(&is_out), Arc::clone(&tries));
    let proxy = RedisProxy::start(&stack.gateway.url(), move |_| {
        std::future::ready(if seen.load(Ordering::SeqCst) {
            counted.fetch_add(1, Ordering::SeqCst);
            ProxyAction::Fail
        } else {
            ProxyAction::Pass
        })
    });
    // Without Redis a task does not wait: what it waits for is a vendor.
    let seen = Arc::clone(&is_out);
    let probe = Probe::<Numbered>::answering(move || {
        if seen.load(Ordering::SeqCst) {
            Err(Failure::unavailable(Duration::from_secs(30), "vendor"))
        } else {
            failed()
        }
    });
    let service = stack.service_with(probe.clone(), [("UPSTASH_REDIS_REST_URL", proxy.url("p"))]);
    check_hour(&stack, &service, &probe, "dependency", async || {
        let tries = tries.load(Ordering::SeqCst);
        println!("an hour without Redis: {tries} tries");
        assert!((1..MAX_REDIS_COMMANDS).contains(&tries), "{tries} tries");
        is_out.store(false, Ordering::SeqCst);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_without_postgres() {
    let stack = Stack::start().await;
    let (switch, database) = switch(stack.database.as_str());
    switch.turn(false);
    let other = [("DATABASE_URL", database.clone())];
    let db = stack.setup(other.clone()).database().unwrap();
    let probe = Probe::<Numbered>::new(move |_| {
        let db = db.clone();
        async move {
            db.ping().await?;
            failed()
        }
    });
    let service = stack.service_with(probe.clone(), other);
    check_hour(&stack, &service, &probe, "database", async || switch.turn(true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_a_read_only_postgres() {
    let stack = Stack::start().await;
    let name = stack.database.path().trim_start_matches('/').to_owned();
    // The old sessions end.
    let end_sessions = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    );
    let setting = format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = on");
    stack.run(&format!("{setting}; {end_sessions}")).await;
    let db = stack.setup([]).database().unwrap();
    let of_job = db.clone();
    let probe = Probe::<Numbered>::new(move |_| {
        let db = of_job.clone();
        async move {
            // Reads and writes a table, as a job does.
            shared::db::sweeps::Sweeps::from(db)
                .add_page(QUEUE, "s", 1, true, chrono::DateTime::UNIX_EPOCH)
                .await?;
            failed()
        }
    });
    let service = stack.service(probe.clone());
    check_hour(&stack, &service, &probe, "database", async || {
        let reset = format!("ALTER DATABASE \"{name}\" RESET default_transaction_read_only");
        stack.run(&format!("BEGIN READ WRITE; {reset}; {end_sessions}; COMMIT")).await;
        stack.until_sessions_are_over(&service, &db).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_without_cloud_tasks() {
    let stack = Stack::start().await;
    let (switch, tasks) = switch(&stack.tasks.url());
    switch.turn(false);
    let is_out = Arc::new(AtomicBool::new(true));
    let (seen, until) = (Arc::clone(&is_out), stack.now() + TimeDelta::minutes(1));
    let probe = Probe::<Numbered>::answering(move || {
        if seen.load(Ordering::SeqCst) { Ok(Outcome::Snooze(until)) } else { failed() }
    });
    let service = stack.service_with(probe.clone(), [("CLOUD_TASKS_URL", tasks)]);
    check_hour(&stack, &service, &probe, "cloud_tasks", async || {
        is_out.store(false, Ordering::SeqCst);
        switch.turn(true);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_without_the_keys_of_the_issuer() {
    let stack = Stack::start().await;
    let (switch, keys) = switch(&stack.issuer.jwks_url());
    switch.turn(false);
    let probe = Probe::<Numbered>::answering(failed);
    let service = stack.service_with(probe.clone(), [("OIDC_JWKS_URL", keys)]);
    check_hour(&stack, &service, &probe, "oidc_keys", async || switch.turn(true)).await;
}
