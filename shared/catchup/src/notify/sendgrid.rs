//! E-mail through SendGrid.
//!
//! Source: <https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send>.

use std::fmt;

use lettre::address::Address;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::config::{Config, InvalidConfig};
use url::Url;

use super::email::{LIST_UNSUBSCRIBE, LIST_UNSUBSCRIBE_POST, SENDER_NAME, Tracking, sender};
use super::exchange::{Reply, endpoint, exchange};
use super::message::Email;
use super::result::{ProviderError, SendError, SendResult};
use crate::variables;

/// The account, and our address there.
pub(super) struct SendGrid {
    http: reqwest::Client,
    send: Url,
    api_key: SecretString,
    from: Address,
}

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    /// Which field of the request: `personalizations.0.to.0.email`.
    field: Option<String>,
}

/// Our id of a message, in `custom_args` and so in the events about it.
const MESSAGE_ID: &str = "message_id";

impl SendGrid {
    pub(super) const NAME: &str = "sendgrid";

    pub(super) fn from_config(config: &mut Config, http: reqwest::Client) -> Result<Self, InvalidConfig> {
        let base = endpoint(config, &variables::SENDGRID_API_URL);
        let api_key = config.secret(&variables::SENDGRID_API_KEY);
        let from = sender(config, &variables::SENDGRID_FROM_EMAIL);
        let mut send = base?;
        send.set_path("/v3/mail/send");
        Ok(Self { http, send, api_key: api_key?, from: from? })
    }

    /// Sends an e-mail to one address.
    pub(super) async fn send(&self, to: &str, tracking: Tracking<'_>, email: &Email) -> SendResult {
        let request = self
            .http
            .post(self.send.clone())
            .bearer_auth(self.api_key.expose_secret())
            .json(&body(self.from.as_ref(), to, tracking, email));
        exchange("sendgrid.mail.send", request, classify).await
    }
}

impl fmt::Debug for SendGrid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SendGrid({})", self.send.host_str().unwrap_or_default())
    }
}

fn body(from: &str, to: &str, tracking: Tracking<'_>, email: &Email) -> Value {
    let (post, one_click) = LIST_UNSUBSCRIBE_POST;
    json!({
        "personalizations": [{ "to": [{ "email": to }] }],
        "from": { "email": from, "name": SENDER_NAME },
        "subject": email.subject,
        "content": [
            { "type": "text/plain", "value": email.text },
            { "type": "text/html", "value": email.html },
        ],
        // In every event about this message.
        "custom_args": { (MESSAGE_ID): tracking.message_id },
        "headers": { (LIST_UNSUBSCRIBE): tracking.list_unsubscribe(), (post): one_click },
        // Links must lead to the application, not through a service that counts clicks.
        "tracking_settings": { "click_tracking": { "enable": false }, "open_tracking": { "enable": false } },
    })
}

fn classify(reply: &Reply) -> SendResult {
    let status = reply.status.as_u16();
    match status {
        202 => match reply.headers.get("x-message-id").and_then(|id| id.to_str().ok()) {
            Some(id) if !id.is_empty() => Ok(id.to_owned()),
            Some(_) | None => Err(SendError::Unknown(ProviderError::Garbage)),
        },
        429 => Err(SendError::Limited(reply.retry_after())),
        503 if refusal(&reply.body).is_some() => Err(SendError::NotTaken(ProviderError::Unavailable(status))),
        400 if concerns_recipient(&reply.body) => Err(SendError::Refused(status.to_string())),
        400..=407 | 409..=428 | 430..=499 => {
            Err(SendError::NotTaken(ProviderError::Refused { status, code: String::new() }))
        }
        // 408 and 5xx may come from something in between, after the message was passed on.
        0..=201 | 203..=399 | 408 | 500.. => Err(SendError::Unknown(ProviderError::Unavailable(status))),
    }
}

/// SendGrid's own error body.
fn refusal(body: &[u8]) -> Option<Refusal> {
    serde_json::from_slice(body).ok()
}

