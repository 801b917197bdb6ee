//! `infra/queues.json` says what the running system's queues do.

use std::time::Duration;

use shared::queue::Queue::{self, *};

/// Queue, attempts, shortest and longest backoff in seconds, doublings, dispatches per second, schedules.
type Row = (Queue, u32, u64, u64, u32, u32, &'static [&'static str]);

const QUEUES: [Row; 11] = [
    (TokenRefresh, 3, 60, 3600, 2, 10, &["0 3 * * *"]),
    (CalendarSync, 5, 30, 1800, 3, 20, &[]),
    (GoogleContactsSync, 5, 30, 1800, 3, 10, &[]),
    (AdaptiveSync, 5, 10, 300, 3, 500, &["0 * * * *", "0 * * * *"]),
    (WebhookRenewal, 5, 30, 1800, 3, 500, &["0 4 * * *"]),
    (SuggestionRegeneration, 3, 60, 3600, 2, 500, &[]),
    (BatchNotifications, 5, 10, 300, 3, 50, &["*/15 * * * *"]),
    (SuggestionGeneration, 3, 60, 3600, 2, 500, &["0 */6 * * *"]),
    (WebhookHealthCheck, 3, 30, 900, 2, 500, &["0 */12 * * *"]),
    (NotificationReminder, 3, 60, 1800, 2, 500, &["0 10 * * *"]),
    (TokenHealthReminder, 3, 60, 1800, 2, 500, &["30 10 * * *"]),
];

#[test]
fn every_queue_has_the_policy_of_the_running_system() {
    for (queue, attempts, shortest, longest, doublings, rate, schedules) in QUEUES {
        let policy = queue.policy();
        assert_eq!(policy.attempts, attempts, "{queue:?}");
        assert_eq!(policy.min_backoff(), Duration::from_secs(shortest), "{queue:?}");
        assert_eq!(policy.max_backoff(), Duration::from_secs(longest), "{queue:?}");
        assert_eq!(policy.max_doublings, doublings, "{queue:?}");
        assert_eq!(policy.max_dispatches_per_second, rate, "{queue:?}");
        let crons: Vec<_> = policy.schedules.iter().map(|schedule| schedule.cron.as_str()).collect();
        assert_eq!(crons, schedules, "{queue:?}");
    }
}
