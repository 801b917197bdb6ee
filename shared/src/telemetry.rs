//! What the system says about itself: logs, one canonical line per task, and metrics.
//!
//! Nothing here carries a token, a message, or personal data: users appear as ids.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

mod event;
pub mod line;
mod log;
mod meter;
pub mod metrics;

pub use event::EventCode;
pub use log::start;
pub use meter::{Counter, Meter};

tokio::task_local! {
    static SCOPE: Arc<Scope>;
}

/// The task that the present code runs for: its meter, and what its log entries are labelled with.
#[derive(Debug, Default)]
pub struct Scope {
    /// Counts of this task alone.
    pub meter: Arc<Meter>,
    /// Queue of the task.
    pub queue: &'static str,
    /// Short name of the task.
    pub task: String,
    trace: OnceLock<String>,
}

impl Scope {
    /// The scope of a task.
    #[must_use]
    pub fn new(queue: &'static str, task: String) -> Self {
        Self { queue, task, ..Self::default() }
    }

    /// Runs `future` on behalf of the task. Tasks that it spawns must enter the scope again.
    pub async fn enter<F: Future>(self: Arc<Self>, future: F) -> F::Output {
        SCOPE.scope(self, future).await
    }

    /// The scope of the calling code, if it runs for a task.
    #[must_use]
    pub fn current() -> Option<Arc<Self>> {
        SCOPE.try_with(Arc::clone).ok()
    }

    /// W3C traceparent of the task.
    #[must_use]
    pub fn trace(&self) -> Option<&str> {
        self.trace.get().map(String::as_str)
    }

    /// Says which trace the task belongs to; once.
    pub fn set_trace(&self, traceparent: &str) {
        let _known_already = self.trace.set(traceparent.to_owned());
    }
}

/// An error and what it came from, in one line, without what a vendor, a person or a database said.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = describe(error);
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = describe(cause);
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// One error. The texts of these libraries quote the values that they are about.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(error) = error.downcast_ref::<serde_json::Error>() {
        let what = if error.is_data() { "JSON that does not match the schema" } else { "malformed JSON" };
        return format!("{what} at line {} column {}", error.line(), error.column());
    }
    if let Some(sqlx::Error::Database(refused)) = error.downcast_ref::<sqlx::Error>() {
        let constraint = refused.constraint().map(|name| format!(" of {name}")).unwrap_or_default();
        return format!("SQLSTATE {}{constraint}", refused.code().unwrap_or_default());
    }
    if error.is::<sqlx::postgres::PgDatabaseError>() {
        return String::new();
    }
    error.to_string()
}

/// Counts a call of a vendor's method and, once it is answered, how long that took and whether it succeeded.
pub async fn vendor_call<T, E>(
    method: &'static str,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    count(Counter::VendorCall(method), 1);
    let started = Instant::now();
    let answer = call.await;
    metrics::time_vendor_call(method, answer.is_ok(), started.elapsed());
    answer
}

/// Says that a queue's sweep went through all its pages, whatever `LOG_LEVEL` is: an alert fires when no sweep finishes.
/// Of a queue with several schedules, `part` says which.
pub fn sweep_finished(queue: &'static str, part: &str) {
    metrics::note_sweep(queue, part);
    line::FinishedSweep { queue, part }.write();
}

/// Adds to the running task's meter and to the totals of the process.
pub fn count(counter: Counter, n: u64) {
    metrics::count(counter, n);
    let _outside_of_a_task = SCOPE.try_with(|scope| scope.meter.add(counter, n));
}
