//! The sweep and its tasks: over real servers and the stand-ins for Twilio and `SendGrid`.

use catchup::db::deliveries::Deliveries;
use catchup::{limits, queues};
use chrono::TimeDelta;
use messaging_stand_in::{Channel, Fault, Kind};
use notification_reminder::NotificationReminder;
use serde_json::{Value, json};
use shared::job::Job;
use tests::{Answer, Delivery, Messaging, Service, Stack};
use uuid::Uuid;

const NUMBER: &str = "+12125550100";

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
        let job = NotificationReminder::new(&mut stack.setup(messaging.environment())).unwrap();
        let service = stack.service_with(job, messaging.environment());
        Self { stack, messaging, service }
    }

    async fn deliver(&self, data: &Value) -> Answer {
        self.service.deliver(task(data)).await
    }

    /// A user with a verified number and a notification that is open for eight days.
    async fn user(&self) -> Uuid {
        let id = Uuid::new_v4();
        self.stack
            .run(&format!(
                "INSERT INTO users (id, email, google_id) VALUES ('{id}', '{id}@example.test', '{id}');
             INSERT INTO user_phone_numbers (user_id, phone_number, encrypted_phone_number, verified)
             SELECT '{id}', '{NUMBER}', '', true WHERE NOT EXISTS (SELECT FROM user_phone_numbers)"
            ))
            .await;
        self.notify(id, "google_calendar", "token_invalid").await;
        id
    }

    async fn notify(&self, user: Uuid, integration: &str, kind: &str) {
        self.stack
            .run(&format!(
                "INSERT INTO token_health_notifications
                (user_id, integration_type, notification_type, message, re_auth_link, created_at)
             VALUES ('{user}', '{integration}', '{kind}', 'message', 'link',
                timezone('UTC', now()) - interval '8 days')"
            ))
            .await;
    }

    /// Who got messages.
    fn reached(&self) -> Vec<String> {
        self.messaging.inbox.messages().into_iter().map(|message| message.to).collect()
    }

    /// How many reminders are marked as sent, and how many are not.
    async fn marked(&self) -> (i64, i64) {
        self.stack.rows("SELECT count(reminder_sent_at), count(*) - count(reminder_sent_at) FROM token_health_notifications")
            .await
            .remove(0)
    }
}

