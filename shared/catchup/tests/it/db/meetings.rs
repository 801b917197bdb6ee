//! The dates of meetings with contacts.

use catchup::db::meetings::Meetings;
use chrono::{DateTime, TimeDelta, Utc};
use tests::database::{Database, now};
use uuid::Uuid;

use super::{RUN, syncing};

async fn contact(database: &Database, user: Uuid, email: &str, last_contact: Option<DateTime<Utc>>) -> Uuid {
    let id = Uuid::new_v4();
    let last = last_contact.map_or_else(|| "NULL".to_owned(), |at| format!("'{at}'"));
    database
        .run(format!(
            "INSERT INTO contacts (id, user_id, name, email, last_contact_date)
             VALUES ('{id}', '{user}', 'Ada', '{email}', {last})"
        ))
        .await;
    id
}

async fn last(database: &Database, contact: Uuid) -> Option<DateTime<Utc>> {
    database.value(&format!("SELECT last_contact_date FROM contacts WHERE id = '{contact}'")).await
}

async fn next(database: &Database) -> Vec<(Uuid, DateTime<Utc>)> {
    database.rows("SELECT contact_id, starts_at FROM jobs.next_meetings ORDER BY starts_at").await
}

fn day(days: i64) -> DateTime<Utc> {
    now() + TimeDelta::days(days)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_meeting_moves_forward_and_never_back() {
    let database = Database::new().await;
    let meetings = database.of::<Meetings>();
    let (user, other) = (database.user(&[]).await, database.user(&[]).await);
    let never = contact(&database, user, "Never@Example.org", None).await;
    let later = contact(&database, user, "later@example.org", Some(day(-2))).await;
    let foreign = contact(&database, other, "never@example.org", None).await;
    let addresses = ["never@example.org", "never@example.org", "later@example.org", "unknown@example.org"];
    let at = [day(-9), day(-7), day(-3), day(-1)];
    let moved = meetings.met(user, &addresses.map(str::to_owned), &at).await.unwrap();
    assert_eq!(moved, [never]);
    assert_eq!(last(&database, never).await, Some(day(-7)), "the later of two");
    assert_eq!(last(&database, later).await, Some(day(-2)));
    assert_eq!(last(&database, foreign).await, None);
    let again = meetings.met(user, &addresses.map(str::to_owned), &at).await.unwrap();
    assert!(again.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_meeting_is_the_earliest_and_one_that_is_cancelled_is_forgotten() {
    let database = Database::new().await;
    let meetings = database.of::<Meetings>();
    let user = syncing(&database).await;
    let (a, b) = (
        contact(&database, user, "a@example.org", None).await,
        contact(&database, user, "B@example.org", None).await,
    );
    let addresses = ["a@example.org", "a@example.org", "b@example.org"].map(str::to_owned);
    meetings.replace_next(user, RUN, &addresses, &[day(5), day(3), day(4)]).await.unwrap();
    assert_eq!(next(&database).await, [(a, day(3)), (b, day(4))]);
    meetings.replace_next(user, RUN, &addresses[..1], &[day(5)]).await.unwrap();
    assert_eq!(next(&database).await, [(a, day(5))]);
    meetings.replace_next(user, Uuid::nil(), &[], &[]).await.unwrap();
    assert_eq!(next(&database).await.len(), 1, "another sync is at work");
    meetings.replace_next(user, RUN, &[], &[]).await.unwrap();
    assert!(next(&database).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_with_attendees_are_read_up_to_a_number_of_them() {
    let database = Database::new().await;
    let meetings = database.of::<Meetings>();
    let user = database.user(&[]).await;
    database
        .run(format!(
            "INSERT INTO google_calendars (user_id, calendar_id, name, is_primary) VALUES ('{user}', 'Me@Example.org', '', true);
             INSERT INTO calendar_events (user_id, google_event_id, calendar_id, start_time, end_time, timezone, attendees)
             SELECT '{user}', n::text, CASE n WHEN 1 THEN 'Me@Example.org' ELSE 'other' END, '{0}', '{1}', 'UTC',
                    CASE n WHEN 0 THEN NULL WHEN 9 THEN '7'::jsonb ELSE (SELECT jsonb_agg(i) FROM generate_series(1, n) i) END
             FROM generate_series(0, 9) n",
            day(0),
            day(1)
        ))
        .await;
    let events = meetings.events(user, 3).await.unwrap();
    let mut found: Vec<_> = events
        .iter()
        .map(|event| {
            (event.attendees.as_array().unwrap().len(), event.is_in_primary, event.start_time, event.end_time)
        })
        .collect();
    found.sort_unstable();
    let expected =
        [(1, true), (2, false), (3, false)].map(|(count, primary)| (count, primary, day(0), day(1)));
    assert_eq!(found, expected);
    let own = meetings.own_addresses(user).await.unwrap();
    assert_eq!(own.iter().filter(|address| *address == "me@example.org").count(), 1);
    assert!(own.contains(&format!("{user}@example.org")));
}
