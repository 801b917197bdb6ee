//! Whom the user met: a year of fifty calendars, compared with a computation that shares nothing with the job's.

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use google_stand_in::{Attendee, Event, Recurrence, ResponseStatus};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::fixture::Fixture;

const CALENDARS: usize = 50;
const EVENTS_PER_CALENDAR: usize = 60;
const CONTACTS: usize = 150;
/// An address of the user's other than that of the primary calendar.
const SECOND: &str = "Second@Example.org";
const RESPONSES: [ResponseStatus; 4] = [
    ResponseStatus::Accepted,
    ResponseStatus::NeedsAction,
    ResponseStatus::Tentative,
    ResponseStatus::Declined,
];

fn attendee(email: &str, response_status: ResponseStatus, is_self: bool) -> Attendee {
    Attendee { email: email.to_owned(), display_name: None, response_status, is_self, organizer: false }
}

/// An event of the last year or the next weeks, with two to nine people, or three hundred.
fn event(rng: &mut StdRng, now: DateTime<Utc>, owner: Option<&str>, user: &str) -> Event {
    // Half past an hour that is not now: no event begins or ends while the test runs.
    let start = now + TimeDelta::hours(rng.random_range(-24 * 364..24 * 58)) + TimeDelta::minutes(30);
    let mut event = Event::timed("Tea", start, TimeDelta::hours(rng.random_range(1..=3)));
    let others = if rng.random_ratio(1, 12) { 299 } else { rng.random_range(1..=9) };
    for _ in 0..others {
        let number = rng.random_range(0..CONTACTS * 3 / 2);
        let email = if rng.random() {
            format!("contact{number}@example.org")
        } else {
            format!("Contact{number}@Example.ORG")
        };
        event.attendees.push(attendee(&email, *RESPONSES.choose(rng).unwrap(), false));
    }
    // In the calendar of another person, Google calls that one `self`.
    if let Some(owner) = owner {
        event.attendees.push(attendee(owner, *RESPONSES.choose(rng).unwrap(), true));
    }
    if owner.is_none() || rng.random() {
        let own = if rng.random_ratio(1, 4) { SECOND } else { user };
        event.attendees.push(attendee(own, *RESPONSES.choose(rng).unwrap(), owner.is_none()));
    }
    event
}

/// Whether the user meets the owner of this address at the event.
fn meets(event: &Event, contact: &str, user: &str) -> bool {
    let is_user = |attendee: &Attendee| {
        attendee.email.eq_ignore_ascii_case(user) || attendee.email.eq_ignore_ascii_case(SECOND)
    };
    let comes = |attendee: &&Attendee| attendee.response_status != ResponseStatus::Declined;
    let people = event.attendees.iter().filter(|attendee| !is_user(attendee)).count() + 1;
    people <= 8
        && event.attendees.iter().any(|attendee| is_user(attendee) && comes(&attendee))
        && event.attendees.iter().filter(comes).any(|attendee| attendee.email.eq_ignore_ascii_case(contact))
}

#[tokio::test(flavor = "multi_thread")]
async fn last_and_next_meetings_of_a_year_are_those_of_an_independent_computation() {
    let fixture = Fixture::new().await;
    let (world, user) = (fixture.world(), fixture.user);
    let mut rng = StdRng::seed_from_u64(7);
    let now = world.now().duration_trunc(TimeDelta::seconds(1)).unwrap();
    fixture
        .stack
        .run(&format!(
            "UPDATE oauth_tokens SET email = '{SECOND}';
             DELETE FROM contacts;
             INSERT INTO contacts (user_id, name, email)
             SELECT '{user}', n::text, CASE n % 2 WHEN 0 THEN 'contact' ELSE 'CONTACT' END || n || '@example.org'
             FROM generate_series(0, {}) n",
            CONTACTS - 1
        ))
        .await;
    let mut events = Vec::new();
    fixture
        .stack
        .run(&format!(
            "INSERT INTO google_calendars (user_id, calendar_id, name, is_primary, selected)
             VALUES ('{user}', '{}', 'Mine', true, true)",
            fixture.primary
        ))
        .await;
    for number in 0..CALENDARS {
        let (id, owner) = if number == 0 {
            (fixture.primary.clone(), None)
        } else {
            let id = format!("colleague{number}@example.org");
            fixture.add_calendar(&id, true).await;
            (id.clone(), Some(id))
        };
        for _ in 0..EVENTS_PER_CALENDAR {
            let event = event(&mut rng, now, owner.as_deref(), &fixture.primary);
            // One in five is weekly, four times.
            let times = if rng.random_ratio(1, 5) { 4 } else { 1 };
            for week in 0..times {
                let mut event = Event { time: event.time.shifted(TimeDelta::weeks(week)), ..event.clone() };
                if times > 1 {
                    let series = "series".to_owned();
                    event.recurrence =
                        Recurrence::Instance { series, original: event.time, exception: false };
                }
                let event = world.add_event(user, &id, event).unwrap();
                if rng.random_ratio(1, 8) {
                    world.delete_event(user, &id, &event.id).unwrap();
                } else if event.instants().0 < now + TimeDelta::days(59) {
                    events.push(event);
                }
            }
        }
    }

    let mut answer = fixture.sync().await;
    while answer.outcome() == "snoozed" {
        answer = fixture.resume().await;
    }
    assert_eq!(answer.outcome(), "done", "{answer:?}");
    assert_eq!(answer.body["result"]["calendars"], CALENDARS, "{answer:?}");

    let rows = fixture
        .stack
        .rows::<(String, Option<DateTime<Utc>>, Option<DateTime<Utc>>)>(
            "SELECT c.email, c.last_contact_date, n.starts_at
             FROM contacts c LEFT JOIN jobs.next_meetings n ON n.contact_id = c.id AND n.user_id = c.user_id",
        )
        .await;
    assert_eq!(rows.len(), CONTACTS);
    let (mut met, mut ahead) = (0, 0);
    for (email, last, next) in rows {
        let meetings =
            || events.iter().filter(|event| meets(event, &email, &fixture.primary)).map(Event::instants);
        let expected_last = meetings().filter(|(_, end)| *end <= now).map(|(start, _)| start).max();
        let expected_next = meetings().filter(|(_, end)| *end > now).map(|(start, _)| start).min();
        assert_eq!((last, next), (expected_last, expected_next), "{email}");
        (met, ahead) = (met + usize::from(last.is_some()), ahead + usize::from(next.is_some()));
    }
    assert!(met > CONTACTS / 2 && ahead > CONTACTS / 4, "{met} met, {ahead} ahead");
    // Nothing else of that year is stored.
    assert_eq!(fixture.count("calendar_events WHERE end_time < now() - interval '25 hours'").await, 0);
    assert_eq!(fixture.count("jobs.calendar_event_copies").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_to_an_event_before_the_first_sync_stores_nothing() {
    let fixture = Fixture::new().await;
    let old = Event::timed("Tea", fixture.world().now() - TimeDelta::days(9), TimeDelta::hours(1));
    let old = fixture.world().add_event(fixture.user, &fixture.primary, old).unwrap();
    assert_eq!(fixture.sync().await.outcome(), "done");
    fixture
        .world()
        .change_event(fixture.user, &fixture.primary, &old.id, |event| event.location = None)
        .unwrap();
    let answer = fixture.sync().await;
    assert_eq!(answer.body["result"]["events"], 1, "Google lists it: {answer:?}");
    assert_eq!(fixture.calendar_of(&old).await, None);
}
