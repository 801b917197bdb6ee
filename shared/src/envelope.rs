//! The body of a task, as the running producers send it and as this system sends it on.
//!
//! `{"data": {…}, "idempotencyKey": "…", "jobName": "…"}`, and, optional, `v`, `trace`, `enqueuedAt`, `priorAttempts`.

use chrono::{DateTime, SubsecRound, Timelike, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::payload::Payload;
use crate::queue::Queue;

/// Longer keys are replaced by their hash: a key is part of a Redis key and of logs.
const MAX_KEY_BYTES: usize = 256;

/// One task's body. `data` keeps its exact text: hashes and redeliveries need it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// The payload.
    pub data: Box<RawValue>,
    /// What makes two deliveries the same task, if the producer said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The queue's name; a task without one is taken to be meant for whoever gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_name: Option<String>,
    /// Version of the payload's shape.
    #[serde(rename = "v", default = "first_version")]
    pub version: u32,
    /// W3C traceparent; Google's front end rewrites the header of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// When the producer created the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enqueued_at: Option<DateTime<Utc>>,
    /// Runs under earlier names of this task.
    #[serde(default)]
    pub prior_attempts: u32,
}

fn first_version() -> u32 {
    1
}

/// A body that no retry can make usable. Says where it is wrong and never what stands there: bodies are personal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON, or not an envelope.
    #[error("not an envelope (line {}, column {})", .0.line, .0.column)]
    Envelope(Place),
    /// Names another job.
    #[error("names another job")]
    WrongJob,
    /// Of a version that this build does not know.
    #[error("payload version {0} is not known")]
    UnknownVersion(u32),
    /// The payload has another shape.
    #[error("payload has another shape (line {}, column {})", .0.line, .0.column)]
    Payload(Place),
}

/// Where reading ended, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Line of the text.
    pub line: usize,
    /// Column of the line.
    pub column: usize,
}

impl From<serde_json::Error> for Place {
    fn from(error: serde_json::Error) -> Self {
        Self { line: error.line(), column: error.column() }
    }
}

impl Error {
    /// A stable name, for dead letters and logs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Envelope(_) => "bad_envelope",
            Self::WrongJob => "wrong_job",
            Self::UnknownVersion(_) => "unknown_version",
            Self::Payload(_) => "bad_payload",
        }
    }
}

impl Envelope {
    /// Reads a body that was sent to `queue`.
    pub fn parse(queue: Queue, body: &[u8]) -> Result<Self, Error> {
        let envelope: Self = serde_json::from_slice(body).map_err(|error| Error::Envelope(error.into()))?;
        match &envelope.job_name {
            Some(name) if name != queue.name() => Err(Error::WrongJob),
            _ => Ok(envelope),
        }
    }

    /// The payload, if version and shape are known.
    pub fn payload<P: Payload>(&self) -> Result<P, Error> {
        if self.version != P::VERSION {
            return Err(Error::UnknownVersion(self.version));
        }
        serde_json::from_str(self.data.get()).map_err(|error| Error::Payload(error.into()))
    }

    /// Hash of the payload's exact text.
    #[must_use]
    pub fn payload_hash(&self) -> String {
        sha256_hex([self.data.get()])
    }

    /// What makes two deliveries the same task.
    ///
    /// The running producer sends the hash of the content as key. That names the content, not the occasion, and would
    /// drop a second task with the same payload for a day; such a key is completed with the task's name. Without a key,
    /// the task's name serves, and without a name the minute: never the payload alone.
    #[must_use]
    pub fn key(&self, queue: Queue, task: Option<&str>, minute: DateTime<Utc>) -> String {
        let names_content = |key: &&String| **key == sha256_hex([queue.name(), self.data.get()]);
        let key = match (&self.idempotency_key, task) {
            (Some(key), Some(task)) if names_content(&key) => format!("{key}:{task}"),
            (Some(key), _) if !names_content(&key) => key.clone(),
            (_, Some(task)) => format!("{}:{task}", queue.name()),
            (_, None) => {
                let minute = minute.with_second(0).unwrap_or(minute).trunc_subsecs(0).to_rfc3339();
                sha256_hex([queue.name(), self.data.get(), &minute])
            }
        };
        if key.len() > MAX_KEY_BYTES { sha256_hex([key]) } else { key }
    }
}

