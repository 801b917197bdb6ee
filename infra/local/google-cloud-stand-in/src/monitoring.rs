//! Cloud Monitoring's Prometheus API: it understands the two questions that are asked, and refuses others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use shared::clock::Clock;
use url::form_urlencoded;

const DISPATCHES: &str = "sum by (queue, outcome) (increase(logging_googleapis_com:user_jobs_tasks_total{monitored_resource=\"cloud_run_revision\"}[60m]))";
const QUANTILE: &str = "sum by (queue, le) (increase(logging_googleapis_com:user_jobs_task_duration_ms_bucket{monitored_resource=\"cloud_run_revision\"}[60m])))";

/// What was counted in the last hour.
#[derive(Debug, Default)]
pub(crate) struct Monitoring {
    dispatches: Mutex<Vec<Dispatch>>,
    pub(crate) wants_credentials: AtomicBool,
}

#[derive(Debug)]
struct Dispatch {
    queue: String,
    outcome: String,
    ms: f64,
}

impl Monitoring {
    pub(crate) fn record(&self, queue: &str, outcome: &str, ms: f64) {
        let dispatch = Dispatch { queue: queue.to_owned(), outcome: outcome.to_owned(), ms };
        self.dispatches.lock().unwrap_or_else(PoisonError::into_inner).push(dispatch);
    }

    /// By queue and outcome.
    fn counts(&self) -> Vec<Value> {
        let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
        for it in self.dispatches.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            *counts.entry((it.queue.clone(), it.outcome.clone())).or_default() += 1;
        }
        let sample = |((queue, outcome), count): ((String, String), u32)| {
            sample(&json!({ "queue": queue, "outcome": outcome }), f64::from(count))
        };
        counts.into_iter().map(sample).collect()
    }

    /// By queue: the duration that so large a part of the dispatches did not exceed.
    fn quantiles(&self, quantile: f64) -> Vec<Value> {
        let dispatches = self.dispatches.lock().unwrap_or_else(PoisonError::into_inner);
        let queues: BTreeSet<_> = dispatches.iter().map(|it| it.queue.as_str()).collect();
        let of_queue = |queue: &str| {
            let mut ms: Vec<_> = dispatches.iter().filter(|it| it.queue == queue).map(|it| it.ms).collect();
            ms.sort_by(f64::total_cmp);
            let rank = (1..=ms.len()).find(|rank| as_number(*rank) >= quantile * as_number(ms.len()));
            sample(&json!({ "queue": queue }), ms[rank.unwrap_or(ms.len()) - 1])
        };
        queues.into_iter().map(of_queue).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a test has few dispatches")]
fn as_number(count: usize) -> f64 {
    count as f64
}

fn sample(metric: &Value, value: f64) -> Value {
    json!({ "metric": metric, "value": [Clock::system().now().timestamp(), value.to_string()] })
}

/// `GET …/prometheus/api/v1/query?query=…`
pub(crate) async fn query(
    State(monitoring): State<Arc<Monitoring>>,
    RawQuery(parameters): RawQuery,
    headers: HeaderMap,
) -> Response {
    let has_token =
        headers.get(header::AUTHORIZATION).is_some_and(|it| it.as_bytes().starts_with(b"Bearer "));
    if monitoring.wants_credentials.load(Ordering::Relaxed) && !has_token {
        let error = json!({ "code": 401, "status": "UNAUTHENTICATED", "message": "Request is missing required authentication credential." });
        return (StatusCode::UNAUTHORIZED, Json(json!({ "error": error }))).into_response();
    }
    let question = parameter(&parameters.unwrap_or_default(), "query");
    let quantile = question.strip_prefix("histogram_quantile(").and_then(|rest| {
        let (quantile, rest) = rest.split_once(", ")?;
        (rest == QUANTILE).then(|| quantile.parse().ok()).flatten()
    });
    let result = match quantile {
        Some(quantile) => monitoring.quantiles(quantile),
        None if question == DISPATCHES => monitoring.counts(),
        None => {
            let error =
                json!({ "status": "error", "errorType": "bad_data", "error": "invalid parameter \"query\"" });
            return (StatusCode::BAD_REQUEST, Json(error)).into_response();
        }
    };
    Json(json!({ "status": "success", "data": { "resultType": "vector", "result": result } })).into_response()
}

/// A parameter of an address; empty, if it is not given.
fn parameter(parameters: &str, name: &str) -> String {
    let found = form_urlencoded::parse(parameters.as_bytes()).find(|(given, _)| given == name);
    found.map(|(_, value)| value.into_owned()).unwrap_or_default()
}
