//! The body of a task, as the running producers send it and as this system sends it on.
//!
//! `{"data": {…}, "idempotencyKey": "…", "jobName": "…"}`, and, optional, `v`, `trace`, `enqueuedAt`, and what a
//! rescheduled or replayed task carries: `n`, `root`, `life`, `after`, `alone`, `unreadableSince`.

use chrono::{DateTime, SubsecRound, Timelike, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::payload::Payload;
use crate::queue::Queue;

/// Longer keys are replaced by their hash: a key is part of a Redis key and of logs.
const MAX_KEY_BYTES: usize = 256;
const SHA256_HEX_CHARS: usize = 64;

/// One task's body. `data` keeps its exact text: hashes and redeliveries need it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// The payload.
    pub data: Box<RawValue>,
    /// What makes two deliveries the same task, if the producer said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Name that the producer gave the job. The queue decides what a task is, so it is only looked at to notice a task that
    /// belongs to another queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_name: Option<String>,
    /// Version of the payload's schema.
    #[serde(rename = "v", default = "first_version")]
    pub version: u32,
    /// W3C traceparent; Google's front end rewrites the header of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// When the producer created the task; of a debounced one, the end of its window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enqueued_at: Option<DateTime<Utc>>,
    /// How often the task was rescheduled.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n: u32,
    /// Name of the task that was rescheduled first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// How often the task was replayed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub life: u32,
    /// The run that rescheduled this task, if one had begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Uuid>,
    /// The task must be alone in its process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    /// When its payload could not be read for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable_since: Option<DateTime<Utc>>,
}

fn first_version() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A body that cannot be used. Says where it is wrong and never what is there: bodies are personal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumIter, thiserror::Error)]
pub enum Error {
    /// Not JSON, or not an envelope.
    #[error("not an envelope (line {}, column {})", .0.line, .0.column)]
    Envelope(Place),
    /// Names another of the queues.
    #[error("belongs to another queue")]
    WrongJob,
    /// Of a version that this build does not know yet.
    #[error("payload version {0} is not known")]
    UnknownVersion(u32),
    /// The payload does not match the schema.
    #[error("payload does not match the schema (line {}, column {})", .0.line, .0.column)]
    Payload(Place),
}

/// Where reading ended, counted from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
    /// Whether a later revision may be able to read the payload.
    #[must_use]
    pub fn may_be_fixed_by_a_deployment(&self) -> bool {
        match self {
            Self::UnknownVersion(_) | Self::Payload(_) => true,
            Self::Envelope(_) | Self::WrongJob => false,
        }
    }

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

/// What makes two deliveries the same task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key, the same in all lives of the task.
    pub text: String,
    /// It was derived from the task's name: two payloads under it are two versions of one task, and the first counts.
    pub is_derived: bool,
}

impl Envelope {
    /// Reads a body that was sent to `queue`, at a path that ends with `path_name` if it names a job.
    pub fn parse(queue: Queue, path_name: Option<&str>, body: &[u8]) -> Result<Self, Error> {
        let envelope: Self = serde_json::from_slice(body).map_err(|error| Error::Envelope(error.into()))?;
        let mut names = envelope.job_name.as_deref().into_iter().chain(path_name);
        if names.any(|name| queue.declaration().queue(name).is_some_and(|named| named != queue)) {
            return Err(Error::WrongJob);
        }
        Ok(envelope)
    }

    /// The payload; one of an older version is upgraded.
    pub fn payload<P: Payload>(&self) -> Result<P, Error> {
        if self.version == 0 || self.version > P::VERSION {
            return Err(Error::UnknownVersion(self.version));
        }
        let unreadable = |error: serde_json::Error| Error::Payload(error.into());
        if self.version == P::VERSION {
            return serde_json::from_str(self.data.get()).map_err(unreadable);
        }
        let mut value = serde_json::from_str(self.data.get()).map_err(unreadable)?;
        for version in self.version..P::VERSION {
            value = P::upgrade(version, value);
        }
        serde_json::from_value(value).map_err(unreadable)
    }

    /// Hash of the payload's exact text.
    #[must_use]
    pub fn payload_hash(&self) -> String {
        sha256_hex([self.data.get()])
    }

