//! `events.list`: windows, order, pages, and what changed since a sync token.

use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::calendar::{CalendarState, Record, Window};
use crate::event::{Attendee, Event, EventTime, Recurrence};
use crate::opaque::{open, seal};
use crate::query::Query;
use crate::refusal::Refusal;
use crate::state::State;

const DEFAULT_PAGE: usize = 250;
const LARGEST_PAGE: usize = 2_500;
/// Deletions are forgotten after about four weeks.
const LONGEST_MEMORY: TimeDelta = TimeDelta::days(28);
/// Calendar reference, events.list: not together with a sync token.
const NOT_WITH_SYNC_TOKEN: &[&str] = &[
    "iCalUID",
    "orderBy",
    "privateExtendedProperty",
    "q",
    "sharedExtendedProperty",
    "timeMin",
    "timeMax",
    "updatedMin",
];
/// These narrow or order a list in a way that no sync token can carry on.
const NO_SYNC_TOKEN_AFTER: &[&str] =
    &["iCalUID", "orderBy", "privateExtendedProperty", "q", "sharedExtendedProperty", "updatedMin"];
/// What has to stay the same from page to page.
const SAME_ON_EVERY_PAGE: &[&str] = &[
    "iCalUID",
    "orderBy",
    "q",
    "showDeleted",
    "singleEvents",
    "syncToken",
    "timeMin",
    "timeMax",
    "updatedMin",
];

/// What has to be as it was in the list that gave the sync token. Google calls the outcome undefined else; a caller had better
/// hear of it.
const SAME_AS_BEFORE: &[&str] =
    &["alwaysIncludeEmail", "maxAttendees", "maxResults", "showHiddenInvitations", "timeZone"];

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Order {
    Unspecified,
    StartTime,
    Updated,
}

/// Since when, in which window and form changes are wanted.
#[derive(Debug, Serialize, Deserialize)]
struct SyncToken {
    calendar_sync: (Uuid, String),
    born: DateTime<Utc>,
    epoch: u64,
    revision: u64,
    window: Window,
    single_events: bool,
    parameters: Vec<Option<String>>,
}

/// Where a list continues: after this sort key.
#[derive(Debug, Serialize, Deserialize)]
struct PageToken {
    calendar_page: (Uuid, String),
    parameters: Vec<Option<String>>,
    /// Changes after this one are the next sync's.
    revision: u64,
    after: (i64, u64),
}