fn task(data: &Value) -> Delivery {
    Delivery::of(queues::NOTIFICATION_REMINDER, data)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_finds_those_who_did_nothing_for_a_week_and_its_tasks_remind_them_once() {
    let fixture = Fixture::new().await;
    let user = fixture.user().await;
    for (change, kind) in [
        ("resolved_at = created_at", "token_invalid"),
        ("reminder_sent_at = created_at", "token_invalid"),
        ("created_at = timezone('UTC', now()) - interval '5 days'", "token_invalid"),
        ("message = ''", "token_expiring_soon"),
    ] {
        let other = fixture.user().await;
        fixture
            .stack.run(&format!(
                "UPDATE token_health_notifications SET {change}, notification_type = '{kind}' WHERE user_id = '{other}'"
            ))
            .await;
    }
    let answer = fixture.deliver(&json!({})).await;
    answer.check_done(&json!({ "due": 1, "created": 1, "existing": 0, "continued": false }));
    let tasks = fixture.stack.take_tasks(queues::NOTIFICATION_REMINDER).await;
    assert_eq!(serde_json::from_str::<Value>(&tasks[0].body).unwrap()["data"]["userId"], json!(user));
    let answer = fixture.service.deliver(tasks[0].clone()).await;
    answer.check_done(&json!({ "sent": 2, "refused": 0, "unknown": 0 }));
    assert_eq!(fixture.reached(), [format!("{user}@example.test"), NUMBER.to_owned()]);
    let messages = fixture.messaging.inbox.messages();
    for message in &messages {
        let text = message.text.as_deref().unwrap();
        assert!(text.contains("https://app.example.test/app?view=preferences"), "{text}");
    }
    let marked = fixture.stack.rows::<(Uuid,)>(
        "SELECT user_id FROM token_health_notifications WHERE reminder_sent_at > created_at AND reminder_sent_at = updated_at",
    );
    assert_eq!(marked.await, [(user,)]);

    let answer = fixture.deliver(&json!({ "sweepId": "tomorrow" })).await;
    answer.check_done(&json!({ "due": 0, "created": 0, "existing": 0, "continued": false }));
    let answer = fixture.deliver(&json!({ "userId": user })).await;
    assert_eq!((answer.outcome(), answer.reason()), ("skipped", "nothing_due"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_integrations_are_one_e_mail_and_one_text_message_if_that_is_wanted() {
    let fixture = Fixture::new().await;
    let user = fixture.user().await;
    fixture.notify(user, "google_contacts", "token_invalid").await;
    let answer = fixture.deliver(&json!({ "userId": user })).await;
    answer.check_done(&json!({ "sent": 2, "refused": 0, "unknown": 0 }));

    let quiet = fixture.user().await;
    fixture
        .stack.run(&format!(
            "UPDATE user_phone_numbers SET user_id = '{quiet}';
             INSERT INTO notification_preferences (user_id, sms_enabled, email_enabled) VALUES ('{quiet}', false, false)"
        ))
        .await;
    fixture.messaging.inbox.clear();
    let answer = fixture.deliver(&json!({ "userId": quiet })).await;
    answer.check_done(&json!({ "sent": 1, "refused": 0, "unknown": 0 }));
    assert_eq!(fixture.reached(), [format!("{quiet}@example.test")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_fails_is_tried_again_and_the_other_is_not() {
    for kind in [
        Kind::Status { status: 503, code: 0 },
        Kind::Status { status: 401, code: 0 },
        Kind::Status { status: 429, code: 0 },
    ] {
        let fixture = Fixture::new().await;
        let user = fixture.user().await;
        fixture.messaging.inbox.fault(Fault::new(Channel::Email, kind));
        assert_eq!(fixture.deliver(&json!({ "userId": user })).await.outcome(), "snoozed");
        assert_eq!((fixture.reached(), fixture.marked().await), (vec![NUMBER.to_owned()], (0, 1)));
        let [task] = fixture.stack.take_tasks(queues::NOTIFICATION_REMINDER).await.try_into().unwrap();
        fixture.stack.advance_to(task.due);
        let answer = fixture.service.deliver(task).await;
        answer.check_done(&json!({ "sent": 1, "refused": 0, "unknown": 0 }));
        assert_eq!(fixture.reached().len(), 2);
        assert_eq!(fixture.marked().await, (1, 0));
        assert!(fixture.stack.failures().await.is_empty(), "no run counts");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_for_the_recipients_day_and_texts_for_longer() {
    let fixture = Fixture::new().await;
    let user = fixture.user().await;
    fixture.stack.run(&format!("UPDATE users SET timezone = 'Pacific/Honolulu' WHERE id = '{user}'")).await;
    let answers = fixture.stack.follow(&fixture.service, task(&json!({ "userId": user }))).await;
    let outcomes: Vec<_> = answers.iter().map(Answer::outcome).collect();
    assert_eq!(outcomes, ["snoozed", "snoozed", "done"]);
    assert_eq!(fixture.reached(), [format!("{user}@example.test"), NUMBER.to_owned()]);
    assert_eq!(fixture.marked().await, (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_good_or_one_message_that_was_taken_ends_a_reminder() {
    let fixture = Fixture::new().await;
    let user = fixture.user().await;
    fixture.messaging.inbox.fault(Fault::new(Channel::Sms, Kind::Status { status: 400, code: 21614 }));
    fixture.messaging.inbox.fault(Fault::new(Channel::Email, Kind::Status { status: 400, code: 0 }));
    let answer = fixture.deliver(&json!({ "userId": user })).await;
    answer.check_done(&json!({ "sent": 0, "refused": 2, "unknown": 0 }));
    assert_eq!(fixture.marked().await, (1, 0));

    let other = fixture.user().await;
    fixture.stack.run(&format!("UPDATE user_phone_numbers SET user_id = '{other}'")).await;
    fixture.messaging.inbox.fault(Fault::new(Channel::Email, Kind::ResetAfterAccept));
    let answer = fixture.deliver(&json!({ "userId": other })).await;
    answer.check_done(&json!({ "sent": 1, "refused": 0, "unknown": 1 }));
    assert_eq!(fixture.marked().await, (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_of_unknown_status_is_not_marked_and_is_sent_again_once_settled_as_not_sent() {
    let fixture = Fixture::new().await;
    fixture.user().await;
    let user = fixture.user().await;
    fixture.messaging.inbox.fault(Fault::new(Channel::Email, Kind::Status { status: 500, code: 0 }));
    let answer = fixture.deliver(&json!({ "userId": user })).await;
    answer.check_done(&json!({ "sent": 0, "refused": 0, "unknown": 1 }));
    assert_eq!(fixture.marked().await, (0, 2));
    // Tomorrow's sweep finds it, and the ledger keeps it from being sent.
    let answer = fixture.deliver(&json!({ "userId": user, "sweepId": "tomorrow" })).await;
    answer.check_done(&json!({ "sent": 0, "refused": 0, "unknown": 0 }));
    assert!(fixture.reached().is_empty());

    let deliveries = Deliveries::from(fixture.stack.setup([]).database().unwrap());
    let later = fixture.stack.now() + TimeDelta::minutes(1);
    let unknown = deliveries.list_unknown(later, 10).await.unwrap();
    assert!(deliveries.settle_not_sent(unknown[0].message_id, later).await.unwrap());
    let answer = fixture.deliver(&json!({ "userId": user, "sweepId": "the day after" })).await;
    answer.check_done(&json!({ "sent": 1, "refused": 0, "unknown": 0 }));
    assert_eq!(fixture.marked().await, (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_that_was_marked_is_due_again_when_its_message_is_settled_as_not_sent() {
    let fixture = Fixture::new().await;
    let user = fixture.user().await;
    fixture.messaging.inbox.fault(Fault::new(Channel::Email, Kind::Status { status: 500, code: 0 }));
    fixture.deliver(&json!({ "userId": user })).await;
    assert_eq!(fixture.marked().await, (1, 0), "the text was taken");
    let deliveries = Deliveries::from(fixture.stack.setup([]).database().unwrap());
    let later = fixture.stack.now() + TimeDelta::minutes(1);
    let unknown = deliveries.list_unknown(later, 10).await.unwrap();
    assert!(deliveries.settle_not_sent(unknown[0].message_id, later).await.unwrap());
    assert_eq!(fixture.marked().await, (0, 1));
    fixture.deliver(&json!({ "userId": user, "sweepId": "tomorrow" })).await;
    assert_eq!(fixture.reached(), [NUMBER.to_owned(), format!("{user}@example.test")]);
    assert_eq!(fixture.marked().await, (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn reminder_at_a_limit_is_rescheduled() {
    let fixture = Fixture::new().await;
    let user = fixture.user().await;
    let used_up = limits::SMS.max;
    for n in 0..used_up {
        fixture.notify(user, "google_contacts", "token_invalid").await;
        let data = json!({ "userId": user, "sweepId": n.to_string() });
        fixture.deliver(&data).await;
    }
    fixture.notify(user, "google_contacts", "token_invalid").await;
    let limited = json!({ "userId": user, "sweepId": "last" });
    assert_eq!(fixture.deliver(&limited).await.outcome(), "snoozed");
    assert_eq!(fixture.stack.take_tasks(queues::NOTIFICATION_REMINDER).await.len(), 1);
    assert_eq!(fixture.marked().await.1, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_has_to_stop_begins_no_message() {
    let fixture = Fixture::new().await;
    let user = fixture.user().await;
    fixture.service.shutdown.begin();
    assert_eq!(fixture.deliver(&json!({ "userId": user })).await.outcome(), "snoozed");
    assert_eq!(fixture.stack.take_tasks(queues::NOTIFICATION_REMINDER).await.len(), 1);
    assert_eq!((fixture.reached(), fixture.marked().await), (Vec::new(), (0, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_is_skipped() {
    let fixture = Fixture::new().await;
    let answer = fixture.deliver(&json!({ "userId": Uuid::new_v4() })).await;
    assert_eq!((answer.outcome(), answer.reason()), ("skipped", "unknown_user"));
}
