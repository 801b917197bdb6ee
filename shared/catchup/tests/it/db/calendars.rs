//! Calendars and their cached events.

use catchup::db::calendar_events::{CalendarEvents, EventRow};
use catchup::db::calendar_sync_runs::{CalendarSyncRun, CalendarSyncRuns};
use catchup::db::calendars::{CalendarCursor, CalendarEntry, Calendars, ListedScope};
use catchup::payload::Integration::GoogleCalendar;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tests::database::{Database, now};
use uuid::Uuid;

fn entry(calendar_id: &str) -> CalendarEntry<'_> {
    CalendarEntry { calendar_id, name: "A name", description: None, is_primary: calendar_id == "primary" }
}

fn event(id: &str) -> EventRow {
    EventRow {
        google_event_id: id.into(),
        summary: Some("Lunch".into()),
        description: None,
        start_time: now() + TimeDelta::hours(1),
        end_time: now() + TimeDelta::hours(2),
        timezone: "Europe/Berlin".into(),
        is_all_day: false,
        is_busy: true,
        location: None,
        attendees: Some(json!([{"email": "a@example.org"}])),
    }
}

async fn apply(
    database: &Database,
    user: Uuid,
    calendar: &str,
    events: &[EventRow],
    cancelled: &[&str],
) -> u64 {
    let cancelled: Vec<String> = cancelled.iter().map(ToString::to_string).collect();
    database.of::<CalendarEvents>().apply(user, calendar, events, &cancelled, now()).await.unwrap()
}

async fn events(database: &Database) -> Vec<(String, String)> {
    database.rows("SELECT google_event_id, calendar_id FROM calendar_events ORDER BY 1").await
}

async fn cursor(database: &Database, user: Uuid, calendar_id: &str) {
    let cursor = CalendarCursor { calendar_id, sync_token: "token", listed: ListedScope::Full(now()) };
    database.of::<Calendars>().store_cursor(user, &cursor, now()).await.unwrap();
}

async fn cursors(database: &Database) -> Vec<String> {
    let rows: Vec<(String,)> =
        database.rows("SELECT calendar_id FROM jobs.calendar_sync_state ORDER BY 1").await;
    rows.into_iter().map(|(id,)| id).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(event, calendar)| ((*event).to_owned(), (*calendar).to_owned())).collect()
}

#[tokio::test]
async fn the_list_of_calendars_becomes_googles_and_the_selection_stays() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar]).await;
    let list = [entry("primary"), entry("work"), entry("gone")];
    assert_eq!(database.of::<Calendars>().replace(user, &list).await.unwrap(), 3);
    database.run("UPDATE google_calendars SET selected = true WHERE calendar_id = 'work'").await;
    let places = database.places("google_calendars").await;
    assert_eq!(database.of::<Calendars>().replace(user, &list).await.unwrap(), 0);
    assert_eq!(database.places("google_calendars").await, places);

    let list = [entry("primary"), CalendarEntry { name: "Another", ..entry("work") }];
    assert_eq!(database.of::<Calendars>().replace(user, &list).await.unwrap(), 2);
    let rows = "SELECT calendar_id, name, selected FROM google_calendars ORDER BY 1";
    let expected = [("primary".into(), "A name".into(), false), ("work".into(), "Another".into(), true)];
    assert_eq!(database.rows::<(String, String, bool)>(rows).await, expected);
}

#[tokio::test]
async fn the_primary_calendar_is_synced_when_none_is_selected() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar]).await;
    database.of::<Calendars>().replace(user, &[entry("primary"), entry("work")]).await.unwrap();
    let ids = async || -> Vec<String> {
        let calendars = database.of::<Calendars>().to_sync(user).await.unwrap();
        calendars.into_iter().map(|calendar| calendar.calendar_id).collect()
    };
    assert_eq!(ids().await, ["primary"]);
    database.run("UPDATE google_calendars SET selected = true WHERE calendar_id = 'work'").await;
    assert_eq!(ids().await, ["work"]);
}

#[tokio::test]
async fn a_cursor_keeps_its_horizon_over_incremental_syncs() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar]).await;
    database.of::<Calendars>().replace(user, &[entry("primary")]).await.unwrap();
    cursor(&database, user, "primary").await;
    for (begun_with, sync_token) in [("token", "next"), ("token", "of a sync that was overtaken")] {
        let next =
            CalendarCursor { calendar_id: "primary", sync_token, listed: ListedScope::Since(begun_with) };
        database.of::<Calendars>().store_cursor(user, &next, now()).await.unwrap();
    }
    let calendar = database.of::<Calendars>().to_sync(user).await.unwrap().pop().unwrap();
    assert_eq!((calendar.sync_token.as_deref(), calendar.horizon), (Some("next"), Some(now())));
    database.of::<Calendars>().forget_cursor(user, "primary").await.unwrap();
    assert_eq!(database.of::<Calendars>().to_sync(user).await.unwrap()[0].sync_token, None);
}

