//! Cloud Monitoring: of its Prometheus API the questions that are asked, and the alerts that fire. It refuses others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, header};
use serde_json::{Value, json};
use shared::clock::Clock;
use url::form_urlencoded;

use crate::rest::{Answer, Refusal};

const METRICS: &str = "logging_googleapis_com:user_jobs_";
const RESOURCE: &str = "{monitored_resource=\"cloud_run_revision\"}";
const QUANTILE: &str = "sum by (queue, le) (increase(logging_googleapis_com:user_jobs_task_duration_ms_bucket{monitored_resource=\"cloud_run_revision\"}[60m])))";
/// Of one series.
const MAX_POINTS: i64 = 11_000;
/// The only filter that is asked for, as the sorting and filtering page of the API has it.
const OPEN: &str = "state=\"OPEN\"";
const MAX_ALERTS: usize = 1_000;

/// What was counted, and what fires.
#[derive(Debug, Default)]
pub(crate) struct Monitoring {
    recorded: Mutex<Recorded>,
    pub(crate) wants_credentials: AtomicBool,
}

#[derive(Debug, Default)]
struct Recorded {
    dispatches: Vec<Dispatch>,
    /// Redis commands of leases, by queue.
    lease_commands: BTreeMap<String, u32>,
    alerts: Vec<Value>,
}

#[derive(Debug)]
struct Dispatch {
    queue: String,
    outcome: String,
    ms: f64,
}

/// By how much a metric grew: `sum by (BY) (increase(METRIC[MINUTESm]))`.
struct Increase<'a> {
    by: &'a str,
    metric: &'a str,
    minutes: i64,
}

impl<'a> Increase<'a> {
    fn parse(question: &'a str) -> Option<Self> {
        let (by, rest) = question.strip_prefix("sum by (")?.split_once(") (increase(")?;
        let (metric, rest) = rest.strip_prefix(METRICS)?.split_once(RESOURCE)?;
        let minutes = rest.strip_prefix('[')?.strip_suffix("m]))")?.parse().ok()?;
        Some(Self { by, metric, minutes })
    }
}

impl Monitoring {
    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn record(&self, queue: &str, outcome: &str, ms: f64) {
        let dispatch = Dispatch { queue: queue.to_owned(), outcome: outcome.to_owned(), ms };
        self.recorded().dispatches.push(dispatch);
    }

    pub(crate) fn record_lease_commands(&self, queue: &str, commands: u32) {
        *self.recorded().lease_commands.entry(queue.to_owned()).or_default() += commands;
    }

    /// Opens an alert as a policy of Terraform does, about one queue.
    pub(crate) fn open_alert(&self, policy: &str, severity: &str, queue: &str) {
        let mut recorded = self.recorded();
        let alert = json!({
            "name": format!("projects/local/alerts/{}", recorded.alerts.len()),
            "state": "OPEN",
            "openTime": Clock::system().now().to_rfc3339(),
            "metric": { "type": format!("{METRICS}tasks"), "labels": { "queue": queue } },
            "policy": { "name": "projects/local/alertPolicies/1", "displayName": policy, "severity": severity },
        });
        recorded.alerts.insert(0, alert);
    }

    /// The labels of each series, and what it grew by; none, if the metric is not known.
    fn increases(&self, increase: &Increase<'_>) -> Option<Vec<(Value, f64)>> {
        let recorded = self.recorded();
        let mut sums: BTreeMap<(String, Option<String>), f64> = BTreeMap::new();
        let mut add = |queue: &String, outcome, number| {
            *sums.entry((queue.clone(), outcome)).or_default() += number;
        };
        match (increase.by, increase.metric) {
            ("queue, outcome", "tasks_total") => {
                recorded.dispatches.iter().for_each(|it| add(&it.queue, Some(it.outcome.clone()), 1.0));
            }
            ("queue", "tasks_total") => recorded.dispatches.iter().for_each(|it| add(&it.queue, None, 1.0)),
            ("queue", "task_duration_ms_sum") => {
                recorded.dispatches.iter().for_each(|it| add(&it.queue, None, it.ms));
            }
            ("queue", "redis_idempotency_sum") => {
                recorded.lease_commands.iter().for_each(|(queue, it)| add(queue, None, f64::from(*it)));
            }
            ("queue", "redis_rate_limit_sum" | "redis_cache_sum") => {}
            _ => return None,
        }
        let labels = |(queue, outcome): (String, Option<String>)| match outcome {
            Some(outcome) => json!({ "queue": queue, "outcome": outcome }),
            None => json!({ "queue": queue }),
        };
        Some(sums.into_iter().map(|(key, sum)| (labels(key), sum)).collect())
    }

    /// By queue: the duration that so large a part of the dispatches did not exceed.
    fn quantiles(&self, quantile: f64) -> Vec<(Value, f64)> {
        let recorded = self.recorded();
        let queues: BTreeSet<_> = recorded.dispatches.iter().map(|it| it.queue.as_str()).collect();
        let of_queue = |queue: &str| {
            let of_queue = recorded.dispatches.iter().filter(|it| it.queue == queue);
            let mut ms: Vec<_> = of_queue.map(|it| it.ms).collect();
            ms.sort_by(f64::total_cmp);
            let rank = (1..=ms.len()).find(|rank| as_number(*rank) >= quantile * as_number(ms.len()));
            (json!({ "queue": queue }), ms[rank.unwrap_or(ms.len()) - 1])
        };
        queues.into_iter().map(of_queue).collect()
    }

