//! The producing side: tasks are created with `tasks.enqueue(&payload, options)`, and the payload's type names the queue.
//!
//! Tasks go to Cloud Tasks (`cloud`), or, with `USE_CLOUD_TASKS=false`, straight to the function (`direct`).

use std::num::NonZeroU32;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderValue;
use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Clock;
use crate::config::{Config, InvalidConfig, variables};
use crate::envelope::{Envelope, sha256_hex};
use crate::failure::Failure;
use crate::payload::Payload;
use crate::queue::Queue;
use crate::telemetry::Scope;

mod cloud;
mod debounce;
mod direct;
mod options;
mod target;

pub use debounce::Coverage;
pub use options::Options;
use options::Resolved;
pub(crate) use target::Targets;

/// Tasks of one [`Tasks::enqueue_many`] that are being created at the same time.
const CONCURRENCY: usize = 64;

const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Creates tasks; clones share connections and credentials.
#[derive(Debug, Clone)]
pub struct Tasks {
    route: Route,
    clock: Clock,
    debounce_divisor: NonZeroU32,
}

#[derive(Debug, Clone)]
enum Route {
    Cloud(cloud::CloudTasks),
    Direct(direct::Direct),
}

/// What became of a task that was to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It is new.
    Created,
    /// A task of that name exists, or did until recently: the work is taken care of.
    Existing,
}

/// What became of many tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// New ones.
    pub created: u64,
    /// Ones that were there already.
    pub existing: u64,
}

/// A task could not be created; nothing is known to have been created.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or one that broke off.
    #[error("task could not be sent")]
    Transport(#[source] reqwest::Error),
    /// No credentials for Cloud Tasks.
    #[error("no credentials for cloud tasks")]
    Credentials(#[source] gcp_auth::Error),
    /// The provider of credentials for Cloud Tasks does not respond.
    #[error("no credentials for cloud tasks in time")]
    NoCredentials,
    /// The other side cannot serve at the moment: 429 and 5xx.
    #[error("task was answered with status {0}")]
    Unavailable(u16),
    /// The other side will not take the task: other 4xx.
    #[error("task was refused with status {status} {code}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Google's code for it, if the other side gave one.
        code: String,
    },
    /// The payload cannot be written as JSON.
    #[error("payload cannot be serialised")]
    Payload(#[from] serde_json::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Transport(_) | Error::Credentials(_) | Error::NoCredentials | Error::Unavailable(_) => {
                Self::unavailable(RETRY_AFTER, error)
            }
            Error::Refused { .. } => Self::transient(error),
            Error::Payload(_) => Self::permanent(error),
        }
    }
}

impl Tasks {
    /// Reads where tasks go, and `DEBOUNCE_DIVISOR`.
    pub fn from_config(config: &mut Config, clock: Clock) -> Result<Self, InvalidConfig> {
        let targets = Targets::from_config(config);
        let use_cloud_tasks = config.required::<bool>(&variables::USE_CLOUD_TASKS);
        // A switch that cannot be read is no reason to keep the other problems back.
        let route = if use_cloud_tasks.unwrap_or(true) {
            cloud::CloudTasks::from_config(config, targets).map(Route::Cloud)
        } else {
            direct::Direct::from_config(config, targets).map(Route::Direct)
        };
        let debounce_divisor = config.required::<NonZeroU32>(&variables::DEBOUNCE_DIVISOR);
        let route = use_cloud_tasks.and(route)?;
        Ok(Self { route, clock, debounce_divisor: debounce_divisor? })
    }

    /// Creates a task, which runs as soon as its queue allows unless the [`Options`] say otherwise.
    ///
    /// Cancelled before it returns, the task may or may not have been created.
    pub async fn enqueue<P: Payload>(&self, payload: &P, options: Options) -> Result<Enqueued, Error> {
        self.create_covering(payload, &options).await.map(|(enqueued, _)| enqueued)
    }

    /// Creates a task with [`Options::debounced`], and returns what it covers.
    pub async fn debounce<P: Payload>(
        &self,
        payload: &P,
        key: &str,
        window: Duration,
    ) -> Result<Coverage, Error> {
        let options = Options::default().debounced(key, window);
        self.create_covering(payload, &options).await.map(|(_, coverage)| coverage)
    }

    async fn create_covering<P: Payload>(
        &self,
        payload: &P,
        options: &Options,
    ) -> Result<(Enqueued, Coverage), Error> {
        let send = |resolved| self.create(payload, resolved);
        debounce::create(options, &self.clock, self.debounce_divisor, send).await
    }

