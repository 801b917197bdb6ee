//! Push notifications from Google Calendar, as an axum router with one route, `POST /webhooks/google-calendar`: for the
//! application to mount, and for the local cloud.
//!
//! | what comes | answer | what happens |
//! |---|---|---|
//! | `exists`, `not_exists` through a user's channel | 204 | a calendar sync, one for all of [`SYNC_WINDOW`]; recorded |
//! | `sync` and other states through a user's channel | 204 | recorded as ignored |
//! | anything else: unknown channel, another token or resource, no headers | 404, empty | nothing; the response does not say which |
//! | a body of more than [`MAX_BODY_BYTES`]; Google sends none | 413 | nothing |
//! | more than 60 a minute from one address; Postgres or Cloud Tasks is unavailable | 503, `Retry-After` | Google sends it again |
//!
//! Google repeats what is answered with 500, 502, 503 or 504, and nothing else:
//! <https://developers.google.com/workspace/calendar/api/guides/push>. So 429 would lose notifications.
//!
//! Whose address: the peer's, unless `TRUSTED_PROXY_HOPS` says how many of our proxies are in front. Each of them adds
//! the address of its own caller at the end of `X-Forwarded-For`; what comes before these entries may be invented. The
//! router must be served with connect info ([`axum::Router::into_make_service_with_connect_info`]): callers whose peer is
//! unknown share one limit.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use secrecy::ExposeSecret;
use shared::clock::Clock;
use shared::config::InvalidConfig;
use shared::db;
use shared::job::Setup;
use shared::rate_limit::{Decision, Limiter};
use shared::tasks::{self, Options, Tasks};
use subtle::ConstantTimeEq;
use tokio::time::timeout;
use uuid::Uuid;

use crate::db::webhook_channels::{Channels, KnownChannel, Notification, NotificationResult};
use crate::event::EventCode;
use crate::limits::API_ADDRESS;
use crate::payload::{CalendarSync, Trigger};
use crate::variables;

/// The route.
pub const PATH: &str = "/webhooks/google-calendar";
/// Notifications of one user within this time lead to one sync, at its end. A user who tidies up a calendar causes a
/// notification every few seconds; two syncs a minute of some calendars stay within Google's ten calls.
pub const SYNC_WINDOW: Duration = Duration::from_secs(30);
/// Far more than Google sends, which is no body at all.
pub const MAX_BODY_BYTES: usize = 4096;

/// What one notification may take, its body included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What the task may take, so that its failure can still be recorded.
const ENQUEUE_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_AFTER_OUTAGE: Duration = Duration::from_secs(30);
/// Subject of the rate limit when the caller's address is not known.
const UNKNOWN_ADDRESS: &str = "unknown";

/// Asks for a sync of a user's calendars, one for all of [`SYNC_WINDOW`]: for notifications, and for jobs that may have lost
/// some.
pub async fn ask_for_sync(tasks: &Tasks, user_id: Uuid) -> Result<(), tasks::Error> {
    let sync = CalendarSync { user_id, trigger: Some(Trigger::Webhook) };
    let options = Options::default().debounced(format_args!("push:{user_id}"), SYNC_WINDOW);
    tasks.enqueue(&sync, options).await?;
    Ok(())
}

#[derive(Debug)]
struct Receiver {
    channels: Channels,
    tasks: Tasks,
    limiter: Limiter,
    clock: Clock,
    trusted_hops: usize,
}

/// The route, built from what a job is built from.
pub fn router(setup: &mut Setup) -> Result<Router, InvalidConfig> {
    let (channels, tasks, limiter, clock) =
        (Channels::new(setup), setup.tasks(), setup.limiter(), setup.clock());
    let trusted_hops = setup.config().required(&variables::TRUSTED_PROXY_HOPS);
    let receiver = Receiver {
        channels: channels?,
        tasks: tasks?,
        limiter: limiter?,
        clock,
        trusted_hops: trusted_hops?,
    };
    Ok(Router::new().route(PATH, post(receive)).with_state(Arc::new(receiver)))
}

/// How a notification is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PushResponse {
    Taken,
    Unknown,
    TooLarge,
    RetryAfter(Duration),
}

impl IntoResponse for PushResponse {
    fn into_response(self) -> Response {
        match self {
            Self::Taken => StatusCode::NO_CONTENT.into_response(),
            Self::Unknown => StatusCode::NOT_FOUND.into_response(),
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
            Self::RetryAfter(after) => {
                let seconds = after.as_secs().max(1).to_string();
                (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, seconds)]).into_response()
            }
        }
    }
}

async fn receive(State(receiver): State<Arc<Receiver>>, request: Request) -> PushResponse {
    let answer = timeout(TIMEOUT, receiver.receive(request)).await;
    answer.unwrap_or(PushResponse::RetryAfter(RETRY_AFTER_OUTAGE))
}

