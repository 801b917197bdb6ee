//! E-mail through SendGrid.
//!
//! Source: <https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send>.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::answer::{Answer, NoReceipt, Trouble};
use super::email::SENDER_NAME;
use super::exchange::{Reply, exchange};
use super::message::Email;
use super::twilio::vendor_url;
use crate::config::{Config, Incomplete, variables};

/// The account, and our address there.
pub(super) struct SendGrid {
    http: reqwest::Client,
    send: Url,
    api_key: SecretString,
    from: String,
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

impl SendGrid {
    pub(super) const NAME: &str = "sendgrid";

    pub(super) fn from_config(config: &mut Config, http: reqwest::Client) -> Result<Self, Incomplete> {
        let base = vendor_url(config, &variables::SENDGRID_API_URL);
        let api_key = config.secret(&variables::SENDGRID_API_KEY);
        let from = config.required::<String>(&variables::SENDGRID_FROM_EMAIL);
        let mut send = base?;
        send.set_path("/v3/mail/send");
        Ok(Self { http, send, api_key: api_key?, from: from? })
    }

    /// Sends an e-mail to one address.
    pub(super) async fn send(&self, to: &str, email: &Email) -> Answer {
        let request = self
            .http
            .post(self.send.clone())
            .bearer_auth(self.api_key.expose_secret())
            .json(&body(&self.from, to, email));
        exchange("sendgrid.mail.send", request, judge).await
    }
}

impl fmt::Debug for SendGrid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SendGrid({})", self.send.host_str().unwrap_or_default())
    }
}

fn body(from: &str, to: &str, email: &Email) -> Value {
    json!({
        "personalizations": [{ "to": [{ "email": to }] }],
        "from": { "email": from, "name": SENDER_NAME },
        "subject": email.subject,
        "content": [
            { "type": "text/plain", "value": email.text },
            { "type": "text/html", "value": email.html },
        ],
        // Links must lead to the application, not through somebody who counts clicks.
        "tracking_settings": { "click_tracking": { "enable": false }, "open_tracking": { "enable": false } },
    })
}

fn judge(reply: &Reply) -> Answer {
    let status = reply.status.as_u16();
    match status {
        202 => match reply.headers.get("x-message-id").and_then(|id| id.to_str().ok()) {
            Some(id) if !id.is_empty() => Ok(id.to_owned()),
            Some(_) | None => Err(NoReceipt::Unknown(Trouble::Garbage)),
        },
        429 => Err(NoReceipt::Limited(reply.retry_after())),
        503 => Err(NoReceipt::NotTaken(Trouble::Unavailable(status))),
        400 if concerns_recipient(&reply.body) => Err(NoReceipt::Refused(status.to_string())),
        400..=407 | 409..=428 | 430..=499 => {
            Err(NoReceipt::NotTaken(Trouble::Refused { status, code: String::new() }))
        }
        // 408 and 5xx may come from something in between, after the message was passed on.
        0..=201 | 203..=399 | 408 | 500..=502 | 504.. => {
            Err(NoReceipt::Unknown(Trouble::Unavailable(status)))
        }
    }
}

/// Whether every problem of a refusal is one with the recipient's address.
fn concerns_recipient(body: &[u8]) -> bool {
    let errors = serde_json::from_slice::<Refusal>(body).map(|refusal| refusal.errors).unwrap_or_default();
    let is_recipient = |problem: &Problem| {
        problem.field.as_deref().is_some_and(|field| field.starts_with("personalizations.0.to"))
    };
    !errors.is_empty() && errors.iter().all(is_recipient)
}
