//! `calendarList.list` and `events.list`.

use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use google_stand_in::{Attendee, Calendar, Event, EventStatus, ResponseStatus};
use serde_json::{Value, json};

use crate::site::{Api, Refusal, Site, sorted, text};

const PRIMARY: &str = "/calendar/v3/calendars/primary/events";
const CALENDAR_LIST: &str = "/calendar/v3/users/me/calendarList";
const SINGLE: (&str, &str) = ("singleEvents", "true");

/// The primary calendar in the window that the functions ask for.
fn window(site: &Site) -> (String, String) {
    let now = site.world.now();
    ((now - TimeDelta::days(1)).to_rfc3339(), (now + TimeDelta::days(60)).to_rfc3339())
}

fn hours_ahead(site: &Site, hours: i64) -> DateTime<Utc> {
    site.world.now() + TimeDelta::hours(hours)
}

/// A full sync of the primary calendar; its sync token.
async fn full_sync(api: &Api<'_>) -> String {
    let (min, max) = window(api.site);
    let (_, _, last) = api.all(PRIMARY, "items", &[SINGLE, ("timeMin", &min), ("timeMax", &max)]).await;
    text(&last, "nextSyncToken")
}

async fn changes(api: &Api<'_>, sync_token: &str) -> (Vec<Value>, String) {
    let (items, _, last) = api.all(PRIMARY, "items", &[SINGLE, ("syncToken", sync_token)]).await;
    (items, text(&last, "nextSyncToken"))
}

fn primary(site: &Site) -> String {
    site.user().email
}

#[tokio::test]
async fn pages_hold_every_event_of_the_window_once_while_events_come_and_change() {
    let site = Site::open();
    let api = site.calendar().await;
    let user = site.user().id;
    let (min, max) = window(&site);
    let query = [SINGLE, ("timeMin", min.as_str()), ("timeMax", &max), ("maxResults", "7")];
    let first = api.get(PRIMARY, &query).await.ok();
    let first_id = text(&first["items"][0], "id");
    // Neither a change to what was listed nor a new one may shift the pages.
    site.world.move_event(user, "primary", &first_id, TimeDelta::hours(1)).expect("an event");
    site.world
        .add_event(user, "primary", Event::timed("New", hours_ahead(&site, 5), TimeDelta::hours(1)))
        .expect("ok");
    let mut items = first["items"].as_array().expect("items").clone();
    let mut token = text(&first, "nextPageToken");
    let last = loop {
        let page = api.get(PRIMARY, &[&query[..], &[("pageToken", &token)]].concat()).await.ok();
        items.extend(page["items"].as_array().expect("items").clone());
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break page,
        }
    };
    let known: Vec<String> = site
        .world
        .events(user, "primary")
        .expect("events")
        .into_iter()
        .filter(|event| {
            let (start, end) = event.instants();
            end > site.world.now() - TimeDelta::days(1) && start < site.world.now() + TimeDelta::days(60)
        })
        .map(|event| event.id)
        .collect();
    let listed = sorted(&items, "id");
    let mut distinct = listed.clone();
    distinct.dedup();
    assert_eq!(listed, distinct, "an event twice");
    assert!(known.iter().all(|id| listed.contains(id)), "an event left out");
    // What changed after the first page is the next sync's.
    let token = text(&last, "nextSyncToken");
    let query = [SINGLE, ("syncToken", token.as_str()), ("maxResults", "7")];
    let (changed, ..) = api.all(PRIMARY, "items", &query).await;
    assert_eq!(changed.len(), 2);
}

#[tokio::test]
async fn incremental_event_sync_lists_added_changed_moved_and_deleted_events_once() {
    let site = Site::open();
    let api = site.calendar().await;
    let user = site.user().id;
    let (world, calendar) = (&site.world, primary(&site));
    let event = |title: &str| Event::timed(title, hours_ahead(&site, 30), TimeDelta::hours(1));
    let [changed, moved, deleted] =
        ["a", "b", "c"].map(|title| world.add_event(user, &calendar, event(title)).expect("added").id);
    let token = full_sync(&api).await;
    let (nothing, token) = changes(&api, &token).await;
    assert_eq!(nothing, Vec::<Value>::new());

    let added = world.add_event(user, &calendar, event("d")).expect("added").id;
    world
        .change_event(user, &calendar, &changed, |event| event.summary = Some("A".to_owned()))
        .expect("changed");
    world.move_event(user, &calendar, &moved, TimeDelta::hours(2)).expect("moved");
    world.delete_event(user, &calendar, &deleted).expect("deleted");
    let (items, token) = changes(&api, &token).await;
    let mut expected = vec![added, changed.clone(), moved, deleted.clone()];
    expected.sort_unstable();
    assert_eq!(sorted(&items, "id"), expected);
    for item in &items {
        let id = text(item, "id");
        assert_eq!(item["status"] == "cancelled", id == deleted);
        assert_eq!(item["start"].is_null(), id == deleted, "a deleted event tells no more than its id");
        assert!(id != changed || item["summary"] == "A");
    }
    assert_eq!(changes(&api, &token).await.0, Vec::<Value>::new());
}

