//! Text messages through Twilio.
//!
//! Source: <https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource>.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::answer::{Answer, NoReceipt, Trouble};
use super::exchange::{Reply, exchange};
use super::message::Sms;
use crate::config::{Config, Incomplete, Variable, variables};
use crate::http;

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

    pub(super) fn from_config(config: &mut Config, http: reqwest::Client) -> Result<Self, Incomplete> {
        let base = vendor_url(config, &variables::TWILIO_API_URL);
        let account_sid = config.required::<String>(&variables::TWILIO_ACCOUNT_SID).and_then(|sid| {
            // It becomes part of a path.
            if sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                Ok(sid)
            } else {
                Err(config.problem(&variables::TWILIO_ACCOUNT_SID, "has another form"))
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
    pub(super) async fn send(&self, to: &str, sms: &Sms) -> Answer {
        let request = self
            .http
            .post(self.messages.clone())
            .basic_auth(&self.account_sid, Some(self.auth_token.expose_secret()))
            .form(&[("To", to), ("From", &self.from), ("Body", sms.text())]);
        exchange("twilio.messages.create", request, judge).await
    }
}

impl fmt::Debug for Twilio {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Twilio({})", self.messages.host_str().unwrap_or_default())
    }
}

/// The endpoint of a provider; it may carry credentials and has no path.
pub(super) fn vendor_url(config: &mut Config, variable: &Variable) -> Result<Url, Incomplete> {
    let url = config.required::<Url>(variable)?;
    if !http::is_safe_for_credentials(&url) {
        return Err(config.problem(variable, "is neither https nor on loopback"));
    }
    if url.path() != "/" {
        return Err(config.problem(variable, "has a path"));
    }
    Ok(url)
}

/// `+`, then up to 15 digits that do not begin with 0 (ITU-T E.164).
fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (2..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|digit| digit.is_ascii_digit())
    })
}

fn judge(reply: &Reply) -> Answer {
    let status = reply.status.as_u16();
    match status {
        200..=299 => match serde_json::from_slice::<Created>(&reply.body) {
            Ok(created) => Ok(created.sid),
            Err(_) => Err(NoReceipt::Unknown(Trouble::Garbage)),
        },
        429 => Err(NoReceipt::Limited(reply.retry_after())),
        503 => Err(NoReceipt::NotTaken(Trouble::Unavailable(status))),
        400..=407 | 409..=428 | 430..=499 => {
            match serde_json::from_slice::<Refusal>(&reply.body).map(|refusal| refusal.code) {
                Ok(code) if RECIPIENT_CODES.contains(&code) => Err(NoReceipt::Refused(code.to_string())),
                Ok(code) => Err(NoReceipt::NotTaken(Trouble::Refused { status, code: code.to_string() })),
                Err(_) => Err(NoReceipt::NotTaken(Trouble::Refused { status, code: String::new() })),
            }
        }
        // 408 and 5xx may come from something in between, after the message was passed on.
        0..=199 | 300..=399 | 408 | 500..=502 | 504.. => {
            Err(NoReceipt::Unknown(Trouble::Unavailable(status)))
        }
    }
}
