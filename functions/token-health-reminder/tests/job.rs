//! The kind of notice of this queue; what the two reminders share is tested with notification-reminder.

use catchup::queues;
use serde_json::json;
use shared::job::Job;
use tests::{Delivery, Messaging, Service, Stack};
use token_health_reminder::TokenHealthReminder;

struct Fixture {
    stack: Stack,
    messaging: Messaging,
    service: Service,
}

impl Fixture {
    async fn new() -> Self {
        let stack = Stack::start().await;
        stack.advance_to_noon();
        let messaging = Messaging::start();
        let job = TokenHealthReminder::new(&mut stack.setup(messaging.environment())).unwrap();
        let service = stack.service_with(job, messaging.environment());
        Self { stack, messaging, service }
    }

    /// A user with a notice of that kind and age, and a token that ends so many minutes from now.
    async fn user(&self, name: &str, kind: &str, minutes_old: i64, ends_in_minutes: i64) {
        let now = self.stack.now();
        self.stack
            .run(&format!(
                "INSERT INTO users (email, google_id) VALUES ('{name}@example.test', '{name}');
                 INSERT INTO oauth_tokens (user_id, provider, access_token, expires_at)
                 SELECT id, 'google_contacts', '', timestamptz '{now}' + interval '{ends_in_minutes} minutes'
                 FROM users WHERE google_id = '{name}';
                 INSERT INTO token_health_notifications
                    (user_id, integration_type, notification_type, message, re_auth_link, created_at)
                 SELECT id, 'google_contacts', '{kind}', '', '',
                    timezone('UTC', timestamptz '{now}') - interval '{minutes_old} minutes'
                 FROM users WHERE google_id = '{name}'"
            ))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_whose_token_still_works_are_reminded_an_hour_after_the_notice() {
    let fixture = Fixture::new().await;
    fixture.user("soon", "token_expiring_soon", 61, 120).await;
    fixture.user("young", "token_expiring_soon", 59, 120).await;
    // What the reminder says would not be true any more.
    fixture.user("over", "token_expiring_soon", 61, -1).await;
    fixture.user("invalid", "token_invalid", 8 * 1440, 120).await;

    let sweep = Delivery::of(queues::TOKEN_HEALTH_REMINDER, &json!({}));
    assert_eq!(fixture.service.deliver(sweep).await.body["result"]["created"], 1);
    let task = fixture.stack.take_tasks(queues::TOKEN_HEALTH_REMINDER).await.remove(0);
    assert_eq!(fixture.service.deliver(task).await.body["result"]["sent"], 1);
    let messages = fixture.messaging.inbox.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].to, "soon@example.test");
    assert!(messages[0].text.as_ref().unwrap().contains("/app?view=preferences"), "{messages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ended_while_its_reminder_waited_is_not_spoken_of_as_one_that_works() {
    let fixture = Fixture::new().await;
    fixture.user("soon", "token_expiring_soon", 61, 5).await;
    let sweep = Delivery::of(queues::TOKEN_HEALTH_REMINDER, &json!({}));
    fixture.service.deliver(sweep).await;
    let task = fixture.stack.take_tasks(queues::TOKEN_HEALTH_REMINDER).await.remove(0);
    fixture.stack.advance(600);
    let answer = fixture.service.deliver(task).await;
    assert_eq!((answer.outcome(), answer.reason()), ("skipped", "nothing_due"));
    assert!(fixture.messaging.inbox.messages().is_empty());
}