#[tokio::test]
async fn a_sync_token_keeps_the_window_of_its_full_sync() {
    let site = Site::open();
    let api = site.calendar().await;
    let user = site.user().id;
    let inside = Event::timed("inside", hours_ahead(&site, 48), TimeDelta::hours(1));
    let leaving = site.world.add_event(user, "primary", inside).expect("added").id;
    let token = full_sync(&api).await;
    let outside = Event::timed("far", hours_ahead(&site, 24 * 90), TimeDelta::hours(1));
    site.world.add_event(user, "primary", outside).expect("added");
    site.world.move_event(user, "primary", &leaving, TimeDelta::days(200)).expect("moved");
    let (items, _) = changes(&api, &token).await;
    assert_eq!(sorted(&items, "id"), [leaving], "what left the window is told, what never was in it is not");
}

#[tokio::test]
async fn an_expired_sync_token_is_gone_and_one_of_another_calendar_invalid() {
    let site = Site::open();
    let api = site.calendar().await;
    let token = full_sync(&api).await;
    site.world.expire_sync_tokens(site.user().id).expect("a user");
    let answer = api.get(PRIMARY, &[SINGLE, ("syncToken", &token)]).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::GONE, "fullSyncRequired"));
    let answer = api.get(PRIMARY, &[SINGLE, ("syncToken", "nonsense")]).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::BAD_REQUEST, "invalid"));
    full_sync(&api).await;
}

#[tokio::test]
async fn a_sync_token_of_an_earlier_run_is_gone() {
    let site = Site::open();
    let token = full_sync(&site.calendar().await).await;
    let time = site.time.clone();
    time.pass(TimeDelta::minutes(1));
    let again = Site::open_with(google_stand_in::World::seeded(crate::site::small(&time)), time);
    let answer = again.calendar().await.get(PRIMARY, &[SINGLE, ("syncToken", &token)]).await;
    assert_eq!(answer.status, StatusCode::GONE);
}

#[tokio::test]
async fn parameters_that_do_not_go_with_a_sync_token_are_refused() {
    let site = Site::open();
    let api = site.calendar().await;
    let token = full_sync(&api).await;
    let (min, _) = window(&site);
    for (name, value) in [
        ("timeMin", min.as_str()),
        ("timeMax", &min),
        ("updatedMin", &min),
        ("orderBy", "updated"),
        ("q", "x"),
        ("iCalUID", "x"),
        ("showDeleted", "false"),
    ] {
        let answer = api.get(PRIMARY, &[SINGLE, ("syncToken", &token), (name, value)]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}");
    }
    let answer = api.get(PRIMARY, &[("syncToken", &token)]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "singleEvents differs");
}

#[tokio::test]
async fn an_order_sorts_and_takes_the_sync_token_away() {
    let site = Site::open();
    let api = site.calendar().await;
    let query = [SINGLE, ("orderBy", "startTime"), ("maxResults", "9")];
    let (items, pages, last) = api.all(PRIMARY, "items", &query).await;
    assert!(pages > 1);
    assert!(last["nextSyncToken"].is_null());
    let zone = site.user().time_zone;
    let starts: Vec<DateTime<Utc>> = items
        .iter()
        .map(|item| {
            if let Some(text) = item["start"]["dateTime"].as_str() {
                return text.parse().expect("a time");
            }
            let day: chrono::NaiveDate = text(&item["start"], "date").parse().expect("a date");
            day.and_time(chrono::NaiveTime::MIN)
                .and_local_timezone(zone)
                .earliest()
                .expect("midnight")
                .to_utc()
        })
        .collect();
    assert!(starts.is_sorted());
    let refused = api.get(PRIMARY, &[("orderBy", "startTime")]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "only with singleEvents");
    let (items, _, _) = api.all(PRIMARY, "items", &[SINGLE, ("orderBy", "updated")]).await;
    assert!(items.iter().map(|item| text(item, "updated")).is_sorted());
}