#[tokio::test]
async fn a_page_of_events_writes_what_differs_and_touches_nothing_else() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar]).await;
    assert_eq!(apply(&database, user, "a", &[event("1"), event("2"), event("3")], &[]).await, 3);
    let places = database.places("calendar_events").await;
    assert_eq!(apply(&database, user, "a", &[event("1"), event("2"), event("3")], &["unknown"]).await, 0);
    assert_eq!(database.places("calendar_events").await, places);

    let moved = EventRow { start_time: now(), ..event("2") };
    assert_eq!(apply(&database, user, "a", &[event("1"), moved], &["3"]).await, 2);
    assert_eq!(events(&database).await, pairs(&[("1", "a"), ("2", "a")]));
    let start = "SELECT start_time FROM calendar_events WHERE google_event_id = '2'";
    assert_eq!(database.value::<DateTime<Utc>>(start).await, now());
}

#[tokio::test]
async fn rubbish_does_not_keep_a_page_from_being_written() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar]).await;
    let long = EventRow { summary: Some("ä\0".repeat(600)), location: Some("x".repeat(600)), ..event("1") };
    let unkeepable = event(&"i".repeat(256));
    let twice = EventRow { summary: None, ..event("2") };
    assert_eq!(apply(&database, user, "a", &[long, unkeepable, event("2"), twice], &["1"]).await, 2);
    let rows = "SELECT length(summary), length(location) FROM calendar_events ORDER BY google_event_id";
    assert_eq!(
        database.rows::<(Option<i32>, Option<i32>)>(rows).await,
        [(Some(500), Some(500)), (None, None)]
    );
}

#[tokio::test]
async fn a_full_sync_removes_what_it_did_not_see_inside_its_window() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar]).await;
    let old = EventRow {
        start_time: now() - TimeDelta::days(9),
        end_time: now() - TimeDelta::days(8),
        ..event("old")
    };
    apply(&database, user, "a", &[event("1"), event("2"), old], &[]).await;
    apply(&database, user, "b", &[event("3")], &[]).await;
    let (from, until) = (now() - TimeDelta::days(1), now() + TimeDelta::days(60));
    let remove = async |began_at| {
        let seen = ["1".into(), "1".into()];
        database.of::<CalendarEvents>().remove_unseen(user, "a", from, until, &seen, began_at).await.unwrap()
    };
    assert_eq!(remove(now()).await, 0, "another sync wrote it since");
    assert_eq!(remove(now() + TimeDelta::seconds(1)).await, 1);
    assert_eq!(events(&database).await, pairs(&[("1", "a"), ("3", "b"), ("old", "a")]));
    assert_eq!(
        database.of::<CalendarEvents>().remove_ended(user, now() - TimeDelta::days(7)).await.unwrap(),
        1
    );
}

#[tokio::test]
async fn an_event_that_moves_to_another_calendar_stays_whichever_is_synced_first() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar]).await;
    apply(&database, user, "a", &[event("1"), event("2")], &[]).await;
    apply(&database, user, "b", &[event("1")], &[]).await;
    apply(&database, user, "a", &[], &["1"]).await;
    apply(&database, user, "a", &[], &["2"]).await;
    apply(&database, user, "b", &[event("2")], &[]).await;
    assert_eq!(events(&database).await, pairs(&[("1", "b"), ("2", "b")]));
    assert_eq!(database.value::<i64>("SELECT count(*) FROM jobs.calendar_event_copies").await, 0);
}

#[tokio::test]
async fn when_one_of_two_calendars_loses_an_event_the_other_is_asked_again() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar]).await;
    for calendar in ["a", "b", "c"] {
        cursor(&database, user, calendar).await;
    }
    apply(&database, user, "a", &[event("1"), event("2")], &[]).await;
    apply(&database, user, "b", &[event("1"), event("2")], &[]).await;
    apply(&database, user, "a", &[], &["2"]).await;
    assert_eq!(cursors(&database).await, ["a", "b", "c"], "the row is not its, so nothing was lost");
    apply(&database, user, "b", &[], &["2"]).await;
    assert_eq!(cursors(&database).await, ["a", "b", "c"], "no user has it any more");
    apply(&database, user, "b", &[], &["1"]).await;
    assert_eq!(cursors(&database).await, ["b", "c"], "only a has it now");
    assert_eq!(events(&database).await, []);
}

