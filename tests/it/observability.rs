//! What `infra/gcp/metrics.json` and `infra/alerts.json` read is what the functions write.

use catchup::payload::Integration;
use catchup::queues;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use shared::queue::Queue;
use shared::telemetry::line::{Counts, FinishedSweep, Line, OutcomeCode};
use shared::telemetry::{Counter, EventCode, Meter, metrics};
use tests::acting::RUNS;
use tests::{Instances, Stack, eventually, repository};
use uuid::Uuid;

const QUEUE: Queue = queues::TOKEN_REFRESH;
/// Where the codes are declared.
const ENUMS: [&str; 2] = ["shared/src/telemetry/event.rs", "shared/catchup/src/event.rs"];

/// What Terraform makes log-based metrics of.
#[derive(Deserialize)]
struct Metrics {
    line: CanonicalLine,
    duration_buckets_seconds: Vec<f64>,
    durations: BTreeMap<String, String>,
    sums: BTreeMap<String, String>,
    entries: BTreeMap<String, Vec<String>>,
    labelled_entries: BTreeMap<String, Labelled>,
}

#[derive(Deserialize)]
struct Labelled {
    event: String,
    labels: BTreeMap<String, String>,
}

impl Metrics {
    /// Codes by which entries are counted.
    fn codes(&self) -> BTreeSet<String> {
        let labelled = self.labelled_entries.values().map(|metric| metric.event.clone());
        self.entries.values().flatten().cloned().chain(labelled).collect()
    }
}

#[derive(Deserialize)]
struct CanonicalLine {
    event: String,
    queue: String,
    outcome: String,
    status: String,
}

fn declared() -> Metrics {
    serde_json::from_str(include_str!("../../infra/gcp/metrics.json")).expect("the declaration is readable")
}

/// A line with every field that a line can have.
fn full_line() -> Value {
    let line = Line {
        queue: "token-refresh",
        task: "name",
        dispatch: 1,
        attempt: 1,
        outcome: OutcomeCode::Done,
        reason: Some("reason"),
        status: 200,
        duration_ms: 1.0,
        waited_ms: Some(1.0),
        user_id: Some(Uuid::nil()),
        counts: Counts::from(&Meter::default()),
    };
    serde_json::to_value(line).expect("a line is JSON")
}

#[test]
fn log_based_metrics_match_codes_of_the_enum() {
    let declared = declared();
    assert_eq!(declared.line.event, Line::EVENT.to_string());
    for code in declared.codes() {
        assert!(
            code.parse::<EventCode>().is_ok() || code.parse::<catchup::event::EventCode>().is_ok(),
            "no entry has the code {code}"
        );
    }
}

/// A code that no source writes would be counted as zero forever.
#[test]
fn codes_that_are_counted_are_written_by_a_source() {
    let platform: &dyn Fn(&str) -> Option<String> =
        &|code| Some(format!("{:?}", code.parse::<EventCode>().ok()?));
    let product: &dyn Fn(&str) -> Option<String> =
        &|code| Some(format!("{:?}", code.parse::<catchup::event::EventCode>().ok()?));
    let codes = declared().codes();
    let mut missing: BTreeSet<_> = codes
        .iter()
        .map(|code| {
            platform(code).or_else(|| product(code)).unwrap_or_else(|| panic!("no entry has the code {code}"))
        })
        .collect();
    assert!(missing.len() > 3, "{missing:?}");
    repository::each_text_file(&["rs"], |path, text| {
        let is_enum = ENUMS.iter().any(|file| path == Path::new(file));
        if is_enum || !is_source(path) {
            return;
        }
        missing.retain(|variant| {
            let used = format!("EventCode::{variant}");
            !text
                .match_indices(&used)
                .any(|(at, _)| !text[at + used.len()..].starts_with(char::is_alphanumeric))
        });
    });
    assert!(missing.is_empty(), "counted, and written by no source: {missing:?}");
}

/// Whether it is a part of what functions are built from.
fn is_source(path: &Path) -> bool {
    let is_function =
        path.strip_prefix("functions").is_ok_and(|path| path.iter().nth(1).is_some_and(|it| it == "src"));
    is_function || path.starts_with("shared/src") || path.starts_with("shared/catchup/src")
}

#[test]
fn log_based_metrics_read_fields_of_the_canonical_line() {
    let (declared, line) = (declared(), full_line());
    let numbers = declared.durations.values().chain(declared.sums.values()).chain([&declared.line.status]);
    for field in numbers {
        assert!(line[field].is_number(), "{field} is no number of {line}");
    }
    for label in [declared.line.queue, declared.line.outcome] {
        assert!(line[&label].is_string(), "{label} is no text of {line}");
    }
}

