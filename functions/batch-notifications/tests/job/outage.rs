//! An hour in which a provider takes nothing, on Sunday morning, when everybody's batch is due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use catchup::notify::Timeouts;
use catchup::queues;
use chrono::{DateTime, Datelike as _, TimeDelta, Utc, Weekday};
use futures_util::future::join_all;
use messaging_stand_in::{Channel, Fault, Inbox, Kind, Times};
use serde_json::json;

use crate::fixture::Fixture;

/// Twice as many as are under way at the same time; `PEOPLE=1000` tries more.
const PEOPLE: usize = 36;
/// Tasks of users that are under way at the same time.
const IN_PARALLEL: usize = 16;
/// Dispatches of a task whose messages no one takes for two hours.
const MAX_DISPATCHES: usize = 30;
/// A provider that does not answer is waited for no longer than that; one that does answers sooner, also on a busy machine.
const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(5), answer: Duration::from_secs(3) };
/// Longer than the test.
const NEVER: Kind = Kind::Slow { delay_ms: 3_600_000 };

/// What became of a Sunday morning.
struct Morning {
    /// When each person was notified, after the batch was due.
    notified: BTreeMap<String, TimeDelta>,
    /// Of whom it is not known.
    unknown: BTreeSet<String>,
}

/// For an hour from nine o'clock on each message meets `kind`.
async fn an_hour_of(channel: Channel, kind: Kind) -> Morning {
    let begin = |inbox: &Inbox| inbox.fault(Fault::new(channel, kind).times(Times::Forever));
    let morning = morning(channel, begin, TimeDelta::hours(1), Inbox::clear_faults).await;
    let last = morning.notified.values().max().copied().unwrap_or_default();
    assert!(last <= TimeDelta::hours(2), "{channel:?}, {kind:?}: the last one after {last}");
    morning
}

/// Everybody has the channel and a suggestion for Tuesday. What begins at nine o'clock ends so much later.
async fn morning(
    channel: Channel,
    begin: impl Fn(&Inbox),
    length: TimeDelta,
    end: impl Fn(&Inbox),
) -> Morning {
    let people = people();
    let fixture = Fixture::with_timeouts(TIMEOUTS).await;
    let sunday = next_sunday(fixture.stack.now());
    insert(&fixture, people, channel, sunday + TimeDelta::days(2)).await;
    fixture.stack.advance_to(Some(sunday));
    begin(&fixture.messaging.inbox);
    let mut waiting = vec![crate::fixture::task(&json!({}))];
    let mut notified = BTreeMap::new();
    let (mut dispatches, mut has_ended) = (0, false);
    while !waiting.is_empty() {
        waiting.sort_by_key(|next| next.due);
        fixture.stack.advance_to(waiting[0].due);
        let now = fixture.stack.now();
        if !has_ended && now >= sunday + length {
            end(&fixture.messaging.inbox);
            has_ended = true;
        }
        let due =
            waiting.iter().take(IN_PARALLEL).take_while(|next| next.due.is_none_or(|due| due <= now)).count();
        join_all(waiting.drain(..due).map(|next| fixture.service.deliver(next))).await;
        dispatches += due;
        assert!(dispatches < people * MAX_DISPATCHES, "tasks without an end");
        for message in fixture.messaging.inbox.messages_after(notified.len()) {
            assert_eq!(notified.insert(message.to, now - sunday), None, "notified twice");
        }
        waiting.extend(fixture.stack.take_tasks(queues::BATCH_NOTIFICATIONS).await);
    }
    let unknown: Vec<(String,)> = fixture
        .stack
        .rows(
            "SELECT CASE d.channel WHEN 'email' THEN u.email ELSE u.name END FROM users u
             JOIN jobs.notification_deliveries d ON d.user_id = u.id AND d.state = 'unknown'",
        )
        .await;
    let unknown: BTreeSet<String> = unknown.into_iter().map(|(address,)| address).collect();
    assert_eq!(fixture.stack.dead_letters().await, []);
    assert_eq!(notified.len() + unknown.len(), people, "{channel:?}: no one is lost");
    assert!(notified.keys().all(|address| !unknown.contains(address)), "{channel:?}");
    Morning { notified, unknown }
}

#[expect(clippy::disallowed_methods, reason = "what a test tries is no configuration")]
fn people() -> usize {
    std::env::var("PEOPLE").ok().and_then(|text| text.parse().ok()).unwrap_or(PEOPLE)
}

/// So many people, each with that channel and one suggestion, which begins then. A person's name is the number.
async fn insert(fixture: &Fixture, people: usize, channel: Channel, start: DateTime<Utc>) {
    let is_sms = channel == Channel::Sms;
    fixture
        .stack
        .run(&format!(
            "INSERT INTO users (email, google_id, name, last_calendar_sync)
             SELECT n || '@example.test', n, '+1212555' || lpad(n::text, 4, '0'), '2100-01-01'
             FROM generate_series(1, {people}) n;
             INSERT INTO notification_preferences (user_id, sms_enabled, email_enabled)
             SELECT id, {is_sms}, NOT {is_sms} FROM users;
             INSERT INTO user_phone_numbers (user_id, phone_number, encrypted_phone_number, verified)
             SELECT id, name, '', true FROM users;
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

/// For an hour the provider refuses everything.
async fn is_sent_within_the_next_hour(channel: Channel) {
    for (status, code) in [(401, 20_003), (429, 20_429), (503, 20_503)] {
        let morning = an_hour_of(channel, Kind::Status { status, code }).await;
        assert_eq!(morning.unknown, BTreeSet::new(), "{channel:?}, {status}");
    }
}

/// For an hour the provider says nothing that tells whether a message was taken.
async fn leaves_few_unknown(channel: Channel) {
    for kind in [Kind::Reset, Kind::Status { status: 500, code: 0 }, NEVER] {
        let Morning { notified, unknown } = an_hour_of(channel, kind).await;
        // What was under way at the beginning, and one every few minutes.
        assert!((5..=IN_PARALLEL + 15).contains(&unknown.len()), "{kind:?}: {}", unknown.len());
        let first = notified.values().min().copied().unwrap_or_default();
        assert!(first >= TimeDelta::hours(1), "{kind:?}: the provider took nothing before: {first}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_email_that_is_refused_for_an_hour_is_sent_within_the_next() {
    is_sent_within_the_next_hour(Channel::Email).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_refused_for_an_hour_is_sent_within_the_next() {
    is_sent_within_the_next_hour(Channel::Sms).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_silence_leaves_few_emails_unknown() {
    leaves_few_unknown(Channel::Email).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_silence_leaves_few_texts_unknown() {
    leaves_few_unknown(Channel::Sms).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_beyond_what_the_account_may_send_on_a_day_are_sent_on_the_next() {
    let per_day = people() / 2 + 1;
    let until_midnight = TimeDelta::hours(15);
    let Morning { notified, unknown } = morning(
        Channel::Sms,
        |inbox| inbox.cap_texts(per_day),
        until_midnight,
        |inbox| inbox.cap_texts(2 * per_day),
    )
    .await;
    assert_eq!(unknown, BTreeSet::new());
    let on_sunday = notified.values().filter(|after| **after < TimeDelta::hours(1)).count();
    assert_eq!(on_sunday, per_day);
    // By day, and as soon as that is so.
    let others = notified.values().filter(|after| **after >= TimeDelta::hours(1));
    let is_monday_morning = |after: &TimeDelta| (23..=26).contains(&after.num_hours());
    assert!(others.clone().all(is_monday_morning), "{:?}", others.max());
}
