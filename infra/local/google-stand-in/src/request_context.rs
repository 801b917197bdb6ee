//! Where every call arrives: who calls, is it counted, does something go wrong with it, is the token good.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures_util::stream;
use serde_json::Value;
use stand_in::ConnectionKiller;
use uuid::Uuid;

use crate::account::Integration;
use crate::call::Call;
use crate::fault::FaultKind;
use crate::query::Query;
use crate::refusal::{Api, Refusal};
use crate::serve::App;
use crate::state::State;
use crate::token_endpoint;
use crate::world::World;

const HUGE_CHUNK_BYTES: usize = 1 << 16;
const HUGE_CHUNKS: usize = (1 << 30) / HUGE_CHUNK_BYTES;
const GARBAGE: &str = "<!doctype html><title>Sorry</title> {\"items\": [";

/// A call that has arrived.
pub(crate) struct RequestContext {
    app: App,
    killer: ConnectionKiller,
    bearer: Option<String>,
    query: Query,
    calendar: Option<String>,
}

impl FromRequestParts<App> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let ConnectInfo(killer) = ConnectInfo::<ConnectionKiller>::from_request_parts(parts, app)
            .await
            .expect("the service is always made with connect info");
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let bearer = bearer(&parts.headers).or_else(|| query.text("access_token").map(str::to_owned));
        let calendar = RawPathParams::from_request_parts(parts, app).await.ok().and_then(|parameters| {
            let mut parameters = parameters.iter();
            parameters.find(|(name, _)| *name == "calendar_id").map(|(_, id)| id.to_owned())
        });
        Ok(Self { app: app.clone(), killer, bearer, query, calendar })
    }
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

impl RequestContext {
    /// Answers a call of Calendar or People by `work`, which gets the state, the caller, the parameters and the time.
    pub(crate) async fn answer(
        self,
        call: Call,
        work: impl FnOnce(&mut State, Uuid, &Query, DateTime<Utc>) -> Result<Response, Refusal>,
    ) -> Response {
        let (integration, api) = match call {
            Call::PeopleConnectionsList | Call::ContactGroupsList => {
                (Integration::GoogleContacts, Api::People)
            }
            Call::CalendarListList
            | Call::CalendarsGet
            | Call::EventsList
            | Call::EventsWatch
            | Call::ChannelsStop
            | Call::Token => (Integration::GoogleCalendar, Api::Calendar),
        };
        let world = &self.app.world;
        let token =
            self.bearer.as_ref().and_then(|text| world.with(|state| state.access_tokens.get(text).copied()));
        let fault = world.receive(token.map(|token| token.user), call, self.calendar.as_deref());
        if let Some(kind) = fault {
            if let Some(answer) = self.body_fault(kind).await {
                return answer;
            }
            if let Some(refusal) = refusal(kind, &self.query) {
                return refusal.into_answer(api);
            }
        }
        let now = world.now();
        let token = match token {
            Some(token) if token.expires_at <= now => Err(Refusal::unauthorized()),
            Some(token) if !world.with(|state| state.opens(&token, integration)) => {
                Err(Refusal::scope_insufficient())
            }
            Some(token) => Ok(token),
            None => Err(Refusal::unauthorized()),
        };
        let answer = token.and_then(|token| world.with(|state| work(state, token.user, &self.query, now)));
        self.lose_answer(fault);
        match (answer, fault) {
            (Ok(answer), Some(kind)) => altered(answer, kind).await,
            (Ok(answer), None) => answer,
            (Err(refusal), _) => refusal.into_answer(api),
        }
    }

    /// Answers a call of the token endpoint.
    pub(crate) async fn refresh(self, body: Bytes) -> Response {
        let form = Query::parse(&String::from_utf8_lossy(&body));
        let world: &World = &self.app.world;
        let owner = form
            .text("refresh_token")
            .and_then(|token| world.with(|state| state.owner_of_refresh_token(token).map(|(user, _)| user)));
        let fault = world.receive(owner, Call::Token, None);
        if let Some(kind) = fault {
            if let Some(answer) = self.body_fault(kind).await {
                return answer;
            }
            if let Some(answer) = token_endpoint::fault(kind) {
                return answer;
            }
        }
        let now = world.now();
        let answer = world.with(|state| token_endpoint::refresh(state, &self.app.config, &form, now));
        self.lose_answer(fault);
        answer
    }

    /// What the caller would have heard is never sent.
    fn lose_answer(&self, fault: Option<FaultKind>) {
        if fault == Some(FaultKind::AnswerLost) {
            self.killer.kill();
        }
    }

