//! What is said of each dispatch: its canonical log line, and its numbers.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use uuid::Uuid;

use super::Runtime;
use super::disposition::{Disposition, Unexplained};
use super::task::{Headers, Task};
use crate::telemetry::line::{Counts, Line};
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

/// Works on one dispatch, and reports it, also when something panics that is not the job.
pub(super) async fn process(runtime: Arc<Runtime>, request: Request<Body>) -> Disposition {
    let (started, arrived) = (Instant::now(), runtime.clock.now());
    let queue = runtime.queue.name();
    let name = Headers::from(request.headers()).name.unwrap_or_default();
    let scope = Arc::new(Scope::new(queue, name));
    let mut facts = Facts::default();
    let processing = async {
        let processed = AssertUnwindSafe(Box::pin(runtime.process(request, &mut facts))).catch_unwind().await;
        let disposition = match processed {
            Ok(Ok(disposition) | Err(disposition)) => disposition,
            Err(_panic) => Disposition::Unexplained(Unexplained::Panic),
        };
        let (summary, duration) = (disposition.summary(), started.elapsed());
        let waited = facts.due.map(|due| (arrived - due).to_std().unwrap_or_default());
        metrics::count_task(queue, summary.outcome.name(), duration, waited);
        let line = Line {
            queue,
            task: &scope.task,
            dispatch: facts.dispatch,
            attempt: facts.attempt,
            outcome: summary.outcome,
            reason: summary.reason,
            status: summary.status.as_u16(),
            duration_ms: duration.as_secs_f64() * 1_000.0,
            waited_ms: waited.map(|waited| waited.as_secs_f64() * 1_000.0),
            user_id: facts.user_id,
            counts: Counts::from(scope.meter.as_ref()),
        };
        line.write();
        disposition
    };
    Arc::clone(&scope).enter(processing).await
}

/// W3C Trace Context, section 3.2: `version-traceid-parentid-flags`, in hexadecimal digits.
fn is_traceparent(text: &str) -> bool {
    text.split('-').map(str::len).eq([2, 32, 16, 2])
        && text.bytes().all(|digit| digit == b'-' || digit.is_ascii_hexdigit())
}