impl Receiver {
    async fn receive(&self, request: Request) -> PushResponse {
        let (head, body) = request.into_parts();
        let peer = head.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
        let address = caller(&head.headers, peer, self.trusted_hops);
        let subject = address.map_or_else(|| UNKNOWN_ADDRESS.to_owned(), |ip| ip.to_canonical().to_string());
        if let Decision::LimitedUntil(until) = self.limiter.acquire(&API_ADDRESS, subject).await {
            return PushResponse::RetryAfter((until - self.clock.now()).to_std().unwrap_or_default());
        }
        if let Err(answer) = read(body).await {
            return answer;
        }
        let Some(push) = Push::read(&head.headers) else { return PushResponse::Unknown };
        self.take(&push).await.unwrap_or_else(|error| {
            tracing::error!(
                event = %EventCode::PushNotAccepted,
                error = &error as &dyn std::error::Error,
                "push notification not accepted"
            );
            PushResponse::RetryAfter(RETRY_AFTER_OUTAGE)
        })
    }

    async fn take(&self, push: &Push<'_>) -> Result<PushResponse, db::Error> {
        let Some(channel) = self.channels.find(push.channel_id).await? else {
            tracing::debug!("a push notification for no channel of ours");
            return Ok(PushResponse::Unknown);
        };
        let user_id = channel.user_id;
        if !push.is_from(&channel) {
            tracing::warn!(%user_id, "a push notification with another token or resource");
            return Ok(PushResponse::Unknown);
        }
        let failure = match push.state {
            "exists" | "not_exists" => Some(self.ask_for_sync(user_id).await),
            _ => None,
        };
        let (result, error) = match &failure {
            None => (NotificationResult::Ignored, None),
            Some(Ok(())) => (NotificationResult::Success, None),
            Some(Err(reason)) => (NotificationResult::Failure, Some(reason.as_str())),
        };
        let notification = Notification {
            user_id,
            channel_id: push.channel_id,
            resource_id: push.resource_id,
            resource_state: push.state,
            result,
            error,
        };
        self.channels.record_notification(&notification, self.clock.now()).await?;
        Ok(match result {
            NotificationResult::Success | NotificationResult::Ignored => PushResponse::Taken,
            NotificationResult::Failure => PushResponse::RetryAfter(RETRY_AFTER_OUTAGE),
        })
    }

    async fn ask_for_sync(&self, user_id: Uuid) -> Result<(), String> {
        let reason = match timeout(ENQUEUE_TIMEOUT, ask_for_sync(&self.tasks, user_id)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "task was not created in time".to_owned(),
        };
        tracing::error!(event = %EventCode::SyncNotEnqueued, %user_id, reason, "sync not enqueued");
        Err(reason)
    }
}

/// What a notification says; its body is empty.
struct Push<'a> {
    channel_id: &'a str,
    token: &'a str,
    resource_id: &'a str,
    state: &'a str,
}

impl<'a> Push<'a> {
    fn read(headers: &'a HeaderMap) -> Option<Self> {
        let header = |name: &str| headers.get(name)?.to_str().ok();
        Some(Self {
            channel_id: header("x-goog-channel-id")?,
            token: header("x-goog-channel-token")?,
            resource_id: header("x-goog-resource-id")?,
            state: header("x-goog-resource-state")?,
        })
    }

    /// In a time that does not depend on how much of it is right.
    fn is_from(&self, channel: &KnownChannel) -> bool {
        let token = self.token.as_bytes().ct_eq(channel.token.expose_secret().as_bytes());
        let resource = self.resource_id.as_bytes().ct_eq(channel.resource_id.as_bytes());
        (token & resource).into()
    }
}

async fn read(body: Body) -> Result<Bytes, PushResponse> {
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(PushResponse::TooLarge),
        // It broke off.
        Err(_) => Err(PushResponse::Unknown),
    }
}

/// Who calls: behind `trusted_hops` proxies the entry that the outermost of them added, else the peer.
fn caller(headers: &HeaderMap, peer: Option<IpAddr>, trusted_hops: usize) -> Option<IpAddr> {
    let entries: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    let added = trusted_hops.checked_sub(1).and_then(|outermost| entries.iter().rev().nth(outermost));
    added.and_then(|entry| entry.trim().parse().ok()).or(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(forwarded: &[&str], trusted_hops: usize, expected: &str) {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let peer = "10.0.0.1".parse().unwrap();
        assert_eq!(caller(&headers, Some(peer), trusted_hops), Some(expected.parse().unwrap()));
    }

    #[test]
    fn only_what_trusted_proxies_added_is_believed() {
        check(&["1.1.1.1"], 0, "10.0.0.1");
        check(&["1.1.1.1"], 1, "1.1.1.1");
        check(&["6.6.6.6, 1.1.1.1"], 1, "1.1.1.1");
        check(&["6.6.6.6, 1.1.1.1,2.2.2.2"], 2, "1.1.1.1");
        check(&["6.6.6.6", "1.1.1.1", "2001:db8::1"], 1, "2001:db8::1");
    }

    #[test]
    fn a_caller_that_did_not_come_through_the_proxies_is_the_peer() {
        check(&[], 1, "10.0.0.1");
        check(&["1.1.1.1"], 2, "10.0.0.1");
        check(&["unknown"], 1, "10.0.0.1");
    }
}