pub(crate) fn list(
    state: &State,
    user: Uuid,
    calendar_id: &str,
    query: &Query,
    now: DateTime<Utc>,
) -> Result<Response, Refusal> {
    let calendar_state = state.account(user).ok().and_then(|account| account.calendar_state(calendar_id));
    let calendar_state = calendar_state.ok_or_else(|| Refusal::not_found("Not Found"))?;
    let whose = (user, calendar_state.calendar.id.clone());
    let single_events = query.flag("singleEvents")?;
    let show_deleted = query.flag("showDeleted")?;
    let updated_min = query.time("updatedMin")?;
    let zone = query.value::<Tz>("timeZone")?;
    let max_attendees = query.value::<usize>("maxAttendees")?;
    let order = order(query, single_events)?;
    let size = match query.value::<usize>("maxResults")? {
        Some(0) => return Err(Refusal::invalid("maxResults", "Invalid value for maxResults: 0")),
        size => size.unwrap_or(DEFAULT_PAGE).min(LARGEST_PAGE),
    };
    if updated_min.is_some_and(|min| min < now - LONGEST_MEMORY) {
        return Err(Refusal::updated_min_too_long_ago());
    }
    let since = since(state, calendar_state, &whose, query, single_events)?;
    let window = match &since {
        Some(token) => token.window,
        None => window(query)?,
    };
    let parameters = values(query, SAME_ON_EVERY_PAGE);
    let page = match query.text("pageToken") {
        None => None,
        Some(token) => Some(
            open::<PageToken>(token)
                .filter(|page| page.calendar_page == whose && page.parameters == parameters)
                .ok_or_else(|| Refusal::invalid("pageToken", "Invalid page token value."))?,
        ),
    };
    let revision = page.as_ref().map_or(calendar_state.revision, |page| page.revision);

    // Without it a client that expands recurring events itself would not know of the gap.
    let gap = |event: &Event| !single_events && matches!(event.recurrence, Recurrence::Instance { .. });
    let wanted = |record: &Record| {
        let event = &record.event;
        (if single_events { event.is_single() } else { event.is_own_entry() })
            && since.as_ref().map_or_else(
                || {
                    record.in_window(window)
                        && (event.live() || show_deleted || updated_min.is_some() || gap(event))
                },
                |token| record.concerns(token.revision, window),
            )
            && updated_min.is_none_or(|min| event.updated >= min)
            && query.text("iCalUID").is_none_or(|uid| ical_uid(event) == uid)
            && query.text("q").is_none_or(|words| mentions(event, words))
    };
    let is_in_order = matches!(order, Order::Unspecified);
    let first = page.as_ref().filter(|_| is_in_order).map_or(0, |page| page.after.1);
    let rows = calendar_state
        .records
        .range(first..)
        .filter(|(_, record)| wanted(record))
        .map(|(place, record)| ((sort_key(&record.event, order), *place), &record.event))
        .filter(|(key, _)| page.as_ref().is_none_or(|page| *key > page.after));
    let mut rows: Vec<((i64, u64), &Event)> =
        if is_in_order { rows.take(size + 1).collect() } else { rows.collect() };
    rows.sort_unstable_by_key(|(key, _)| *key);
    let more = rows.len() > size;
    rows.truncate(size);

    let mut body = json!({
        "kind": "calendar#events",
        "etag": format!("\"p{}\"", calendar_state.revision),
        "summary": calendar_state.calendar.summary,
        "description": calendar_state.calendar.description.as_deref().unwrap_or_default(),
        "updated": calendar_state.updated.to_rfc3339_opts(SecondsFormat::Millis, true),
        "timeZone": zone.unwrap_or(calendar_state.calendar.time_zone).name(),
        "accessRole": calendar_state.calendar.access_role,
        "defaultReminders": [],
    });
    if more && let Some((after, _)) = rows.last() {
        let token = PageToken { calendar_page: whose, parameters, revision, after: *after };
        body["nextPageToken"] = json!(seal(&token));
    } else if NO_SYNC_TOKEN_AFTER.iter().all(|name| query.text(name).is_none()) {
        let token = SyncToken {
            calendar_sync: whose,
            born: state.born,
            epoch: calendar_state.epoch,
            revision,
            window,
            single_events,
            parameters: values(query, SAME_AS_BEFORE),
        };
        body["nextSyncToken"] = json!(seal(&token));
    }
    body["items"] =
        rows.iter().map(|(_, event)| wire(event, &calendar_state.calendar.id, zone, max_attendees)).collect();
    Ok(axum::Json(body).into_response())
}

fn order(query: &Query, single_events: bool) -> Result<Order, Refusal> {
    match query.text("orderBy") {
        None => Ok(Order::Unspecified),
        Some("startTime") if single_events => Ok(Order::StartTime),
        Some("startTime") => Err(Refusal::invalid(
            "orderBy",
            "The requested ordering is not available for the particular query.",
        )),
        Some("updated") => Ok(Order::Updated),
        Some(other) => Err(Refusal::invalid("orderBy", format!("Invalid string value: '{other}'."))),
    }
}

fn window(query: &Query) -> Result<Window, Refusal> {
    let window = Window { min: query.time("timeMin")?, max: query.time("timeMax")? };
    if window.min.zip(window.max).is_some_and(|(min, max)| max <= min) {
        return Err(Refusal {
            location: Some("timeMax"),
            ..Refusal::bad_request("calendar", "timeRangeEmpty", "The specified time range is empty.")
        });
    }
    Ok(window)
}

fn since(
    state: &State,
    calendar_state: &CalendarState,
    whose: &(Uuid, String),
    query: &Query,
    single_events: bool,
) -> Result<Option<SyncToken>, Refusal> {
    let Some(text) = query.text("syncToken") else { return Ok(None) };
    if let Some(name) = NOT_WITH_SYNC_TOKEN.iter().find(|name| query.text(name).is_some()) {
        return Err(Refusal::invalid(name, format!("Sync token cannot be used with {name}.")));
    }
    if query.text("showDeleted").is_some() && !query.flag("showDeleted")? {
        return Err(Refusal::invalid("showDeleted", "Sync token cannot be used with showDeleted=false."));
    }
    let token = open::<SyncToken>(text)
        .filter(|token| token.calendar_sync == *whose)
        .ok_or_else(|| Refusal::invalid("syncToken", "Invalid sync token value."))?;
    if (token.born, token.epoch) != (state.born, calendar_state.epoch) {
        return Err(Refusal::full_sync_required());
    }
    if token.single_events != single_events {
        return Err(Refusal::invalid(
            "singleEvents",
            "Sync token was issued for another value of singleEvents.",
        ));
    }
    let now = values(query, SAME_AS_BEFORE);
    let differs =
        SAME_AS_BEFORE.iter().zip(token.parameters.iter().zip(&now)).find(|(_, (then, now))| then != now);
    if let Some((name, _)) = differs {
        return Err(Refusal::invalid(name, format!("Sync token was issued for another value of {name}.")));
    }
    Ok(Some(token))
}

