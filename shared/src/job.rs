//! The contract of a job: what it is given, and how it may end.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::InvalidConfig;
pub use crate::failure::{BoxError, Failure};
use crate::payload::Payload;

mod setup;

pub use setup::Setup;

/// One queue's work. The implementing struct *is* its dependencies: it holds what it names, and nothing else.
pub trait Job: Sized + Send + Sync + 'static {
    /// What a task carries.
    type Payload: Payload;

    /// Takes what the job needs. Ask for everything before the first `?`, so that all problems are reported together.
    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig>;

    /// Runs one task. May run again after a crash at any point, so each effect must be idempotent.
    ///
    /// Dropped at an await point when the queue's timeout has expired; `Context::cancelled` comes earlier, on shutdown.
    fn run(
        &self,
        payload: Self::Payload,
        context: &Context,
    ) -> impl Future<Output = Result<Outcome, Failure>> + Send;
}

/// What a job knows about the task that it runs.
#[derive(Debug, Clone)]
pub struct Context {
    /// Names this task and every redelivery of it, and no other: the stem for names of tasks that it creates.
    pub key: String,
    /// 1 for the first run.
    pub attempt: u32,
    /// A failure now makes a dead letter.
    pub last_attempt: bool,
    /// Dispatches before this one, as far as they are known: an earlier run may have begun.
    pub dispatches: u32,
    /// Start of the period of the queue's schedule in which the task was created: one moment for all sweeps of a period,
    /// and for their retries. In a queue without schedules the moment of creation, which for a debounced task is the
    /// end of its window.
    pub scheduled_for: DateTime<Utc>,
    pub(crate) clock: Clock,
    pub(crate) deadline: Instant,
    pub(crate) cancelled: CancellationToken,
}

impl Context {
    /// The present moment, UTC.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Time until the job is dropped: a job that can stop between two parts asks this before the next one.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether the task ends with this failure: it is permanent, or the last one that counts.
    #[must_use]
    pub fn is_final(&self, failure: &Failure) -> bool {
        match failure {
            Failure::Permanent(_) => true,
            Failure::Transient(_) => self.last_attempt,
            Failure::Busy { .. } | Failure::Unavailable { .. } => false,
        }
    }

    /// The instance is asked to stop: a job that can commit a part should do so now.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }
}

/// How a task that did not fail ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The job is done; the value is kept and returned to duplicates.
    Done(Value),
    /// There was nothing to do, for a reason with a stable name.
    Skipped(&'static str),
    /// The task is rescheduled to that time, without using up an attempt.
    Snooze(DateTime<Utc>),
}

impl Outcome {
    /// [`Outcome::Done`] with a result that serialises.
    ///
    /// # Panics
    /// If `result` has a map with keys that are no strings.
    pub fn done(result: impl Serialize) -> Self {
        Self::Done(serde_json::to_value(result).expect("results are plain structs"))
    }
}
