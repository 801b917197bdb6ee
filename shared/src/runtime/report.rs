//! What is recorded of each dispatch and each request: its canonical log line, and its numbers.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use uuid::Uuid;

use super::Runtime;
use super::disposition::{Disposition, Summary, Unexplained};
use super::task::{Headers, Task};
use crate::telemetry::line::{Counts, Line, OutcomeCode};
use crate::telemetry::{Scope, metrics};

/// What is learned about a dispatch on its way.
#[derive(Debug, Default)]
pub(super) struct Facts {
    dispatch: u32,
    attempt: u32,
    due: Option<DateTime<Utc>>,
    user_id: Option<Uuid>,
}

impl Facts {
    pub(super) fn arrived(&mut self, headers: &Headers) {
        (self.dispatch, self.due) = (headers.retry_count.saturating_add(1), headers.due);
    }

    pub(super) fn parsed(&mut self, task: &Task) {
        (self.dispatch, self.user_id) = (task.dispatches().saturating_add(1), task.user_id);
        if let (Some(scope), Some(trace)) = (Scope::current(), &task.envelope.trace)
            && is_traceparent(trace)
        {
            scope.set_trace(trace);
        }
    }

    pub(super) fn attempt(&mut self, attempt: u32) {
        self.attempt = attempt;
    }
}

/// How a dispatch, or a request to a service without a queue, ended, and what was learned about it on its way.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) dispatch: u32,
    pub(super) attempt: u32,
    pub(super) outcome: OutcomeCode,
    pub(super) reason: Option<&'static str>,
    pub(super) status: StatusCode,
    pub(super) waited: Option<Duration>,
    pub(super) user_id: Option<Uuid>,
    pub(super) has_line: bool,
}

/// Does the work in a scope of its own, counts it, and writes its line.
pub(super) async fn reported<T>(
    queue: &'static str,
    task: String,
    work: impl Future<Output = (T, Report)>,
) -> T {
    let started = Instant::now();
    let scope = Arc::new(Scope::new(queue, task));
    let working = async {
        let (answer, report) = work.await;
        let duration = started.elapsed();
        metrics::count_task(queue, report.outcome.name(), duration, report.waited);
        if report.has_line {
            let line = Line {
                queue,
                task: &scope.task,
                dispatch: report.dispatch,
                attempt: report.attempt,
                outcome: report.outcome,
                reason: report.reason,
                status: report.status.as_u16(),
                duration_ms: milliseconds(duration),
                waited_ms: report.waited.map(milliseconds),
                user_id: report.user_id,
                counts: Counts::from(scope.meter.as_ref()),
            };
            line.write();
        }
        answer
    };
    Arc::clone(&scope).enter(working).await
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Works on one dispatch, and reports it, also when something panics that is not the job.
pub(super) async fn process(runtime: Arc<Runtime>, request: Request<Body>) -> Disposition {
    let arrived = runtime.clock.now();
    let name = Headers::from(request.headers()).name.unwrap_or_default();
    let mut facts = Facts::default();
    reported(runtime.queue.name(), name, async {
        let processed = AssertUnwindSafe(Box::pin(runtime.process(request, &mut facts))).catch_unwind().await;
        let disposition = match processed {
            Ok(Ok(disposition) | Err(disposition)) => disposition,
            Err(_panic) => Disposition::Unexplained(Unexplained::Panic),
        };
        let Summary { status, outcome, reason } = disposition.summary();
        let Facts { dispatch, attempt, due, user_id } = facts;
        let waited = due.map(|due| (arrived - due).to_std().unwrap_or_default());
        let report = Report { dispatch, attempt, outcome, reason, status, waited, user_id, has_line: true };
        (disposition, report)
    })
    .await
}

/// W3C Trace Context, section 3.2: `version-traceid-parentid-flags`, in hexadecimal digits.
fn is_traceparent(text: &str) -> bool {
    text.split('-').map(str::len).eq([2, 32, 16, 2])
        && text.bytes().all(|digit| digit == b'-' || digit.is_ascii_hexdigit())
}
