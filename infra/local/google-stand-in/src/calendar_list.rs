//! `calendarList.list` and `calendars.get`.

use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::calendar::CalendarState;
use crate::opaque::{open, seal};
use crate::query::Query;
use crate::refusal::Refusal;
use crate::state::State;

const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 250;

#[derive(Debug, Serialize, Deserialize)]
struct SyncToken {
    list_sync: Uuid,
    born: DateTime<Utc>,
    epoch: u64,
    revision: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct PageToken {
    list_page: Uuid,
    revision: u64,
    /// How many calendars were passed; none ever leaves its place.
    passed: usize,
}

pub(crate) fn list(state: &State, user: Uuid, query: &Query) -> Result<Response, Refusal> {
    let account = state.account(user).map_err(|_| Refusal::unauthorized())?;
    let size = match query.value::<usize>("maxResults")? {
        Some(0) => return Err(Refusal::invalid("maxResults", "Invalid value for maxResults: 0")),
        size => size.unwrap_or(DEFAULT_PAGE).min(LARGEST_PAGE),
    };
    let show_deleted = query.flag("showDeleted")?;
    let show_hidden = query.flag("showHidden")?;
    let since = match query.text("syncToken") {
        None => None,
        Some(text) => {
            if query.text("minAccessRole").is_some() {
                return Err(Refusal::invalid(
                    "minAccessRole",
                    "Sync token cannot be used with minAccessRole.",
                ));
            }
            let token = open::<SyncToken>(text)
                .filter(|token| token.list_sync == user)
                .ok_or_else(|| Refusal::invalid("syncToken", "Invalid sync token value."))?;
            if (token.born, token.epoch) != (state.born, account.list_epoch) {
                return Err(Refusal::full_sync_required());
            }
            Some(token.revision)
        }
    };
    let page = match query.text("pageToken") {
        None => PageToken { list_page: user, revision: account.list_revision, passed: 0 },
        Some(text) => open::<PageToken>(text)
            .filter(|page| page.list_page == user)
            .ok_or_else(|| Refusal::invalid("pageToken", "Invalid page token value."))?,
    };
    let wanted = |calendar_state: &CalendarState| match since {
        Some(revision) => calendar_state.listed_at > revision,
        None => (!calendar_state.deleted || show_deleted) && (!calendar_state.hidden || show_hidden),
    };
    let mut rows: Vec<(usize, &CalendarState)> = account
        .calendars
        .iter()
        .enumerate()
        .skip(page.passed)
        .filter(|(_, calendar_state)| wanted(calendar_state))
        .collect();
    let more = rows.len() > size;
    rows.truncate(size);

    let mut body =
        json!({"kind": "calendar#calendarList", "etag": format!("\"p{}\"", account.list_revision)});
    if more && let Some((last, _)) = rows.last() {
        body["nextPageToken"] = json!(seal(&PageToken { passed: last + 1, ..page }));
    } else {
        let token = SyncToken {
            list_sync: user,
            born: state.born,
            epoch: account.list_epoch,
            revision: page.revision,
        };
        body["nextSyncToken"] = json!(seal(&token));
    }
    body["items"] = rows.iter().map(|(_, calendar_state)| entry(calendar_state)).collect();
    Ok(axum::Json(body).into_response())
}

fn entry(calendar_state: &CalendarState) -> Value {
    let calendar = &calendar_state.calendar;
    let mut body = json!({
        "kind": "calendar#calendarListEntry",
        "etag": format!("\"{}\"", calendar_state.listed_at),
        "id": calendar.id,
        "summary": calendar.summary,
        "timeZone": calendar.time_zone.name(),
        "colorId": "14",
        "backgroundColor": "#9fe1e7",
        "foregroundColor": "#000000",
        "selected": calendar.selected,
        "accessRole": calendar.access_role,
        "defaultReminders": [],
    });
    if let Some(description) = &calendar.description {
        body["description"] = json!(description);
    }
    if calendar.primary {
        body["primary"] = json!(true);
    }
    if calendar_state.hidden {
        body["hidden"] = json!(true);
    }
    if calendar_state.deleted {
        body["deleted"] = json!(true);
    }
    body
}

pub(crate) fn get(state: &State, user: Uuid, calendar_id: &str) -> Result<Response, Refusal> {
    let calendar_state = state.account(user).ok().and_then(|account| account.calendar_state(calendar_id));
    let calendar = &calendar_state.ok_or_else(|| Refusal::not_found("Not Found"))?.calendar;
    let mut body = json!({
        "kind": "calendar#calendar",
        "etag": "\"0\"",
        "id": calendar.id,
        "summary": calendar.summary,
        "timeZone": calendar.time_zone.name(),
    });
    if let Some(description) = &calendar.description {
        body["description"] = json!(description);
    }
    Ok(axum::Json(body).into_response())
}