fn values(query: &Query, names: &[&str]) -> Vec<Option<String>> {
    names.iter().map(|name| query.text(name).map(str::to_owned)).collect()
}

fn sort_key(event: &Event, order: Order) -> i64 {
    match order {
        Order::Unspecified => 0,
        Order::StartTime => event.instants().0.timestamp_millis(),
        Order::Updated => event.updated.timestamp_millis(),
    }
}

fn mentions(event: &Event, words: &str) -> bool {
    let words = words.to_lowercase();
    [&event.summary, &event.description, &event.location]
        .into_iter()
        .flatten()
        .any(|text| text.to_lowercase().contains(&words))
}

/// All instances of a recurring event share their series' one.
fn ical_uid(event: &Event) -> String {
    let id = match &event.recurrence {
        Recurrence::Instance { series, .. } => series,
        Recurrence::None | Recurrence::Series { .. } => &event.id,
    };
    format!("{id}@google.com")
}

/// An event as Calendar writes it. Of a deleted one it tells no more than what it was; of more than `max_attendees`, only
/// the owner of the calendar.
/// <https://developers.google.com/workspace/calendar/api/v3/reference/events/list> (`maxAttendees`)
fn wire(event: &Event, calendar_id: &str, zone: Option<Tz>, max_attendees: Option<usize>) -> Value {
    let mut body = json!({
        "kind": "calendar#event",
        "etag": event.etag,
        "id": event.id,
        "status": event.status,
    });
    if let Recurrence::Instance { series, original, .. } = &event.recurrence {
        body["recurringEventId"] = json!(series);
        body["originalStartTime"] = moment(*original, event.time_zone, zone).0;
    }
    if !event.live() {
        return body;
    }
    let (start, end) = moment(event.time, event.time_zone, zone);
    body["htmlLink"] = json!(format!("https://www.google.com/calendar/event?eid={}", event.id));
    body["created"] = json!(event.created.to_rfc3339_opts(SecondsFormat::Secs, true));
    body["updated"] = json!(event.updated.to_rfc3339_opts(SecondsFormat::Millis, true));
    for (name, text) in
        [("summary", &event.summary), ("description", &event.description), ("location", &event.location)]
    {
        if let Some(text) = text {
            body[name] = json!(text);
        }
    }
    let organizer = event.attendees.iter().find(|attendee| attendee.organizer);
    let organizer = organizer.map_or(calendar_id, |attendee: &Attendee| attendee.email.as_str());
    body["creator"] = json!({"email": organizer});
    body["organizer"] = json!({"email": organizer});
    body["start"] = start;
    body["end"] = end;
    if let Recurrence::Series { rule } = &event.recurrence {
        body["recurrence"] = json!([rule]);
    }
    if event.transparent {
        body["transparency"] = json!("transparent");
    }
    if !event.attendees.is_empty() {
        let are_too_many = max_attendees.is_some_and(|max| event.attendees.len() > max);
        let shown = event.attendees.iter().filter(|attendee| attendee.is_self || !are_too_many);
        body["attendees"] = shown.map(|attendee| json!(attendee)).collect();
        if are_too_many {
            body["attendeesOmitted"] = json!(true);
        }
    }
    body["iCalUID"] = json!(ical_uid(event));
    body["sequence"] = json!(0);
    body["reminders"] = json!({"useDefault": true});
    body["eventType"] = json!("default");
    body
}

fn moment(time: EventTime, own: Tz, asked: Option<Tz>) -> (Value, Value) {
    match time {
        EventTime::Timed { start, end } => {
            let shown = asked.unwrap_or(own);
            let text =
                |at: DateTime<Utc>| at.with_timezone(&shown).to_rfc3339_opts(SecondsFormat::Secs, true);
            let zone = own.name();
            (
                json!({"dateTime": text(start), "timeZone": zone}),
                json!({"dateTime": text(end), "timeZone": zone}),
            )
        }
        EventTime::AllDay { start, end } => (json!({"date": start}), json!({"date": end})),
    }
}
