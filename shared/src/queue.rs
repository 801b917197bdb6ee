//! The eleven queues and their policies, read from `infra/queues.json`.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;

/// A queue, named as its function; the Cloud Tasks queue is [`Queue::cloud_name`].
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Deserialize,
    strum::EnumIter,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it; what each does stands in the function")]
pub enum Queue {
    TokenRefresh,
    CalendarSync,
    GoogleContactsSync,
    AdaptiveSync,
    WebhookRenewal,
    SuggestionRegeneration,
    BatchNotifications,
    SuggestionGeneration,
    WebhookHealthCheck,
    NotificationReminder,
    TokenHealthReminder,
}

impl Queue {
    /// All queues, in the order of the declaration above.
    pub fn all() -> impl Iterator<Item = Self> {
        <Self as strum::IntoEnumIterator>::iter()
    }

    /// Name of the function, of the job in an envelope, and of the entry in `infra/queues.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Name of the queue in Cloud Tasks.
    #[must_use]
    pub fn cloud_name(self) -> String {
        format!("{}-queue", self.name())
    }

    /// The policy that `infra/queues.json` declares.
    #[must_use]
    pub fn policy(self) -> &'static Policy {
        &DECLARATION.queues[&self]
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
    /// The time between two runs: all tasks created within one period are the same occasion.
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Declaration {
    queues: BTreeMap<Queue, Policy>,
}

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../infra/queues.json"))
        .expect("infra/queues.json is checked by a test")
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_is_declared_once_and_its_times_are_in_order() {
        assert_eq!(
            Queue::all().collect::<std::collections::BTreeSet<_>>(),
            DECLARATION.queues.keys().copied().collect()
        );
        for queue in Queue::all() {
            let policy = queue.policy();
            assert!(policy.timeout() < policy.dispatch_deadline(), "{queue:?}");
            assert!(policy.attempts > 0, "{queue:?}");
        }
    }

    #[test]
    fn the_backoff_doubles_then_grows_linearly_and_is_bounded() {
        let seconds = |failures| Queue::CalendarSync.policy().backoff(failures).as_secs();
        assert_eq!([1, 2, 3, 4, 5, 6].map(seconds), [30, 60, 120, 240, 480, 720]);
        assert_eq!((seconds(0), seconds(u32::MAX)), (30, 1800));
    }

    #[test]
    fn a_queue_is_named_after_its_function() {
        assert_eq!(Queue::GoogleContactsSync.name(), "google-contacts-sync");
        assert_eq!(Queue::GoogleContactsSync.cloud_name(), "google-contacts-sync-queue");
    }
}
