//! What a second sync costs, and what it brings.

use catchup::queues;
use chrono::TimeDelta;
use google_stand_in::{Call, Event, EventTime, Integration, Person, PersonName, World};
use local_cloud::LocalCloud;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{calls, database, fingerprint, healthy, run, small, start};

async fn calendar_sync(cloud: &mut LocalCloud, user: Uuid) {
    // Ten calls a minute are allowed; a test is not to wait for the eleventh.
    tests::stack::redis(cloud.redis_url(), &["FLUSHDB"]).await;
    cloud.world().reset_calls();
    let lines = run(cloud, queues::CALENDAR_SYNC, &json!({ "userId": user })).await;
    assert_eq!(lines.last().unwrap().outcome, "done", "{lines:?}");
}

async fn contacts_sync(cloud: &mut LocalCloud, user: Uuid) {
    cloud.world().reset_calls();
    let lines =
        run(cloud, queues::GOOGLE_CONTACTS_SYNC, &json!({ "userId": user, "syncType": "incremental" })).await;
    assert_eq!(lines.last().unwrap().outcome, "done", "{lines:?}");
}

async fn event_rows(
    db: &mut PgConnection,
    user: Uuid,
    event: &str,
) -> Vec<(String, chrono::DateTime<chrono::Utc>)> {
    sqlx::query_as(
        "SELECT summary, start_time FROM calendar_events WHERE user_id = $1 AND google_event_id = $2",
    )
    .bind(user)
    .bind(event)
    .fetch_all(db)
    .await
    .unwrap()
}

async fn contact_rows(db: &mut PgConnection, user: Uuid, resource: &str) -> Vec<(String, bool, bool)> {
    sqlx::query_as(
        "SELECT name, archived, archived_at IS NOT NULL FROM contacts WHERE user_id = $1 AND google_resource_name = $2",
    )
    .bind(user)
    .bind(resource)
    .fetch_all(db)
    .await
    .unwrap()
}

fn has_calendar(world: &World, user: Uuid) -> bool {
    world.calendars(user).unwrap().iter().any(|calendar| calendar.primary)
}

fn has_contacts(world: &World, user: Uuid) -> bool {
    world.people_count(user).unwrap() > 5
}

