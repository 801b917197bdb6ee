//! Text messages through Twilio.
//!
//! Source: <https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource>.

use std::fmt;

use reqwest::RequestBuilder;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use shared::config::{Config, InvalidConfig};
use url::Url;

use super::exchange::{Reply, endpoint, exchange};
use super::message::Sms;
use super::result::{ProviderError, SendError, SendResult};
use crate::variables;

/// Whose fault a refusal is: <https://www.twilio.com/docs/api/errors>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The recipient's number, and it will not pass.
    Recipient,
    /// The recipient replied STOP.
    OptedOut,
    /// A limit of the provider's, whatever the status.
    Limit,
    /// The account, its sender or the request: every other code.
    Application,
}

impl Fault {
    fn of(code: u32) -> Self {
        match code {
            // Not a number; of no network; a short code; our own number; a premium number; not a mobile number; a landline.
            21211 | 21217 | 21265 | 21266 | 21268 | 21614 | 21635 => Self::Recipient,
            21610 => Self::OptedOut,
            // The queue of the sender is full; the account's messages of a day; too many requests; messages of the account too fast.
            14107 | 20429 | 21611 | 63038 => Self::Limit,
            // Among these: regions that the account does not send to (21408), routes that it lacks (21612), content (21656).
            _ => Self::Application,
        }
    }
}

/// Twilio's own word for a 503; one without it may come from something in between.
const UNAVAILABLE_CODE: u32 = 20503;

/// The account, and our number there.
pub(super) struct Twilio {
    http: reqwest::Client,
    messages: Url,
    account_sid: String,
    auth_token: SecretString,
    sender: Sender,
}

/// Whom a text message comes from.
#[derive(Debug, PartialEq, Eq)]
enum Sender {
    /// A number, a short code or a name.
    From(String),
    /// A service that chooses among several.
    MessagingService(String),
}

#[derive(Deserialize)]
struct Created {
    sid: String,
}

#[derive(Deserialize)]
struct Refusal {
    code: u32,
}

impl Twilio {
    pub(super) const NAME: &str = "twilio";

    pub(super) fn from_config(config: &mut Config, http: reqwest::Client) -> Result<Self, InvalidConfig> {
        let base = endpoint(config, &variables::TWILIO_API_URL);
        let account_sid = config.required::<String>(&variables::TWILIO_ACCOUNT_SID).and_then(|sid| {
            // It becomes part of a path.
            if sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                Ok(sid)
            } else {
                Err(config.problem(&variables::TWILIO_ACCOUNT_SID, "is malformed"))
            }
        });
        let auth_token = config.secret(&variables::TWILIO_AUTH_TOKEN);
        let sender = sender(config);
        let account_sid = account_sid?;
        let mut messages = base?;
        messages.set_path(&format!("/2010-04-01/Accounts/{account_sid}/Messages.json"));
        Ok(Self { http, messages, account_sid, auth_token: auth_token?, sender: sender? })
    }

    /// Whether a reply to our texts arrives: none does at a name.
    pub(super) fn takes_replies(&self) -> bool {
        match &self.sender {
            Sender::From(sender) => !is_sender_name(sender),
            Sender::MessagingService(_) => true,
        }
    }

    /// Sends a message to an E.164 number; what becomes of it is reported to `status_url`.
    pub(super) async fn send(&self, to: &str, sms: &Sms, status_url: &str) -> SendResult {
        exchange("twilio.messages.create", self.request(to, sms, status_url), classify).await
    }

    fn request(&self, to: &str, sms: &Sms, status_url: &str) -> RequestBuilder {
        let sender = match &self.sender {
            Sender::From(sender) => ("From", sender.as_str()),
            Sender::MessagingService(service) => ("MessagingServiceSid", service.as_str()),
        };
        self.http
            .post(self.messages.clone())
            .basic_auth(&self.account_sid, Some(self.auth_token.expose_secret()))
            .form(&[("To", to), sender, ("Body", sms.text()), ("StatusCallback", status_url)])
    }
}

impl fmt::Debug for Twilio {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Twilio({})", self.messages.host_str().unwrap_or_default())
    }
}

/// Checks the sender of text messages, as the client does before its first one.
pub(super) fn check_sender(config: &mut Config) -> Result<(), InvalidConfig> {
    sender(config).map(drop)
}

