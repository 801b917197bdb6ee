//! Calendars and their cached events.

use catchup::db::calendar_events::{CalendarEvents, Changes, EventRow, Superseded, Written};
use catchup::db::calendar_sync_runs::{CalendarSyncRun, CalendarSyncRuns};
use catchup::db::calendars::{
    CalendarCursor, CalendarEntry, CalendarFailure, CalendarPosition, CalendarToSync, Calendars, ListedScope,
    Listing, UNLISTED_KEPT,
};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tests::database::{Database, now};
use uuid::Uuid;

use super::{RUN, syncing};

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

fn listing<'a>(user_id: Uuid, calendar_id: &'a str, begun_with: Option<&'a str>) -> Listing<'a> {
    Listing { user_id, run: RUN, calendar_id, begun_with }
}

/// Applies a page of a listing that began with whatever is stored.
async fn apply(
    database: &Database,
    user: Uuid,
    calendar: &str,
    events: &[EventRow],
    cancelled: &[&str],
) -> u64 {
    let gone = cancelled.iter().map(ToString::to_string).collect();
    let changes = Changes { rows: events.to_vec(), gone, superseded: Vec::new() };
    let stored: Vec<(Option<String>,)> = database
        .rows(&format!(
            "SELECT sync_token FROM jobs.calendar_sync_state WHERE user_id = '{user}' AND calendar_id = '{calendar}'"
        ))
        .await;
    let begun_with = stored.first().and_then(|(token,)| token.as_deref());
    let written =
        database.of::<CalendarEvents>().apply(listing(user, calendar, begun_with), &changes, now()).await;
    written.unwrap().expect("the listing stands").changed
}

async fn events(database: &Database) -> Vec<(String, String)> {
    database.rows("SELECT google_event_id, calendar_id FROM calendar_events ORDER BY 1").await
}

async fn cursor(database: &Database, user: Uuid, calendar_id: &str) {
    assert!(
        store(
            database,
            listing(user, calendar_id, None),
            "token",
            ListedScope::Full { until: now(), looked_back: false }
        )
        .await
    );
}

async fn store(database: &Database, listing: Listing<'_>, sync_token: &str, listed: ListedScope) -> bool {
    let cursor = CalendarCursor { sync_token: Some(sync_token), page_size: 2500, listed };
    database.of::<Calendars>().store_cursor(listing, cursor, now()).await.unwrap()
}

async fn primary(database: &Database, user: Uuid) -> CalendarToSync {
    database.of::<Calendars>().to_sync(user).await.unwrap().pop().unwrap()
}

async fn cursors(database: &Database) -> Vec<String> {
    let rows: Vec<(String,)> = database
        .rows("SELECT calendar_id FROM jobs.calendar_sync_state WHERE sync_token IS NOT NULL ORDER BY 1")
        .await;
    rows.into_iter().map(|(id,)| id).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(event, calendar)| ((*event).to_owned(), (*calendar).to_owned())).collect()
}

