//! An hour in which a provider takes nothing, on Sunday morning, when everybody's batch is due.

use std::collections::BTreeMap;

use catchup::queues;
use chrono::{DateTime, Datelike as _, TimeDelta, Utc, Weekday};
use messaging_stand_in::{Channel, Fault, Kind, Times};
use serde_json::json;
use uuid::Uuid;

use crate::fixture::Fixture;

/// More than may stay unanswered; `PEOPLE=1000` tries more.
const PEOPLE: usize = 30;
/// Dispatches of a task whose messages no one takes for two hours.
const MAX_DISPATCHES: usize = 30;

/// What became of a Sunday morning.
struct Morning {
    /// When each person was notified, after the batch was due.
    notified: BTreeMap<String, TimeDelta>,
    unknown: usize,
    dispatches: usize,
}

/// Everybody has e-mail and a suggestion for Tuesday, and for an hour from nine o'clock on each mail meets `kind`.
async fn an_hour_of(kind: Kind) -> Morning {
    let people = people();
    let fixture = Fixture::new().await;
    let sunday = next_sunday(fixture.stack.now());
    insert(&fixture, people, sunday + TimeDelta::days(2)).await;
    fixture.stack.advance_to(Some(sunday));
    fixture.messaging.inbox.fault(Fault::new(Channel::Email, kind).times(Times::Forever));
    assert_eq!(fixture.deliver(&json!({})).await.outcome(), "done");
    let mut waiting = fixture.stack.take_tasks(queues::BATCH_NOTIFICATIONS).await;
    assert_eq!(waiting.len(), people, "one task each");
    let mut morning = Morning { notified: BTreeMap::new(), unknown: 0, dispatches: 0 };
    let mut has_ended = false;
    while !waiting.is_empty() {
        waiting.sort_by_key(|next| next.due);
        let next = waiting.remove(0);
        fixture.stack.advance_to(next.due);
        if !has_ended && fixture.stack.now() >= sunday + TimeDelta::hours(1) {
            fixture.messaging.inbox.clear_faults();
            has_ended = true;
        }
        fixture.service.deliver(next).await;
        morning.dispatches += 1;
        assert!(morning.dispatches < people * MAX_DISPATCHES, "tasks without an end");
        let sent = fixture.messaging.inbox.messages_after(morning.notified.len());
        for message in sent {
            let after = fixture.stack.now() - sunday;
            assert_eq!(morning.notified.insert(message.to, after), None, "notified twice");
        }
        waiting.extend(fixture.stack.take_tasks(queues::BATCH_NOTIFICATIONS).await);
    }
    let unknown: Vec<(Uuid,)> = fixture
        .stack
        .rows("SELECT DISTINCT message_id FROM jobs.notification_deliveries WHERE state = 'unknown'")
        .await;
    morning.unknown = unknown.len();
    assert_eq!(fixture.stack.dead_letters().await, [], "{kind:?}");
    assert_eq!(morning.notified.len() + morning.unknown, people, "{kind:?}: no one is lost");
    let last = morning.notified.values().max().copied().unwrap_or_default();
    assert!(last <= TimeDelta::hours(2), "{kind:?}: the last one after {last}");
    morning
}

#[expect(clippy::disallowed_methods, reason = "what a test tries is no configuration")]
fn people() -> usize {
    std::env::var("PEOPLE").ok().and_then(|text| text.parse().ok()).unwrap_or(PEOPLE)
}

/// So many people, each with e-mail and one suggestion, which begins then.
async fn insert(fixture: &Fixture, people: usize, start: DateTime<Utc>) {
    fixture
        .stack
        .run(&format!(
            "INSERT INTO users (email, google_id, last_calendar_sync) SELECT n || '@example.test', n, '2100-01-01' FROM generate_series(1, {people}) n;
             INSERT INTO notification_preferences (user_id, sms_enabled, email_enabled)
             SELECT id, false, true FROM users;
             INSERT INTO contacts (user_id, name) SELECT id, 'Ben' FROM users;
             INSERT INTO suggestions (user_id, contact_id, trigger_type, proposed_timeslot_start,
                proposed_timeslot_end, proposed_timeslot_timezone, reasoning)
             SELECT user_id, id, 'timebound', '{start}', '{start}'::timestamptz + interval '1 hour', 'UTC', ''
             FROM contacts"
        ))
        .await;
}

/// The beginning of the first one, at nine o'clock UTC and a little later.
fn next_sunday(now: DateTime<Utc>) -> DateTime<Utc> {
    let days = (0..8).map(|day| now.date_naive() + TimeDelta::days(day));
    let mornings = days.filter(|date| date.weekday() == Weekday::Sun);
    let mut mornings =
        mornings.map(|date| date.and_time(chrono::NaiveTime::MIN).and_utc() + TimeDelta::hours(9));
    mornings.find(|morning| *morning > now).expect("every week has one") + TimeDelta::minutes(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_refuses_for_an_hour_is_sent_within_the_next_one() {
    for kind in [
        Kind::Status { status: 401, code: 0 },
        Kind::Status { status: 429, code: 0 },
        Kind::Status { status: 503, code: 0 },
    ] {
        let morning = an_hour_of(kind).await;
        assert_eq!(morning.unknown, 0, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_says_nothing_of_use_for_an_hour_leaves_few_messages_unknown() {
    // Neither says whether the message was taken.
    for kind in [Kind::Reset, Kind::Status { status: 500, code: 0 }] {
        let morning = an_hour_of(kind).await;
        // Five in a row, and one every few minutes.
        assert!((5..=20).contains(&morning.unknown), "{kind:?}: {} unknown", morning.unknown);
        let first = morning.notified.values().min().copied().unwrap_or_default();
        assert!(first >= TimeDelta::hours(1), "{kind:?}: the provider took nothing before: {first}");
    }
}