#[tokio::test]
async fn deleted_events_show_only_when_asked_for_or_changed_since() {
    let site = Site::open();
    let api = site.calendar().await;
    let user = site.user().id;
    let event = Event::timed("x", hours_ahead(&site, 3), TimeDelta::hours(1));
    let id = site.world.add_event(user, "primary", event).expect("added").id;
    site.time.pass(TimeDelta::minutes(1));
    site.world.delete_event(user, "primary", &id).expect("deleted");
    let since = site.world.now().to_rfc3339();
    let has = |items: &[Value]| items.iter().any(|item| item["id"] == json!(id));
    assert!(!has(&api.all(PRIMARY, "items", &[SINGLE]).await.0));
    assert!(has(&api.all(PRIMARY, "items", &[SINGLE, ("showDeleted", "true")]).await.0));
    let (items, _, last) = api.all(PRIMARY, "items", &[SINGLE, ("updatedMin", &since)]).await;
    assert_eq!((items.len(), &items[0]["id"]), (1, &json!(id)));
    assert!(last["nextSyncToken"].is_null());
    let long_ago = (site.world.now() - TimeDelta::days(40)).to_rfc3339();
    let answer = api.get(PRIMARY, &[SINGLE, ("updatedMin", &long_ago)]).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::GONE, "updatedMinTooLongAgo"));
}

#[tokio::test]
async fn recurring_events_are_listed_as_instances_or_as_themselves() {
    let site = Site::open();
    let api = site.calendar().await;
    let (singles, _, _) = api.all(PRIMARY, "items", &[SINGLE]).await;
    let (own, _, _) = api.all(PRIMARY, "items", &[]).await;
    let instances = |items: &[Value]| items.iter().filter(|item| !item["recurringEventId"].is_null()).count();
    let series = |items: &[Value]| items.iter().filter(|item| !item["recurrence"].is_null()).count();
    assert!(instances(&singles) > 0);
    assert_eq!(series(&singles), 0);
    assert!(series(&own) > 0);
    assert!(instances(&own) < instances(&singles), "only exceptions");
    let cancelled = |items: &[Value]| items.iter().any(|item| item["status"] == "cancelled");
    assert!(cancelled(&own) && !cancelled(&singles), "a gap shows only next to its series");
}