/// The calendar that a sync reads, whatever the user selected.
async fn selected_calendars(db: &mut PgConnection, user: Uuid) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT calendar_id FROM google_calendars WHERE user_id = $1 AND
             (selected OR (is_primary AND NOT EXISTS (SELECT FROM google_calendars WHERE user_id = $1 AND selected)))
         ORDER BY calendar_id",
    )
    .bind(user)
    .fetch_all(db)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_calendar_sync_makes_one_call_per_collection_and_writes_no_event() {
    let mut cloud = start(small()).await;
    let user = healthy(cloud.world(), Integration::GoogleCalendar, has_calendar);
    calendar_sync(&mut cloud, user).await;
    let mut db = database(&cloud).await;
    let before =
        (fingerprint(&mut db, "calendar_events").await, fingerprint(&mut db, "google_calendars").await);
    assert!(before.0.is_some(), "there are events");

    calendar_sync(&mut cloud, user).await;
    let collections = selected_calendars(&mut db, user).await.len();
    assert_eq!(calls(cloud.world(), user, Call::CalendarListList), 1);
    assert_eq!(calls(cloud.world(), user, Call::EventsList), u64::try_from(collections).unwrap());
    let after =
        (fingerprint(&mut db, "calendar_events").await, fingerprint(&mut db, "google_calendars").await);
    assert_eq!(after, before, "nothing changed, so nothing is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_added_changed_moved_and_deleted_arrive() {
    let mut cloud = start(small()).await;
    let user = healthy(cloud.world(), Integration::GoogleCalendar, has_calendar);
    calendar_sync(&mut cloud, user).await;
    let mut db = database(&cloud).await;
    let calendar = selected_calendars(&mut db, user).await.remove(0);

    let world = cloud.world().clone();
    let start = world.now() + TimeDelta::days(3);
    let time = EventTime::Timed { start, end: start + TimeDelta::hours(1) };
    let event = world.add_event(user, &calendar, Event::new("Lunch", time, chrono_tz::UTC)).unwrap();
    calendar_sync(&mut cloud, user).await;
    let rows = event_rows(&mut db, user, &event.id).await;
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].0.as_str(), rows[0].1.timestamp()), ("Lunch", start.timestamp()));

    world
        .change_event(user, &calendar, &event.id, |event| event.summary = Some("Dinner".to_owned()))
        .unwrap();
    world.move_event(user, &calendar, &event.id, TimeDelta::hours(8)).unwrap();
    calendar_sync(&mut cloud, user).await;
    let rows = event_rows(&mut db, user, &event.id).await;
    let moved = start + TimeDelta::hours(8);
    assert_eq!((rows[0].0.as_str(), rows[0].1.timestamp()), ("Dinner", moved.timestamp()));

    world.delete_event(user, &calendar, &event.id).unwrap();
    calendar_sync(&mut cloud, user).await;
    assert_eq!(event_rows(&mut db, user, &event.id).await, []);
    assert_eq!(
        calls(&world, user, Call::EventsList),
        u64::try_from(selected_calendars(&mut db, user).await.len()).unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_token_that_is_gone_leads_to_one_full_sync_that_removes_what_is_gone() {
    let mut cloud = start(small()).await;
    let user = healthy(cloud.world(), Integration::GoogleCalendar, has_calendar);
    calendar_sync(&mut cloud, user).await;
    let mut db = database(&cloud).await;
    // A row of which Google knows nothing, as after a deletion that no incremental sync reports.
    let calendar = selected_calendars(&mut db, user).await.remove(0);
    sqlx::query(
        "INSERT INTO calendar_events (user_id, google_event_id, calendar_id, start_time, end_time, timezone)
         VALUES ($1, 'ghost', $2, now() + interval '1 day', now() + interval '2 days', 'UTC')",
    )
    .bind(user)
    .bind(&calendar)
    .execute(&mut db)
    .await
    .unwrap();
    cloud.world().expire_sync_tokens(user).unwrap();
    calendar_sync(&mut cloud, user).await;
    assert_eq!(event_rows(&mut db, user, "ghost").await, []);

    calendar_sync(&mut cloud, user).await;
    let collections = selected_calendars(&mut db, user).await.len();
    assert_eq!(
        calls(cloud.world(), user, Call::EventsList),
        u64::try_from(collections).unwrap(),
        "incremental again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_contacts_sync_makes_one_call_per_collection_and_writes_no_contact() {
    let mut cloud = start(small()).await;
    let user = healthy(cloud.world(), Integration::GoogleContacts, has_contacts);
    contacts_sync(&mut cloud, user).await;
    let mut db = database(&cloud).await;
    let tables = ["contacts", "contact_google_memberships", "google_contact_groups"];
    let mut before = Vec::new();
    for table in tables {
        before.push(fingerprint(&mut db, table).await);
    }
    contacts_sync(&mut cloud, user).await;
    assert_eq!(calls(cloud.world(), user, Call::PeopleConnectionsList), 1);
    assert_eq!(calls(cloud.world(), user, Call::ContactGroupsList), 1);
    for (table, before) in tables.into_iter().zip(before) {
        assert_eq!(fingerprint(&mut db, table).await, before, "{table} was written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_who_are_added_changed_and_deleted_arrive() {
    let mut cloud = start(small()).await;
    let user = healthy(cloud.world(), Integration::GoogleContacts, has_contacts);
    contacts_sync(&mut cloud, user).await;
    let (mut db, world) = (database(&cloud).await, cloud.world().clone());

    let name = PersonName { given: "Ada".to_owned(), family: "Lovelace".to_owned() };
    let person = world.add_person(user, Person { name: Some(name), ..Person::default() }).unwrap();
    contacts_sync(&mut cloud, user).await;
    let resource = person.resource_name;
    assert_eq!(contact_rows(&mut db, user, &resource).await, [("Ada Lovelace".to_owned(), false, false)]);

    let name = PersonName { given: "Ada".to_owned(), family: "King".to_owned() };
    world.change_person(user, &resource, |person| person.name = Some(name)).unwrap();
    contacts_sync(&mut cloud, user).await;
    assert_eq!(contact_rows(&mut db, user, &resource).await, [("Ada King".to_owned(), false, false)]);

    world.delete_person(user, &resource).unwrap();
    contacts_sync(&mut cloud, user).await;
    assert_eq!(contact_rows(&mut db, user, &resource).await, [("Ada King".to_owned(), true, true)]);
    assert_eq!(calls(&world, user, Call::PeopleConnectionsList), 1, "incremental");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_sync_token_leads_to_one_full_sync_that_archives_who_is_gone() {
    let mut cloud = start(small()).await;
    let user = healthy(cloud.world(), Integration::GoogleContacts, has_contacts);
    contacts_sync(&mut cloud, user).await;
    let mut db = database(&cloud).await;
    sqlx::query("INSERT INTO contacts (user_id, name, source, google_resource_name) VALUES ($1, 'Ghost', 'google', 'people/ghost')")
        .bind(user)
        .execute(&mut db)
        .await
        .unwrap();
    cloud.world().expire_sync_tokens(user).unwrap();
    contacts_sync(&mut cloud, user).await;
    assert_eq!(contact_rows(&mut db, user, "people/ghost").await, [("Ghost".to_owned(), true, true)]);
    assert_eq!(
        calls(cloud.world(), user, Call::PeopleConnectionsList),
        2,
        "the refused call and one full sync"
    );

    contacts_sync(&mut cloud, user).await;
    assert_eq!(calls(cloud.world(), user, Call::PeopleConnectionsList), 1, "incremental again");
}
