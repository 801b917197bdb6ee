//! The queues, as `infra/queues.json` declares them.

use std::sync::LazyLock;

use shared::queue::{Declaration, Policies, Queue};

use crate::{retention, variables};

/// What the platform must know of CatchUp.
pub static DECLARATION: Declaration =
    Declaration { policies, variables: variables::ALL, retention: retention::RETENTION };

fn policies() -> &'static Policies {
    static POLICIES: LazyLock<Policies> = LazyLock::new(|| {
        Policies::parse(include_str!("../../../infra/queues.json"))
            .expect("infra/queues.json is checked by a test")
    });
    &POLICIES
}

/// All queues, in the order of the declaration.
pub fn all() -> impl Iterator<Item = Queue> {
    DECLARATION.queues()
}

macro_rules! queues {
    ($($name:ident: $text:literal;)*) => {
        $(
            #[doc = concat!("`", $text, "`.")]
            pub const $name: Queue = Queue::new($text, &DECLARATION);
        )*

        #[cfg(test)]
        const NAMED: &[Queue] = &[$($name),*];
    };
}

queues! {
    TOKEN_REFRESH: "token-refresh";
    CALENDAR_SYNC: "calendar-sync";
    GOOGLE_CONTACTS_SYNC: "google-contacts-sync";
    ADAPTIVE_SYNC: "adaptive-sync";
    WEBHOOK_RENEWAL: "webhook-renewal";
    SUGGESTION_REGENERATION: "suggestion-regeneration";
    BATCH_NOTIFICATIONS: "batch-notifications";
    SUGGESTION_GENERATION: "suggestion-generation";
    WEBHOOK_HEALTH_CHECK: "webhook-health-check";
    NOTIFICATION_REMINDER: "notification-reminder";
    TOKEN_HEALTH_REMINDER: "token-health-reminder";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cloud Tasks dispatches no faster: <https://cloud.google.com/tasks/docs/quotas>.
    const MAX_DISPATCHES_PER_SECOND: u32 = 500;

    #[test]
    fn every_queue_is_named_and_its_times_are_in_order() {
        assert_eq!(all().collect::<Vec<_>>(), NAMED);
        for queue in all() {
            let policy = queue.policy();
            assert!(policy.timeout() < policy.dispatch_deadline(), "{queue:?}");
            assert!(policy.min_backoff() <= policy.max_backoff(), "{queue:?}");
            assert!(policy.attempts > 0, "{queue:?}");
            assert!((1..=MAX_DISPATCHES_PER_SECOND).contains(&policy.max_dispatches_per_second), "{queue:?}");
        }
    }
}