#[tokio::test]
async fn bad_windows_and_unknown_calendars_are_refused() {
    let site = Site::open();
    let api = site.calendar().await;
    let (min, max) = window(&site);
    let answer = api.get(PRIMARY, &[("timeMin", &max), ("timeMax", &min)]).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::BAD_REQUEST, "timeRangeEmpty"));
    assert_eq!(api.get(PRIMARY, &[("timeMin", "2026-01-01")]).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(api.get(PRIMARY, &[("pageToken", "x")]).await.status, StatusCode::BAD_REQUEST);
    let answer = api.get("/calendar/v3/calendars/unknown%40example.test/events", &[]).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::NOT_FOUND, "notFound"));
    assert_eq!(api.get("/calendar/v3/nothing", &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_calendar_list_pages_and_lists_new_and_deleted_calendars() {
    let site = Site::open();
    let api = site.calendar().await;
    let user = site.user();
    let calendar = Calendar {
        id: String::new(),
        summary: "New".to_owned(),
        description: None,
        time_zone: user.time_zone,
        primary: false,
        selected: true,
        access_role: "owner".to_owned(),
    };
    let new = site.world.add_calendar(user.id, calendar).expect("added").id;
    let (items, pages, last) = api.all(CALENDAR_LIST, "items", &[("maxResults", "1")]).await;
    assert_eq!(pages, items.len());
    let known: Vec<String> = site.world.calendars(user.id).expect("ok").into_iter().map(|c| c.id).collect();
    assert_eq!(items.iter().map(|item| text(item, "id")).collect::<Vec<_>>(), known);
    assert_eq!(items[0]["primary"], true);
    let token = text(&last, "nextSyncToken");
    site.world.delete_calendar(user.id, &new).expect("deleted");
    let (items, _, _) = api.all(CALENDAR_LIST, "items", &[("syncToken", &token)]).await;
    assert_eq!((text(&items[0], "id"), &items[0]["deleted"], items.len()), (new.clone(), &json!(true), 1));
    let answer = api.get(&format!("/calendar/v3/calendars/{new}/events"), &[]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    site.world.expire_sync_tokens(user.id).expect("a user");
    assert_eq!(api.get(CALENDAR_LIST, &[("syncToken", &token)]).await.status, StatusCode::GONE);
    assert_eq!(text(&api.get("/calendar/v3/calendars/primary", &[]).await.ok(), "id"), user.email);
}

#[tokio::test]
async fn a_calendar_with_a_hash_in_its_id_is_found_by_its_encoded_path() {
    let site = Site::open();
    let api = site.calendar().await;
    let id = "en.usa#holiday@group.v.calendar.google.com";
    let user = site.user();
    if site.world.calendars(user.id).expect("ok").iter().all(|calendar| calendar.id != id) {
        let calendar = Calendar {
            id: id.to_owned(),
            summary: "Holidays".to_owned(),
            description: None,
            time_zone: user.time_zone,
            primary: false,
            selected: false,
            access_role: "reader".to_owned(),
        };
        site.world.add_calendar(user.id, calendar).expect("added");
    }
    let path = "/calendar/v3/calendars/en.usa%23holiday%40group.v.calendar.google.com/events";
    api.get(path, &[]).await.ok();
}

#[tokio::test]
async fn an_event_is_written_as_google_writes_it() {
    let site = Site::open();
    let api = site.calendar().await;
    let user = site.user();
    let mut event = Event::timed("Lunch", hours_ahead(&site, 2), TimeDelta::minutes(45));
    event.location = Some("Room 1".to_owned());
    event.transparent = true;
    event.status = EventStatus::Tentative;
    event.attendees = vec![Attendee {
        email: user.email.clone(),
        display_name: None,
        response_status: ResponseStatus::Declined,
        is_self: true,
        organizer: false,
    }];
    let timed = site.world.add_event(user.id, "primary", event).expect("added");
    assert!(timed.declined() && !timed.busy());
    let day = site.world.now().with_timezone(&user.time_zone).date_naive();
    let whole = site.world.add_event(user.id, "primary", Event::all_day("Off", day, 2)).expect("added");
    let (items, _, _) = api.all(PRIMARY, "items", &[SINGLE]).await;
    let find = |id: &str| items.iter().find(|item| item["id"] == json!(id)).expect("listed");
    let item = find(&timed.id);
    assert_eq!(text(&item["start"], "timeZone"), user.time_zone.name());
    let start: DateTime<Utc> = text(&item["start"], "dateTime").parse().expect("a time");
    assert_eq!(start, hours_ahead(&site, 2));
    assert_eq!((&item["transparency"], &item["status"]), (&json!("transparent"), &json!("tentative")));
    assert_eq!(item["attendees"], json!([{"email": user.email, "responseStatus": "declined", "self": true}]));
    let item = find(&whole.id);
    assert_eq!(
        (&item["start"], &item["end"]),
        (&json!({"date": day}), &json!({"date": day + TimeDelta::days(2)}))
    );
}

#[tokio::test]
async fn an_event_that_moves_to_another_calendar_is_cancelled_here_and_keeps_its_id_there() {
    let site = Site::open();
    let api = site.calendar().await;
    let user = site.user();
    let calendar = Calendar {
        id: "other@group.calendar.google.com".to_owned(),
        summary: "Other".to_owned(),
        description: None,
        time_zone: user.time_zone,
        primary: false,
        selected: true,
        access_role: "owner".to_owned(),
    };
    let other = site.world.add_calendar(user.id, calendar).expect("added").id;
    let event = Event::timed("x", hours_ahead(&site, 3), TimeDelta::hours(1));
    let id = site.world.add_event(user.id, "primary", event).expect("added").id;
    let token = full_sync(&api).await;
    site.world.move_event_to(user.id, "primary", &id, &other).expect("moved");
    let (items, _) = changes(&api, &token).await;
    assert_eq!((text(&items[0], "id"), text(&items[0], "status")), (id.clone(), "cancelled".to_owned()));
    let there = site.world.events(user.id, &other).expect("events");
    assert_eq!(there.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), [id]);
}

#[tokio::test]
async fn of_more_attendees_than_asked_for_only_the_owner_of_the_calendar_is_shown() {
    let site = Site::open();
    let api = site.calendar().await;
    let attendee = |number: usize| Attendee {
        email: format!("guest{number}@example.test"),
        display_name: None,
        response_status: ResponseStatus::Accepted,
        is_self: number == 0,
        organizer: false,
    };
    let mut event = Event::timed("All hands", hours_ahead(&site, 5), TimeDelta::hours(1));
    event.attendees = (0..3).map(attendee).collect();
    let event = site.world.add_event(site.user().id, &primary(&site), event).unwrap();
    for (max, shown) in [("3", 3), ("2", 1)] {
        let (items, ..) = api.all(PRIMARY, "items", &[SINGLE, ("maxAttendees", max)]).await;
        let item = items.iter().find(|item| item["id"] == event.id.as_str()).unwrap();
        assert_eq!(item["attendees"].as_array().unwrap().len(), shown);
        assert_eq!(item["attendeesOmitted"] == true, shown == 1);
    }
}
