//! The operator's routes: faults, ticks, counts, and changes to a user's world.

use std::str::FromStr;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stand_in::Times;
use uuid::Uuid;

use crate::account::{Grant, Integration, User};
use crate::call::Call;
use crate::event::Event;
use crate::fault::{Fault, FaultKind};
use crate::person::Person;
use crate::push::Channel;
use crate::serve::App;
use crate::state::Unknown;
use crate::world::World;

/// Stands for every user, or every call.
const ANY: &str = "*";
const DEFAULT_TICK: usize = 25;

pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/faults", get(faults).post(inject).delete(clear_faults))
        .route("/tick", post(tick))
        .route("/world", get(world))
        .route("/calls", get(calls).delete(reset_calls))
        .route("/users/{user}/expire-sync-tokens", post(expire_sync_tokens))
        .route("/users/{user}/grants/{provider}/{action}", post(change_grant))
        .route("/users/{user}/address-book", post(add_address_book))
        .route("/users/{user}/channels", get(channels).post(open_channel))
        .route("/users/{user}/channels/silence", post(silence_channels))
        .route("/users/{user}/people", post(add_person))
        .route("/users/{user}/people/{person}", axum::routing::delete(delete_person))
        .route("/users/{user}/people/{person}/rename", post(rename_person))
        .route("/users/{user}/people/{person}/merge/{into}", post(merge_people))
        .route("/users/{user}/people/{person}/restore", post(restore_person))
        .route("/users/{user}/full-syncs", post(limit_full_syncs))
        .route("/users/{user}/calendars/{calendar}/events", post(add_event))
        .route("/users/{user}/calendars/{calendar}/events/{event}", axum::routing::delete(delete_event))
        .route("/users/{user}/calendars/{calendar}/events/{event}/move", post(move_event))
}

/// Why the operator's request was refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error("unknown {what}: {value}")]
    BadValue { what: &'static str, value: String },
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let code = match self {
            Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::BadValue { .. } => StatusCode::BAD_REQUEST,
        };
        (code, Json(json!({"error": self.to_string()}))).into_response()
    }
}

type Answer<T> = Result<T, Refused>;

/// The user of an id or an address.
fn find(world: &World, name: &str) -> Answer<Uuid> {
    let named = |user: &User| user.id.to_string() == name || user.email == name;
    world.users().into_iter().find(named).map(|user| user.id).ok_or(Refused::Unknown(Unknown::User))
}

fn read<T: FromStr>(what: &'static str, value: &str) -> Answer<T> {
    value.parse().map_err(|_| Refused::BadValue { what, value: value.to_owned() })
}

#[derive(Debug, Deserialize)]
struct FaultRequest {
    #[serde(default = "any")]
    user: String,
    #[serde(default = "any")]
    call: String,
    calendar: Option<String>,
    #[serde(flatten)]
    kind: FaultKind,
    #[serde(default)]
    times: Times,
    #[serde(default)]
    after: u32,
}

fn any() -> String {
    ANY.to_owned()
}

async fn inject(State(app): State<App>, Json(request): Json<FaultRequest>) -> Answer<Json<Fault>> {
    let fault = Fault {
        user: if request.user == ANY { None } else { Some(find(&app.world, &request.user)?) },
        call: if request.call == ANY { None } else { Some(read::<Call>("call", &request.call)?) },
        calendar: request.calendar,
        kind: request.kind,
        times: request.times,
        after: request.after,
    };
    app.world.inject(fault.clone());
    Ok(Json(fault))
}

async fn faults(State(app): State<App>) -> Json<Vec<Fault>> {
    Json(app.world.faults())
}

async fn clear_faults(State(app): State<App>) -> StatusCode {
    app.world.clear_faults();
    StatusCode::NO_CONTENT
}

#[derive(Debug, Default, Deserialize)]
struct TickRequest {
    changes: Option<usize>,
}

async fn tick(State(app): State<App>, request: Option<Json<TickRequest>>) -> Json<Value> {
    let changes = request.and_then(|Json(request)| request.changes).unwrap_or(DEFAULT_TICK);
    Json(json!(app.world.tick(changes)))
}

#[derive(Serialize)]
struct UserSummary {
    id: Uuid,
    name: String,
    email: String,
    time_zone: String,
    grants: Vec<Grant>,
    calendars: usize,
    events: usize,
    people: usize,
    groups: usize,
    channels: usize,
}

async fn world(State(app): State<App>) -> Answer<Json<Value>> {
    let world = &app.world;
    let users =
        world.users().into_iter().map(|user| summary(world, user)).collect::<Result<Vec<_>, Unknown>>()?;
    Ok(Json(json!({"now": world.now(), "users": users})))
}

fn summary(world: &World, user: User) -> Result<UserSummary, Unknown> {
    let calendars = world.calendars(user.id)?;
    let events = calendars.iter().map(|calendar| Ok(world.events(user.id, &calendar.id)?.len()));
    Ok(UserSummary {
        id: user.id,
        time_zone: user.time_zone.to_string(),
        calendars: calendars.len(),
        events: events.sum::<Result<usize, Unknown>>()?,
        people: world.people_count(user.id)?,
        groups: world.groups(user.id)?.len(),
        channels: world.channels(user.id)?.len(),
        grants: user.calendar_grant.into_iter().chain(user.contacts_grant).collect(),
        name: user.name,
        email: user.email,
    })
}

