//! No wrong number: what an operator reads is what was counted elsewhere.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use catchup::queues;
use google_stand_in::{Call, Fault, FaultKind, SeedOptions, Times};
use local_cloud::LocalCloud;
use local_cloud::functions::{TaskLine, built_programs};
use serde_json::{Value, json};
use shared::queue::Queue;

use super::{TIMEOUT, database, start};

/// Tasks that wait in a paused queue.
const WAITING: usize = 3;

/// What a command of `scripts/ops` says.
fn ops(cloud: &LocalCloud, arguments: &[&str]) -> Value {
    let said = Command::new(built_programs().unwrap().join("ops"))
        .args(arguments)
        .arg("--json")
        .env_clear()
        .envs(cloud.environment())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    serde_json::from_slice(&said.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said:?}"))
}

fn count<K: Ord>(of: impl IntoIterator<Item = K>) -> BTreeMap<K, u64> {
    of.into_iter().fold(BTreeMap::new(), |mut counted, key| {
        *counted.entry(key).or_default() += 1;
        counted
    })
}

async fn sql(cloud: &LocalCloud, statement: &'static str) -> BTreeMap<String, i64> {
    sqlx::query_as(statement).fetch_all(&mut database(cloud).await).await.unwrap().into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_queues_and_errors_count_is_what_was_counted_elsewhere() {
    let mut cloud =
        start(SeedOptions { users: 12, max_contacts: 60, seed: 3, ..SeedOptions::default() }).await;
    for (call, kind, times) in [
        (Call::Token, FaultKind::ServerError { status: 503 }, 4),
        (Call::EventsList, FaultKind::Reset, 3),
        (Call::EventsList, FaultKind::ServerError { status: 500 }, 6),
        (Call::PeopleConnectionsList, FaultKind::Garbage, 2),
    ] {
        cloud.world().inject(Fault::new(kind).call(call).times(Times::Count(times)));
    }
    for queue in queues::all() {
        cloud.tasks().create(queue, b"no envelope").await.unwrap();
    }
    cloud.run_schedules(queues::TOKEN_REFRESH).await.unwrap();
    cloud.run_schedules(queues::ADAPTIVE_SYNC).await.unwrap();
    cloud.until_idle(TIMEOUT, |_| ()).await.unwrap();
    // A process that starts again counts from nothing.
    let restarted = cloud.function_mut(queues::TOKEN_REFRESH).unwrap();
    let earlier = restarted.lines().len();
    restarted.kill().unwrap();
    restarted.respawn().unwrap();
    restarted.ready().await.unwrap();
    cloud.run_schedules(queues::TOKEN_REFRESH).await.unwrap();
    cloud.until_idle(TIMEOUT, |_| ()).await.unwrap();
    cloud.tasks().pause(queues::CALENDAR_SYNC).await.unwrap();
    for _ in 0..WAITING {
        cloud.tasks().create(queues::CALENDAR_SYNC, b"no envelope").await.unwrap();
    }

    let letters =
        sql(&cloud, "SELECT function, count(*) FROM jobs.dead_letters WHERE state <> 'sent' GROUP BY 1")
            .await;
    assert!(letters.len() > 5, "{letters:?}");
    let read = ops(&cloud, &["queues"]);
    for queue in queues::all() {
        let row = row(&read, queue);
        let mut lines = cloud.function_mut(queue).unwrap().lines();
        if queue == queues::TOKEN_REFRESH {
            lines.drain(..earlier);
        }
        let outcomes = count(lines.iter().map(|line| line.outcome.clone()));
        let all = f64::from(u32::try_from(lines.len()).unwrap());
        let successes = lines.iter().filter(|line| !is_failure(line)).count();
        let success = f64::from(u32::try_from(successes).unwrap()) * 100.0 / all;
        let is_close = |shown: f64| (shown - success).abs() < 1e-6;
        let waiting = if queue == queues::CALENDAR_SYNC { WAITING } else { 0 };
        let name = queue.name();
        assert_eq!(row["numbers"]["byOutcome"], json!(outcomes), "{name}");
        assert_eq!(row["numbers"]["dispatches"], json!(lines.len()), "{name}");
        let shown = &row["numbers"]["successPercent"];
        assert!(shown.as_f64().map_or(lines.is_empty(), is_close), "{name}: {shown} instead of {success}");
        assert_eq!(row["tasks"], json!(waiting), "{name}");
        assert_eq!(row["inFlight"], json!(0), "{name}");
        assert_eq!(row["state"], json!(if waiting > 0 { "paused" } else { "running" }), "{name}");
        assert_eq!(row["deadLetters"], json!(letters.get(name).copied().unwrap_or_default()), "{name}");
    }

    // Each failed run is a line of a function's log; what is no envelope fails before its job runs, and leaves a dead letter.
    let lines = cloud.lines();
    let failed = lines.iter().filter(|line| has_failed(line));
    let logged = count(failed.map(|line| (line.queue.clone(), line.reason.clone().unwrap())));
    let errors = ops(&cloud, &["errors"]);
    let mut shown = BTreeMap::new();
    for group in errors["errors"].as_array().unwrap() {
        let text = |name: &str| group[name].as_str().unwrap().to_owned();
        let (queue, reason) = (text("function"), text("reason"));
        let counted = if reason == "bad_envelope" { "deadLetters" } else { "failures" };
        *shown.entry((queue, reason)).or_default() += group[counted].as_u64().unwrap();
    }
    assert_eq!(shown, logged);
    assert_eq!(errors["isCut"], json!(false));
}

fn row(read: &Value, queue: Queue) -> &Value {
    read["queues"].as_array().unwrap().iter().find(|row| row["queue"] == queue.name()).unwrap()
}

/// Whether a dispatch ended as no task should.
fn is_failure(line: &TaskLine) -> bool {
    has_failed(line) || matches!(line.outcome.as_str(), "unavailable" | "refused")
}

/// Whether it was the task that failed.
fn has_failed(line: &TaskLine) -> bool {
    matches!(line.outcome.as_str(), "retry" | "dead")
}
