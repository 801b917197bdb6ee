//! SendGrid's signed event webhook: what became of e-mails.
//!
//! Source: <https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event>,
//! <https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features>.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use catchup::cache::Cache;
use catchup::db::deliveries::{Channel, Deliveries, DeliveryStatus, Report};
use catchup::db::opt_outs::{List, OptOut, OptOuts, Reason};
use catchup::event::EventCode;
use catchup::variables::SENDGRID_WEBHOOK_PUBLIC_KEY;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde::Deserialize;
use shared::clock::Clock;
use shared::config::{Config, InvalidConfig};
use shared::job::Setup;
use shared::runtime::Handled;
use shared::telemetry::line::OutcomeCode;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::callbacks::{self, Gate, MAX_TEXT_CHARS, Verified};
use crate::unknown_callers;

/// Where events are reported.
pub const PATH: &str = "/sendgrid/events";
/// Longest batch of events that is read: SendGrid sends up to some hundreds of kilobytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Batches that are in memory at the same time.
const MAX_BATCHES: usize = 8;

const PROVIDER: &str = "sendgrid";
/// What stands before the point in the key of a P-256 curve (RFC 5480).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT_BYTES: usize = 65;

/// Accepts SendGrid's events.
pub(crate) struct Receiver {
    /// Without a key no event is SendGrid's.
    key: Option<UnparsedPublicKey<Vec<u8>>>,
    deliveries: Deliveries,
    opt_outs: OptOuts,
    cache: Cache,
    clock: Clock,
    gate: Gate,
    batches: Semaphore,
}

/// As much of an event as is read. What people wrote is not.
#[derive(Debug, Deserialize)]
struct Event {
    #[serde(rename = "event")]
    what: String,
    /// Our id of the message, from `custom_args`.
    message_id: Option<Uuid>,
    #[serde(default)]
    sg_message_id: String,
    sg_event_id: Option<String>,
    /// Of a bounce: `bounce` or `blocked`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Of a bounce: an enhanced status code.
    status: Option<String>,
    /// Of a dropped message: which suppression list.
    reason: Option<String>,
}

impl Receiver {
    pub(crate) fn new(setup: &mut Setup, gate: Gate) -> Result<Self, InvalidConfig> {
        let (deliveries, opt_outs) = (Deliveries::new(setup), OptOuts::new(setup));
        let cache = Cache::new(setup);
        let key = public_key(setup.config());
        let clock = setup.clock();
        let batches = Semaphore::new(MAX_BATCHES);
        let (deliveries, opt_outs, cache) = (deliveries?, opt_outs?, cache?);
        Ok(Self { key: key?, deliveries, opt_outs, cache, clock, gate, batches })
    }

    /// A batch of events.
    pub(crate) async fn receive(self: Arc<Self>, request: Request) -> Handled {
        let address = unknown_callers::address(request.headers());
        let accept = async {
            let Some(events) = self.verified(request).await else { return Ok(Verified::Unknown) };
            self.record(&events).await.map(Verified::Accepted)
        };
        self.gate.pass(address, accept).await
    }

    /// The events, if SendGrid signed them.
    async fn verified(&self, request: Request) -> Option<Vec<Event>> {
        let key = self.key.as_ref()?;
        let (head, body) = request.into_parts();
        let header = |name| callbacks::header(&head.headers, name);
        let signature = STANDARD.decode(header("x-twilio-email-event-webhook-signature")?).ok()?;
        let mut signed = header("x-twilio-email-event-webhook-timestamp")?.as_bytes().to_vec();
        let _place = self.batches.acquire().await.ok()?;
        let body = callbacks::read(body, MAX_BODY_BYTES).await?;
        signed.extend_from_slice(&body);
        key.verify(&signed, &signature).ok()?;
        // An event that cannot be read is none of ours, and the others still count.
        let events: Vec<serde_json::Value> = serde_json::from_slice(&body).unwrap_or_default();
        Some(events.into_iter().filter_map(|event| serde_json::from_value(event).ok()).collect())
    }

