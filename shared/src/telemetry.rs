//! What the system says about itself: logs, one canonical line a task, and metrics.
//!
//! Nothing here carries a token, a message, or personal data: users appear as ids.

use std::sync::Arc;
use std::time::Instant;

pub mod line;
mod log;
mod meter;
pub mod metrics;

pub use log::start;
pub use meter::{Counter, Meter};

tokio::task_local! {
    static SCOPE: Scope;
}

/// The task that the present code runs for: its meter, and what its log entries are labelled with.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Counts of this task alone.
    pub meter: Arc<Meter>,
    /// Queue of the task.
    pub queue: &'static str,
    /// Short name of the task.
    pub task: String,
    /// W3C traceparent of the task.
    pub trace: Option<String>,
}

impl Scope {
    /// Runs `future` on behalf of the task. Tasks that it spawns must enter the scope again.
    pub async fn enter<F: Future>(self, future: F) -> F::Output {
        SCOPE.scope(self, future).await
    }

    /// The scope of the calling code, if it runs for a task.
    #[must_use]
    pub fn current() -> Option<Self> {
        SCOPE.try_with(Clone::clone).ok()
    }
}

/// An error and what it came from, in one line.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Counts a call of a vendor's method and, once it is answered, how long that took and whether it went well.
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

/// Adds to the running task's meter and to the totals of the process.
pub fn count(counter: Counter, n: u64) {
    metrics::count(counter, n);
    let _outside_of_a_task = SCOPE.try_with(|scope| scope.meter.add(counter, n));
}
