//! One delivery of a task.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::envelope::Envelope;
use crate::queue::Queue;
use crate::telemetry::{Meter, Scope};

/// What Cloud Tasks says about a delivery. To be believed only behind the OIDC layer.
///
/// Source: <https://cloud.google.com/tasks/docs/creating-http-target-tasks#handler>.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct TaskHeaders {
    pub(super) name: Option<String>,
    pub(super) retry_count: u32,
    pub(super) due: Option<DateTime<Utc>>,
}

impl From<&HeaderMap> for TaskHeaders {
    fn from(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            name: text("x-cloudtasks-taskname").map(str::to_owned),
            retry_count: text("x-cloudtasks-taskretrycount").and_then(|n| n.parse().ok()).unwrap_or_default(),
            due: text("x-cloudtasks-tasketa").and_then(epoch_seconds),
        }
    }
}

/// Seconds with a fraction since 1970.
fn epoch_seconds(text: &str) -> Option<DateTime<Utc>> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    DateTime::from_timestamp(seconds.parse().ok()?, digits.parse().ok()?)
}

/// One delivery of a usable task.
#[derive(Debug, Clone)]
pub(super) struct Dispatch {
    pub(super) headers: TaskHeaders,
    pub(super) body: Bytes,
    pub(super) envelope: Envelope,
    /// Names the task and all its deliveries.
    pub(super) key: String,
    pub(super) occasion: DateTime<Utc>,
    pub(super) user_id: Option<Uuid>,
}

impl Dispatch {
    /// 1 for the first run. All dispatches of a name before this one were runs: whoever cannot run comes back under
    /// another name that carries the count.
    pub(super) fn attempt(&self) -> u32 {
        self.envelope.prior_attempts.saturating_add(self.headers.retry_count).saturating_add(1)
    }

    pub(super) fn is_last(&self, queue: Queue) -> bool {
        self.attempt() >= queue.policy().attempts
    }
}

/// What is learned about a request on its way in, for the log line on its way out.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) meter: Arc<Meter>,
    facts: Mutex<Facts>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) task: String,
    pub(super) attempt: u32,
    pub(super) due: Option<DateTime<Utc>>,
    pub(super) user_id: Option<Uuid>,
    pub(super) trace: Option<String>,
}

impl Record {
    pub(super) fn learn(&self, facts: Facts) {
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = facts;
    }

    pub(super) fn facts(&self) -> Facts {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn scope(&self, queue: Queue) -> Scope {
        let facts = self.facts();
        Scope { meter: self.meter.clone(), queue: queue.name(), task: facts.task, trace: facts.trace }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_cloud_tasks_are_read() {
        let mut headers = HeaderMap::new();
        headers.insert("X-CloudTasks-TaskName", "t".parse().unwrap());
        headers.insert("X-CloudTasks-TaskRetryCount", "2".parse().unwrap());
        headers.insert("X-CloudTasks-TaskExecutionCount", "0".parse().unwrap());
        headers.insert("X-CloudTasks-TaskETA", "1700000000.25".parse().unwrap());
        let due = DateTime::from_timestamp_millis(1_700_000_000_250);
        assert_eq!(TaskHeaders::from(&headers), TaskHeaders { name: Some("t".into()), retry_count: 2, due });
    }

    #[test]
    fn rubbish_in_headers_is_as_good_as_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert("X-CloudTasks-TaskRetryCount", "-1".parse().unwrap());
        headers.insert("X-CloudTasks-TaskETA", "soon".parse().unwrap());
        assert_eq!(TaskHeaders::from(&headers), TaskHeaders::default());
    }
}
