//! Who may send, how often, and what operators see.

use catchup::limits::{EMAIL, NOTIFICATION, SMS};
use std::slice::from_ref;

use catchup::notify::Channel::{Email, Sms};
use catchup::notify::Delivery;
use chrono::TimeDelta;
use messaging_stand_in::{Channel, Kind};
use tests::eventually;
use uuid::Uuid;

use crate::notify::stack::{ADDRESS, NUMBER, Stack, recipient, suggestion};

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_dies_before_the_answer_leaves_a_message_for_the_operator() {
    let stack = Stack::start().await;
    let (person, subject) = (recipient(), suggestion("Ana"));
    stack.fault(Channel::Sms, Kind::AcceptThenSlow { delay_ms: 60_000 });
    let before = stack.now();
    tokio::select! {
        told = stack.notifier.send(&person, Sms, NUMBER, from_ref(&subject)) => panic!("{told:?}"),
        () = eventually("the provider has a message", || !stack.messages().is_empty()) => {}
    }

    stack.advance(TimeDelta::minutes(10));
    let told = stack.notifier.send(&person, Sms, NUMBER, from_ref(&subject)).await.unwrap();
    assert_eq!((told, stack.messages().len()), (Delivery::AlreadyClaimed, 1));
    assert_eq!(stack.deliveries.list_unknown(before, 10).await.unwrap(), [], "it may be under way");
    let unknown = stack.deliveries.list_unknown(stack.now(), 10).await.unwrap();
    let [unknown] = unknown.as_slice() else { panic!("{unknown:?}") };
    assert_eq!(unknown.user_id, person.user_id);
    assert_eq!(unknown.channel, "sms");
    assert_eq!(unknown.subjects, [format!("suggestion:{}", subject.id)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_of_unknown_status_is_one_message_to_settle() {
    let stack = Stack::start().await;
    let (person, subjects) = (recipient(), ["Ana", "Ben", "Cem"].map(suggestion));
    stack.fault(Channel::Email, Kind::ResetAfterAccept);
    let told = stack.notifier.send(&person, Email, ADDRESS, &subjects).await.unwrap();
    assert_eq!(told, Delivery::Unknown);
    let claimed_at = stack.now();
    let later = claimed_at + TimeDelta::minutes(1);
    let unknown = stack.deliveries.list_unknown(later, 10).await.unwrap();
    let [message] = unknown.as_slice() else { panic!("{unknown:?}") };
    assert_eq!(message.subjects.len(), 3);

    let (deliveries, id, now) = (&stack.deliveries, message.message_id, stack.now());
    let too_young = claimed_at - TimeDelta::minutes(10);
    assert!(
        !deliveries.settle_sent(id, "sendgrid", "x", too_young, now).await.unwrap(),
        "it may be in transit"
    );
    assert!(!deliveries.settle_not_sent(id, too_young).await.unwrap(), "it may be in transit");
    assert!(
        !deliveries.settle_sent(Uuid::new_v4(), "sendgrid", "x", later, now).await.unwrap(),
        "unknown id"
    );
    assert!(!deliveries.settle_not_sent(Uuid::new_v4(), later).await.unwrap(), "unknown id");
    assert_eq!(stack.states().await, ["unknown"; 3]);

    assert!(deliveries.settle_sent(id, "sendgrid", "x", later, now).await.unwrap());
    assert_eq!(stack.states().await, ["sent"; 3]);
    assert!(!deliveries.settle_not_sent(id, later).await.unwrap(), "it is settled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_settles_as_not_sent_is_sent() {
    let stack = Stack::start().await;
    let (person, subject) = (recipient(), suggestion("Ana"));
    stack.fault(Channel::Sms, Kind::Status { status: 500, code: 20500 });
    assert_eq!(
        stack.notifier.send(&person, Sms, NUMBER, from_ref(&subject)).await.unwrap(),
        Delivery::Unknown
    );
    let later = stack.now() + TimeDelta::minutes(1);
    let unknown = stack.deliveries.list_unknown(later, 10).await.unwrap();
    assert!(stack.deliveries.settle_not_sent(unknown[0].message_id, later).await.unwrap());
    let told = stack.notifier.send(&person, Sms, NUMBER, from_ref(&subject)).await.unwrap();
    assert!(matches!(told, Delivery::Sent { .. }), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_sent_once_per_channel_and_person() {
    let stack = Stack::start().await;
    let (ana, ben, subject) = (recipient(), recipient(), suggestion("Cy"));
    for _ in 0..2 {
        for person in [&ana, &ben] {
            let _told = stack.notifier.send(person, Sms, NUMBER, from_ref(&subject)).await.unwrap();
            let _told = stack.notifier.send(person, Email, ADDRESS, from_ref(&subject)).await.unwrap();
        }
    }
    assert_eq!(stack.messages().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limits_delay_one_person_only_and_lose_no_message() {
    let stack = Stack::start().await;
    let person = recipient();
    let subjects: Vec<_> = (0..=SMS.max).map(|n| suggestion(&format!("Ana {n}"))).collect();
    let (last, first) = subjects.split_last().unwrap();
    for subject in first {
        let told = stack.notifier.send(&person, Sms, NUMBER, from_ref(subject)).await.unwrap();
        assert!(matches!(told, Delivery::Sent { .. }), "{told:?}");
    }
    let told = stack.notifier.send(&person, Sms, NUMBER, from_ref(last)).await.unwrap();
    let Delivery::LimitedUntil(until) = told else { panic!("{told:?}") };
    assert!(until > stack.now());
    assert_eq!(stack.states().await.len(), first.len(), "nothing is claimed");

    // What was sent before costs no limit: a task that is rescheduled gets to where it was.
    for subject in first {
        assert_eq!(
            stack.notifier.send(&person, Sms, NUMBER, from_ref(subject)).await.unwrap(),
            Delivery::AlreadyClaimed
        );
    }
    let told = stack.notifier.send(&recipient(), Sms, NUMBER, from_ref(last)).await.unwrap();
    assert!(matches!(told, Delivery::Sent { .. }), "{told:?}");

    stack.advance((until - stack.now()) + TimeDelta::seconds(1));
    let told = stack.notifier.send(&person, Sms, NUMBER, from_ref(last)).await.unwrap();
    assert!(matches!(told, Delivery::Sent { .. }), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_channels_together_stay_within_the_limit_of_notifications() {
    let stack = Stack::start().await;
    let person = recipient();
    let mut sent = 0;
    for n in 0..SMS.max + EMAIL.max {
        let subject = suggestion(&format!("Ana {n}"));
        let told = if n < SMS.max {
            stack.notifier.send(&person, Sms, NUMBER, from_ref(&subject)).await
        } else {
            stack.notifier.send(&person, Email, ADDRESS, &[subject]).await
        };
        sent += u32::from(matches!(told.unwrap(), Delivery::Sent { .. }));
    }
    assert_eq!(sent, NOTIFICATION.max);
}
