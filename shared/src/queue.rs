//! Queues and their policies, as a product declares them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use serde::Deserialize;

mod declaration;

pub use declaration::{Aged, Declaration, Personal, Policies, Retention};

/// A queue, named as its function; the Cloud Tasks queue is [`Queue::cloud_name`].
///
/// A constant of the product that declares it; two queues are the same when their names are.
#[derive(Clone, Copy)]
pub struct Queue {
    name: &'static str,
    declaration: &'static Declaration,
}

impl Queue {
    /// The queue of that name. A product's own test shows that all its constants are declared.
    #[must_use]
    pub const fn new(name: &'static str, declaration: &'static Declaration) -> Self {
        Self { name, declaration }
    }

    /// Name of the function, of the job in an envelope, and of the entry in the declaration.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Name of the queue in Cloud Tasks.
    #[must_use]
    pub fn cloud_name(self) -> String {
        format!("{}-queue", self.name)
    }

    /// The policy that is declared for it.
    ///
    /// # Panics
    /// If the declaration has no queue of that name.
    #[must_use]
    pub fn policy(self) -> &'static Policy {
        let policy = self.declaration.policies().get(self.name);
        policy.unwrap_or_else(|| panic!("the queue {} is not declared", self.name))
    }

    /// What declares it, and all queues next to it.
    #[must_use]
    pub fn declaration(self) -> &'static Declaration {
        self.declaration
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

impl PartialEq for Queue {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Queue {}

impl Hash for Queue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl PartialOrd for Queue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queue {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(other.name)
    }
}

/// How a queue dispatches and how its function runs a task.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Failed runs after which a task is a dead letter. While the queue is ours, Cloud Tasks has no limit of its own.
    pub attempts: u32,
    min_backoff_seconds: u64,
    max_backoff_seconds: u64,
    /// How often the backoff doubles before it grows linearly.
    pub max_doublings: u32,
    /// Rate of the queue's token bucket.
    pub max_dispatches_per_second: u32,
    timeout_seconds: u64,
    dispatch_deadline_seconds: u64,
    /// Tasks that the scheduler creates.
    pub schedules: Vec<Schedule>,
}

/// One entry of the scheduler.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schedule {
    /// Unique within the queue.
    pub name: String,
    /// Five fields, UTC.
    pub cron: String,
    /// The time between two runs: all tasks created within one period are scheduled for its start.
    pub period_seconds: u32,
    /// The payload of the task.
    pub payload: serde_json::Value,
}

impl Policy {
    /// Wait after the first failed attempt.
    #[must_use]
    pub fn min_backoff(&self) -> Duration {
        Duration::from_secs(self.min_backoff_seconds)
    }

    /// Longest wait between attempts.
    #[must_use]
    pub fn max_backoff(&self) -> Duration {
        Duration::from_secs(self.max_backoff_seconds)
    }

    /// Wait after so many failed attempts, as Cloud Tasks computes it from the same numbers.
    ///
    /// Source: <https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues#retryconfig>.
    #[must_use]
    pub fn backoff(&self, failures: u32) -> Duration {
        let failures = u64::from(failures.max(1));
        let doublings = u64::from(self.max_doublings).min(failures - 1);
        let factor = (1_u64 << doublings.min(32)).saturating_mul(failures - doublings);
        self.max_backoff().min(Duration::from_secs(self.min_backoff_seconds.saturating_mul(factor)))
    }

    /// Time that a job gets; shorter than [`Policy::dispatch_deadline`].
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    /// How long Cloud Tasks listens for the answer.
    #[must_use]
    pub fn dispatch_deadline(&self) -> Duration {
        Duration::from_secs(self.dispatch_deadline_seconds)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{SLOW, THUMBNAILS};

    #[test]
    fn the_backoff_doubles_then_grows_linearly_and_is_bounded() {
        let seconds = |failures| THUMBNAILS.policy().backoff(failures).as_secs();
        assert_eq!([1, 2, 3, 4, 5, 6].map(seconds), [30, 60, 120, 240, 480, 720]);
        assert_eq!((seconds(0), seconds(u32::MAX)), (30, 1800));
    }

    #[test]
    fn a_queue_is_known_by_its_name() {
        assert_eq!(THUMBNAILS.cloud_name(), "thumbnails-queue");
        assert_eq!(THUMBNAILS.declaration().queue("thumbnails"), Some(THUMBNAILS));
        assert_eq!(THUMBNAILS.declaration().queue("gone"), None);
        assert!(THUMBNAILS.declaration().queues().eq([THUMBNAILS, SLOW]), "in the order of the declaration");
    }
}
