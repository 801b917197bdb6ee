//! The outermost layer: a verdict becomes an answer and a canonical log line.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tower::{Layer, layer::layer_fn, service_fn};

use super::dispatch::Record;
use super::verdict::Verdict;
use super::{Stage, call};
use crate::clock::Clock;
use crate::queue::Queue;
use crate::telemetry::line::{Counts, Line};
use crate::telemetry::metrics;

pub(super) fn layer<S: Stage<Request<Body>, Verdict>>(
    queue: Queue,
    clock: Clock,
) -> impl Layer<S, Service: Stage<Request<Body>, Response>> + Clone {
    layer_fn(move |inner: S| {
        let clock = clock.clone();
        service_fn(move |mut request: Request<Body>| {
            let (inner, clock) = (inner.clone(), clock.clone());
            async move {
                let (started, arrived) = (Instant::now(), clock.now());
                let record = Arc::new(Record::default());
                request.extensions_mut().insert(record.clone());
                let verdict = call(inner, request).await;
                let answer = answer(&verdict);
                let (duration, facts) = (started.elapsed(), record.facts());
                metrics::count_task(queue.name(), answer.outcome, duration);
                let line = Line {
                    queue: queue.name(),
                    task: facts.task,
                    attempt: facts.attempt,
                    outcome: answer.outcome,
                    reason: answer.reason.map(str::to_owned),
                    status: answer.status.as_u16(),
                    duration_ms: duration.as_secs_f64() * 1_000.0,
                    waited_ms: facts.due.map(|due| (arrived - due).num_milliseconds().max(0)),
                    user_id: facts.user_id,
                    counts: Counts::from(record.meter.as_ref()),
                };
                record.scope(queue).enter(async { line.write() }).await;
                Ok(answer.into_response())
            }
        })
    })
}

/// An answer to Cloud Tasks: 2xx deletes the task, 503 slows the whole queue, everything else retries the task alone.
#[derive(Debug, PartialEq)]
struct Answer {
    status: StatusCode,
    outcome: &'static str,
    reason: Option<&'static str>,
    retry_after_seconds: Option<u64>,
    details: Value,
}

fn answer(verdict: &Verdict) -> Answer {
    let plain = |status, outcome, details| Answer {
        status,
        outcome,
        reason: None,
        retry_after_seconds: None,
        details,
    };
    let because =
        |status, outcome, reason| Answer { reason: Some(reason), ..plain(status, outcome, json!({})) };
    let ok = StatusCode::OK;
    match verdict {
        Verdict::Done(result) => plain(ok, "done", json!({ "result": result })),
        Verdict::Duplicate(result) => plain(ok, "duplicate", json!({ "result": result, "duplicate": true })),
        Verdict::Skipped(reason) => because(ok, "skipped", reason),
        Verdict::Snoozed(until) => plain(ok, "snoozed", json!({ "until": until })),
        Verdict::Deferred(until) => plain(ok, "deferred", json!({ "until": until })),
        Verdict::Requeued(reason) => because(ok, "requeued", reason),
        Verdict::Dead(reason) => because(ok, "dead", reason),
        Verdict::Retry(reason) => because(StatusCode::INTERNAL_SERVER_ERROR, "retry", reason),
        Verdict::Unavailable(reason, after) => Answer {
            retry_after_seconds: Some(after.as_secs().max(1)),
            ..because(StatusCode::SERVICE_UNAVAILABLE, "unavailable", reason)
        },
        Verdict::Unauthorized(reason) => because(StatusCode::UNAUTHORIZED, "refused", reason),
        Verdict::Forbidden => because(StatusCode::FORBIDDEN, "refused", "caller"),
        Verdict::TooLarge => because(StatusCode::PAYLOAD_TOO_LARGE, "refused", "body_too_large"),
        Verdict::NoBody => because(StatusCode::BAD_REQUEST, "refused", "body_broke_off"),
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut body = self.details;
        body["status"] = self.outcome.into();
        if let Some(reason) = self.reason {
            body["reason"] = reason.into();
        }
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_verdict_has_its_status() {
        #[track_caller]
        fn check(verdict: &Verdict, status: u16, outcome: &str) {
            let answer = answer(verdict);
            assert_eq!((answer.status.as_u16(), answer.outcome), (status, outcome), "{verdict:?}");
        }
        let until = chrono::DateTime::UNIX_EPOCH;
        check(&Verdict::Done(json!(1)), 200, "done");
        check(&Verdict::Duplicate(None), 200, "duplicate");
        check(&Verdict::Skipped("x"), 200, "skipped");
        check(&Verdict::Snoozed(until), 200, "snoozed");
        check(&Verdict::Deferred(until), 200, "deferred");
        check(&Verdict::Requeued("x"), 200, "requeued");
        check(&Verdict::Dead("x"), 200, "dead");
        check(&Verdict::Retry("x"), 500, "retry");
        check(&Verdict::Unavailable("x", Duration::from_secs(3)), 503, "unavailable");
        check(&Verdict::Unauthorized("x"), 401, "refused");
        check(&Verdict::Forbidden, 403, "refused");
        check(&Verdict::TooLarge, 413, "refused");
        check(&Verdict::NoBody, 400, "refused");
    }

    #[test]
    fn only_an_outage_asks_the_queue_to_wait() {
        let response = answer(&Verdict::Unavailable("database", Duration::from_millis(200))).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let response = answer(&Verdict::Retry("timeout")).into_response();
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
    }
}