    async fn create<P: Payload>(&self, payload: &P, resolved: Resolved) -> Result<Sent, Error> {
        let Resolved { name, at, created_at, window_end: _ } = resolved;
        let name = name.map(|text| task_name(P::QUEUE, &text));
        let envelope = Envelope {
            data: RawValue::from_string(serde_json::to_string(payload)?)?,
            idempotency_key: Some(name.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string())),
            job_name: Some(P::QUEUE.name().to_owned()),
            version: P::VERSION,
            trace: Scope::current().and_then(|scope| Some(scope.trace()?.to_owned())),
            enqueued_at: Some(created_at),
            n: 0,
            root: None,
            life: 0,
            after: None,
            alone: false,
            unreadable_since: None,
        };
        self.send(&NewTask { queue: P::QUEUE, name, at, body: serde_json::to_vec(&envelope)?.into() }).await
    }

    /// Creates many tasks, a bounded number at a time, in bounded memory. The first error ends it.
    pub async fn enqueue_many<P: Payload>(
        &self,
        tasks: impl IntoIterator<Item = (P, Options), IntoIter: Send> + Send,
    ) -> Result<Summary, Error> {
        stream::iter(tasks)
            .map(async |(payload, options)| self.enqueue(&payload, options).await)
            .buffer_unordered(CONCURRENCY)
            .try_fold(Summary::default(), async |mut summary, enqueued| {
                match enqueued {
                    Enqueued::Created => summary.created += 1,
                    Enqueued::Existing => summary.existing += 1,
                }
                Ok(summary)
            })
            .await
    }

    /// Creates the successor of a dispatched task, which is number `envelope.n` after the task `root`. Whatever the reason:
    /// the same number has the same name, so that a task which is delivered twice has one successor.
    pub(crate) async fn reschedule(
        &self,
        queue: Queue,
        root: &str,
        envelope: Envelope,
        at: DateTime<Utc>,
    ) -> Result<Enqueued, Error> {
        let name = successor_name(queue, root, envelope.n);
        let body = serde_json::to_vec(&envelope)?.into();
        self.send(&NewTask { queue, name: Some(name), at: Some(at), body }).await.map(|sent| sent.enqueued)
    }

    /// Creates the task of a replay: what [`crate::replay::task`] made of a dead letter. The same name is the same replay.
    pub async fn replay(&self, queue: Queue, name: String, body: Vec<u8>) -> Result<Enqueued, Error> {
        let task = NewTask { queue, name: Some(name), at: None, body: body.into() };
        self.send(&task).await.map(|sent| sent.enqueued)
    }

    /// Whether Cloud Tasks can be used at present: for who was refused before, and would rather not try again in vain.
    pub(crate) async fn is_available(&self, queue: Queue) -> bool {
        match &self.route {
            Route::Cloud(cloud) => cloud.is_available(queue).await,
            Route::Direct(_) => true,
        }
    }

    /// Sends what is held back to its functions now: the process is about to end. Nothing waits in the usual case.
    pub(crate) async fn flush(&self) {
        match &self.route {
            Route::Cloud(_) => {}
            Route::Direct(direct) => direct.flush().await,
        }
    }

    async fn send(&self, task: &NewTask) -> Result<Sent, Error> {
        match &self.route {
            Route::Cloud(cloud) => cloud.create(task).await,
            Route::Direct(direct) => {
                let enqueued = direct.call(task, self.clock.now()).await?;
                Ok(Sent { enqueued, date: None })
            }
        }
    }
}

/// A task on its way to a queue.
#[derive(Debug, Clone)]
struct NewTask {
    queue: Queue,
    name: Option<String>,
    at: Option<DateTime<Utc>>,
    body: Bytes,
}

/// What Cloud Tasks answered.
#[derive(Debug)]
struct Sent {
    enqueued: Enqueued,
    date: Option<HeaderValue>,
}

impl Sent {
    /// When Cloud Tasks answered, by its clock, in whole seconds: RFC 9110, section 6.6.1.
    fn answered_at(&self) -> Option<DateTime<Utc>> {
        let text = self.date.as_ref()?.to_str().ok()?;
        Some(DateTime::parse_from_rfc2822(text).ok()?.to_utc())
    }
}

/// The name of a task that is [`Options::named`]. Names begin with a hash: sequential ones make Cloud Tasks slow.
#[must_use]
pub fn task_name(queue: Queue, text: &str) -> String {
    let hash = sha256_hex([queue.name(), "\0", text]);
    format!("{}-{}", &hash[..32], queue.name())
}

/// Of the n-th task after the task `root`.
pub(crate) fn successor_name(queue: Queue, root: &str, n: u32) -> String {
    task_name(queue, &format!("{root}#{n}"))
}

/// What an answer says about the task.
async fn classify(response: reqwest::Response) -> Result<Enqueued, Error> {
    const MAX_ANSWER_BYTES: usize = 64 * 1024;
    let status = response.status().as_u16();
    if (200..300).contains(&status) {
        return Ok(Enqueued::Created);
    }
    let body = crate::http::read_limited(response, MAX_ANSWER_BYTES).await.unwrap_or_default();
    let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
    match (status, refusal.error.status.as_str()) {
        (409, "ALREADY_EXISTS") => Ok(Enqueued::Existing),
        // 409 is ABORTED, too: a change at the same time.
        (409 | 429 | 500..=599, _) => Err(Error::Unavailable(status)),
        (status, code) => Err(Error::Refused { status, code: code.chars().take(MAX_CODE_CHARS).collect() }),
    }
}

/// Google's codes are shorter.
const MAX_CODE_CHARS: usize = 40;

/// Source: <https://cloud.google.com/apis/design/errors#http_mapping>.
#[derive(Default, Deserialize)]
struct Refusal {
    error: Status,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    status: String,
}