    /// The faults that are the same for every call; a slow one has ended when this returns.
    async fn body_fault(&self, kind: FaultKind) -> Option<Response> {
        match kind {
            FaultKind::Slow { delay_ms } => {
                tokio::time::sleep(std::time::Duration::from_millis(delay_ms)).await;
                None
            }
            FaultKind::Reset => {
                self.killer.kill();
                Some(StatusCode::INTERNAL_SERVER_ERROR.into_response())
            }
            FaultKind::Garbage => {
                Some(([(header::CONTENT_TYPE, "application/json; charset=UTF-8")], GARBAGE).into_response())
            }
            FaultKind::Huge => Some(huge()),
            FaultKind::HugeAbove { page_size } => {
                let asked = self.query.value::<u32>("maxResults").ok().flatten();
                asked.is_some_and(|asked| asked > page_size).then(huge)
            }
            FaultKind::Unauthorized
            | FaultKind::RateLimit
            | FaultKind::TooManyRequests { .. }
            | FaultKind::DayQuota
            | FaultKind::FirstPageQuota
            | FaultKind::ApiDisabled
            | FaultKind::NotACalendarUser
            | FaultKind::AddressUnauthorized
            | FaultKind::PushNotSupported
            | FaultKind::Gone
            | FaultKind::ExpiredSyncToken
            | FaultKind::ServerError { .. }
            | FaultKind::AnswerLost
            | FaultKind::Refused { .. }
            | FaultKind::NoSyncToken
            | FaultKind::Empty
            | FaultKind::NoPrimary
            | FaultKind::Revoked => None,
        }
    }
}

/// What a fault makes Calendar and People answer; `None` where the answer itself does not change.
fn refusal(kind: FaultKind, query: &Query) -> Option<Refusal> {
    let is_first_page = ["pageToken", "syncToken"].iter().all(|token| query.text(token).is_none());
    match kind {
        FaultKind::Unauthorized | FaultKind::Revoked => Some(Refusal::unauthorized()),
        FaultKind::RateLimit => Some(Refusal::rate_limit()),
        FaultKind::TooManyRequests { retry_after_s } => Some(Refusal::too_many_requests(retry_after_s)),
        FaultKind::DayQuota => Some(Refusal::day_quota()),
        FaultKind::FirstPageQuota => is_first_page.then(Refusal::first_page_quota),
        FaultKind::ApiDisabled => Some(Refusal::service_disabled()),
        FaultKind::NotACalendarUser => Some(Refusal::not_a_calendar_user()),
        FaultKind::AddressUnauthorized => Some(Refusal::address_unauthorized()),
        FaultKind::PushNotSupported => Some(Refusal::push_not_supported()),
        FaultKind::Gone => Some(Refusal::full_sync_required()),
        FaultKind::ExpiredSyncToken => Some(Refusal::expired_sync_token()),
        FaultKind::ServerError { status } => {
            let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Some(Refusal::server_error(code))
        }
        FaultKind::Refused { status } => Some(Refusal::of_status(status)),
        FaultKind::Slow { .. }
        | FaultKind::Reset
        | FaultKind::AnswerLost
        | FaultKind::Garbage
        | FaultKind::Huge
        | FaultKind::HugeAbove { .. }
        | FaultKind::NoSyncToken
        | FaultKind::Empty
        | FaultKind::NoPrimary => None,
    }
}

/// An answer that lacks something.
async fn altered(answer: Response, kind: FaultKind) -> Response {
    if !matches!(kind, FaultKind::NoSyncToken | FaultKind::Empty | FaultKind::NoPrimary) {
        return answer;
    }
    let (head, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let mut body: Value = serde_json::from_slice(&body).unwrap_or_default();
    match (kind, body.as_object_mut()) {
        (FaultKind::NoSyncToken, Some(body)) => {
            body.remove("nextSyncToken");
        }
        (FaultKind::Empty, Some(body)) => {
            body.insert("items".to_owned(), Value::Array(Vec::new()));
        }
        (FaultKind::NoPrimary, Some(body)) => {
            if let Some(Value::Array(items)) = body.get_mut("items") {
                items.retain(|item| item.get("primary").is_none());
            }
        }
        _ => {}
    }
    (head.status, axum::Json(body)).into_response()
}

/// JSON that begins well and then is white space for a gibibyte.
fn huge() -> Response {
    let first = Bytes::from_static(b"{\"items\": [");
    let blank = Bytes::from(vec![b' '; HUGE_CHUNK_BYTES]);
    let chunks = std::iter::once(first).chain(std::iter::repeat_n(blank, HUGE_CHUNKS));
    let body = Body::from_stream(stream::iter(chunks.map(Ok::<_, Infallible>)));
    ([(header::CONTENT_TYPE, "application/json; charset=UTF-8")], body).into_response()
}