    async fn record(&self, events: &[Event]) -> Result<Handled, callbacks::Error> {
        let now = self.clock.now();
        // Of several events about one message, the one that stays.
        let mut reports: BTreeMap<Uuid, Report> = BTreeMap::new();
        for report in events.iter().filter_map(report) {
            let known = reports.entry(report.message_id).or_insert_with(|| report.clone());
            if known.delivery_status < report.delivery_status {
                *known = report;
            }
        }
        let reports: Vec<_> = reports.into_values().collect();
        let reported = self.deliveries.report(PROVIDER, &reports, now).await?;
        for new in reported.iter().filter(|new| new.delivery_status >= DeliveryStatus::Failed) {
            let (user_id, message_id) = (new.user_id, new.message_id);
            let state: &str = new.delivery_status.into();
            tracing::info!(event = %EventCode::MessageFailed, %user_id, %message_id, state, "an e-mail did not arrive");
        }
        let mut has_opted_out = false;
        for (message_id, reason, event_id) in events.iter().filter_map(leaving) {
            let Some(sent_to) = self.deliveries.sent_to(message_id).await? else { continue };
            // A complaint is about all that we send; an unsubscribe about its list.
            let lists = match reason {
                Reason::Complaint | Reason::Stop => &List::ALL[..],
                Reason::Unsubscribe => std::slice::from_ref(&sent_to.list),
            };
            let callback = event_id.map(|id| format!("{PROVIDER}:{id}"));
            let opt_out = OptOut { channel: Channel::Email, lists, reason, callback: callback.as_deref() };
            has_opted_out |= self.opt_outs.opt_out(sent_to.user_id, opt_out, now).await?;
            self.cache.preferences_changed(sent_to.user_id).await?;
        }
        let is_new = has_opted_out || !reported.is_empty();
        let outcome = if is_new { OutcomeCode::Done } else { OutcomeCode::Duplicate };
        Ok(Handled::new(outcome, StatusCode::NO_CONTENT))
    }
}

/// What an event says about what became of a message of ours.
fn report(event: &Event) -> Option<Report> {
    let (delivery_status, code) = match event.what.as_str() {
        "processed" => (DeliveryStatus::Sent, None),
        "delivered" => (DeliveryStatus::Delivered, None),
        // A block is about us, or passes.
        "bounce" if event.kind.as_deref() == Some("blocked") => {
            (DeliveryStatus::Failed, Some(code(event, "blocked")))
        }
        "bounce" => (DeliveryStatus::Bounced, Some(code(event, "bounce"))),
        "dropped" => match suppression(event) {
            Some(Suppression::Bounced) => (DeliveryStatus::Bounced, Some("dropped".to_owned())),
            Some(Suppression::Spam | Suppression::Unsubscribed) | None => {
                (DeliveryStatus::Failed, Some("dropped".to_owned()))
            }
        },
        "spamreport" => (DeliveryStatus::Complained, None),
        _ => return None,
    };
    Some(Report { message_id: event.message_id?, delivery_status, provider_id: provider_id(event), code })
}

/// Which message leads to leaving, why, and the id of the event.
fn leaving(event: &Event) -> Option<(Uuid, Reason, Option<&str>)> {
    let reason = match event.what.as_str() {
        "spamreport" => Reason::Complaint,
        "unsubscribe" | "group_unsubscribe" => Reason::Unsubscribe,
        "dropped" => match suppression(event)? {
            Suppression::Spam => Reason::Complaint,
            Suppression::Unsubscribed => Reason::Unsubscribe,
            Suppression::Bounced => return None,
        },
        _ => return None,
    };
    Some((event.message_id?, reason, event.sg_event_id.as_deref()))
}

/// Why SendGrid drops a message that it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suppression {
    Bounced,
    Spam,
    Unsubscribed,
}

fn suppression(event: &Event) -> Option<Suppression> {
    match event.reason.as_deref()? {
        "Bounced Address" | "Invalid" => Some(Suppression::Bounced),
        "Spam Reporting Address" => Some(Suppression::Spam),
        "Unsubscribed Address" => Some(Suppression::Unsubscribed),
        _ => None,
    }
}

/// The enhanced status code of a bounce, if it is one: the text next to it may quote an address.
fn code(event: &Event, otherwise: &str) -> String {
    let status = event.status.as_deref().filter(|status| {
        status.len() <= 9
            && status.split('.').count() == 3
            && status.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit())
    });
    status.unwrap_or(otherwise).to_owned()
}

/// SendGrid's id of the message: that of the answer to the request, which begins the id in its events.
fn provider_id(event: &Event) -> String {
    event.sg_message_id.split('.').next().unwrap_or_default().chars().take(MAX_TEXT_CHARS).collect()
}

fn public_key(config: &mut Config) -> Result<Option<UnparsedPublicKey<Vec<u8>>>, InvalidConfig> {
    let Some(text) = config.optional::<String>(&SENDGRID_WEBHOOK_PUBLIC_KEY)? else { return Ok(None) };
    let key = STANDARD.decode(text).ok();
    let point = key.as_ref().and_then(|key| key.strip_prefix(&SPKI_PREFIX[..]));
    match point.filter(|point| point.len() == POINT_BYTES) {
        Some(point) => Ok(Some(UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point.to_vec()))),
        None => Err(config.problem(&SENDGRID_WEBHOOK_PUBLIC_KEY, "is no P-256 key")),
    }
}
