//! Errors as Google words them. Calendar answers in the older form (`errors` with `domain` and `reason`), People in the
//! newer one (`status`, and `details` with an `ErrorInfo`).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::account::Integration;

const AUTHORIZATION: &str = "Authorization";
/// `error.status` of a 403 that no retry helps against.
const PERMISSION_DENIED: &str = "PERMISSION_DENIED";

/// Which API speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Calendar,
    People,
}

/// A refused call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: StatusCode,
    pub(crate) message: String,
    /// `error.errors[0].reason` of Calendar.
    pub(crate) reason: &'static str,
    /// `error.errors[0].domain` of Calendar.
    pub(crate) domain: &'static str,
    /// `location` of Calendar: a parameter, or the header [`AUTHORIZATION`].
    pub(crate) location: Option<&'static str>,
    /// `error.status` of People.
    pub(crate) status: &'static str,
    /// `reason` of the `ErrorInfo` in `error.details` of People.
    pub(crate) info: Option<&'static str>,
    pub(crate) retry_after_s: Option<u32>,
}

impl Refusal {
    fn new(code: StatusCode, reason: &'static str, status: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            reason,
            domain: "global",
            location: None,
            status,
            info: None,
            retry_after_s: None,
        }
    }

    /// A parameter with a value that cannot be.
    pub(crate) fn invalid(parameter: &'static str, message: impl Into<String>) -> Self {
        Self {
            location: Some(parameter),
            ..Self::new(StatusCode::BAD_REQUEST, "invalid", "INVALID_ARGUMENT", message)
        }
    }

    /// A bad request with a reason of its own.
    pub(crate) fn bad_request(
        domain: &'static str,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { domain, ..Self::new(StatusCode::BAD_REQUEST, reason, "INVALID_ARGUMENT", message) }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "notFound", "NOT_FOUND", message)
    }

    /// No token, or none that is valid.
    pub(crate) fn unauthorized() -> Self {
        Self {
            location: Some(AUTHORIZATION),
            info: Some("ACCESS_TOKEN_EXPIRED"),
            ..Self::new(
                StatusCode::UNAUTHORIZED,
                "authError",
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other \
                 valid authentication credential. See \
                 https://developers.google.com/identity/sign-in/web/devconsole-project.",
            )
        }
    }

    /// A token that was granted for the other API, or without the box that this one needs.
    pub(crate) fn scope_insufficient() -> Self {
        Self {
            info: Some("ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
            ..Self::new(
                StatusCode::FORBIDDEN,
                "insufficientPermissions",
                PERMISSION_DENIED,
                "Request had insufficient authentication scopes.",
            )
        }
    }

    /// The API is switched off for the project.
    pub(crate) fn service_disabled() -> Self {
        Self {
            domain: "usageLimits",
            info: Some("SERVICE_DISABLED"),
            ..Self::new(
                StatusCode::FORBIDDEN,
                "accessNotConfigured",
                PERMISSION_DENIED,
                "API has not been used in project 123456789012 before or it is disabled.",
            )
        }
    }

    /// The account has no Calendar.
    pub(crate) fn not_a_calendar_user() -> Self {
        Self {
            domain: "calendar",
            ..Self::new(
                StatusCode::FORBIDDEN,
                "notACalendarUser",
                PERMISSION_DENIED,
                "The user must be signed up for Google Calendar.",
            )
        }
    }

    /// Google may not send notifications to the address: a 401 that is not about the token.
    pub(crate) fn address_unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "push.webhookUrlUnauthorized",
            "UNAUTHENTICATED",
            "Unauthorized WebHook callback channel",
        )
    }

    /// A calendar that cannot be watched.
    pub(crate) fn push_not_supported() -> Self {
        Self::bad_request(
            "calendar",
            "pushNotSupportedForRequestedResource",
            "Push notifications are not supported by this resource.",
        )
    }

    /// 403 over the day's quota of the project, which has the reason of a limit that passes in a minute.
    pub(crate) fn day_quota() -> Self {
        Self {
            domain: "usageLimits",
            info: Some("RATE_LIMIT_EXCEEDED"),
            ..Self::new(
                StatusCode::FORBIDDEN,
                "rateLimitExceeded",
                "RESOURCE_EXHAUSTED",
                "Rate Limit Exceeded",
            )
        }
    }

    /// 429 over the extra quota of a full sync's first page, without a time.
    pub(crate) fn first_page_quota() -> Self {
        Self { retry_after_s: None, ..Self::too_many_requests(0) }
    }

    /// 403 over the limit of one user.
    pub(crate) fn rate_limit() -> Self {
        Self {
            domain: "usageLimits",
            info: Some("RATE_LIMIT_EXCEEDED"),
            ..Self::new(
                StatusCode::FORBIDDEN,
                "userRateLimitExceeded",
                "RESOURCE_EXHAUSTED",
                "User Rate Limit Exceeded",
            )
        }
    }

    /// 429 with the time to wait.
    pub(crate) fn too_many_requests(retry_after_s: u32) -> Self {
        Self {
            domain: "usageLimits",
            info: Some("RATE_LIMIT_EXCEEDED"),
            retry_after_s: Some(retry_after_s),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rateLimitExceeded",
                "RESOURCE_EXHAUSTED",
                "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user'",
            )
        }
    }

    /// 410: the sync token is of no more use.
    pub(crate) fn full_sync_required() -> Self {
        Self {
            domain: "calendar",
            location: Some("syncToken"),
            ..Self::new(
                StatusCode::GONE,
                "fullSyncRequired",
                "FAILED_PRECONDITION",
                "Sync token is no longer valid, a full sync is required.",
            )
        }
    }

    /// 410: so long ago that deletions are forgotten.
    pub(crate) fn updated_min_too_long_ago() -> Self {
        Self {
            domain: "calendar",
            location: Some("updatedMin"),
            ..Self::new(
                StatusCode::GONE,
                "updatedMinTooLongAgo",
                "FAILED_PRECONDITION",
                "The requested minimum modification time lies too far in the past.",
            )
        }
    }

    /// 400: a sync token of People that is older than its seven days.
    pub(crate) fn expired_sync_token() -> Self {
        Self {
            info: Some("EXPIRED_SYNC_TOKEN"),
            ..Self::new(
                StatusCode::BAD_REQUEST,
                "failedPrecondition",
                "FAILED_PRECONDITION",
                "Sync token is expired. Clear local cache and retry call without the sync token.",
            )
        }
    }

    /// 4xx about one thing that is asked for.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            403 => Self::new(
                StatusCode::FORBIDDEN,
                "requiredAccessLevel",
                "PERMISSION_DENIED",
                "You need to have reader access to this calendar.",
            ),
            404 => Self::not_found("Not Found"),
            _ => Self::bad_request("global", "badRequest", "Bad Request"),
        }
    }

    /// 5xx.
    pub(crate) fn server_error(code: StatusCode) -> Self {
        match code {
            StatusCode::SERVICE_UNAVAILABLE => {
                Self::new(code, "backendError", "UNAVAILABLE", "The service is currently unavailable.")
            }
            _ => Self::new(code, "backendError", "INTERNAL", "Internal error encountered."),
        }
    }

    pub(crate) fn into_answer(self, api: Api) -> Response {
        let mut error = Map::new();
        error.insert("code".to_owned(), json!(self.code.as_u16()));
        error.insert("message".to_owned(), json!(self.message));
        match api {
            Api::Calendar => {
                let mut first =
                    json!({"domain": self.domain, "reason": self.reason, "message": self.message});
                if let Some(place) = self.location {
                    let kind = if place == AUTHORIZATION { "header" } else { "parameter" };
                    first["locationType"] = json!(kind);
                    first["location"] = json!(place);
                }
                error.insert("errors".to_owned(), json!([first]));
            }
            Api::People => error.extend(self.new_form("people.googleapis.com")),
        }
        // Calendar says what it denies in both forms.
        if api == Api::Calendar && self.status == PERMISSION_DENIED && self.info.is_some() {
            error.extend(self.new_form("calendar-json.googleapis.com"));
        }
        // Both forms are seen of this one.
        if self.reason == "userRateLimitExceeded" && api == Api::People {
            error.insert("errors".to_owned(), json!([{"domain": self.domain, "reason": self.reason}]));
        }
        let mut response = (self.code, Json(json!({"error": Value::Object(error)}))).into_response();
        if self.reason == "insufficientPermissions" {
            let scope = match api {
                Api::Calendar => Integration::GoogleCalendar.scope(),
                Api::People => Integration::GoogleContacts.scope(),
            };
            let challenge = format!(
                r#"Bearer realm="https://accounts.google.com/", error="insufficient_scope", scope="{scope}""#
            );
            let challenge = HeaderValue::from_str(&challenge).expect("a scope is an address");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.code == StatusCode::UNAUTHORIZED && self.location == Some(AUTHORIZATION) {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(
                    r#"Bearer realm="https://accounts.google.com/", error="invalid_token""#,
                ),
            );
        }
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// `status`, and `details` with an `ErrorInfo`.
    fn new_form(&self, service: &str) -> Map<String, Value> {
        let mut form = Map::new();
        form.insert("status".to_owned(), json!(self.status));
        if let Some(reason) = self.info {
            let info = json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason,
                "domain": "googleapis.com",
                "metadata": {"service": service},
            });
            form.insert("details".to_owned(), json!([info]));
        }
        form
    }
}
