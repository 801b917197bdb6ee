//! Twilio's callbacks: what became of a text message, and the texts that people send to our number.
//!
//! Source: <https://www.twilio.com/docs/usage/security#validating-requests>,
//! <https://www.twilio.com/docs/messaging/guides/track-outbound-message-status>,
//! <https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out>.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use catchup::cache::Cache;
use catchup::db::deliveries::{Channel, Deliveries, DeliveryStatus, Report};
use catchup::db::opt_outs::{List, OptOut, OptOuts, Reason};
use catchup::event::EventCode;
use catchup::links::{Links, MESSAGE, TWILIO_STATUS_PATH};
use catchup::variables::TWILIO_AUTH_TOKEN;
use ring::hmac;
use secrecy::ExposeSecret as _;
use shared::clock::Clock;
use shared::config::InvalidConfig;
use shared::job::Setup;
use shared::runtime::Handled;
use shared::telemetry::line::OutcomeCode;
use url::form_urlencoded;
use uuid::Uuid;

use crate::callbacks::{self, Gate, MAX_TEXT_CHARS, Verified};
use crate::unknown_callers;

/// Where texts to our number are reported.
pub const INCOMING_PATH: &str = "/twilio/incoming";
/// Where what became of texts is reported.
pub const STATUS_PATH: &str = TWILIO_STATUS_PATH;
/// Longest form that is read; Twilio's are a few kilobytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

const PROVIDER: &str = "twilio";
/// Twilio's code for a recipient who has replied STOP.
const OPTED_OUT: &str = "21610";

/// Accepts Twilio's callbacks.
pub(crate) struct Receiver {
    key: hmac::Key,
    links: Links,
    deliveries: Deliveries,
    opt_outs: OptOuts,
    cache: Cache,
    clock: Clock,
    gate: Gate,
}

type Form = Vec<(String, String)>;

impl Receiver {
    pub(crate) fn new(setup: &mut Setup, gate: Gate) -> Result<Self, InvalidConfig> {
        let (deliveries, opt_outs) = (Deliveries::new(setup), OptOuts::new(setup));
        let cache = Cache::new(setup);
        let token = setup.config().secret(&TWILIO_AUTH_TOKEN);
        let links = Links::from_config(setup.config());
        let clock = setup.clock();
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token?.expose_secret().as_bytes());
        let (deliveries, opt_outs, cache) = (deliveries?, opt_outs?, cache?);
        Ok(Self { key, links: links?, deliveries, opt_outs, cache, clock, gate })
    }

    /// What became of a text message.
    pub(crate) async fn status(self: Arc<Self>, request: Request) -> Handled {
        let address = unknown_callers::address(request.headers());
        let message = message_of(request.uri());
        let accept = async {
            let Some(form) = self.verified(request).await else { return Ok(Verified::Unknown) };
            self.record(message, &form).await.map(Verified::Accepted)
        };
        self.gate.pass(address, accept).await
    }

    /// A text that a person sent to our number.
    pub(crate) async fn incoming(self: Arc<Self>, request: Request) -> Handled {
        let address = unknown_callers::address(request.headers());
        let accept = async {
            let Some(form) = self.verified(request).await else { return Ok(Verified::Unknown) };
            self.hear(&form).await.map(Verified::Accepted)
        };
        self.gate.pass(address, accept).await
    }

    /// The form, if Twilio signed it.
    async fn verified(&self, request: Request) -> Option<Form> {
        let signature = signature(request.headers())?;
        let url = self.links.address(request.uri().path_and_query()?.as_str());
        let body = callbacks::read(request.into_body(), MAX_BODY_BYTES).await?;
        let form: Form = form_urlencoded::parse(&body).into_owned().collect();
        hmac::verify(&self.key, &signed(url, &form), &signature).ok().map(|()| form)
    }

    async fn record(
        &self,
        message: Option<Uuid>,
        form: &[(String, String)],
    ) -> Result<Handled, callbacks::Error> {
        let code = field(form, "ErrorCode").filter(|code| is_code(code));
        let delivery_status = field(form, "MessageStatus").and_then(|status| delivery_status(status, code));
        let (Some(message_id), Some(delivery_status), Some(sid)) =
            (message, delivery_status, field(form, "MessageSid"))
        else {
            return Ok(accepted(OutcomeCode::Skipped).because("not_about_a_message"));
        };
        let code = match delivery_status {
            DeliveryStatus::Failed | DeliveryStatus::Bounced => Some(code.unwrap_or("unknown").to_owned()),
            DeliveryStatus::Sent | DeliveryStatus::Delivered | DeliveryStatus::Complained => None,
        };
        let report = Report { message_id, delivery_status, provider_id: sid.to_owned(), code };
        let now = self.clock.now();
        // First: a report counts once.
        if report.code.as_deref() == Some(OPTED_OUT)
            && let Some(sent_to) = self.deliveries.sent_to(message_id).await?
        {
            let callback = format!("{PROVIDER}:{sid}");
            self.opt_outs.opt_out(sent_to.user_id, stop(&callback), now).await?;
            self.cache.preferences_changed(sent_to.user_id).await?;
        }
        let reported = self.deliveries.report(PROVIDER, std::slice::from_ref(&report), now).await?;
        let Some(new) = reported.first() else { return Ok(accepted(OutcomeCode::Duplicate)) };
        if let Some(code) = &report.code {
            let user_id = new.user_id;
            let state: &str = new.delivery_status.into();
            tracing::info!(event = %EventCode::MessageFailed, %user_id, %message_id, state, code, "a text did not arrive");
        }
        Ok(accepted(OutcomeCode::Done).about(new.user_id))
    }

    async fn hear(&self, form: &[(String, String)]) -> Result<Handled, callbacks::Error> {
        let word = field(form, "OptOutType").or_else(|| field(form, "Body")).and_then(Word::of);
        let (Some(word), Some(number), Some(sid)) = (word, field(form, "From"), field(form, "MessageSid"))
        else {
            return Ok(heard(OutcomeCode::Skipped));
        };
        let Some(user_id) = self.opt_outs.owner(number).await? else {
            return Ok(heard(OutcomeCode::Skipped).because("unknown_number"));
        };
        let (callback, now) = (format!("{PROVIDER}:{sid}"), self.clock.now());
        let is_new = match word {
            Word::Stop => self.opt_outs.opt_out(user_id, stop(&callback), now).await?,
            Word::Start => self.opt_outs.opt_in(user_id, Channel::Sms, &callback, now).await?,
        };
        self.cache.preferences_changed(user_id).await?;
        Ok(heard(if is_new { OutcomeCode::Done } else { OutcomeCode::Duplicate }).about(user_id))
    }
}