#[test]
fn finished_sweeps_are_counted_by_fields_of_their_entry() {
    let metrics = declared().labelled_entries;
    let sweeps = &metrics["sweeps_finished"];
    assert_eq!(sweeps.event, FinishedSweep::EVENT.to_string());
    let entry = serde_json::to_value(FinishedSweep { queue: "adaptive-sync", part: "google_contacts" });
    let entry = entry.expect("an entry is JSON");
    let fields = ["queue", "part"].map(|label| entry[&sweeps.labels[label]].as_str());
    assert_eq!(fields, [Some("adaptive-sync"), Some("google_contacts")]);
}

/// The sweeps that an alert misses are named by the values of their schedules' payloads.
#[test]
fn parts_of_sweeps_are_those_of_the_declared_schedules() {
    let declaration: Value = serde_json::from_str(include_str!("../../infra/queues.json")).expect("JSON");
    for (queue, declared) in declaration["queues"].as_object().expect("queues") {
        let payloads =
            declared["schedules"].as_array().expect("schedules").iter().map(|each| &each["payload"]);
        let mut parts = BTreeSet::new();
        for payload in payloads {
            let part: String = payload
                .as_object()
                .expect("a payload")
                .values()
                .map(|part| part.as_str().expect("a payload whose values are texts"))
                .collect();
            assert!(
                part.is_empty() || part.parse::<Integration>().is_ok(),
                "{queue}: no sweep is named after {part}"
            );
            assert!(parts.insert(part), "{queue} has schedules that cannot be told apart");
        }
    }
}

/// The page of `/metrics` after something of every kind has happened.
async fn page() -> String {
    for counter in [
        Counter::RedisIdempotency,
        Counter::RedisRateLimit,
        Counter::RedisCache,
        Counter::CacheHit,
        Counter::CacheMiss,
        Counter::SqlStatement,
    ] {
        shared::telemetry::count(counter, 1);
    }
    let _answered = shared::telemetry::vendor_call("vendor.method", async { Ok::<_, ()>(()) }).await;
    metrics::count_task("token-refresh", "done", Duration::ZERO, Some(Duration::ZERO));
    shared::telemetry::sweep_finished("token-refresh", "");
    metrics::render()
}

#[tokio::test]
async fn log_based_durations_have_the_buckets_of_the_metrics_page() {
    let page = page().await;
    let bounds: BTreeSet<_> = page
        .lines()
        .filter(|line| line.starts_with("task_duration_seconds_bucket{"))
        .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next())
        .filter(|bound| *bound != "+Inf")
        .collect();
    let parsed: Vec<f64> = bounds.iter().map(|bound| bound.parse().expect("a number")).collect();
    let mut declared = declared().duration_buckets_seconds;
    assert_eq!(declared.len(), parsed.len());
    declared.retain(|bound| !parsed.contains(bound));
    assert!(declared.is_empty(), "/metrics has no bucket {declared:?}");
}

#[tokio::test]
async fn prometheus_rules_ask_for_metrics_of_the_metrics_page() {
    let alerts: Value = serde_json::from_str(include_str!("../../infra/alerts.json")).expect("JSON");
    let page = page().await;
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let mut asked = BTreeSet::new();
    for query in
        alerts["alerts"].as_object().expect("alerts").values().filter_map(|a| a["prometheus"].as_str())
    {
        let before_labels = query.split('{').rev().skip(1);
        let names = before_labels.map(|text| &text[text.trim_end_matches(is_name).len()..]);
        // A placeholder stands behind no name.
        asked.extend(names.filter(|name| !name.is_empty()));
    }
    assert!(asked.len() > 5, "{asked:?}");
    for metric in asked {
        assert!(page.contains(&format!("\n{metric}{{")), "{metric} is not on the page:\n{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_a_function_without_redis_carry_their_codes() {
    let stack = Stack::start().await;
    stack.run(RUNS).await;
    let redis = [("UPSTASH_REDIS_REST_URL", "http://127.0.0.1:1".to_owned())];
    let function = Instances::start(&stack, 1, redis).await;
    stack.tasks.route(QUEUE, function.address()).await.expect("Cloud Tasks answers");
    let body = json!({ "data": { "acts": ["succeed"] }, "jobName": QUEUE.name() }).to_string();
    stack.tasks.create(QUEUE, body.as_bytes()).await.expect("Cloud Tasks answers");
    eventually("the task is dispatched", || !function.lines().is_empty()).await;
    let log = function.with(|processes| processes[0].log());
    let entries: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let codes: BTreeSet<_> = entries.iter().filter_map(|entry| entry["event"].as_str()).collect();
    for code in [EventCode::Listening, EventCode::RedisUnavailable, EventCode::Task] {
        assert!(codes.contains(code.to_string().as_str()), "{code} is missing in {codes:?}");
    }
}