async fn replace(database: &Database, user: Uuid, list: &[CalendarEntry<'_>], at: DateTime<Utc>) -> u64 {
    database.of::<Calendars>().replace(user, RUN, list, at).await.unwrap().unwrap()
}

async fn synced(database: &Database, user: Uuid) -> Vec<String> {
    let calendars = database.of::<Calendars>().to_sync(user).await.unwrap();
    calendars.into_iter().map(|calendar| calendar.calendar_id).collect()
}

async fn choose(database: &Database, calendar: &str) {
    database.run(format!("UPDATE google_calendars SET selected = calendar_id = '{calendar}'")).await;
}

async fn selected(database: &Database) -> Vec<(String, bool)> {
    database.rows("SELECT calendar_id, selected FROM google_calendars ORDER BY 1").await
}

#[tokio::test]
async fn the_list_of_calendars_becomes_googles_and_the_selection_stays() {
    let database = Database::new().await;
    let user = syncing(&database).await;
    let list = [entry("primary"), entry("work")];
    assert_eq!(replace(&database, user, &list, now()).await, 2);
    choose(&database, "work").await;
    let places = database.places("google_calendars").await;
    assert_eq!(replace(&database, user, &list, now()).await, 0);
    assert_eq!(database.places("google_calendars").await, places);

    let list = [entry("primary"), CalendarEntry { name: "Another", ..entry("work") }];
    assert_eq!(replace(&database, user, &list, now()).await, 1);
    let rows = "SELECT calendar_id, name, selected FROM google_calendars ORDER BY 1";
    let expected = [("primary".into(), "A name".into(), false), ("work".into(), "Another".into(), true)];
    assert_eq!(database.rows::<(String, String, bool)>(rows).await, expected);
    assert_eq!(primary(&database, user).await.listed_at, Some(now()));
}

#[tokio::test]
async fn the_primary_calendar_becomes_selected_when_none_is() {
    let database = Database::new().await;
    let user = syncing(&database).await;
    let list = [entry("primary"), entry("work")];
    replace(&database, user, &list, now()).await;
    assert_eq!(selected(&database).await, [("primary".to_owned(), true), ("work".to_owned(), false)]);
    choose(&database, "work").await;
    replace(&database, user, &list, now()).await;
    assert_eq!(synced(&database, user).await, ["work"]);
    choose(&database, "").await;
    assert_eq!(synced(&database, user).await, ["primary"]);
    replace(&database, user, &list, now()).await;
    assert_eq!(selected(&database).await, [("primary".to_owned(), true), ("work".to_owned(), false)]);
}

#[tokio::test]
async fn a_new_primary_calendar_takes_over_the_selection_of_the_one_before() {
    let database = Database::new().await;
    let user = syncing(&database).await;
    let primary = |calendar_id| CalendarEntry { is_primary: true, ..entry(calendar_id) };
    for (before, after) in [("old@example.org", "new@example.org"), ("new@example.org", "newest@example.org")]
    {
        replace(&database, user, &[primary(before), entry("shared")], now()).await;
        database.run("UPDATE google_calendars SET selected = true").await;
        replace(&database, user, &[primary(after), entry("shared")], now()).await;
        assert_eq!(synced(&database, user).await, [after, "shared"]);
    }
}

#[tokio::test]
async fn a_calendar_that_is_not_listed_keeps_the_users_choice_for_a_month() {
    let database = Database::new().await;
    let user = syncing(&database).await;
    let both = [entry("primary"), entry("work")];
    replace(&database, user, &both, now()).await;
    choose(&database, "work").await;
    assert_eq!(replace(&database, user, &[entry("primary")], now()).await, 0);
    assert_eq!(synced(&database, user).await, ["primary"], "it is not there");
    let kept = now() + UNLISTED_KEPT;
    replace(&database, user, &both, kept).await;
    assert_eq!(synced(&database, user).await, ["work"], "it is back, as it was chosen");

    replace(&database, user, &[entry("primary")], kept).await;
    replace(&database, user, &[entry("primary")], kept + UNLISTED_KEPT + TimeDelta::seconds(1)).await;
    assert_eq!(selected(&database).await.len(), 1);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM jobs.unlisted_calendars").await, 0);
}

#[tokio::test]
async fn a_list_without_a_primary_calendar_leaves_the_known_one_and_an_empty_one_leaves_all() {
    let database = Database::new().await;
    let user = syncing(&database).await;
    let own = CalendarEntry { is_primary: true, ..entry("me@example.org") };
    replace(&database, user, &[entry("work")], now()).await;
    assert_eq!(synced(&database, user).await, ["primary"], "that is what it is called");
    replace(&database, user, &[own, entry("work")], now()).await;
    assert_eq!(synced(&database, user).await, ["me@example.org"]);
    replace(&database, user, &[entry("work")], now()).await;
    assert_eq!(synced(&database, user).await, ["me@example.org"]);
    replace(&database, user, &[], now()).await;
    let all = [("me@example.org".to_owned(), true), ("work".to_owned(), false)];
    assert_eq!(selected(&database).await, all);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM jobs.unlisted_calendars").await, 0);
}

#[tokio::test]
async fn a_cursor_keeps_its_horizon_over_incremental_syncs() {
    let database = Database::new().await;
    let user = syncing(&database).await;
    replace(&database, user, &[entry("primary")], now()).await;
    cursor(&database, user, "primary").await;
    for (begun_with, sync_token, stands) in
        [("token", "next", true), ("token", "of a sync that was overtaken", false)]
    {
        let listing = listing(user, "primary", Some(begun_with));
        assert_eq!(store(&database, listing, sync_token, ListedScope::Since).await, stands);
    }
    let calendar = primary(&database, user).await;
    assert_eq!((calendar.sync_token.as_deref(), calendar.horizon), (Some("next"), Some(now())));
    let known = listing(user, "primary", Some("next"));
    let of_another_run = Listing { run: Uuid::nil(), ..known };
    for (listing, forgets) in [(of_another_run, false), (known, true)] {
        assert_eq!(database.of::<Calendars>().forget_cursor(listing, Some(50)).await.unwrap(), forgets);
    }
    let calendar = primary(&database, user).await;
    assert_eq!((calendar.sync_token, calendar.synced_at, calendar.page_size), (None, None, Some(50)));
}

#[tokio::test]
async fn a_page_of_events_writes_what_differs_and_touches_nothing_else() {
    let database = Database::new().await;
    let user = syncing(&database).await;
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
    let user = syncing(&database).await;
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
    let user = syncing(&database).await;
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
        let listing = listing(user, "a", None);
        let events = database.of::<CalendarEvents>();
        events.remove_unseen(listing, from, until, &seen, began_at).await.unwrap().unwrap().changed
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
    let user = syncing(&database).await;
    apply(&database, user, "a", &[event("1"), event("2")], &[]).await;
    apply(&database, user, "b", &[event("1")], &[]).await;
    apply(&database, user, "a", &[], &["1"]).await;
    apply(&database, user, "a", &[], &["2"]).await;
    apply(&database, user, "b", &[event("2")], &[]).await;
    assert_eq!(events(&database).await, pairs(&[("1", "b"), ("2", "b")]));
    assert_eq!(database.value::<i64>("SELECT count(*) FROM jobs.calendar_event_copies").await, 0);
}

#[tokio::test]
async fn when_one_of_two_calendars_loses_an_event_the_other_is_reset() {
    let database = Database::new().await;
    let user = syncing(&database).await;
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
async fn the_row_of_an_event_in_the_users_own_calendar_is_that_ones() {
    let database = Database::new().await;
    let user = syncing(&database).await;
    replace(&database, user, &[entry("primary"), entry("a"), entry("z")], now()).await;
    for calendar in ["a", "primary", "z"] {
        cursor(&database, user, calendar).await;
    }
    let declined = EventRow { is_busy: false, ..event("1") };
    for (calendar, row) in [("a", &declined), ("primary", &event("1")), ("z", &declined), ("a", &declined)] {
        apply(&database, user, calendar, std::slice::from_ref(row), &[]).await;
    }
    let busy = "SELECT calendar_id FROM calendar_events WHERE is_busy";
    assert_eq!(database.rows::<(String,)>(busy).await, [("primary".to_owned(),)]);
    apply(&database, user, "z", &[], &["1"]).await;
    assert_eq!(cursors(&database).await, ["a", "primary", "z"], "it was not its row");
    apply(&database, user, "primary", &[], &["1"]).await;
    assert_eq!(cursors(&database).await, ["primary", "z"], "a still has it");
}

#[tokio::test]
async fn events_and_cursors_of_calendars_that_are_no_longer_synced_go() {
    let database = Database::new().await;
    let user = syncing(&database).await;
    let other = syncing(&database).await;
    for calendar in ["a", "b"] {
        cursor(&database, user, calendar).await;
    }
    apply(&database, user, "a", &[event("1")], &[]).await;
    apply(&database, user, "b", &[event("2")], &[]).await;
    apply(&database, other, "b", &[event("3")], &[]).await;
    assert_eq!(
        database.of::<CalendarEvents>().retain_calendars(user, RUN, &["a".into()], now()).await.unwrap(),
        Some(Written { changed: 1, reset: Vec::new() })
    );
    assert_eq!(events(&database).await, pairs(&[("1", "a"), ("3", "b")]));
    assert_eq!(cursors(&database).await, ["a"]);
}

#[tokio::test]
async fn a_place_between_two_pages_is_given_out_once() {
    let database = Database::new().await;
    let user = syncing(&database).await;
    let position = CalendarPosition {
        calendar_id: "a".into(),
        page_token: "page".into(),
        sync_token: None,
        page_size: 250,
        horizon: now(),
        began_at: now(),
        seen: vec!["1".into()],
        looks_back: false,
    };
    let other = CalendarPosition { page_token: "of a sync that was overtaken".into(), ..position.clone() };
    let calendars = database.of::<Calendars>();
    calendars.store_position(user, RUN, &position).await.unwrap();
    calendars.store_position(user, Uuid::nil(), &other).await.unwrap();
    for (run, place) in [(Uuid::nil(), None), (RUN, Some(position)), (RUN, None)] {
        assert_eq!(calendars.take_position(user, run).await.unwrap(), place);
    }
}

#[tokio::test]
async fn changes_are_counted_until_they_were_notified_and_the_sync_has_ended() {
    let database = Database::new().await;
    let db = &database.db;
    let user = syncing(&database).await;
    apply(&database, user, "a", &[], &["unknown"]).await;
    assert_eq!(CalendarSyncRuns::from(db.clone()).get(user).await.unwrap(), None);
    apply(&database, user, "a", &[event("1"), event("2"), event("3")], &[]).await;
    apply(&database, user, "a", &[event("1")], &["2"]).await;
    let (from, until) = (now() - TimeDelta::days(1), now() + TimeDelta::days(60));
    let later = now() + TimeDelta::seconds(1);
    CalendarEvents::from(db.clone())
        .remove_unseen(listing(user, "a", None), from, until, &["1".into()], later)
        .await
        .unwrap();
    CalendarEvents::from(db.clone()).retain_calendars(user, RUN, &[], now()).await.unwrap();
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
async fn a_calendar_that_fails_waits_longer_each_time_and_begins_where_it_would_have() {
    let database = Database::new().await;
    let user = syncing(&database).await;
    replace(&database, user, &[entry("primary")], now()).await;
    let fail = async |is_refusal| {
        let failure = CalendarFailure { reason: "google answers 500", is_refusal, at: now() };
        database.of::<Calendars>().failed(listing(user, "primary", None), failure).await.unwrap().unwrap()
    };
    let mut waits = Vec::new();
    for is_refusal in [false, true, false, true, false, true, false] {
        fail(is_refusal).await;
        waits.push((primary(&database, user).await.retry_at.unwrap() - now()).num_seconds());
        let retry_at = database.of::<Calendars>().next_retry(user).await.unwrap();
        assert_eq!(retry_at.is_none(), is_refusal, "what is refused has no task of its own");
    }
    assert_eq!(waits, [10, 240, 90, 3840, 810, 43_200, 3_600]);
    let failed = fail(true).await;
    assert_eq!((failed.failures, failed.refusals), (8, 4));
    let state = primary(&database, user).await;
    assert_eq!((state.synced_at, state.sync_token, state.failures), (Some(now()), None, 8));

    cursor(&database, user, "primary").await;
    let state = primary(&database, user).await;
    assert_eq!((state.sync_token.as_deref(), state.failures, state.retry_at), (Some("token"), 0, None));
    fail(false).await;
    assert_eq!(primary(&database, user).await.sync_token.as_deref(), Some("token"));
}

#[tokio::test]
async fn a_sync_that_was_overtaken_writes_nothing() {
    let database = Database::new().await;
    let user = syncing(&database).await;
    cursor(&database, user, "a").await;
    apply(&database, user, "a", &[event("1"), event("2")], &[]).await;
    let moved = EventRow { start_time: now(), ..event("1") };
    let page = Changes { rows: vec![moved, event("3")], gone: vec!["2".into()], superseded: Vec::new() };
    let (from, until) = (now() - TimeDelta::days(1), now() + TimeDelta::days(60));
    let later = now() + TimeDelta::seconds(1);
    let content = "SELECT google_event_id || start_time FROM calendar_events ORDER BY 1";
    let before: Vec<(String,)> = database.rows(content).await;
    let of_another_run = Listing { run: Uuid::nil(), ..listing(user, "a", Some("token")) };
    for old in [of_another_run, listing(user, "a", Some("older")), listing(user, "a", None)] {
        let events = database.of::<CalendarEvents>();
        assert_eq!(events.apply(old, &page, now()).await.unwrap(), None);
        assert_eq!(events.remove_unseen(old, from, until, &[], later).await.unwrap(), None);
        assert!(!store(&database, old, "old", ListedScope::Full { until: now(), looked_back: false }).await);
    }
    let events = database.of::<CalendarEvents>();
    assert_eq!(events.retain_calendars(user, Uuid::nil(), &[], now()).await.unwrap(), None);
    assert_eq!(events.remove_refused(of_another_run, now()).await.unwrap(), None);
    let failure = CalendarFailure { reason: "", is_refusal: true, at: now() };
    let calendars = database.of::<Calendars>();
    assert_eq!(calendars.failed(of_another_run, failure).await.unwrap(), None);
    let list = [entry("primary"), entry("old")];
    assert_eq!(calendars.replace(user, Uuid::nil(), &list, now()).await.unwrap(), None);
    assert_eq!(selected(&database).await, []);
    assert_eq!(
        database
            .value::<i64>("SELECT count(*) FROM jobs.calendar_sync_runs WHERE listed_at IS NOT NULL")
            .await,
        0
    );
    assert_eq!(database.rows::<(String,)>(content).await, before);
    assert_eq!(cursors(&database).await, ["a"]);
}

#[tokio::test]
async fn events_of_a_refused_calendar_go_and_its_token_with_them() {
    let database = Database::new().await;
    let user = syncing(&database).await;
    for calendar in ["a", "b"] {
        cursor(&database, user, calendar).await;
    }
    apply(&database, user, "b", &[event("both")], &[]).await;
    apply(&database, user, "a", &[event("1"), event("both")], &[]).await;
    let removed = database.of::<CalendarEvents>().remove_refused(listing(user, "a", None), now()).await;
    assert_eq!(removed.unwrap(), Some(Written { changed: 2, reset: vec!["b".into()] }));
    assert_eq!(cursors(&database).await, Vec::<String>::new(), "b is reset, as it holds one of them");
    let due = "SELECT count(*) FROM jobs.calendar_sync_state WHERE last_sync_at IS NULL";
    assert_eq!(database.value::<i64>(due).await, 1);
}

#[tokio::test]
async fn a_calendar_that_is_reset_does_not_continue_where_its_listing_waited() {
    let database = Database::new().await;
    let user = syncing(&database).await;
    apply(&database, user, "b", &[event("1")], &[]).await;
    apply(&database, user, "a", &[event("1")], &[]).await;
    assert!(database.of::<Calendars>().forget_cursor(listing(user, "b", None), None).await.unwrap());
    let position = CalendarPosition {
        calendar_id: "b".into(),
        page_token: "page".into(),
        sync_token: None,
        page_size: 250,
        horizon: now(),
        began_at: now(),
        seen: vec!["1".into()],
        looks_back: false,
    };
    database.of::<Calendars>().store_position(user, RUN, &position).await.unwrap();
    apply(&database, user, "a", &[], &["1"]).await;
    assert_eq!(database.of::<Calendars>().take_position(user, RUN).await.unwrap(), None);
}

/// Ids that are there after a page that supersedes, of these.
#[track_caller]
fn check_superseded<'a>(
    stored: &'a [&'a str],
    page: &'a [&'a str],
    (base, since): (&'a str, &'a str),
    left: &'a [&'a str],
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let database = Database::new().await;
        let user = syncing(&database).await;
        let stored: Vec<_> = stored.iter().map(|id| event(id)).collect();
        apply(&database, user, "a", &stored, &[]).await;
        apply(&database, user, "b", &[event("s_20260301T100000Z")], &[]).await;
        let changes = Changes {
            rows: page.iter().map(|id| event(id)).collect(),
            gone: Vec::new(),
            superseded: vec![Superseded { base: base.into(), since: since.into() }],
        };
        let applied = database.of::<CalendarEvents>().apply(listing(user, "a", None), &changes, now()).await;
        assert!(applied.unwrap().is_some());
        let of_a = events(&database).await.into_iter().filter(|(_, calendar)| calendar == "a");
        assert_eq!(of_a.map(|(id, _)| id).collect::<Vec<_>>(), left, "{caller}");
    }
}

