//! One user's batch.

use catchup::queues;
use chrono::TimeDelta;
use messaging_stand_in::{Channel, Fault, Kind};
use serde_json::json;
use uuid::Uuid;

use crate::fixture::{Fixture, number, task};

const SMS: &str = "true, false";
const EMAIL: &str = "false, true";
const BOTH: &str = "true, true";
const NONE: &str = "false, false";

#[tokio::test(flavor = "multi_thread")]
async fn pending_suggestions_go_to_the_user_as_one_digest_and_as_text_messages_oldest_first() {
    let fixture = Fixture::new().await;
    let user = fixture.user("ada", BOTH).await;
    for whom in ["Zoe", "Ben", "Cem"] {
        fixture.suggest(user, whom).await;
    }
    for change in ["calendar_event_id = 'event'", "status = 'dismissed'", "status = 'snoozed'"] {
        let other = fixture.suggest(user, "Stranger").await;
        fixture.stack.run(&format!("UPDATE suggestions SET {change} WHERE id = '{other}'")).await;
    }
    let batch = json!({ "userId": user, "dayOfWeek": 0, "time": "09:00" });
    fixture.deliver(&batch).await.check_done(&json!({ "emailed": 3, "texted": 3, "refused": 0 }));
    let messages = fixture.messages();
    let to: Vec<_> = messages.iter().map(|(to, _)| to.as_str()).collect();
    let number = number("ada");
    assert_eq!(to, ["ada@example.test", &number, &number, &number]);
    for ((_, text), whom) in messages[1..].iter().zip(["Zoe", "Ben", "Cem"]) {
        assert!(text.contains(whom) && messages[0].1.contains(whom), "{messages:?}");
    }
    assert!(!messages.iter().any(|(_, text)| text.contains("Stranger")), "{messages:?}");

    // What was sent is not sent again; what came since is.
    fixture.deliver(&batch).await.check_done(&json!({ "emailed": 0, "texted": 0, "refused": 0 }));
    fixture.suggest(user, "Dov").await;
    fixture.deliver(&batch).await.check_done(&json!({ "emailed": 1, "texted": 1, "refused": 0 }));
    assert_eq!(
        fixture.ledger().await,
        [("email".into(), "sent".into(), 4), ("sms".into(), "sent".into(), 4)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_takes_the_channels_that_the_user_chose_and_has() {
    let fixture = Fixture::new().await;
    let (texts, mails) = (fixture.user("texts", SMS).await, fixture.user("mails", EMAIL).await);
    let (silent, default) = (fixture.user("silent", NONE).await, fixture.user("default", BOTH).await);
    let unverified = fixture.user("unverified", SMS).await;
    fixture.stack.run(&format!("DELETE FROM notification_preferences WHERE user_id = '{default}'")).await;
    fixture
        .stack
        .run(&format!("UPDATE user_phone_numbers SET verified = false WHERE user_id = '{unverified}'"))
        .await;
    let mut outcomes = Vec::new();
    for user in [texts, mails, silent, default, unverified] {
        fixture.suggest(user, "Ben").await;
        let answer = fixture.deliver(&json!({ "userId": user })).await;
        outcomes.push(if answer.reason().is_empty() { answer.outcome() } else { answer.reason() }.to_owned());
    }
    assert_eq!(outcomes, ["done", "done", "no_channel", "done", "no_channel"]);
    let to: Vec<_> = fixture.messages().into_iter().map(|(to, _)| to).collect();
    assert_eq!(to, [number("texts"), "mails@example.test".to_owned(), number("default")]);
    let answer = fixture.deliver(&json!({ "userId": Uuid::new_v4() })).await;
    assert_eq!((answer.outcome(), answer.reason()), ("skipped", "unknown_user"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_or_begins_within_two_hours_is_not_sent() {
    let fixture = Fixture::new().await;
    let user = fixture.user("ada", BOTH).await;
    for (whom, minutes) in [("Yesterday", -1440), ("Now", 0), ("Soon", 119), ("Later", 121)] {
        fixture.suggest_in(user, whom, TimeDelta::minutes(minutes)).await;
    }
    let answer = fixture.deliver(&json!({ "userId": user })).await;
    answer.check_done(&json!({ "emailed": 1, "texted": 1, "refused": 0 }));
    let messages = fixture.messages();
    assert_eq!(messages.len(), 2);
    for (_, text) in messages {
        assert!(text.contains("Later"), "{text}");
        assert!(["Yesterday", "Now", "Soon"].iter().all(|whom| !text.contains(whom)), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_limits_leave_over_waits_for_the_next_batch() {
    let fixture = Fixture::new().await;
    let user = fixture.user("ada", SMS).await;
    for n in 0..12 {
        fixture.suggest(user, &format!("Friend{n:02}")).await;
    }
    let batch = json!({ "userId": user });
    fixture.deliver(&batch).await.check_done(&json!({ "emailed": 0, "texted": 10, "refused": 0 }));
    let texts = fixture.messages();
    assert!(texts[9].1.contains("Friend09"), "{texts:?}");

    // Even a batch of which nothing can be sent is not rescheduled.
    fixture.deliver(&batch).await.check_done(&json!({ "emailed": 0, "texted": 0, "refused": 0 }));
    assert!(fixture.stack.take_tasks(queues::BATCH_NOTIFICATIONS).await.is_empty());
    assert_eq!(fixture.messages().len(), 10);
    fixture.stack.advance(3600);
    fixture.deliver(&batch).await.check_done(&json!({ "emailed": 0, "texted": 2, "refused": 0 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_has_to_stop_begins_no_message() {
    for channels in [EMAIL, SMS] {
        let fixture = Fixture::new().await;
        let user = fixture.user("ada", channels).await;
        fixture.suggest(user, "Ben").await;
        fixture.service.shutdown.begin();
        assert_eq!(fixture.deliver(&json!({ "userId": user })).await.outcome(), "snoozed");
        assert_eq!(fixture.stack.take_tasks(queues::BATCH_NOTIFICATIONS).await.len(), 1);
        assert!(fixture.messages().is_empty() && fixture.ledger().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_refused_is_not_tried_for_the_rest() {
    let fixture = Fixture::new().await;
    let user = fixture.user("ada", BOTH).await;
    for whom in ["Ben", "Cem"] {
        fixture.suggest(user, whom).await;
    }
    fixture.messaging.inbox.fault(Fault::new(Channel::Sms, Kind::Status { status: 400, code: 21610 }));
    let answer = fixture.deliver(&json!({ "userId": user })).await;
    answer.check_done(&json!({ "emailed": 2, "texted": 0, "refused": 1 }));
    assert_eq!(fixture.messaging.inbox.requests(Channel::Sms), 1);
    assert_eq!(
        fixture.ledger().await,
        [("email".into(), "sent".into(), 2), ("sms".into(), "refused".into(), 1)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn message_of_unknown_status_is_not_sent_again_and_the_rest_is_sent_later() {
    let fixture = Fixture::new().await;
    let user = fixture.user("ada", SMS).await;
    for whom in ["Ben", "Cem"] {
        fixture.suggest(user, whom).await;
    }
    fixture.messaging.inbox.fault(Fault::new(Channel::Sms, Kind::ResetAfterAccept));
    let task = task(&json!({ "userId": user }));
    assert_eq!(fixture.service.deliver(task.clone()).await.outcome(), "retry");
    assert_eq!(fixture.ledger().await, [("sms".into(), "unknown".into(), 1)]);
    let answer = fixture.service.deliver(task.again(1)).await;
    answer.check_done(&json!({ "emailed": 0, "texted": 1, "refused": 0 }));
    let texts: Vec<_> = fixture.messages().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts.len(), 2);
    assert!(texts[0].contains("Ben") && texts[1].contains("Cem"), "{texts:?}");
    assert_eq!(
        fixture.ledger().await,
        [("sms".into(), "sent".into(), 1), ("sms".into(), "unknown".into(), 1)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_not_taken_is_sent_by_the_next_attempt() {
    let fixture = Fixture::new().await;
    let user = fixture.user("ada", BOTH).await;
    fixture.suggest(user, "Ben").await;
    fixture.messaging.inbox.fault(Fault::new(Channel::Sms, Kind::Status { status: 503, code: 20503 }));
    let task = task(&json!({ "userId": user }));
    assert_eq!(fixture.service.deliver(task.clone()).await.outcome(), "retry");
    fixture
        .service
        .deliver(task.again(1))
        .await
        .check_done(&json!({ "emailed": 0, "texted": 1, "refused": 0 }));
    assert_eq!(fixture.messages().len(), 2, "one e-mail and one text message");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_counted_that_was_cut_off_is_sent_when_the_limits_allow_it() {
    let fixture = Fixture::new().await;
    let user = fixture.user("ada", SMS).await;
    for n in 0..10 {
        fixture.suggest(user, &format!("Friend{n:02}")).await;
    }
    fixture.messaging.inbox.fault(Fault::new(Channel::Sms, Kind::Status { status: 503, code: 20503 }));
    let task = task(&json!({ "userId": user }));
    assert_eq!(fixture.service.deliver(task.clone()).await.outcome(), "retry");
    let answers = fixture.stack.follow(&fixture.service, task.again(1)).await;
    assert_eq!(answers.last().unwrap().outcome(), "done", "{answers:?}");
    assert_eq!(fixture.messages().len(), 10, "the week's texts");
}