/// A messaging service, which has senders of its own, or else the one sender.
fn sender(config: &mut Config) -> Result<Sender, InvalidConfig> {
    if let Some(service) = config.optional::<String>(&variables::TWILIO_MESSAGING_SERVICE_SID)? {
        return if service.starts_with("MG") && service.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            Ok(Sender::MessagingService(service))
        } else {
            Err(config.problem(&variables::TWILIO_MESSAGING_SERVICE_SID, "is malformed"))
        };
    }
    let sender = config.required::<String>(&variables::TWILIO_PHONE_NUMBER)?;
    if is_e164(&sender) || is_short_code(&sender) || is_sender_name(&sender) {
        Ok(Sender::From(sender))
    } else {
        Err(config.problem(&variables::TWILIO_PHONE_NUMBER, "is no phone number, short code or sender name"))
    }
}

/// `+`, then up to 15 digits that do not begin with 0 (ITU-T E.164).
fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (2..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// Three to eight digits, as countries give them out.
fn is_short_code(sender: &str) -> bool {
    (3..=8).contains(&sender.len()) && sender.bytes().all(|byte| byte.is_ascii_digit())
}

/// Up to eleven letters, digits and a few signs, and not digits alone:
/// <https://www.twilio.com/docs/glossary/what-alphanumeric-sender-id>.
fn is_sender_name(sender: &str) -> bool {
    (1..=11).contains(&sender.len())
        && sender.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" +-_&".contains(&byte))
        && sender.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn classify(reply: &Reply) -> SendResult {
    let status = reply.status.as_u16();
    match status {
        200..=299 => match serde_json::from_slice::<Created>(&reply.body) {
            Ok(created) => Ok(created.sid),
            Err(_) => Err(SendError::Unknown(ProviderError::Garbage)),
        },
        429 => Err(SendError::Limited(reply.retry_after())),
        503 if code(&reply.body) == Some(UNAVAILABLE_CODE) => {
            Err(SendError::NotTaken(ProviderError::Unavailable(status)))
        }
        400..=407 | 409..=428 | 430..=499 => {
            Err(match code(&reply.body).map(|code| (code, Fault::of(code))) {
                Some((code, Fault::Recipient)) => SendError::Refused(code.to_string()),
                Some((code, Fault::OptedOut)) => SendError::OptedOut(code.to_string()),
                Some((_, Fault::Limit)) => SendError::Limited(reply.retry_after()),
                Some((code, Fault::Application)) => {
                    SendError::NotTaken(ProviderError::Refused { status, code: code.to_string() })
                }
                None => SendError::NotTaken(ProviderError::Refused { status, code: String::new() }),
            })
        }
        // 408 and 5xx may come from something in between, after the message was passed on.
        0..=199 | 300..=399 | 408 | 500.. => Err(SendError::Unknown(ProviderError::Unavailable(status))),
    }
}

/// The code of Twilio's own error body.
fn code(body: &[u8]) -> Option<u32> {
    serde_json::from_slice::<Refusal>(body).ok().map(|refusal| refusal.code)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::notify::exchange::Reply;

    fn environment() -> Vec<(&'static str, &'static str)> {
        vec![
            ("TWILIO_ACCOUNT_SID", "AC123"),
            ("TWILIO_AUTH_TOKEN", "hunter2\n"),
            ("TWILIO_PHONE_NUMBER", "+15005550006"),
        ]
    }

    fn twilio(config: &mut Config) -> Result<Twilio, InvalidConfig> {
        let timeouts = crate::notify::Timeouts::default();
        Twilio::from_config(config, shared::http::client(timeouts.connect, timeouts.answer))
    }

    #[test]
    fn a_message_is_a_form_to_the_account() {
        let twilio = twilio(&mut Config::from_pairs(environment())).unwrap();
        let request = twilio.request(
            "+4915112345678",
            &Sms::new("", "Zeit für Ana & Ben?", " https://a.b"),
            "https://h/s?m=1",
        );
        let request = request.build().unwrap();
        assert_eq!(
            (request.method().as_str(), request.url().as_str()),
            ("POST", "https://api.twilio.com/2010-04-01/Accounts/AC123/Messages.json")
        );
        assert_eq!(request.headers()["authorization"], "Basic QUMxMjM6aHVudGVyMg==");
        assert!(request.headers()["authorization"].is_sensitive());
        assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
        assert_eq!(
            std::str::from_utf8(request.body().unwrap().as_bytes().unwrap()).unwrap(),
            "To=%2B4915112345678&From=%2B15005550006&Body=Zeit+f%C3%BCr+Ana+%26+Ben%3F+https%3A%2F%2Fa.b&StatusCallback=https%3A%2F%2Fh%2Fs%3Fm%3D1"
        );
    }

    #[test]
    fn the_debug_form_tells_no_secret() {
        let twilio = twilio(&mut Config::from_pairs(environment())).unwrap();
        assert_eq!(format!("{twilio:?}"), "Twilio(api.twilio.com)");
    }

    #[test]
    fn what_cannot_be_used_is_reported_together() {
        let mut config = Config::from_pairs([
            ("TWILIO_ACCOUNT_SID", "../other"),
            ("TWILIO_PHONE_NUMBER", "015005550006"),
            ("TWILIO_API_URL", "http://api.twilio.com"),
        ]);
        assert!(twilio(&mut config).is_err());
        let names: Vec<_> = config.problems().into_iter().map(|problem| problem.name).collect();
        assert_eq!(
            names,
            ["TWILIO_API_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER"]
        );
    }

    #[track_caller]
    fn check_sender(pairs: &[(&'static str, &'static str)], expected: Option<&Sender>) {
        let mut config = Config::from_pairs(pairs.iter().copied());
        assert_eq!(sender(&mut config).ok().as_ref(), expected, "{pairs:?}");
    }

    #[test]
    fn sender_is_a_number_a_short_code_a_name_or_a_service() {
        let from = |sender: &str| Sender::From(sender.to_owned());
        for sender in
            ["+15005550006", "12345", "78", "CatchUp", "Catch Up 24", "015005550006", "CatchUp Social", ""]
        {
            let is_right = ["+15005550006", "12345", "CatchUp", "Catch Up 24"].contains(&sender);
            check_sender(&[("TWILIO_PHONE_NUMBER", sender)], is_right.then(|| from(sender)).as_ref());
        }
        let service = ("TWILIO_MESSAGING_SERVICE_SID", "MG0123456789abcdef0123456789abcdef");
        let expected = Sender::MessagingService(service.1.to_owned());
        check_sender(&[service], Some(&expected));
        check_sender(&[service, ("TWILIO_PHONE_NUMBER", "+15005550006")], Some(&expected));
        check_sender(&[("TWILIO_MESSAGING_SERVICE_SID", "AC0123")], None);
    }

    #[track_caller]
    fn check(status: u16, body: &str, expected: &str) {
        let status = StatusCode::from_u16(status).unwrap();
        let body = body.to_owned().into();
        let answer = classify(&Reply { status, headers: HeaderMap::new(), body });
        assert_eq!(format!("{answer:?}"), expected);
    }

    #[test]
    fn answers_say_whether_the_message_was_taken() {
        check(201, r#"{"sid": "SM1", "status": "queued"}"#, r#"Ok("SM1")"#);
        check(201, "{", "Err(Unknown(Garbage))");
        check(204, "", "Err(Unknown(Garbage))");
        for code in [21211, 21217, 21265, 21266, 21268, 21614, 21635] {
            let body = format!(r#"{{"code": {code}, "message": "+49151 is wrong", "status": 400}}"#);
            check(400, &body, &format!(r#"Err(Refused("{code}"))"#));
        }
        check(400, r#"{"code": 21610}"#, r#"Err(OptedOut("21610"))"#);
        for code in [21408, 21612, 21656, 21659] {
            let expected = format!(r#"Err(NotTaken(Refused {{ status: 400, code: "{code}" }}))"#);
            check(400, &format!(r#"{{"code": {code}}}"#), &expected);
        }
        check(400, r#"{"code": 21611}"#, "Err(Limited(60s))");
        check(429, r#"{"code": 63038}"#, "Err(Limited(60s))");
        check(400, r#"{"code": 21606}"#, r#"Err(NotTaken(Refused { status: 400, code: "21606" }))"#);
        check(401, r#"{"code": 20003}"#, r#"Err(NotTaken(Refused { status: 401, code: "20003" }))"#);
        check(404, "<html>", r#"Err(NotTaken(Refused { status: 404, code: "" }))"#);
        check(429, r#"{"code": 20429}"#, "Err(Limited(60s))");
        check(503, r#"{"code": 20503, "status": 503}"#, "Err(NotTaken(Unavailable(503)))");
        for body in ["<html>", "{}", r#"{"code": 20500}"#, r#"{"error": "no healthy upstream"}"#] {
            check(503, body, "Err(Unknown(Unavailable(503)))");
        }
        for status in [100, 302, 408, 500, 502, 503, 504, 599] {
            check(status, "", &format!("Err(Unknown(Unavailable({status})))"));
        }
    }
}
