//! The kind of notice of this queue; what the two reminders share is tested with notification-reminder.

use catchup::queues;
use serde_json::json;
use shared::job::Job;
use tests::{Delivery, Messaging, Stack};
use token_health_reminder::TokenHealthReminder;

#[tokio::test(flavor = "multi_thread")]
async fn those_whose_token_ends_are_reminded() {
    let stack = Stack::start().await;
    let messaging = Messaging::start();
    let job = TokenHealthReminder::new(&mut stack.setup(messaging.environment())).unwrap();
    let service = stack.service_with(job, messaging.environment());
    let sql = "INSERT INTO users (email, google_id) VALUES ('soon@example.test', '1'), ('invalid@example.test', '2');
               INSERT INTO token_health_notifications
                  (user_id, integration_type, notification_type, message, re_auth_link, created_at)
               SELECT id, 'google_contacts', CASE google_id WHEN '1' THEN 'token_expiring_soon' ELSE 'token_invalid' END,
                  '', '', timezone('UTC', now()) - interval '8 days' FROM users";
    stack.run(sql).await;

    let sweep = Delivery::of(queues::TOKEN_HEALTH_REMINDER, &json!({}));
    assert_eq!(service.deliver(sweep).await.body["result"]["created"], 1);
    let task = stack.take_tasks(queues::TOKEN_HEALTH_REMINDER).await.remove(0);
    assert_eq!(service.deliver(task).await.body["result"]["sent"], 1);
    let messages = messaging.inbox.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].to, "soon@example.test");
    assert!(messages[0].text.as_ref().unwrap().contains("/app?view=preferences"), "{messages:?}");
}