    /// What makes two deliveries the same task.
    ///
    /// The running producer sends the hash of job name and content as key. That names the content, not one task, and
    /// would drop a second task with the same payload for a day; such a key is completed with the task's name. Without a
    /// key, the task's name serves, and without a name the minute: never the payload alone.
    #[must_use]
    pub fn key(&self, queue: Queue, task: Option<&str>, minute: DateTime<Utc>) -> Key {
        let root = self.root.as_deref().or(task);
        let job_name = self.job_name.as_deref().unwrap_or(queue.name());
        let names_content =
            |key: &&String| key.len() == SHA256_HEX_CHARS && **key == sha256_hex([job_name, self.data.get()]);
        let text = match (&self.idempotency_key, task) {
            (Some(key), Some(task)) if names_content(&key) => format!("{key}:{task}"),
            (Some(key), _) if !names_content(&key) => key.clone(),
            (_, Some(task)) => format!("{}:{task}", queue.name()),
            (_, None) => {
                let minute = minute.with_second(0).unwrap_or(minute).trunc_subsecs(0).to_rfc3339();
                sha256_hex([queue.name(), self.data.get(), &minute])
            }
        };
        let is_derived = root.is_some_and(|root| text.ends_with(root));
        let is_plain = text.len() <= MAX_KEY_BYTES && !text.contains('\0');
        Key { text: if is_plain { text } else { sha256_hex([text]) }, is_derived }
    }
}

/// The name of a task in its key, as [`Envelope::key`] makes it: after its queue, or after the hash of its content; or after `task`,
/// where its body is no envelope. Another key is its own name.
#[must_use]
pub fn name_in(queue: Queue, key: &str) -> &str {
    let is_hash =
        |text: &str| text.len() == SHA256_HEX_CHARS && text.bytes().all(|it| it.is_ascii_hexdigit());
    let parts = key.rsplit_once(':');
    let named = parts.filter(|(before, _)| *before == "task" || *before == queue.name() || is_hash(before));
    named.map_or(key, |(_, name)| name)
}

/// The user whom a task of any schema is about: what is kept of it goes when the user does.
#[must_use]
pub fn user_of(body: &[u8]) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct Body {
        data: Data,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        user_id: Option<Uuid>,
    }
    serde_json::from_slice::<Body>(body).ok()?.data.user_id
}

