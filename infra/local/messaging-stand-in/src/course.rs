//! The course of a request to send: what goes wrong before the message is accepted, and what after.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use stand_in::ConnectionKiller;
use tokio::time::sleep;

use crate::fault::Kind;
use crate::inbox::{Channel, Inbox};

/// The `Retry-After` of a refusal, with 429 and 503.
const RETRY_AFTER_S: u16 = 1;
const GARBAGE: &str = "<!doctype html><title>Sorry</title> {\"sid\": ";

/// Runs `accept`, which answers for the vendor, in the midst of what goes wrong. `refuse` words the vendor's refusal.
pub(crate) async fn run(
    inbox: &Inbox,
    killer: &ConnectionKiller,
    (channel, recipients): (Channel, &[&str]),
    refuse: impl FnOnce(StatusCode, u32) -> Response,
    accept: impl FnOnce(&Inbox) -> Response,
) -> Response {
    let fault = inbox.receive(channel, recipients);
    match fault {
        Some(Kind::Status { status, code } | Kind::StatusAfterData { status, code }) => {
            return with_retry_after(refuse(status_of(status), code));
        }
        Some(Kind::Reset) => return reset(killer),
        Some(Kind::Slow { delay_ms }) => sleep(Duration::from_millis(delay_ms)).await,
        Some(
            Kind::ResetAfterAccept
            | Kind::AcceptThenSlow { .. }
            | Kind::AcceptThenStatus { .. }
            | Kind::AcceptThenGarbage,
        )
        | None => {}
    }
    let answer = accept(inbox);
    if !answer.status().is_success() {
        return answer;
    }
    match fault {
        Some(Kind::ResetAfterAccept) => return reset(killer),
        Some(Kind::AcceptThenSlow { delay_ms }) => sleep(Duration::from_millis(delay_ms)).await,
        Some(Kind::AcceptThenStatus { status }) => return status_of(status).into_response(),
        Some(Kind::AcceptThenGarbage) => return (answer.status(), GARBAGE).into_response(),
        Some(Kind::Status { .. } | Kind::StatusAfterData { .. } | Kind::Reset | Kind::Slow { .. }) | None => {
        }
    }
    answer
}

fn reset(killer: &ConnectionKiller) -> Response {
    killer.kill();
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn with_retry_after(mut answer: Response) -> Response {
    if [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status()) {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    }
    answer
}