/// Whether every problem of a refusal is one with the recipient's address.
fn concerns_recipient(body: &[u8]) -> bool {
    let errors = refusal(body).map(|refusal| refusal.errors).unwrap_or_default();
    let is_recipient = |problem: &Problem| {
        problem.field.as_deref().is_some_and(|field| field.starts_with("personalizations.0.to"))
    };
    !errors.is_empty() && errors.iter().all(is_recipient)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    #[test]
    fn an_e_mail_is_said_twice_and_its_links_are_left_alone() {
        let email = Email { subject: "S".to_owned(), text: "T\n".to_owned(), html: "<p>T</p>\n".to_owned() };
        let tracking = Tracking { message_id: uuid::Uuid::nil(), unsubscribe_url: "https://h/u" };
        let expected = json!({
            "personalizations": [{ "to": [{ "email": "ana@example.org" }] }],
            "from": { "email": "hello@catchup.example", "name": "CatchUp" },
            "subject": "S",
            "content": [
                { "type": "text/plain", "value": "T\n" },
                { "type": "text/html", "value": "<p>T</p>\n" },
            ],
            "custom_args": { "message_id": "00000000-0000-0000-0000-000000000000" },
            "headers": {
                "List-Unsubscribe": "<https://h/u>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
            "tracking_settings": {
                "click_tracking": { "enable": false },
                "open_tracking": { "enable": false },
            },
        });
        assert_eq!(body("hello@catchup.example", "ana@example.org", tracking, &email), expected);
    }

    #[track_caller]
    fn check(status: u16, headers: &[(&'static str, &str)], body: &str, expected: &str) {
        let status = StatusCode::from_u16(status).unwrap();
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let answer = classify(&Reply { status, headers, body: body.to_owned().into() });
        assert_eq!(format!("{answer:?}"), expected);
    }

    #[test]
    fn answers_say_whether_the_message_was_taken() {
        check(202, &[("x-message-id", "abc")], "", r#"Ok("abc")"#);
        check(202, &[], "", "Err(Unknown(Garbage))");
        check(200, &[("x-message-id", "abc")], "", "Err(Unknown(Unavailable(200)))");
        let field = |field: &str| format!(r#"{{"errors": [{{"message": "ana@", "field": "{field}"}}]}}"#);
        check(400, &[], &field("personalizations.0.to.0.email"), r#"Err(Refused("400"))"#);
        check(400, &[], &field("from.email"), r#"Err(NotTaken(Refused { status: 400, code: "" }))"#);
        check(400, &[], r#"{"errors": []}"#, r#"Err(NotTaken(Refused { status: 400, code: "" }))"#);
        check(400, &[], "", r#"Err(NotTaken(Refused { status: 400, code: "" }))"#);
        // Credits that are used up are a 401, too; a sender that is not verified is a 403.
        check(403, &[], &field("from"), r#"Err(NotTaken(Refused { status: 403, code: "" }))"#);
        check(401, &[], "", r#"Err(NotTaken(Refused { status: 401, code: "" }))"#);
        check(413, &[], "", r#"Err(NotTaken(Refused { status: 413, code: "" }))"#);
        check(429, &[], "", "Err(Limited(60s))");
        check(429, &[("retry-after", "7")], "", "Err(Limited(7s))");
        check(429, &[("retry-after", "0")], "", "Err(Limited(1s))");
        check(429, &[("retry-after", "9999999")], "", "Err(Limited(3600s))");
        check(503, &[], r#"{"errors": [{"message": "busy"}]}"#, "Err(NotTaken(Unavailable(503)))");
        for body in ["<html>", "{}", r#"{"error": "no healthy upstream"}"#] {
            check(503, &[], body, "Err(Unknown(Unavailable(503)))");
        }
        for status in [100, 301, 408, 500, 502, 503, 504] {
            check(status, &[], "", &format!("Err(Unknown(Unavailable({status})))"));
        }
    }
}