/// Hex SHA-256 of the parts, one after the other.
pub fn sha256_hex(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    format!("{:x}", hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{AdaptiveSync, TokenRefresh};

    const QUEUE: Queue = Queue::TokenRefresh;

    fn parse(body: &str) -> Result<Envelope, Error> {
        Envelope::parse(QUEUE, body.as_bytes())
    }

    fn minute(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_running_producers_body_is_read() {
        let envelope = parse(r#"{"data":{"x":1},"idempotencyKey":"k","jobName":"token-refresh"}"#).unwrap();
        assert_eq!(envelope.payload::<TokenRefresh>().unwrap(), TokenRefresh::default());
        assert_eq!(envelope.prior_attempts, 0);
    }

    #[test]
    fn what_no_retry_can_mend_has_a_code() {
        #[track_caller]
        fn check(body: &str, code: &str) {
            let error = parse(body).and_then(|envelope| envelope.payload::<AdaptiveSync>()).unwrap_err();
            assert_eq!(error.code(), code, "{body}");
        }
        check("", "bad_envelope");
        check("[]", "bad_envelope");
        check("{}", "bad_envelope");
        check(r#"{"data":{},"priorAttempts":-1}"#, "bad_envelope");
        check(r#"{"data":{},"jobName":"calendar-sync"}"#, "wrong_job");
        check(r#"{"data":{},"v":2}"#, "unknown_version");
        check(r#"{"data":{}}"#, "bad_payload");
        check(r#"{"data":{"integrationType":"fax"}}"#, "bad_payload");
        check(r#"{"data":null}"#, "bad_payload");
    }

    #[test]
    fn a_key_that_only_names_the_content_is_completed_with_the_task() {
        let data = r#"{ "userId": "u" }"#;
        let content = sha256_hex(["token-refresh", data]);
        let envelope = parse(&format!(r#"{{"data":{data},"idempotencyKey":"{content}"}}"#)).unwrap();
        let now = minute("2026-01-01T00:00:00Z");
        assert_eq!(envelope.key(QUEUE, Some("t1"), now), format!("{content}:t1"));
        assert_ne!(envelope.key(QUEUE, Some("t1"), now), envelope.key(QUEUE, Some("t2"), now));
    }

    #[test]
    fn without_a_key_the_occasion_counts_and_never_the_payload_alone() {
        let envelope = parse(r#"{"data":{}}"#).unwrap();
        let first = minute("2026-01-01T00:00:10Z");
        let same = minute("2026-01-01T00:00:50Z");
        let later = minute("2026-01-01T00:01:00Z");
        assert_eq!(envelope.key(QUEUE, Some("t"), first), envelope.key(QUEUE, Some("t"), later));
        assert_eq!(envelope.key(QUEUE, None, first), envelope.key(QUEUE, None, same));
        assert_ne!(envelope.key(QUEUE, None, first), envelope.key(QUEUE, None, later));
    }

    #[test]
    fn a_key_that_only_names_the_content_never_stands_alone() {
        let content = sha256_hex(["token-refresh", "{}"]);
        let envelope = parse(&format!(r#"{{"data":{{}},"idempotencyKey":"{content}"}}"#)).unwrap();
        assert_ne!(envelope.key(QUEUE, None, minute("2026-01-01T00:00:00Z")), content);
    }

    #[test]
    fn an_error_does_not_show_what_it_met() {
        let error = parse(r#"{"data":{"integrationType":"alice@example.com"}}"#)
            .and_then(|envelope| envelope.payload::<AdaptiveSync>())
            .unwrap_err();
        assert!(!format!("{error} {error:?}").contains("alice"), "{error:?}");
    }

    #[test]
    fn a_long_key_becomes_its_hash() {
        let long = "k".repeat(MAX_KEY_BYTES + 1);
        let envelope = parse(&format!(r#"{{"data":{{}},"idempotencyKey":"{long}"}}"#)).unwrap();
        assert_eq!(envelope.key(QUEUE, None, minute("2026-01-01T00:00:00Z")).len(), 64);
    }
}