#[tokio::test]
async fn events_and_cursors_of_calendars_that_are_no_longer_synced_go() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar]).await;
    let other = database.user(&[GoogleCalendar]).await;
    for calendar in ["a", "b"] {
        cursor(&database, user, calendar).await;
    }
    apply(&database, user, "a", &[event("1")], &[]).await;
    apply(&database, user, "b", &[event("2")], &[]).await;
    apply(&database, other, "b", &[event("3")], &[]).await;
    assert_eq!(
        database.of::<CalendarEvents>().retain_calendars(user, &["a".into()], now()).await.unwrap(),
        1
    );
    assert_eq!(events(&database).await, pairs(&[("1", "a"), ("3", "b")]));
    assert_eq!(cursors(&database).await, ["a"]);
}

#[tokio::test]
async fn a_place_between_two_pages_is_given_out_once() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar]).await;
    let position = catchup::db::calendars::CalendarPosition {
        calendar_id: "a".into(),
        page_token: "page".into(),
        sync_token: None,
        horizon: now(),
        began_at: now(),
        seen: vec!["1".into()],
    };
    database.of::<Calendars>().store_position(user, &position).await.unwrap();
    assert_eq!(database.of::<Calendars>().take_position(user).await.unwrap(), Some(position));
    assert_eq!(database.of::<Calendars>().take_position(user).await.unwrap(), None);
}

#[tokio::test]
async fn changes_are_counted_until_they_were_notified_and_the_sync_has_ended() {
    let database = Database::new().await;
    let db = &database.db;
    let user = database.user(&[GoogleCalendar]).await;
    apply(&database, user, "a", &[], &["unknown"]).await;
    assert_eq!(CalendarSyncRuns::from(db.clone()).get(user).await.unwrap(), None);
    apply(&database, user, "a", &[event("1"), event("2"), event("3")], &[]).await;
    apply(&database, user, "a", &[event("1")], &["2"]).await;
    let (from, until) = (now() - TimeDelta::days(1), now() + TimeDelta::days(60));
    let later = now() + TimeDelta::seconds(1);
    CalendarEvents::from(db.clone())
        .remove_unseen(user, "a", from, until, &["1".into()], later)
        .await
        .unwrap();
    CalendarEvents::from(db.clone()).retain_calendars(user, &[], now()).await.unwrap();
    let run = CalendarSyncRuns::from(db.clone()).get(user).await.unwrap().unwrap();
    assert_eq!((run.started_at, run.changed, run.notified), (now(), 6, 0));

    let waits = CalendarSyncRun { items: 7, api_calls: 2, is_full: true, ..run };
    CalendarSyncRuns::from(db.clone()).store(user, &waits).await.unwrap();
    CalendarSyncRuns::from(db.clone()).changes_notified(user, &waits).await.unwrap();
    let kept = CalendarSyncRuns::from(db.clone()).get(user).await.unwrap().unwrap();
    assert_eq!(kept, CalendarSyncRun { notified: 6, ..waits });

    apply(&database, user, "a", &[event("4")], &[]).await;
    CalendarSyncRuns::from(db.clone()).end(user, &kept).await.unwrap();
    let other = CalendarSyncRuns::from(db.clone()).get(user).await.unwrap().unwrap();
    assert_eq!((other.changed, other.notified), (7, 6), "of another sync, which has not ended");
    CalendarSyncRuns::from(db.clone()).end(user, &other).await.unwrap();
    assert_eq!(CalendarSyncRuns::from(db.clone()).get(user).await.unwrap(), None);
}

#[tokio::test]
async fn a_calendar_that_was_passed_over_is_done_and_begins_where_it_would_have() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar]).await;
    database.of::<Calendars>().replace(user, &[entry("primary")]).await.unwrap();
    let state = async || database.of::<Calendars>().to_sync(user).await.unwrap().pop().unwrap();
    database.of::<Calendars>().skip(user, "primary", now()).await.unwrap();
    assert_eq!((state().await.synced_at, state().await.sync_token), (Some(now()), None));
    cursor(&database, user, "primary").await;
    let later = now() + TimeDelta::hours(1);
    database.of::<Calendars>().skip(user, "primary", later).await.unwrap();
    assert_eq!((state().await.synced_at, state().await.sync_token.as_deref()), (Some(later), Some("token")));
}
