//! Push channels and the notifications that go out on them.

use std::time::Duration;

use axum::http::{Method, Request, Uri};
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use futures_util::stream;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;

use crate::world::World;

/// From where notifications come: an address for documentation.
const ADDRESS: &str = "203.0.113.1";
/// How long a receiver may take.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);
/// How many notifications are sent concurrently: as many as a large meeting causes.
const CONCURRENT_DELIVERIES: usize = 200;
/// What Google repeats a notification after, with exponential backoff, and nothing else:
/// <https://developers.google.com/workspace/calendar/api/guides/push#responding-to-notifications>. A receiver that is not
/// there counts as 503, which is what the front end of Cloud Run would say.
const REPEATED: [u16; 4] = [500, 502, 503, 504];
const FIRST_REPEAT_AFTER: Duration = Duration::from_millis(250);
const DELIVERIES: u32 = 8;

/// A push channel that `events.watch` opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    /// The caller's id of the channel.
    pub id: String,
    /// Google's id of what is watched; the same for every channel on one calendar.
    pub resource_id: String,
    /// Its address.
    pub resource_uri: String,
    /// The watched calendar.
    pub calendar_id: String,
    /// Where notifications go.
    pub address: String,
    /// Sent with each notification.
    pub token: Option<String>,
    /// When the channel ends.
    pub expiration: DateTime<Utc>,
    /// The number of the last notification.
    pub message_number: u64,
    /// It is broken without notice: changes are not announced on it any more.
    pub silent: bool,
}

impl Channel {
    /// The next notification, of the state `sync`, `exists` or `not_exists`.
    pub(crate) fn next_notification(&mut self, state: &'static str) -> Notification {
        self.message_number += 1;
        Notification { channel: self.clone(), state }
    }
}

/// A notification about to be delivered.
#[derive(Debug)]
pub(crate) struct Notification {
    channel: Channel,
    state: &'static str,
}

impl Notification {
    /// The request, unless it would leave this machine: only loopback addresses without TLS are delivered to.
    fn request(&self) -> Option<Request<Empty<&'static [u8]>>> {
        let channel = &self.channel;
        let uri: Uri = channel.address.parse().ok()?;
        if !is_plain_loopback(&channel.address) {
            return None;
        }
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header("Accept", "*/*")
            .header("Content-Length", 0)
            .header("User-Agent", "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)")
            // As the front end of Cloud Run says it: what Google's address may send does not count for other callers.
            .header("X-Forwarded-For", ADDRESS)
            .header("X-Goog-Channel-ID", &channel.id)
            .header(
                "X-Goog-Channel-Expiration",
                channel.expiration.format("%a, %d %b %Y %H:%M:%S GMT").to_string(),
            )
            .header("X-Goog-Message-Number", channel.message_number)
            .header("X-Goog-Resource-ID", &channel.resource_id)
            .header("X-Goog-Resource-State", self.state)
            .header("X-Goog-Resource-URI", &channel.resource_uri);
        if let Some(token) = &channel.token {
            request = request.header("X-Goog-Channel-Token", token);
        }
        request.body(Empty::new()).ok()
    }
}

/// Whether `address` is plain HTTP to this machine.
pub(crate) fn is_plain_loopback(address: &str) -> bool {
    url::Url::parse(address).is_ok_and(|url| {
        url.scheme() == "http"
            && match url.host() {
                Some(url::Host::Domain(name)) => name == "localhost",
                Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
                Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
                None => false,
            }
    })
}

/// Delivers notifications as they come, until dropped, several times if the receiver says so.
pub(crate) async fn deliver(world: World) {
    let client: Client<HttpConnector, Empty<&'static [u8]>> =
        Client::builder(TokioExecutor::new()).build_http();
    let notifications = stream::unfold(world, |world| async move {
        let notification = world.next_notification().await;
        Some((notification, world))
    });
    notifications
        .for_each_concurrent(CONCURRENT_DELIVERIES, async |(notification, _under_way)| {
            let channel = &notification.channel.id;
            let mut pause = FIRST_REPEAT_AFTER;
            for _ in 0..DELIVERIES {
                let Some(request) = notification.request() else {
                    tracing::debug!(
                        channel,
                        "the address of the channel is not on this machine, nothing sent"
                    );
                    return;
                };
                match tokio::time::timeout(DELIVERY_TIMEOUT, client.request(request)).await {
                    Ok(Ok(answer)) if !REPEATED.contains(&answer.status().as_u16()) => {
                        tracing::debug!(channel, status = %answer.status(), "notified");
                        return;
                    }
                    Ok(Ok(answer)) => {
                        tracing::debug!(channel, status = %answer.status(), "to be repeated");
                    }
                    Ok(Err(error)) => tracing::warn!(channel, %error, "notification not delivered"),
                    Err(_) => tracing::warn!(channel, "notification not answered in time"),
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        })
        .await;
}