async fn calls(State(app): State<App>) -> Json<Value> {
    let world = &app.world;
    let users = world.users().into_iter().map(|user| (user.id.to_string(), json!(world.calls(user.id))));
    Json(json!({"total": world.total_calls(), "users": users.collect::<serde_json::Map<_, _>>()}))
}

async fn reset_calls(State(app): State<App>) -> StatusCode {
    app.world.reset_calls();
    StatusCode::NO_CONTENT
}

async fn expire_sync_tokens(State(app): State<App>, Path(user): Path<String>) -> Answer<StatusCode> {
    app.world.expire_sync_tokens(find(&app.world, &user)?)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Clone, Copy, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
enum GrantAction {
    Revoke,
    Restore,
    RotateRefreshToken,
    UntickBox,
    TickBox,
}

async fn change_grant(
    State(app): State<App>,
    Path((user, provider, action)): Path<(String, String, String)>,
) -> Answer<StatusCode> {
    let user = find(&app.world, &user)?;
    let integration: Integration = read("provider", &provider)?;
    match read::<GrantAction>("action", &action)? {
        GrantAction::Revoke => app.world.revoke_grant(user, integration)?,
        GrantAction::Restore => app.world.restore_grant(user, integration)?,
        GrantAction::UntickBox => app.world.untick_box(user, integration)?,
        GrantAction::TickBox => app.world.tick_box(user, integration)?,
        GrantAction::RotateRefreshToken => app.world.rotate_refresh_token(user, integration)?,
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn channels(State(app): State<App>, Path(user): Path<String>) -> Answer<Json<Vec<Channel>>> {
    Ok(Json(app.world.channels(find(&app.world, &user)?)?))
}

#[derive(Debug, Deserialize)]
struct ChannelRequest {
    id: String,
    address: String,
    token: String,
    expiration: DateTime<Utc>,
}

async fn open_channel(
    State(app): State<App>,
    Path(user): Path<String>,
    Json(request): Json<ChannelRequest>,
) -> Answer<Json<Channel>> {
    let ChannelRequest { id, address, token, expiration } = request;
    let user = find(&app.world, &user)?;
    Ok(Json(app.world.open_channel(user, &id, &address, &token, expiration)?))
}

async fn silence_channels(State(app): State<App>, Path(user): Path<String>) -> Answer<Json<Value>> {
    let silenced = app.world.silence_channels(find(&app.world, &user)?)?;
    Ok(Json(json!({"silenced": silenced})))
}

#[derive(Debug, Deserialize)]
struct AddressBookRequest {
    people: u64,
}

async fn add_address_book(
    State(app): State<App>,
    Path(user): Path<String>,
    Json(request): Json<AddressBookRequest>,
) -> Answer<StatusCode> {
    app.world.add_address_book(find(&app.world, &user)?, request.people)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn add_person(
    State(app): State<App>,
    Path(user): Path<String>,
    Json(person): Json<Person>,
) -> Answer<Json<Person>> {
    Ok(Json(app.world.add_person(find(&app.world, &user)?, person)?))
}

async fn delete_person(
    State(app): State<App>,
    Path((user, person)): Path<(String, String)>,
) -> Answer<StatusCode> {
    app.world.delete_person(find(&app.world, &user)?, &format!("people/{person}"))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn rename_person(
    State(app): State<App>,
    Path((user, person)): Path<(String, String)>,
) -> Answer<Json<Person>> {
    Ok(Json(app.world.rename_person(find(&app.world, &user)?, &format!("people/{person}"), false)?))
}

async fn merge_people(
    State(app): State<App>,
    Path((user, person, into)): Path<(String, String, String)>,
) -> Answer<Json<Person>> {
    let (from, into) = (format!("people/{person}"), format!("people/{into}"));
    Ok(Json(app.world.merge_people(find(&app.world, &user)?, &from, &into)?))
}

async fn restore_person(
    State(app): State<App>,
    Path((user, person)): Path<(String, String)>,
) -> Answer<Json<Person>> {
    Ok(Json(app.world.restore_person(find(&app.world, &user)?, &format!("people/{person}"), false)?))
}

#[derive(Debug, Deserialize)]
struct FullSyncsRequest {
    left: Option<u32>,
}

async fn limit_full_syncs(
    State(app): State<App>,
    Path(user): Path<String>,
    Json(request): Json<FullSyncsRequest>,
) -> Answer<StatusCode> {
    app.world.limit_full_syncs(find(&app.world, &user)?, request.left)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct EventRequest {
    summary: String,
    start: DateTime<Utc>,
    minutes: u32,
}

async fn add_event(
    State(app): State<App>,
    Path((user, calendar)): Path<(String, String)>,
    Json(request): Json<EventRequest>,
) -> Answer<Json<Event>> {
    let length = TimeDelta::minutes(request.minutes.into());
    let event = Event::timed(&request.summary, request.start, length);
    Ok(Json(app.world.add_event(find(&app.world, &user)?, &calendar, event)?))
}

async fn delete_event(
    State(app): State<App>,
    Path((user, calendar, event)): Path<(String, String, String)>,
) -> Answer<StatusCode> {
    app.world.delete_event(find(&app.world, &user)?, &calendar, &event)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct MoveRequest {
    minutes: i32,
}

async fn move_event(
    State(app): State<App>,
    Path((user, calendar, event)): Path<(String, String, String)>,
    Json(request): Json<MoveRequest>,
) -> Answer<Json<Event>> {
    let by = TimeDelta::minutes(request.minutes.into());
    Ok(Json(app.world.move_event(find(&app.world, &user)?, &calendar, &event, by)?))
}
