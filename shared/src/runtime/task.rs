//! What a request is read into.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::time::Duration;
use uuid::Uuid;

use super::disposition::Refusal;
use crate::db::failures::TaskRef;
use crate::envelope::Envelope;
use crate::idempotency::Name;
use crate::pace::Pace;
use crate::queue::Queue;

/// Cloud Tasks carries no task of more than 1 MB.
const MAX_BODY_BYTES: usize = 1_048_576;
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// A task that was dispatched this often without a record of its runs may be one that kills its process before anything
/// can be recorded.
const MANY_DISPATCHES: u32 = 20;
/// A task that was dispatched this often is replaced by its successor: with an hour between dispatches, the longest backoff of
/// all queues, long before Cloud Tasks would delete it after 31 days. Its age is not in the headers: the ETA moves with each
/// dispatch.
const RENEWED_AFTER: u32 = 500;

/// What Cloud Tasks says about a dispatch. To be believed only after the identity token was verified.
///
/// Source: <https://cloud.google.com/tasks/docs/creating-http-target-tasks#handler>.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Headers {
    pub(super) name: Option<String>,
    pub(super) retry_count: u32,
    pub(super) due: Option<DateTime<Utc>>,
}

impl From<&HeaderMap> for Headers {
    fn from(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            name: text("x-cloudtasks-taskname").map(str::to_owned),
            retry_count: text("x-cloudtasks-taskretrycount").and_then(|n| n.parse().ok()).unwrap_or_default(),
            due: text("x-cloudtasks-tasketa").and_then(epoch_seconds),
        }
    }
}

impl Headers {
    pub(super) fn has_many_retries(&self) -> bool {
        self.retry_count >= MANY_DISPATCHES
    }
}

/// Seconds with a fraction since 1970.
fn epoch_seconds(text: &str) -> Option<DateTime<Utc>> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    DateTime::from_timestamp(seconds.parse().ok()?, digits.parse().ok()?)
}

/// The whole body, within limits of size and time.
pub(super) async fn read_body(request: Request<Body>) -> Result<Bytes, Refusal> {
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge),
        Ok(Err(_)) | Err(_) => Err(Refusal::IncompleteBody),
    }
}

/// A task whose payload could be read.
pub(super) struct Task {
    pub(super) queue: Queue,
    pub(super) headers: Headers,
    pub(super) body: Bytes,
    pub(super) envelope: Envelope,
    /// Names the task, all its dispatches and all its lives.
    pub(super) key: String,
    /// The key of the present life.
    lease_key: String,
    is_key_derived: bool,
    payload_hash: String,
    /// See [`crate::job::Context::scheduled_for`].
    pub(super) scheduled_for: DateTime<Utc>,
    pub(super) user_id: Option<Uuid>,
}

impl Task {
    pub(super) fn new(
        queue: Queue,
        headers: Headers,
        body: Bytes,
        envelope: Envelope,
        user_id: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Self {
        let created = envelope.enqueued_at.or(headers.due).unwrap_or(now);
        let key = envelope.key(queue, headers.name.as_deref(), created);
        Self {
            lease_key: match envelope.life {
                0 => key.text.clone(),
                life => format!("{}#{life}", key.text),
            },
            key: key.text,
            is_key_derived: key.is_derived,
            payload_hash: envelope.payload_hash(),
            scheduled_for: scheduled_for(queue, created),
            queue,
            headers,
            body,
            envelope,
            user_id,
        }
    }

    /// Dispatches before this one, as far as they are known.
    pub(super) fn dispatches(&self) -> u32 {
        self.envelope.n.saturating_add(self.headers.retry_count)
    }

    /// No other dispatch can have run it before. A replay may be repeated after any time.
    pub(super) fn is_new(&self) -> bool {
        self.dispatches() == 0 && self.envelope.life == 0
    }

    pub(super) fn has_many_dispatches(&self) -> bool {
        self.dispatches() >= MANY_DISPATCHES
    }

    /// Cloud Tasks may delete the task before it can be worked on.
    pub(super) fn is_old(&self) -> bool {
        self.headers.retry_count >= RENEWED_AFTER
    }

    /// Name of the task that was rescheduled first, or whatever else is the same in all dispatches.
    pub(super) fn root(&self) -> &str {
        self.envelope.root.as_deref().or(self.headers.name.as_deref()).unwrap_or(&self.lease_key)
    }

    pub(super) fn name(&self) -> Name<'_> {
        Name {
            function: self.queue.name(),
            key: &self.lease_key,
            payload_hash: &self.payload_hash,
            is_derived: self.is_key_derived,
            after: self.envelope.after,
        }
    }

    pub(super) fn task_ref(&self, pace: Pace) -> TaskRef<'_> {
        TaskRef {
            life: self.envelope.life,
            user_id: self.user_id,
            trace: self.envelope.trace.as_deref(),
            ..task_ref(self.queue, pace, &self.key, &self.headers, &self.body)
        }
    }

    /// The key of a task that came under another task's key.
    pub(super) fn key_of_other_payload(&self) -> String {
        format!("{}:{}", self.key, self.payload_hash)
    }
}

/// What is known of any task.
pub(super) fn task_ref<'a>(
    queue: Queue,
    pace: Pace,
    key: &'a str,
    headers: &'a Headers,
    body: &'a [u8],
) -> TaskRef<'a> {
    TaskRef {
        function: queue.name(),
        key,
        life: 0,
        attempts: queue.policy().attempts,
        timeout: pace.end_of_run(queue),
        company_window: pace.company_window(),
        user_id: None,
        body,
        task_name: headers.name.as_deref(),
        trace: None,
    }
}

/// The start of the schedule's period: two sweeps of one period are scheduled for the same moment, as are a sweep and its retry.
fn scheduled_for(queue: Queue, created: DateTime<Utc>) -> DateTime<Utc> {
    let period = queue.policy().period().map_or(0, |period| period.as_secs().cast_signed());
    if period == 0 {
        return created;
    }
    let seconds = created.timestamp();
    DateTime::from_timestamp(seconds - seconds.rem_euclid(period), 0).unwrap_or(created)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SLOW;

    #[test]
    fn a_sweep_and_its_repetition_within_the_period_are_one_period() {
        let at = |text: &str| scheduled_for(SLOW, text.parse().unwrap());
        assert_eq!(at("2026-01-01T10:00:00Z"), at("2026-01-01T10:59:59Z"));
        assert_ne!(at("2026-01-01T10:00:00Z"), at("2026-01-01T11:00:00Z"));
    }

    #[test]
    fn headers_of_cloud_tasks_are_read() {
        let mut headers = HeaderMap::new();
        headers.insert("X-CloudTasks-TaskName", "t".parse().unwrap());
        headers.insert("X-CloudTasks-TaskRetryCount", "2".parse().unwrap());
        headers.insert("X-CloudTasks-TaskExecutionCount", "0".parse().unwrap());
        headers.insert("X-CloudTasks-TaskETA", "1700000000.25".parse().unwrap());
        let due = DateTime::from_timestamp_millis(1_700_000_000_250);
        assert_eq!(Headers::from(&headers), Headers { name: Some("t".into()), retry_count: 2, due });
    }

    #[test]
    fn malformed_headers_count_as_absent() {
        let mut headers = HeaderMap::new();
        headers.insert("X-CloudTasks-TaskRetryCount", "-1".parse().unwrap());
        headers.insert("X-CloudTasks-TaskETA", "soon".parse().unwrap());
        assert_eq!(Headers::from(&headers), Headers::default());
    }
}
