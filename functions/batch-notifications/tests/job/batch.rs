//! One user's batch.

use std::time::Duration;

use catchup::notify::Timeouts;
use catchup::{limits, queues};
use chrono::TimeDelta;
use messaging_stand_in::{Channel, Fault, Kind, Times};
use serde_json::{Value, json};
use tests::database::LATER_SCHEMA;
use tests::eventually;
use uuid::Uuid;

use crate::fixture::{Fixture, number, task};

const SMS: &str = "true, false";
const EMAIL: &str = "false, true";
const BOTH: &str = "true, true";
const NONE: &str = "false, false";
const WEEK: i64 = 7 * 86_400;

#[tokio::test(flavor = "multi_thread")]
async fn pending_suggestions_go_to_the_user_as_one_message_per_channel_in_the_order_of_time() {
    let fixture = Fixture::at_noon().await;
    let user = fixture.user("ada", BOTH).await;
    for (whom, days) in [("Zoe", 9), ("Ben", 7), ("Cem", 8)] {
        fixture.suggest_in(user, whom, TimeDelta::days(days)).await;
    }
    for change in ["calendar_event_id = 'event'", "status = 'dismissed'", "status = 'snoozed'"] {
        let other = fixture.suggest(user, "Stranger").await;
        fixture.stack.run(&format!("UPDATE suggestions SET {change} WHERE id = '{other}'")).await;
    }
    let batch = json!({ "userId": user, "dayOfWeek": 0, "time": "09:00" });
    fixture.deliver(&batch).await.check_done(&done(3, 3));
    let messages = fixture.messages();
    let to: Vec<_> = messages.iter().map(|(to, _)| to.as_str()).collect();
    assert_eq!(to, ["ada@example.test", &number("ada")]);
    for (_, text) in &messages {
        let places = ["Ben", "Cem", "Zoe"].map(|whom| text.find(whom));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
        assert!(!text.contains("Stranger"), "{text}");
    }

    // What was sent is not sent again; what came since is sent with the next batch.
    fixture.suggest(user, "Dov").await;
    fixture.deliver(&batch).await.check_done(&done(0, 0));
    fixture.stack.advance(WEEK);
    fixture.deliver(&batch).await.check_done(&done(1, 1));
    assert_eq!(
        fixture.ledger().await,
        [("email".into(), "sent".into(), 4), ("sms".into(), "sent".into(), 4)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_about_three_suggestions_at_most() {
    let fixture = Fixture::at_noon().await;
    let user = fixture.user("ada", BOTH).await;
    for n in 0..5 {
        fixture.suggest(user, &format!("Friend{n}")).await;
    }
    let batch = json!({ "userId": user });
    fixture.deliver(&batch).await.check_done(&done(3, 3));
    assert_eq!(fixture.messages().len(), 2);
    // A repetition of the same batch is no other one.
    fixture.deliver(&batch).await.check_done(&done(0, 0));
    fixture.stack.advance(WEEK);
    fixture.deliver(&batch).await.check_done(&done(2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_snoozed_comes_before_the_others() {
    let fixture = Fixture::at_noon().await;
    let user = fixture.user("ada", EMAIL).await;
    for n in 0..3 {
        fixture.suggest(user, &format!("Friend{n}")).await;
    }
    fixture.stack.run("UPDATE suggestions SET priority = 100").await;
    let snoozed = fixture.suggest(user, "Snoozed").await;
    fixture
        .stack
        .run(&format!(
            "INSERT INTO jobs.notification_deliveries (user_id, channel, subject, state, claimed_at, settled_at, provider_id)
             VALUES ('{user}', 'email', 'suggestion:{snoozed}:until:1', 'delivered', now() - interval '30 days', now(), 'x')"
        ))
        .await;
    fixture.deliver(&json!({ "userId": user })).await.check_done(&done(3, 0));
    assert!(fixture.messages()[0].1.contains("Snoozed"), "{:?}", fixture.messages());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_wanted_any_more_is_not_sent() {
    let fixture = Fixture::at_noon().await;
    fixture.stack.run(LATER_SCHEMA).await;
    let user = fixture.user("ada", BOTH).await;
    let batch = json!({ "userId": user });
    for change in [
        "UPDATE contacts SET archived = true",
        "UPDATE contacts SET frequency_preference = 'na'",
        "UPDATE contacts SET last_contact_date = now() + interval '1 second'",
        "INSERT INTO interaction_logs (user_id, contact_id, date, type)
         SELECT user_id, id, now() + interval '1 second', 'call' FROM contacts",
        "INSERT INTO jobs.next_meetings (user_id, contact_id, starts_at)
         SELECT user_id, id, now() + interval '9 days' FROM contacts",
        "UPDATE users SET last_calendar_sync = now() - interval '3 days'",
        "INSERT INTO suggestion_exclusions (user_id, contact_id) SELECT user_id, id FROM contacts",
        "INSERT INTO jobs.excluded_contacts (user_id, contact_id, since) SELECT user_id, id, now() FROM contacts",
        "INSERT INTO suggestion_pauses (user_id, pause_start, pause_end)
         SELECT id, now() - interval '1 day', now() + interval '9 days' FROM users",
    ] {
        fixture.stack.run("DELETE FROM contacts; UPDATE users SET last_calendar_sync = '2100-01-01'").await;
        fixture.suggest(user, "Ben").await;
        fixture.stack.run(change).await;
        fixture.deliver(&batch).await.check_done(&done(0, 0));
    }
    fixture.stack.run("DELETE FROM suggestion_pauses; DELETE FROM contacts").await;
    fixture.suggest(user, "Ben").await;
    fixture.deliver(&batch).await.check_done(&done(1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_reacts_to_nothing_is_sent_less_and_less_until_they_act() {
    let fixture = Fixture::at_noon().await;
    let user = fixture.user("ada", EMAIL).await;
    for n in 0..40 {
        fixture.suggest_in(user, &format!("Friend{n}"), TimeDelta::days(150)).await;
    }
    let batch = json!({ "userId": user });
    let mut sent = Vec::new();
    for week in 0..12 {
        if week == 9 {
            fixture
                .stack
                .run(&format!(
                    "UPDATE suggestions SET status = 'accepted'
                     WHERE id = (SELECT id FROM suggestions WHERE user_id = '{user}' LIMIT 1);
                     ALTER TABLE suggestions DISABLE TRIGGER ALL;
                     UPDATE suggestions SET updated_at = '{}' WHERE status = 'accepted'",
                    fixture.stack.now()
                ))
                .await;
        }
        let before = fixture.messages().len();
        let answer = fixture.deliver(&batch).await;
        let emailed = answer.body["result"]["emailed"].as_u64().unwrap();
        sent.push((fixture.messages().len() - before, emailed));
        fixture.stack.advance(WEEK);
    }
    let little = [(1, 3), (1, 3), (1, 3), (1, 1), (1, 1), (1, 1)];
    // A question, and silence; then as usual.
    assert_eq!(sent, [&little[..], &[(1, 0), (0, 0), (0, 0)], &little[..3]].concat());
    let texts: Vec<_> = fixture.messages().into_iter().map(|(_, text)| text).collect();
    assert!(texts[6].contains("Yes, more ideas"), "{}", texts[6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_cannot_be_asked_for_a_week_is_left_to_the_next_batch() {
    let fixture = Fixture::at_noon().await;
    let user = fixture.user("ada", EMAIL).await;
    for n in 0..20 {
        fixture.suggest_in(user, &format!("Friend{n}"), TimeDelta::days(150)).await;
    }
    let batch = json!({ "userId": user });
    for _ in 0..6 {
        assert_eq!(fixture.deliver(&batch).await.outcome(), "done");
        // Cloud Tasks creates no task for a time in more than thirty days.
        fixture.stack.advance(4 * 86_400);
    }
    let refused = Kind::Status { status: 401, code: 20003 };
    fixture.messaging.inbox.fault(Fault::new(Channel::Email, refused).times(Times::Forever));
    assert_eq!(fixture.deliver(&batch).await.outcome(), "snoozed");
    let [question] = fixture.stack.take_tasks(queues::BATCH_NOTIFICATIONS).await.try_into().unwrap();
    fixture.stack.advance(WEEK);
    fixture.service.deliver(question).await.check_done(&done(0, 0));
    assert_eq!(fixture.messages().len(), 6);
}

/// So many suggestions were sent by e-mail, and so many as texts.
fn done(emailed: usize, texted: usize) -> Value {
    json!({ "emailed": emailed, "texted": texted, "shown_in_app": 0, "refused": 0, "unknown": 0 })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pauses_suggestions_is_not_asked_about_them() {
    let fixture = Fixture::at_noon().await;
    fixture.stack.run(LATER_SCHEMA).await;
    let user = fixture.user("ada", EMAIL).await;
    let batch = json!({ "userId": user });
    for n in 0..6 {
        fixture.suggest(user, &format!("Friend{n}")).await;
        fixture.deliver(&batch).await.check_done(&done(1, 0));
        fixture.stack.advance(WEEK);
    }
    let now = fixture.stack.now();
    fixture
        .stack
        .run(&format!(
            "INSERT INTO suggestion_pauses (user_id, pause_start, pause_end)
             VALUES ('{user}', '{now}', '{now}'::timestamptz + interval '3 days')"
        ))
        .await;
    fixture.deliver(&batch).await.check_done(&done(0, 0));
    assert_eq!(fixture.messages().len(), 6, "no question");
    fixture.stack.advance(WEEK);
    fixture.deliver(&batch).await.check_done(&done(0, 0));
    assert_eq!(fixture.messages().len(), 7, "the question");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_a_channel_is_notified_in_the_application() {
    let fixture = Fixture::at_noon().await;
    let (silent, reached) = (fixture.user("silent", NONE).await, fixture.user("reached", EMAIL).await);
    for user in [silent, reached] {
        for (whom, days) in [("Zoe", 9), ("Ben", 7), ("Cem", 8), ("Dov", 10)] {
            fixture.suggest_in(user, whom, TimeDelta::days(days)).await;
        }
    }
    let deliver = async |user: Uuid| fixture.deliver(&json!({ "userId": user })).await;
    assert_eq!(deliver(silent).await.body["reason"], "no_channel");

    fixture.stack.run(LATER_SCHEMA).await;
    let shown =
        |count| json!({ "emailed": 0, "texted": 0, "shown_in_app": count, "refused": 0, "unknown": 0 });
    deliver(silent).await.check_done(&shown(3));
    // One digest for a batch, however often its task comes.
    deliver(silent).await.check_done(&shown(0));
    deliver(reached).await.check_done(&done(3, 0));
    let rows: Vec<(Uuid, String, String, String, bool)> = fixture
        .stack
        .rows("SELECT user_id, title, description, action_url, read FROM in_app_notifications")
        .await;
    let [(user, title, description, url, is_read)] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((*user, *is_read), (silent, false));
    assert_eq!(title, "3 ideas for catching up");
    let names: Vec<_> = description.lines().filter_map(|line| line.split(" · ").next()).collect();
    assert_eq!(names, ["Ben", "Cem", "Zoe"], "{description}");
    assert!(url.ends_with("/app"), "{url}");

    // What was shown is not shown again.
    fixture.stack.advance(WEEK);
    deliver(silent).await.check_done(&shown(1));
    let in_app: Vec<_> = fixture.ledger().await.into_iter().filter(|row| row.0 == "in_app").collect();
    assert_eq!(in_app, [("in_app".to_owned(), "delivered".to_owned(), 4)]);

    fixture.suggest(silent, "Eva").await;
    let now = fixture.stack.now();
    fixture
        .stack
        .run(&format!(
            "INSERT INTO suggestion_pauses (user_id, pause_start, pause_end)
             VALUES ('{silent}', '{now}', '{now}'::timestamptz + interval '30 days')"
        ))
        .await;
    fixture.stack.advance(WEEK);
    deliver(silent).await.check_done(&shown(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_takes_the_channels_that_the_user_chose_and_has() {
    let fixture = Fixture::at_noon().await;
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
    let fixture = Fixture::at_noon().await;
    let user = fixture.user("ada", BOTH).await;
    for (whom, minutes) in [("Yesterday", -1440), ("Now", 0), ("Soon", 119), ("Later", 121)] {
        fixture.suggest_in(user, whom, TimeDelta::minutes(minutes)).await;
    }
    let answer = fixture.deliver(&json!({ "userId": user })).await;
    answer.check_done(&done(1, 1));
    let messages = fixture.messages();
    assert_eq!(messages.len(), 2);
    for (_, text) in messages {
        assert!(text.contains("Later"), "{text}");
        assert!(["Yesterday", "Now", "Soon"].iter().all(|whom| !text.contains(whom)), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_limits_leave_over_waits_for_the_next_batch() {
    let fixture = Fixture::at_noon().await;
    let user = fixture.user("ada", SMS).await;
    let batch = json!({ "userId": user });
    fixture.count_texts(user, limits::SMS.max).await;
    fixture.suggest(user, "Late").await;
    // Even a batch of which nothing can be sent is not rescheduled.
    fixture.deliver(&batch).await.check_done(&done(0, 0));
    assert!(fixture.stack.take_tasks(queues::BATCH_NOTIFICATIONS).await.is_empty());
    fixture.stack.advance(3600);
    fixture.deliver(&batch).await.check_done(&done(0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_has_to_stop_begins_no_message() {
    for channels in [EMAIL, SMS] {
        let fixture = Fixture::at_noon().await;
        let user = fixture.user("ada", channels).await;
        fixture.suggest(user, "Ben").await;
        fixture.service.shutdown.begin();
        assert_eq!(fixture.deliver(&json!({ "userId": user })).await.outcome(), "snoozed");
        assert_eq!(fixture.stack.take_tasks(queues::BATCH_NOTIFICATIONS).await.len(), 1);
        assert!(fixture.messages().is_empty() && fixture.ledger().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_time_for_a_slow_provider_begins_no_message() {
    let answer = Duration::from_mins(10);
    let fixture = Fixture::with_timeouts(Timeouts { answer, ..Timeouts::default() }).await;
    fixture.stack.advance_to_noon();
    let user = fixture.user("ada", BOTH).await;
    fixture.suggest(user, "Ben").await;
    assert_eq!(fixture.deliver(&json!({ "userId": user })).await.outcome(), "snoozed");
    assert!(fixture.messages().is_empty() && fixture.ledger().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_one_channel_never_stops_the_other() {
    for (kind, outcome) in [
        // A key that is wrong, a sender that is not verified, a limit, an outage, a lost answer, a recipient without a mailbox.
        (Kind::Status { status: 401, code: 20003 }, "snoozed"),
        (Kind::Status { status: 403, code: 21408 }, "snoozed"),
        (Kind::Status { status: 429, code: 63038 }, "snoozed"),
        (Kind::Status { status: 503, code: 20503 }, "snoozed"),
        (Kind::ResetAfterAccept, "done"),
        (Kind::Status { status: 400, code: 21610 }, "done"),
    ] {
        for (broken, working) in [(Channel::Email, Channel::Sms), (Channel::Sms, Channel::Email)] {
            let fixture = Fixture::at_noon().await;
            let user = fixture.user("ada", BOTH).await;
            fixture.suggest(user, "Ben").await;
            fixture.messaging.inbox.fault(Fault::new(broken, kind).times(Times::Forever));
            let answer = fixture.deliver(&json!({ "userId": user })).await;
            assert_eq!(answer.outcome(), outcome, "{broken:?} {kind:?}");
            let arrived = fixture.messaging.inbox.messages();
            assert!(arrived.iter().any(|message| message.channel == working), "{broken:?} {kind:?}");
            assert!(fixture.stack.failures().await.is_empty(), "no run counts: {broken:?} {kind:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_no_failure_and_its_message_is_not_sent_again() {
    let fixture = Fixture::at_noon().await;
    let user = fixture.user("ada", BOTH).await;
    fixture.suggest(user, "Ben").await;
    fixture.messaging.inbox.fault(Fault::new(Channel::Email, Kind::ResetAfterAccept));
    let task = task(&json!({ "userId": user }));
    let answer = fixture.service.deliver(task).await;
    answer.check_done(&json!({ "emailed": 0, "texted": 1, "shown_in_app": 0, "refused": 0, "unknown": 1 }));
    fixture.deliver(&json!({ "userId": user, "time": "09:01" })).await.check_done(&done(0, 0));
    assert_eq!(fixture.messages().len(), 2);
    assert_eq!(
        fixture.ledger().await,
        [("email".into(), "unknown".into(), 1), ("sms".into(), "sent".into(), 1)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_refusals_that_concern_us_delays_a_batch_and_loses_none() {
    let fixture = Fixture::at_noon().await;
    let user = fixture.user("ada", BOTH).await;
    fixture.suggest(user, "Ben").await;
    let broken = Fault::new(Channel::Email, Kind::Status { status: 401, code: 0 }).times(Times::Forever);
    fixture.messaging.inbox.fault(broken);
    let begun = fixture.stack.now();
    let mut answer = fixture.deliver(&json!({ "userId": user })).await;
    let mut waits = Vec::new();
    while answer.outcome() == "snoozed" {
        let [task] = fixture.stack.take_tasks(queues::BATCH_NOTIFICATIONS).await.try_into().unwrap();
        waits.push((task.due.unwrap() - fixture.stack.now()).num_minutes());
        fixture.stack.advance_to(task.due);
        if fixture.stack.now() - begun > TimeDelta::hours(1) {
            fixture.messaging.inbox.clear_faults();
        }
        answer = fixture.service.deliver(task).await;
    }
    answer.check_done(&done(1, 0));
    assert!(fixture.stack.now() - begun < TimeDelta::hours(2), "{waits:?}");
    assert!(waits.is_sorted() && waits.len() < 10, "they grow: {waits:?}");
    assert_eq!(fixture.messages().len(), 2, "one e-mail and one text");
    assert!(fixture.stack.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_before_it_is_too_late_is_not_sent_at_all() {
    let fixture = Fixture::at_noon().await;
    let user = fixture.user("ada", EMAIL).await;
    fixture.suggest_in(user, "Ben", TimeDelta::minutes(150)).await;
    let broken = Fault::new(Channel::Email, Kind::Status { status: 401, code: 0 }).times(Times::Forever);
    fixture.messaging.inbox.fault(broken);
    let answers = fixture.stack.follow(&fixture.service, task(&json!({ "userId": user }))).await;
    answers.last().unwrap().check_done(&done(0, 0));
    assert!(fixture.ledger().await.is_empty() && fixture.stack.failures().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_for_the_recipients_day_and_texts_for_longer() {
    let fixture = Fixture::at_noon().await;
    let user = fixture.user("ada", BOTH).await;
    // It is noon in London: two in the morning in Honolulu.
    fixture.stack.run(&format!("UPDATE users SET timezone = 'Pacific/Honolulu' WHERE id = '{user}'")).await;
    fixture.suggest(user, "Ben").await;
    // Too near for the text.
    fixture.suggest_in(user, "Early", TimeDelta::hours(7)).await;
    let mut task = task(&json!({ "userId": user }));
    for (emails, hour) in [(0, "16:00"), (1, "19:00")] {
        assert_eq!(fixture.service.deliver(task).await.outcome(), "snoozed");
        assert_eq!(fixture.messages().len(), emails);
        [task] = fixture.stack.take_tasks(queues::BATCH_NOTIFICATIONS).await.try_into().unwrap();
        assert_eq!(task.due.unwrap().format("%H:%M").to_string(), hour);
        fixture.stack.advance_to(task.due);
    }
    fixture.service.deliver(task).await.check_done(&done(0, 1));
    let (to, said) = fixture.messages().pop().unwrap();
    assert!(to == number("ada") && said.contains("Ben") && !said.contains("Early"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_while_the_e_mail_is_sent_is_not_texted() {
    let fixture = Fixture::at_noon().await;
    let user = fixture.user("ada", BOTH).await;
    for whom in ["Ben", "Cem"] {
        fixture.suggest(user, whom).await;
    }
    let fault = Fault::new(Channel::Email, Kind::AcceptThenSlow { delay_ms: 2_000 });
    fixture.messaging.inbox.fault(fault);
    let answer = async {
        eventually("the e-mail is taken", || !fixture.messages().is_empty()).await;
        let dismiss = "UPDATE suggestions SET status = 'dismissed' WHERE contact_id IN
                       (SELECT id FROM contacts WHERE name = 'Ben')";
        fixture.stack.run(dismiss).await;
    };
    let batch = json!({ "userId": user });
    let (sent, ()) = tokio::join!(fixture.deliver(&batch), answer);
    assert_eq!(sent.outcome(), "done");
    let messages = fixture.messages();
    let texts: Vec<_> = messages.iter().filter(|(to, _)| *to == number("ada")).collect();
    let [(_, text)] = texts.as_slice() else { panic!("{messages:?}") };
    assert!(text.contains("Cem") && !text.contains("Ben"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_the_user_chose_holds_for_texts_too() {
    let fixture = Fixture::at_noon().await;
    let user = fixture.user("ada", SMS).await;
    fixture.suggest(user, "Ben").await;
    // It is noon in London, and eight in the evening there.
    let chosen = |time: &str| {
        format!(
            "UPDATE notification_preferences SET batch_time = '{time}', timezone = 'Etc/GMT-8' WHERE user_id = '{user}'"
        )
    };
    fixture.stack.run(&chosen("09:00")).await;
    assert_eq!(fixture.deliver(&json!({ "userId": user })).await.outcome(), "snoozed");
    fixture.stack.run(&chosen("20:00")).await;
    fixture.deliver(&json!({ "userId": user, "time": "20:00" })).await.check_done(&done(0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_cut_off_after_it_had_counted_is_sent_when_the_limits_allow_it() {
    let fixture = Fixture::at_noon().await;
    let user = fixture.user("ada", SMS).await;
    fixture.count_texts(user, limits::SMS.max - 1).await;
    fixture.suggest(user, "Last").await;
    fixture.messaging.inbox.fault(Fault::new(Channel::Sms, Kind::Status { status: 503, code: 20503 }));
    let answers = fixture.stack.follow(&fixture.service, task(&json!({ "userId": user }))).await;
    answers.last().unwrap().check_done(&done(0, 1));
    assert_eq!(answers.len(), 3, "not taken, then at the limit: {answers:?}");
}