/// Hex SHA-256 of the parts, one after the other.
pub fn sha256_hex(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    hash.finalize().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Slow, THUMBNAILS, Thumbnails};

    const QUEUE: Queue = THUMBNAILS;

    fn parse(body: &str) -> Result<Envelope, Error> {
        Envelope::parse(QUEUE, None, body.as_bytes())
    }

    fn minute(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_running_producers_bodies_are_read() {
        for job_name in ["thumbnails", "slow-0b0e-1717171717171", "make-thumbnail-0b0e-17"] {
            let body = format!(r#"{{"data":{{"x":1}},"idempotencyKey":"k","jobName":"{job_name}"}}"#);
            let envelope = Envelope::parse(QUEUE, Some(job_name), body.as_bytes()).unwrap();
            assert_eq!(envelope.payload::<Thumbnails>().unwrap(), Thumbnails::default());
            assert_eq!((envelope.n, envelope.life), (0, 0));
        }
    }

    #[test]
    fn what_cannot_be_used_has_a_code_and_may_or_may_not_be_fixed() {
        #[track_caller]
        fn check(body: &str, code: &str, may_be_fixed: bool) {
            let error = parse(body).and_then(|envelope| envelope.payload::<Slow>()).unwrap_err();
            assert_eq!((error.code(), error.may_be_fixed_by_a_deployment()), (code, may_be_fixed), "{body}");
        }
        check("", "bad_envelope", false);
        check("[]", "bad_envelope", false);
        check("{}", "bad_envelope", false);
        check(r#"{"data":{},"n":-1}"#, "bad_envelope", false);
        check(r#"{"data":{},"jobName":"slow"}"#, "wrong_job", false);
        check(r#"{"data":{},"v":2}"#, "unknown_version", true);
        check(r#"{"data":{}}"#, "bad_payload", true);
        check(r#"{"data":{"colour":"fax"}}"#, "bad_payload", true);
        check(r#"{"data":null}"#, "bad_payload", true);
    }

    #[test]
    fn a_path_that_is_exactly_another_queues_is_refused() {
        let parse = |path| Envelope::parse(QUEUE, Some(path), br#"{"data":{}}"#);
        assert_eq!(parse("slow").unwrap_err(), Error::WrongJob);
        assert!(parse("slow-0b0e-17").is_ok());
    }

    #[test]
    fn a_key_that_only_names_the_content_is_completed_with_the_task() {
        let data = r#"{ "userId": "u" }"#;
        let content = sha256_hex(["refresh-u-17", data]);
        let body = format!(r#"{{"data":{data},"idempotencyKey":"{content}","jobName":"refresh-u-17"}}"#);
        let envelope = parse(&body).unwrap();
        let key = |task| envelope.key(QUEUE, Some(task), minute("2026-01-01T00:00:00Z"));
        assert_eq!(key("t1"), Key { text: format!("{content}:t1"), is_derived: true });
        assert_ne!(key("t1"), key("t2"));
    }

    #[test]
    fn without_a_key_the_period_counts_and_never_the_payload_alone() {
        let envelope = parse(r#"{"data":{}}"#).unwrap();
        let first = minute("2026-01-01T00:00:10Z");
        let same = minute("2026-01-01T00:00:50Z");
        let later = minute("2026-01-01T00:01:00Z");
        assert_eq!(envelope.key(QUEUE, Some("t"), first), envelope.key(QUEUE, Some("t"), later));
        assert_eq!(envelope.key(QUEUE, None, first), envelope.key(QUEUE, None, same));
        assert_ne!(envelope.key(QUEUE, None, first), envelope.key(QUEUE, None, later));
    }

    #[test]
    fn a_key_that_only_names_the_content_is_never_used_alone() {
        let content = sha256_hex([QUEUE.name(), "{}"]);
        let envelope = parse(&format!(r#"{{"data":{{}},"idempotencyKey":"{content}"}}"#)).unwrap();
        assert_ne!(envelope.key(QUEUE, None, minute("2026-01-01T00:00:00Z")).text, content);
    }

    #[test]
    fn the_name_of_a_task_is_found_in_its_key() {
        let check = |key: &str, expected: &str| assert_eq!(name_in(QUEUE, key), expected, "{key}");
        let now = minute("2026-01-01T00:00:00Z");
        check(&parse(r#"{"data":{}}"#).unwrap().key(QUEUE, Some("17"), now).text, "17");
        let content = sha256_hex([QUEUE.name(), "{}"]);
        let named = parse(&format!(r#"{{"data":{{}},"idempotencyKey":"{content}"}}"#)).unwrap();
        check(&named.key(QUEUE, Some("17"), now).text, "17");
        check("task:17", "17");
        let own = format!("17-{}", QUEUE.name());
        check(&own, &own);
        check("another:17", "another:17");
    }

    #[test]
    fn a_rescheduled_task_keeps_its_key_and_what_it_was_derived_from() {
        let now = minute("2026-01-01T00:00:00Z");
        let first = parse(r#"{"data":{}}"#).unwrap().key(QUEUE, Some("first"), now);
        let body = format!(r#"{{"data":{{}},"idempotencyKey":"{}","n":1,"root":"first"}}"#, first.text);
        assert_eq!(parse(&body).unwrap().key(QUEUE, Some("second"), now), first);
        let foreign = parse(r#"{"data":{},"idempotencyKey":"of a producer"}"#).unwrap();
        assert!(!foreign.key(QUEUE, Some("first"), now).is_derived);
    }

    #[test]
    fn an_error_does_not_show_what_it_met() {
        let error = parse(r#"{"data":{"colour":"alice@example.com"}}"#)
            .and_then(|envelope| envelope.payload::<Slow>())
            .unwrap_err();
        assert!(!format!("{error} {error:?}").contains("alice"), "{error:?}");
    }

    #[test]
    fn a_key_that_is_too_long_or_that_postgres_cannot_keep_becomes_its_hash() {
        for key in ["k".repeat(MAX_KEY_BYTES + 1), "\\u0000".to_owned()] {
            let envelope = parse(&format!(r#"{{"data":{{}},"idempotencyKey":"{key}"}}"#)).unwrap();
            assert_eq!(envelope.key(QUEUE, None, minute("2026-01-01T00:00:00Z")).text.len(), 64);
        }
    }
}
