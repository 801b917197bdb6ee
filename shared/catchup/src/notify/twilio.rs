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

/// Codes that concern the recipient's number and will not pass: <https://www.twilio.com/docs/api/errors>.
const RECIPIENT_CODES: [u32; 11] = [
    21211, // not a number
    21217, // no number of any network
    21265, // a short code
    21266, // our own number
    21268, // a premium number
    21408, // a region that the account does not send to
    21610, // unsubscribed
    21612, // not reachable from our number
    21614, // not a mobile number
    21635, // a landline
    21656, // content that this recipient cannot be sent
];

/// Twilio's own word for a 503; one without it may come from something in between.
const UNAVAILABLE_CODE: u32 = 20503;

/// The account, and our number there.
pub(super) struct Twilio {
    http: reqwest::Client,
    messages: Url,
    account_sid: String,
    auth_token: SecretString,
    from: String,
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
        let from = config.required::<String>(&variables::TWILIO_PHONE_NUMBER).and_then(|number| {
            if is_e164(&number) {
                Ok(number)
            } else {
                Err(config.problem(&variables::TWILIO_PHONE_NUMBER, "is no phone number"))
            }
        });
        let account_sid = account_sid?;
        let mut messages = base?;
        messages.set_path(&format!("/2010-04-01/Accounts/{account_sid}/Messages.json"));
        Ok(Self { http, messages, account_sid, auth_token: auth_token?, from: from? })
    }

    /// Sends a message to an E.164 number.
    pub(super) async fn send(&self, to: &str, sms: &Sms) -> SendResult {
        exchange("twilio.messages.create", self.request(to, sms), classify).await
    }

    fn request(&self, to: &str, sms: &Sms) -> RequestBuilder {
        self.http
            .post(self.messages.clone())
            .basic_auth(&self.account_sid, Some(self.auth_token.expose_secret()))
            .form(&[("To", to), ("From", &self.from), ("Body", sms.text())])
    }
}

impl fmt::Debug for Twilio {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Twilio({})", self.messages.host_str().unwrap_or_default())
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
        400..=407 | 409..=428 | 430..=499 => match code(&reply.body) {
            Some(code) if RECIPIENT_CODES.contains(&code) => Err(SendError::Refused(code.to_string())),
            Some(code) => Err(SendError::NotTaken(ProviderError::Refused { status, code: code.to_string() })),
            None => Err(SendError::NotTaken(ProviderError::Refused { status, code: String::new() })),
        },
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
        let request = twilio.request("+4915112345678", &Sms::new("", "Zeit für Ana & Ben?", " https://a.b"));
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
            "To=%2B4915112345678&From=%2B15005550006&Body=Zeit+f%C3%BCr+Ana+%26+Ben%3F+https%3A%2F%2Fa.b"
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
        for code in RECIPIENT_CODES {
            let body = format!(r#"{{"code": {code}, "message": "+49151 is wrong", "status": 400}}"#);
            check(400, &body, &format!(r#"Err(Refused("{code}"))"#));
        }
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
