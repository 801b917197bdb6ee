//! The function next to its servers, and users with suggestions.

use batch_notifications::BatchNotifications;
use catchup::notify::Timeouts;
use catchup::{limits, queues};
use chrono::TimeDelta;
use serde_json::Value;
use shared::rate_limit::Decision;
use tests::{Answer, Delivery, Messaging, Service, Stack};
use uuid::Uuid;

pub(crate) struct Fixture {
    pub(crate) stack: Stack,
    pub(crate) messaging: Messaging,
    pub(crate) service: Service,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with_timeouts(Timeouts::default()).await
    }

    /// Waits so long for providers.
    pub(crate) async fn with_timeouts(timeouts: Timeouts) -> Self {
        let stack = Stack::start().await;
        let messaging = Messaging::start();
        let setup = &mut stack.setup(messaging.environment());
        let job = BatchNotifications::with_timeouts(setup, timeouts).unwrap();
        let service = stack.service_with(job, messaging.environment());
        Self { stack, messaging, service }
    }

    /// When texts may go out.
    pub(crate) async fn at_noon() -> Self {
        let fixture = Self::new().await;
        fixture.stack.advance_to_noon();
        fixture
    }

    pub(crate) async fn deliver(&self, data: &Value) -> Answer {
        self.service.deliver(task(data)).await
    }

    /// A user with an address of that name, a verified number, and the preferences that these columns name.
    pub(crate) async fn user(&self, name: &str, preferences: &str) -> Uuid {
        let id = Uuid::new_v4();
        let number = number(name);
        self.stack.run(&format!(
            "INSERT INTO users (id, email, google_id, last_calendar_sync)
             VALUES ('{id}', '{name}@example.test', '{name}', '2100-01-01');
             INSERT INTO notification_preferences (user_id, sms_enabled, email_enabled) VALUES ('{id}', {preferences});
             INSERT INTO user_phone_numbers (user_id, phone_number, encrypted_phone_number, verified)
             VALUES ('{id}', '{number}', '', true)"
        ))
        .await;
        id
    }

    /// So many texts were sent to the user for other reasons.
    pub(crate) async fn count_texts(&self, user: Uuid, count: u32) {
        let limiter = self.stack.setup([]).limiter().unwrap();
        for _ in 0..count {
            assert_eq!(limiter.acquire(&limits::SMS, user).await, Decision::Allowed);
        }
    }

    /// A pending suggestion to meet a contact of that name, younger than those before.
    pub(crate) async fn suggest(&self, user: Uuid, whom: &str) -> Uuid {
        self.suggest_in(user, whom, TimeDelta::days(60)).await
    }

    /// Likewise, so long before it begins.
    pub(crate) async fn suggest_in(&self, user: Uuid, whom: &str, before: TimeDelta) -> Uuid {
        let start = self.stack.now() + before;
        let end = start + TimeDelta::hours(1);
        let (id, contact) = (Uuid::new_v4(), Uuid::new_v4());
        self.stack
            .run(&format!(
                "INSERT INTO contacts (id, user_id, name, phone, email)
             VALUES ('{contact}', '{user}', '{whom}', '+15550000000', '{whom}@contact.test');
             INSERT INTO suggestions (id, user_id, contact_id, trigger_type, proposed_timeslot_start,
                proposed_timeslot_end, proposed_timeslot_timezone, reasoning)
             VALUES ('{id}', '{user}', '{contact}', 'timebound', '{start}', '{end}', 'UTC', 'why')"
            ))
            .await;
        id
    }

    /// Channel, recipient and text of all messages so far.
    pub(crate) fn messages(&self) -> Vec<(String, String)> {
        let messages = self.messaging.inbox.messages().into_iter();
        messages.map(|message| (message.to, message.text.unwrap_or_default())).collect()
    }

    /// How many messages the ledger knows of, by channel and state.
    pub(crate) async fn ledger(&self) -> Vec<(String, String, i64)> {
        self.stack.rows(
            "SELECT channel, state, count(*) FROM jobs.notification_deliveries GROUP BY 1, 2 ORDER BY 1, 2",
        )
        .await
    }
}

pub(crate) fn task(data: &Value) -> Delivery {
    Delivery::of(queues::BATCH_NOTIFICATIONS, data)
}

/// The number of a user's phone, E.164.
pub(crate) fn number(name: &str) -> String {
    let digits: u32 = name.bytes().map(u32::from).sum();
    format!("+1212555{digits:04}")
}