fn stop(callback: &str) -> OptOut<'_> {
    OptOut { channel: Channel::Sms, lists: &List::ALL, reason: Reason::Stop, callback: Some(callback) }
}

fn accepted(outcome: OutcomeCode) -> Handled {
    Handled::new(outcome, StatusCode::NO_CONTENT)
}

/// Twilio replies to STOP and START by itself: we say nothing.
fn heard(outcome: OutcomeCode) -> Handled {
    Handled::new(outcome, ([(header::CONTENT_TYPE, "text/xml")], "<Response/>"))
}

/// What people say who leave, or come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Stop,
    Start,
}

impl Word {
    /// The words that Twilio and the carriers know.
    fn of(text: &str) -> Option<Self> {
        match text.trim().to_ascii_uppercase().as_str() {
            "STOP" | "STOPALL" | "UNSUBSCRIBE" | "CANCEL" | "END" | "QUIT" | "REVOKE" | "OPTOUT" => {
                Some(Self::Stop)
            }
            "START" | "UNSTOP" | "YES" => Some(Self::Start),
            _ => None,
        }
    }
}

/// What a status means; `None` for one that says nothing yet.
fn delivery_status(status: &str, code: Option<&str>) -> Option<DeliveryStatus> {
    match (status, code) {
        ("sent", _) => Some(DeliveryStatus::Sent),
        ("delivered" | "read", _) => Some(DeliveryStatus::Delivered),
        // An unknown destination and a landline, or a carrier that carries no texts.
        ("undelivered" | "failed", Some("30005" | "30006")) => Some(DeliveryStatus::Bounced),
        ("undelivered" | "failed" | "canceled", _) => Some(DeliveryStatus::Failed),
        _ => None,
    }
}

fn is_code(text: &str) -> bool {
    (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn message_of(uri: &Uri) -> Option<Uuid> {
    form_urlencoded::parse(uri.query()?.as_bytes()).find(|(name, _)| name == MESSAGE)?.1.parse().ok()
}

fn field<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    form.iter()
        .find(|(field, _)| field == name)
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

fn signature(headers: &HeaderMap) -> Option<Vec<u8>> {
    let text = headers.get("x-twilio-signature")?.to_str().ok()?;
    STANDARD.decode(text).ok().filter(|_| text.len() <= MAX_TEXT_CHARS)
}

/// What Twilio signs: the address, and the fields in the order of their names.
fn signed(mut url: String, form: &[(String, String)]) -> Vec<u8> {
    let mut fields: Vec<_> = form.iter().collect();
    fields.sort();
    fields.dedup();
    for (name, value) in fields {
        url.push_str(name);
        url.push_str(value);
    }
    url.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_that_of_twilios_documentation_and_library() {
        let form: Form = [
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+12349013030"),
            ("Digits", "1234"),
            ("From", "+12349013030"),
            ("To", "+18005551212"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"12345");
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2".to_owned();
        let tag = hmac::sign(&key, &signed(url, &form));
        assert_eq!(STANDARD.encode(tag.as_ref()), "0/KCTR6DLpKmkAf8muzZqo1nDgQ=");
    }

    #[test]
    fn words_of_leaving_are_known_in_any_case() {
        for (text, expected) in [
            ("STOP", Some(Word::Stop)),
            (" stop\n", Some(Word::Stop)),
            ("Unsubscribe", Some(Word::Stop)),
            ("start", Some(Word::Start)),
            ("Yes", Some(Word::Start)),
            ("stop it", None),
            ("HELP", None),
            ("", None),
        ] {
            assert_eq!(Word::of(text), expected, "{text:?}");
        }
    }
}
