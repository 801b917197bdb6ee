//! `infra/queues.json` says what the queues of the running system do; it may declare others.

use std::time::Duration;

use catchup::queues::{
    ADAPTIVE_SYNC, BATCH_NOTIFICATIONS, CALENDAR_SYNC, GOOGLE_CONTACTS_SYNC, NOTIFICATION_REMINDER,
    SUGGESTION_GENERATION, SUGGESTION_REGENERATION, TOKEN_HEALTH_REMINDER, TOKEN_REFRESH,
    WEBHOOK_HEALTH_CHECK, WEBHOOK_RENEWAL,
};
use shared::queue::Queue;

/// Queue, attempts, shortest and longest backoff in seconds, doublings, dispatches per second, schedules.
type Row = (Queue, u32, u64, u64, u32, u32, &'static [&'static str]);

const QUEUES: &[Row] = &[
    (TOKEN_REFRESH, 3, 60, 3600, 2, 10, &["0 3 * * *"]),
    (CALENDAR_SYNC, 5, 30, 1800, 3, 20, &[]),
    (GOOGLE_CONTACTS_SYNC, 5, 30, 1800, 3, 10, &[]),
    (ADAPTIVE_SYNC, 5, 10, 300, 3, 500, &["0 * * * *", "0 * * * *"]),
    (WEBHOOK_RENEWAL, 5, 30, 1800, 3, 500, &["0 4 * * *"]),
    (SUGGESTION_REGENERATION, 3, 60, 3600, 2, 500, &[]),
    (BATCH_NOTIFICATIONS, 5, 10, 300, 3, 50, &["*/15 * * * *"]),
    (SUGGESTION_GENERATION, 3, 60, 3600, 2, 500, &["0 */6 * * *"]),
    (WEBHOOK_HEALTH_CHECK, 3, 30, 900, 2, 500, &["0 */12 * * *"]),
    (NOTIFICATION_REMINDER, 3, 60, 1800, 2, 500, &["0 10 * * *"]),
    (TOKEN_HEALTH_REMINDER, 3, 60, 1800, 2, 500, &["30 10 * * *"]),
];

#[test]
fn every_queue_has_the_policy_of_the_running_system() {
    for &(queue, attempts, shortest, longest, doublings, rate, schedules) in QUEUES {
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
