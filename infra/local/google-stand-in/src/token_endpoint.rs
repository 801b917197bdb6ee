//! The token endpoint: `grant_type=refresh_token`, nothing else.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde_json::json;

use crate::fault::FaultKind;
use crate::grants::EXPIRES_IN_S;
use crate::query::Query;
use crate::serve::Config;
use crate::state::State;

pub(crate) fn refresh(state: &mut State, config: &Config, form: &Query, now: DateTime<Utc>) -> Response {
    if form.text("client_id") != Some(&config.client_id) {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client", "The OAuth client was not found.");
    }
    if form.text("client_secret") != Some(&config.client_secret) {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client", "The provided client secret is invalid.");
    }
    match form.text("grant_type") {
        Some("refresh_token") => {}
        Some(other) => {
            let description = format!("Invalid grant_type: {other}");
            return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type", &description);
        }
        None => return missing("grant_type"),
    }
    let Some(token) = form.text("refresh_token") else { return missing("refresh_token") };
    let Some(refreshed) = state.refresh(token, now) else { return invalid_grant() };
    let mut body = json!({
        "access_token": refreshed.access_token,
        "expires_in": EXPIRES_IN_S,
        "scope": refreshed.scope,
        "token_type": "Bearer",
    });
    if let Some(rotated) = refreshed.refresh_token {
        body["refresh_token"] = json!(rotated);
    }
    ([(header::CACHE_CONTROL, "no-cache, no-store, max-age=0, must-revalidate")], Json(body)).into_response()
}

/// What a fault does to this endpoint; `None` where the answer itself does not change.
pub(crate) fn fault(kind: FaultKind) -> Option<Response> {
    match kind {
        FaultKind::Unauthorized => {
            Some(refuse(StatusCode::UNAUTHORIZED, "invalid_client", "The OAuth client was not found."))
        }
        FaultKind::RateLimit => {
            Some(refuse(StatusCode::FORBIDDEN, "rate_limit_exceeded", "Rate Limit Exceeded"))
        }
        FaultKind::TooManyRequests { retry_after_s } => {
            let mut response =
                refuse(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", "Rate Limit Exceeded");
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
            Some(response)
        }
        FaultKind::Gone | FaultKind::ExpiredSyncToken => {
            Some(refuse(StatusCode::BAD_REQUEST, "invalid_request", "Bad Request"))
        }
        FaultKind::ServerError { status } => {
            let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Some(refuse(code, "internal_failure", "Internal Error"))
        }
        FaultKind::Revoked => Some(invalid_grant()),
        FaultKind::DayQuota
        | FaultKind::FirstPageQuota
        | FaultKind::ApiDisabled
        | FaultKind::NotACalendarUser
        | FaultKind::AddressUnauthorized
        | FaultKind::PushNotSupported
        | FaultKind::Slow { .. }
        | FaultKind::Reset
        | FaultKind::AnswerLost
        | FaultKind::Garbage
        | FaultKind::Huge
        | FaultKind::HugeAbove { .. }
        | FaultKind::Refused { .. }
        | FaultKind::NoSyncToken
        | FaultKind::Empty
        | FaultKind::NoPrimary => None,
    }
}

fn invalid_grant() -> Response {
    refuse(StatusCode::BAD_REQUEST, "invalid_grant", "Token has been expired or revoked.")
}

fn missing(parameter: &str) -> Response {
    let description = format!("Missing required parameter: {parameter}");
    refuse(StatusCode::BAD_REQUEST, "invalid_request", &description)
}

fn refuse(code: StatusCode, error: &str, description: &str) -> Response {
    (code, Json(json!({"error": error, "error_description": description}))).into_response()
}