    /// As Google refuses who does not say who it is.
    fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let has_token =
            headers.get(header::AUTHORIZATION).is_some_and(|it| it.as_bytes().starts_with(b"Bearer "));
        let is_known = has_token || !self.wants_credentials.load(Ordering::Relaxed);
        if is_known { Ok(()) } else { Err(Refusal::Unauthenticated) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a test has few dispatches")]
fn as_number(count: usize) -> f64 {
    count as f64
}

fn bad_data(what: &str) -> Refusal {
    Refusal::BadData(what.to_owned())
}

fn success(kind: &str, result: &[Value]) -> Json<Value> {
    Json(json!({ "status": "success", "data": { "resultType": kind, "result": result } }))
}

/// `GET …/prometheus/api/v1/query?query=…`, about the last hour.
pub(crate) async fn query(
    State(monitoring): State<Arc<Monitoring>>,
    RawQuery(parameters): RawQuery,
    headers: HeaderMap,
) -> Answer {
    monitoring.check(&headers)?;
    let question = parameter(&parameters.unwrap_or_default(), "query");
    let quantile = question.strip_prefix("histogram_quantile(").and_then(|rest| {
        let (quantile, rest) = rest.split_once(", ")?;
        (rest == QUANTILE).then(|| quantile.parse().ok()).flatten()
    });
    let result = match quantile {
        Some(quantile) => Some(monitoring.quantiles(quantile)),
        None => Increase::parse(&question).and_then(|increase| monitoring.increases(&increase)),
    };
    let result = result.ok_or_else(|| bad_data("invalid parameter \"query\""))?;
    let now = Clock::system().now().timestamp();
    let sample =
        |(labels, number): (Value, f64)| json!({ "metric": labels, "value": [now, number.to_string()] });
    Ok(success("vector", &result.into_iter().map(sample).collect::<Vec<_>>()))
}

/// `GET …/prometheus/api/v1/query_range?query=…&start=…&end=…&step=…s`: what was recorded is counted once in each step.
pub(crate) async fn query_range(
    State(monitoring): State<Arc<Monitoring>>,
    RawQuery(parameters): RawQuery,
    headers: HeaderMap,
) -> Answer {
    monitoring.check(&headers)?;
    let parameters = parameters.unwrap_or_default();
    let number = |name: &str, text: &str| {
        text.parse::<i64>().map_err(|_| bad_data(&format!("invalid parameter \"{name}\"")))
    };
    let (start, end) = (parameter(&parameters, "start"), parameter(&parameters, "end"));
    let (start, end) = (number("start", &start)?, number("end", &end)?);
    let step = parameter(&parameters, "step");
    let step = number("step", step.trim_end_matches('s'))?;
    if end < start {
        return Err(bad_data("invalid parameter \"end\": end timestamp must not be before start time"));
    }
    if step <= 0 || (end - start) / step > MAX_POINTS {
        return Err(bad_data("exceeded maximum resolution of 11,000 points per timeseries"));
    }
    let question = parameter(&parameters, "query");
    // Another step than what the increase is of would count twice, or not at all.
    let increase = Increase::parse(&question).filter(|increase| increase.minutes * 60 == step);
    let result = increase.and_then(|increase| monitoring.increases(&increase));
    let result = result.ok_or_else(|| bad_data("invalid parameter \"query\""))?;
    let series = |(labels, number): (Value, f64)| {
        let ends = (0..=(end - start) / step).map(|n| start + n * step);
        let values: Vec<_> = ends.map(|at| json!([at, number.to_string()])).collect();
        json!({ "metric": labels, "values": values })
    };
    Ok(success("matrix", &result.into_iter().map(series).collect::<Vec<_>>()))
}

/// `GET /v3/projects/P/alerts?filter=…&pageSize=…`
pub(crate) async fn alerts(
    State(monitoring): State<Arc<Monitoring>>,
    Path(_project): Path<String>,
    RawQuery(parameters): RawQuery,
    headers: HeaderMap,
) -> Answer {
    monitoring.check(&headers)?;
    let parameters = parameters.unwrap_or_default();
    let invalid = |what: &str| Refusal::Invalid(what.to_owned());
    if parameter(&parameters, "filter") != OPEN {
        return Err(invalid("The filter is invalid."));
    }
    let size: usize = parameter(&parameters, "pageSize").parse().map_err(|_| invalid("Invalid pageSize."))?;
    let recorded = monitoring.recorded();
    let shown: Vec<_> = recorded.alerts.iter().take(size.min(MAX_ALERTS)).collect();
    let mut answer = json!({ "totalSize": recorded.alerts.len() });
    // Google leaves out what is empty.
    if !shown.is_empty() {
        answer["alerts"] = json!(shown);
    }
    if shown.len() < recorded.alerts.len() {
        answer["nextPageToken"] = json!("next");
    }
    Ok(Json(answer))
}

/// A parameter of an address; empty, if it is not given.
fn parameter(parameters: &str, name: &str) -> String {
    let found = form_urlencoded::parse(parameters.as_bytes()).find(|(given, _)| given == name);
    found.map(|(_, value)| value.into_owned()).unwrap_or_default()
}
