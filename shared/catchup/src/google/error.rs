//! How a call of a Google API fails, by whose fault, and what that means for a job.
//!
//! One calendar's or one person's: [`Error::NotFound`], [`Error::Forbidden`], [`Error::Refused`], [`Error::TooLarge`]. This
//! user's account's: [`Error::MissingScope`], [`Error::NoCalendarAccount`], [`Error::Unauthorized`]. Ours, and so every
//! user's: [`Error::ApiDisabled`], [`Error::AddressRefused`]. All else is chance.

use std::time::Duration;

use google_apis_common::{Delegate, Response, Retry};
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde_json::Value;
use shared::failure::Failure;

use super::TokenError;
use super::tokens::MISCONFIGURED_WAIT;
use super::transport::Oversized;

/// Wait after a limit that names no time: the windows of Google's limits are a minute long.
const LIMIT_WAIT: Duration = Duration::from_mins(1);
/// Wait after a daily quota is used up.
const QUOTA_WAIT: Duration = Duration::from_hours(1);
/// Shortest wait: a `Retry-After` of nothing must not become a busy loop.
const MIN_WAIT: Duration = Duration::from_secs(1);
/// Longest wait that a `Retry-After` may ask for.
const MAX_WAIT: Duration = Duration::from_hours(24);

/// What Google says of a calendar that cannot be watched, such as one of holidays.
pub const PUSH_NOT_SUPPORTED: &str = "pushNotSupportedForRequestedResource";
/// How Google's complaints about the address of a push channel begin: `push.webhookUrlUnauthorized` (a 401),
/// `push.webhookUrlNotHttps`.
const ADDRESS_REASONS: &str = "push.webhookUrl";
/// The user left a box of the consent screen unticked.
const SCOPE_REASONS: &[&str] = &["insufficientPermissions", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"];
/// The project may not call the API: <https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto>.
const PROJECT_REASONS: &[&str] = &[
    "accessNotConfigured",
    "SERVICE_DISABLED",
    "BILLING_DISABLED",
    "CONSUMER_INVALID",
    "CONSUMER_SUSPENDED",
];

/// A call of a Google API failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no access token to call with.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// 401, also with a token fresh from the token endpoint.
    #[error("google refuses a fresh access token")]
    Unauthorized,
    /// 429, or 403 for a rate limit or a quota.
    #[error("google rate limit exceeded, retry in {} s", retry_after.as_secs())]
    Limited {
        /// When to try again.
        retry_after: Duration,
    },
    /// The sync token is of no use any more: start over without.
    #[error("sync token expired")]
    SyncTokenExpired,
    /// 404.
    #[error("not found at google")]
    NotFound,
    /// 403: the user has not granted what the call needs.
    #[error("the token lacks a scope")]
    MissingScope,
    /// 403 `notACalendarUser`: the account has no Calendar.
    #[error("the account has no calendar")]
    NoCalendarAccount,
    /// 403: the API is switched off for the project, or the project is.
    #[error("the api is disabled for the project")]
    ApiDisabled,
    /// Google sends no notifications to the address of `CALENDAR_WEBHOOK_URL`; one of the answers is a 401.
    #[error("google refuses the address of push notifications: {reason}")]
    AddressRefused {
        /// Google's code for it.
        reason: String,
    },
    /// 403 for another reason.
    #[error("forbidden by google: {reason}")]
    Forbidden {
        /// Google's code for it.
        reason: String,
    },
    /// Another 4xx.
    #[error("refused by google with {status}: {reason}")]
    Refused {
        /// The answer's status.
        status: StatusCode,
        /// Google's code for it.
        reason: String,
    },
    /// 5xx, 408, or a status that no API answers with.
    #[error("google answers {0}")]
    Unavailable(StatusCode),
    /// No answer in time.
    #[error("google did not answer in time")]
    Timeout,
    /// No connection, or one that broke before an answer came.
    #[error("no connection to google")]
    Transport(#[source] hyper_util::client::legacy::Error),
    /// The answer broke off.
    #[error("answer of google is incomplete")]
    Truncated,
    /// The answer was larger than [`super::MAX_ANSWER_BYTES`].
    #[error("answer of google is too large")]
    TooLarge,
    /// The answer is not what the API describes.
    #[error("answer of google cannot be read")]
    Garbage(#[source] serde_json::Error),
    /// The generated client refused the call before sending it.
    #[error("client of google refused the call: {0}")]
    Client(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Token(error) => error.into(),
            Error::ApiDisabled | Error::AddressRefused { .. } => Self::unavailable(MISCONFIGURED_WAIT, error),
            Error::MissingScope
            | Error::NoCalendarAccount
            | Error::NotFound
            | Error::Forbidden { .. }
            | Error::Refused { .. }
            | Error::Client(_) => Self::permanent(error),
            Error::Unauthorized
            | Error::Limited { .. }
            | Error::SyncTokenExpired
            | Error::Unavailable(_)
            | Error::Timeout
            | Error::Transport(_)
            | Error::Truncated
            | Error::TooLarge
            | Error::Garbage(_) => Self::transient(error),
        }
    }
}

/// Listens to one call: the generated clients drop the status of an answer whose body is JSON, and why a body broke off.
#[derive(Debug)]
pub(super) struct Refusal {
    status: Option<StatusCode>,
    retry_after: Option<Duration>,
    oversized: Oversized,
}

impl Delegate for Refusal {
    fn http_failure(&mut self, response: &Response, _body: Option<&Value>) -> Retry {
        self.status = Some(response.status());
        self.retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|seconds| seconds.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        Retry::Abort
    }
}

impl Refusal {
    /// Listens to a call that begins now.
    pub(super) fn new(oversized: Oversized) -> Self {
        Self { status: None, retry_after: None, oversized }
    }

    /// Turns what the generated client returned into what it means.
    pub(super) fn classify<T>(self, answer: google_apis_common::Result<(Response, T)>) -> Result<T, Error> {
        use google_apis_common::Error as Common;
        match answer {
            Ok((_, content)) => Ok(content),
            Err(Common::HttpError(error)) => Err(Error::Transport(error)),
            // The generated clients answer a broken body with an empty one.
            Err(Common::JsonDecodeError(body, _)) if body.is_empty() => Err(self.broken_off()),
            Err(Common::JsonDecodeError(_, error)) => Err(Error::Garbage(error)),
            Err(Common::BadRequest(body)) => Err(self.error(&reasons(&body))),
            Err(Common::Failure(_)) => Err(self.error(&[])),
            Err(Common::MissingToken(error)) => Err(Error::Client(error.to_string())),
            Err(
                error @ (Common::UploadSizeLimitExceeded(..)
                | Common::MissingAPIKey
                | Common::Cancelled
                | Common::FieldClash(_)
                | Common::Io(_)),
            ) => Err(Error::Client(error.to_string())),
        }
    }

    /// Statuses and reasons as <https://developers.google.com/workspace/calendar/api/guides/errors> and
    /// <https://developers.google.com/people/v1/contacts> name them.
    fn error(&self, reasons: &[&str]) -> Error {
        let Some(status) = self.status else {
            return self.broken_off();
        };
        let has = |names: &[&str]| reasons.iter().any(|reason| names.contains(reason));
        let limited = |wait: Duration| Error::Limited {
            retry_after: self.retry_after.unwrap_or(wait).clamp(MIN_WAIT, MAX_WAIT),
        };
        let reason = || reasons.first().copied().unwrap_or("no reason given").to_owned();
        let of_address = || reasons.iter().find(|reason| reason.starts_with(ADDRESS_REASONS));
        match status.as_u16() {
            400..=499 if let Some(reason) = of_address() => {
                Error::AddressRefused { reason: (*reason).to_owned() }
            }
            401 => Error::Unauthorized,
            403 if has(SCOPE_REASONS) => Error::MissingScope,
            403 if has(PROJECT_REASONS) => Error::ApiDisabled,
            403 if has(&["notACalendarUser"]) => Error::NoCalendarAccount,
            403 | 429 if has(&["quotaExceeded", "dailyLimitExceeded"]) => limited(QUOTA_WAIT),
            403 if has(&["rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"]) => {
                limited(LIMIT_WAIT)
            }
            429 => limited(LIMIT_WAIT),
            410 => Error::SyncTokenExpired,
            400 if has(&["EXPIRED_SYNC_TOKEN"]) => Error::SyncTokenExpired,
            403 => Error::Forbidden { reason: reason() },
            404 => Error::NotFound,
            408 => Error::Unavailable(status),
            400..=499 => Error::Refused { status, reason: reason() },
            _ => Error::Unavailable(status),
        }
    }

    /// Another call's answer may have been the large one: smaller pages do this call no harm either.
    fn broken_off(&self) -> Error {
        if self.oversized.since_then() { Error::TooLarge } else { Error::Truncated }
    }
}

/// The machine-readable reasons in an error body, of the older form (`error.errors[].reason`) and the newer
/// (`error.details[].reason`, `error.status`). Never the message, which may quote the request.
fn reasons(body: &Value) -> Vec<&str> {
    let error = &body["error"];
    let listed = |key: &str| error[key].as_array().into_iter().flatten();
    listed("errors")
        .chain(listed("details"))
        .filter_map(|item| item["reason"].as_str())
        .chain(error["status"].as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use google_apis_common::Error as Common;
    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;

    fn response(status: u16, retry_after: Option<&str>) -> Response {
        let body = http_body_util::Empty::new().map_err(|never| match never {}).boxed();
        let mut response = http::Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(value) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, value.parse().unwrap());
        }
        response
    }

    #[track_caller]
    fn check(status: u16, body: Value, retry_after: Option<&str>, expected: &str) {
        let mut refusal = Refusal::new(Oversized::default());
        refusal.http_failure(&response(status, retry_after), Some(&body));
        let answer: Result<(), _> = refusal.classify(Err(Common::BadRequest(body)));
        assert_eq!(answer.unwrap_err().to_string(), expected);
    }

    fn old_form(reason: &str) -> Value {
        json!({"error": {"code": 0, "message": "secret", "errors": [{"reason": reason, "message": "secret"}]}})
    }

    #[test]
    fn limits_name_a_time_and_other_refusals_a_reason() {
        check(403, old_form("rateLimitExceeded"), None, "google rate limit exceeded, retry in 60 s");
        check(403, old_form("userRateLimitExceeded"), Some("7"), "google rate limit exceeded, retry in 7 s");
        check(403, old_form("quotaExceeded"), None, "google rate limit exceeded, retry in 3600 s");
        check(429, json!({}), None, "google rate limit exceeded, retry in 60 s");
        check(
            429,
            json!({}),
            Some("Wed, 21 Oct 2015 07:28:00 GMT"),
            "google rate limit exceeded, retry in 60 s",
        );
        check(429, json!({}), Some("0"), "google rate limit exceeded, retry in 1 s");
        check(429, json!({}), Some("99999999999"), "google rate limit exceeded, retry in 86400 s");
        check(403, old_form("requiredAccessLevel"), None, "forbidden by google: requiredAccessLevel");
        check(400, old_form("badRequest"), None, "refused by google with 400 Bad Request: badRequest");
        check(418, json!([]), None, "refused by google with 418 I'm a teapot: no reason given");
    }

    fn new_form(status: &str, reason: &str) -> Value {
        json!({"error": {"code": 0, "message": "secret", "status": status, "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]}})
    }

    #[test]
    fn a_403_says_whose_fault_it_is() {
        for (body, expected) in [
            (old_form("insufficientPermissions"), "the token lacks a scope"),
            (new_form("PERMISSION_DENIED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"), "the token lacks a scope"),
            (old_form("notACalendarUser"), "the account has no calendar"),
            (old_form("accessNotConfigured"), "the api is disabled for the project"),
            (new_form("PERMISSION_DENIED", "SERVICE_DISABLED"), "the api is disabled for the project"),
            (
                new_form("PERMISSION_DENIED", "RATE_LIMIT_EXCEEDED"),
                "google rate limit exceeded, retry in 60 s",
            ),
            (old_form("forbiddenForNonOrganizer"), "forbidden by google: forbiddenForNonOrganizer"),
        ] {
            check(403, body, None, expected);
        }
    }

    #[test]
    fn a_complaint_about_the_address_is_no_complaint_about_the_token() {
        let refused = |reason: &str| format!("google refuses the address of push notifications: {reason}");
        for (status, reason) in [(401, "push.webhookUrlUnauthorized"), (400, "push.webhookUrlNotHttps")] {
            check(status, old_form(reason), None, &refused(reason));
        }
        let refused = format!("refused by google with 400 Bad Request: {PUSH_NOT_SUPPORTED}");
        check(400, old_form(PUSH_NOT_SUPPORTED), None, &refused);
    }

    #[test]
    fn what_is_misconfigured_costs_no_user_an_attempt() {
        let address = Error::AddressRefused { reason: "push.webhookUrlUnauthorized".to_owned() };
        for error in [Error::ApiDisabled, address] {
            assert!(matches!(Failure::from(error), Failure::Unavailable { .. }));
        }
    }

    #[test]
    fn both_ways_to_say_that_a_sync_token_expired_are_understood() {
        check(410, old_form("fullSyncRequired"), None, "sync token expired");
        let expired = json!({"error": {"code": 400, "status": "FAILED_PRECONDITION", "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "EXPIRED_SYNC_TOKEN"}]}});
        check(400, expired, None, "sync token expired");
    }

    #[test]
    fn a_response_without_usable_json_is_classified_by_its_status() {
        for (status, expected) in [
            (401, "google refuses a fresh access token"),
            (404, "not found at google"),
            (500, "google answers 500 Internal Server Error"),
            (408, "google answers 408 Request Timeout"),
            (503, "google answers 503 Service Unavailable"),
            (304, "google answers 304 Not Modified"),
        ] {
            let mut refusal = Refusal::new(Oversized::default());
            refusal.http_failure(&response(status, None), None);
            let answer: Result<(), _> = refusal.classify(Err(Common::Failure(response(status, None))));
            assert_eq!(answer.unwrap_err().to_string(), expected);
            check(status, json!("text"), None, expected);
        }
    }
}
