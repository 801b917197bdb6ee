//! The outermost layer: a verdict becomes an answer and a canonical log line.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;
use tower::{Layer, layer::layer_fn, service_fn};

use super::dispatch::Record;
use super::verdict::Verdict;
use super::{Stage, call};
use crate::clock::Clock;
use crate::queue::Queue;
use crate::telemetry::line::{Counts, Line, Outcome};
use crate::telemetry::metrics;

/// What comes in is worked on in a task of its own: a caller that hangs up must not cut a job off between two of its
/// effects, nor keep its line from being written. `running` knows these tasks.
pub(super) fn layer<S: Stage<Request<Body>, Verdict>>(
    queue: Queue,
    clock: Clock,
    running: TaskTracker,
) -> impl Layer<S, Service: Stage<Request<Body>, Response>> + Clone {
    layer_fn(move |inner: S| {
        let (clock, running) = (clock.clone(), running.clone());
        service_fn(move |request: Request<Body>| {
            let work = running.spawn(work(queue, clock.clone(), inner.clone(), request));
            async move {
                let answer = work.await.unwrap_or_else(|_panicked| answer(&Verdict::Retry("panic")));
                Ok(answer.into_response())
            }
        })
    })
}

async fn work(
    queue: Queue,
    clock: Clock,
    inner: impl Stage<Request<Body>, Verdict>,
    mut request: Request<Body>,
) -> Answer {
    let (started, arrived) = (Instant::now(), clock.now());
    let record = Arc::new(Record::default());
    request.extensions_mut().insert(record.clone());
    let answer = answer(&call(inner, request).await);
    let (duration, facts) = (started.elapsed(), record.facts());
    let waited = facts.due.map(|due| (arrived - due).to_std().unwrap_or_default());
    metrics::count_task(queue.name(), answer.outcome.name(), duration, waited);
    let line = Line {
        queue: queue.name(),
        task: facts.task,
        attempt: facts.attempt,
        outcome: answer.outcome,
        reason: answer.reason.map(str::to_owned),
        status: answer.status.as_u16(),
        duration_ms: duration.as_secs_f64() * 1_000.0,
        waited_ms: waited.map(|waited| waited.as_secs_f64() * 1_000.0),
        user_id: facts.user_id,
        counts: Counts::from(record.meter.as_ref()),
    };
    record.scope(queue).enter(async { line.write() }).await;
    answer
}

/// An answer to Cloud Tasks: 2xx deletes the task, 503 slows the whole queue, everything else retries the task alone.
#[derive(Debug, PartialEq)]
struct Answer {
    status: StatusCode,
    outcome: Outcome,
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
        Verdict::Done(result) => plain(ok, Outcome::Done, json!({ "result": result })),
        Verdict::Duplicate(result) => {
            plain(ok, Outcome::Duplicate, json!({ "result": result, "duplicate": true }))
        }
        Verdict::Skipped(reason) => because(ok, Outcome::Skipped, reason),
        Verdict::Snoozed(until) => plain(ok, Outcome::Snoozed, json!({ "until": until })),
        Verdict::Deferred(until) => plain(ok, Outcome::Deferred, json!({ "until": until })),
        Verdict::Requeued(reason) => because(ok, Outcome::Requeued, reason),
        Verdict::Dead(reason) => because(ok, Outcome::Dead, reason),
        Verdict::Retry(reason) => because(StatusCode::INTERNAL_SERVER_ERROR, Outcome::Retry, reason),
        Verdict::Unavailable(reason, after) => Answer {
            retry_after_seconds: Some(after.as_secs().max(1)),
            ..because(StatusCode::SERVICE_UNAVAILABLE, Outcome::Unavailable, reason)
        },
        Verdict::Unauthorized(reason) => because(StatusCode::UNAUTHORIZED, Outcome::Refused, reason),
        Verdict::Forbidden => because(StatusCode::FORBIDDEN, Outcome::Refused, "caller"),
        Verdict::TooLarge => because(StatusCode::PAYLOAD_TOO_LARGE, Outcome::Refused, "body_too_large"),
        Verdict::NoBody => because(StatusCode::BAD_REQUEST, Outcome::Refused, "body_broke_off"),
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut body = self.details;
        body["status"] = self.outcome.name().into();
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
        fn check(verdict: &Verdict, status: u16, outcome: Outcome) {
            let answer = answer(verdict);
            assert_eq!((answer.status.as_u16(), answer.outcome), (status, outcome), "{verdict:?}");
        }
        let until = chrono::DateTime::UNIX_EPOCH;
        check(&Verdict::Done(json!(1)), 200, Outcome::Done);
        check(&Verdict::Duplicate(None), 200, Outcome::Duplicate);
        check(&Verdict::Skipped("x"), 200, Outcome::Skipped);
        check(&Verdict::Snoozed(until), 200, Outcome::Snoozed);
        check(&Verdict::Deferred(until), 200, Outcome::Deferred);
        check(&Verdict::Requeued("x"), 200, Outcome::Requeued);
        check(&Verdict::Dead("x"), 200, Outcome::Dead);
        check(&Verdict::Retry("x"), 500, Outcome::Retry);
        check(&Verdict::Unavailable("x", Duration::from_secs(3)), 503, Outcome::Unavailable);
        check(&Verdict::Unauthorized("x"), 401, Outcome::Refused);
        check(&Verdict::Forbidden, 403, Outcome::Refused);
        check(&Verdict::TooLarge, 413, Outcome::Refused);
        check(&Verdict::NoBody, 400, Outcome::Refused);
    }

    #[test]
    fn only_an_outage_asks_the_queue_to_wait() {
        let response = answer(&Verdict::Unavailable("database", Duration::from_millis(200))).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let response = answer(&Verdict::Retry("timeout")).into_response();
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
    }
}