#[tokio::test]
async fn instances_that_another_event_takes_the_place_of_go() {
    let series = ["s_20260101T100000Z", "s_20260201T100000Z", "s_20260202", "s_x", "t_20260101T100000Z"];
    // A series became the single event that it began as.
    check_superseded(&series, &["s"], ("s", ""), &["s", "s_x", "t_20260101T100000Z"]).await;
    // A single event that was one before.
    check_superseded(&["s", "s_20260101"], &["s"], ("s", ""), &["s", "s_20260101"]).await;
    // This and following.
    let split = ["s_R20260201T100000_20260201T100000Z"];
    let left = [series[0], split[0], "s_x", "t_20260101T100000Z"];
    check_superseded(&series, &split, ("s", "20260201T100000"), &left).await;
    // Split again: of both, earlier instances stay; and what was split later stays whole.
    let stored = [
        "s_20260101T100000Z",
        "s_R20260201T100000_20260203T100000Z",
        "s_R20260201T100000_20260210T100000Z",
        "s_R20260301T100000_20260301T100000Z",
    ];
    let again = ["s_R20260205T100000_20260205T100000Z"];
    check_superseded(&stored, &again, ("s", "20260205T100000"), &[stored[0], stored[1], again[0], stored[3]])
        .await;
}

#[tokio::test]
async fn a_calendar_is_looked_back_in_once_and_once_more_when_the_contacts_have_come() {
    let database = Database::new().await;
    let user = syncing(&database).await;
    replace(&database, user, &[CalendarEntry { is_primary: true, ..entry("a") }], now()).await;
    let is_due = async || primary(&database, user).await.looks_back;
    let looked = |looked_back| ListedScope::Full { until: now(), looked_back };
    assert!(is_due().await);
    assert!(store(&database, listing(user, "a", None), "1", looked(false)).await);
    assert!(is_due().await);
    assert!(store(&database, listing(user, "a", Some("1")), "2", looked(true)).await);
    assert!(!is_due().await);
    database
        .run(format!(
            "INSERT INTO google_contacts_sync_state (user_id, last_full_sync_at) VALUES ('{user}', '{}')",
            now()
        ))
        .await;
    assert!(is_due().await, "no contact could be recognised before");
    assert!(store(&database, listing(user, "a", Some("2")), "3", looked(true)).await);
    assert!(!is_due().await);
    assert!(store(&database, listing(user, "a", Some("3")), "4", looked(false)).await);
    assert!(!is_due().await, "a later full sync changes nothing");
}
