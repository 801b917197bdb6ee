//! `SendGrid`'s Mail Send: `POST /v3/mail/send`.
//! <https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send>

use std::collections::{BTreeMap, HashMap, HashSet};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use stand_in::ConnectionKiller;
use uuid::Uuid;

use crate::address::is_email;
use crate::course;
use crate::inbox::{Channel, Inbox, Message, Via};
use crate::serve::App;

const LONGEST_BODY_BYTES: usize = 30_000_000;
const MAX_RECIPIENTS: usize = 1_000;
/// Everything that the top level of a mail may have.
const FIELDS: &[&str] = &[
    "personalizations",
    "from",
    "reply_to",
    "reply_to_list",
    "subject",
    "content",
    "attachments",
    "template_id",
    "headers",
    "categories",
    "custom_args",
    "send_at",
    "batch_id",
    "asm",
    "ip_pool_name",
    "mail_settings",
    "tracking_settings",
    "sections",
];
/// The help that comes with an error names the field once more.
const HELP: &str = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#message.";

#[derive(Debug, Deserialize)]
struct Mail {
    #[serde(default)]
    personalizations: Vec<Personalization>,
    from: Option<Mailbox>,
    subject: Option<String>,
    #[serde(default)]
    content: Vec<Content>,
    #[serde(default)]
    custom_args: HashMap<String, String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(rename = "mail_settings")]
    settings: Option<Settings>,
}

#[derive(Debug, Deserialize)]
struct Personalization {
    #[serde(default)]
    to: Vec<Mailbox>,
    #[serde(default)]
    cc: Vec<Mailbox>,
    #[serde(default)]
    bcc: Vec<Mailbox>,
    subject: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Mailbox {
    #[serde(default)]
    email: String,
}

#[derive(Debug, Deserialize)]
struct Content {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
struct Settings {
    sandbox_mode: Option<Switch>,
}

#[derive(Debug, Deserialize)]
struct Switch {
    #[serde(default)]
    enable: bool,
}

/// What is wrong, in which field, with which status.
struct Wrong(StatusCode, String, Option<String>);

impl Wrong {
    fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into(), Some(field.into()))
    }
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        let Self(status, message, field) = self;
        let help = field.as_ref().map(|field| format!("{HELP}{field}"));
        (status, Json(json!({ "errors": [{ "message": message, "field": field, "help": help }] })))
            .into_response()
    }
}

pub(crate) async fn send(
    State(app): State<App>,
    ConnectInfo(killer): ConnectInfo<ConnectionKiller>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mail = match read(&app, &headers, &body) {
        Ok(mail) => mail,
        Err(wrong) => return wrong.into_response(),
    };
    let recipients: Vec<&str> = mail.recipients().map(|(_, address)| address).collect();
    course::run(
        &app.inbox,
        &killer,
        (Channel::Email, &recipients),
        |status, _| refusal(status).into_response(),
        |inbox| match mail.check(&app.config.from_email) {
            Ok(()) => mail.accept(inbox),
            Err(wrong) => wrong.into_response(),
        },
    )
    .await
}

/// What a fault of this status says.
fn refusal(status: StatusCode) -> Wrong {
    match status {
        StatusCode::BAD_REQUEST => {
            Wrong::field("personalizations.0.to.0.email", "Does not contain a valid address.")
        }
        StatusCode::TOO_MANY_REQUESTS => Wrong(status, "too many requests".to_owned(), None),
        _ => Wrong(status, status.canonical_reason().unwrap_or_default().to_owned(), None),
    }
}

/// What does not depend on what the mail says.
fn read(app: &App, headers: &HeaderMap, body: &[u8]) -> Result<Mail, Wrong> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text(header::AUTHORIZATION).strip_prefix("Bearer ") != Some(&app.config.api_key) {
        let message = "The provided authorization grant is invalid, expired, or revoked";
        return Err(Wrong(StatusCode::UNAUTHORIZED, message.to_owned(), None));
    }
    if !text(header::CONTENT_TYPE).starts_with("application/json") {
        let message = "Content-Type should be application/json.";
        return Err(Wrong(StatusCode::UNSUPPORTED_MEDIA_TYPE, message.to_owned(), None));
    }
    if body.len() > LONGEST_BODY_BYTES {
        return Err(Wrong(StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large".to_owned(), None));
    }
    let bad_request = || Wrong(StatusCode::BAD_REQUEST, "Bad Request".to_owned(), None);
    let value: Value = serde_json::from_slice(body).map_err(|_| bad_request())?;
    let unknown =
        value.as_object().ok_or_else(bad_request)?.keys().find(|key| !FIELDS.contains(&key.as_str()));
    if let Some(key) = unknown {
        return Err(Wrong::field("(root)", format!("Additional property {key} is not allowed")));
    }
    serde_json::from_value(value).map_err(|_| bad_request())
}

impl Mail {
    /// Path and address of each.
    fn recipients(&self) -> impl Iterator<Item = (String, &str)> {
        self.personalizations.iter().enumerate().flat_map(|(place, personalization)| {
            let Personalization { to, cc, bcc, .. } = personalization;
            [("to", to), ("cc", cc), ("bcc", bcc)].into_iter().flat_map(move |(kind, mailboxes)| {
                mailboxes.iter().enumerate().map(move |(number, mailbox)| {
                    (format!("personalizations.{place}.{kind}.{number}.email"), mailbox.email.as_str())
                })
            })
        })
    }

    fn check(&self, sender: &str) -> Result<(), Wrong> {
        self.check_recipients()?;
        match &self.from {
            Some(from) if is_email(&from.email) && from.email.eq_ignore_ascii_case(sender) => {}
            Some(from) if is_email(&from.email) => {
                let message = "The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved.";
                return Err(Wrong(StatusCode::FORBIDDEN, message.to_owned(), Some("from".to_owned())));
            }
            Some(_) => return Err(Wrong::field("from.email", "Does not contain a valid address.")),
            None => {
                let message = "The from object must be provided for every email send. It is an object that requires the email parameter, but may also contain a name parameter.";
                return Err(Wrong::field("from.email", message));
            }
        }
        let has = |subject: &Option<String>| subject.as_ref().is_some_and(|text| !text.is_empty());
        if !has(&self.subject) && !self.personalizations.iter().all(|one| has(&one.subject)) {
            let message = "The subject is required. You can get around this requirement if you use a template with a subject defined or if every personalization has a subject defined.";
            return Err(Wrong::field("subject", message));
        }
        self.check_content()
    }

    fn check_recipients(&self) -> Result<(), Wrong> {
        if self.personalizations.is_empty() {
            let message =
                "The personalizations field is required and must have at least one personalization.";
            return Err(Wrong::field("personalizations", message));
        }
        if let Some(place) = self.personalizations.iter().position(|one| one.to.is_empty()) {
            let message = "The to array is required for all personalization objects, and must have at least one email object with a valid email address.";
            return Err(Wrong::field(format!("personalizations.{place}.to"), message));
        }
        let mut seen = HashSet::new();
        for (field, address) in self.recipients() {
            if !is_email(address) {
                return Err(Wrong::field(field, "Does not contain a valid address."));
            }
            if !seen.insert(address.to_lowercase()) {
                let message = "Each email address in the personalization block should be unique between to, cc, and bcc.";
                return Err(Wrong::field(field, message));
            }
        }
        if seen.len() > MAX_RECIPIENTS {
            return Err(Wrong::field("personalizations", "There are too many recipients."));
        }
        Ok(())
    }

    /// Plain text before HTML, each at most once, none empty.
    fn check_content(&self) -> Result<(), Wrong> {
        if self.content.is_empty() {
            let message = "Unless a valid template_id is provided, the content parameter is required. There must be at least one defined content block.";
            return Err(Wrong::field("content", message));
        }
        if let Some(place) = self.content.iter().position(|one| one.kind.is_empty() || one.value.is_empty()) {
            let message = "The content value must be a string at least one character in length.";
            return Err(Wrong::field(format!("content.{place}.value"), message));
        }
        let ranks: Vec<u8> = self.content.iter().map(|one| rank(&one.kind)).collect();
        if !ranks.is_sorted() {
            let message = "If present, text/plain and text/html content must be first, in that order.";
            return Err(Wrong::field("content", message));
        }
        if ranks.windows(2).any(|pair| pair[0] == pair[1] && pair[0] < rank("")) {
            return Err(Wrong::field(
                "content",
                "If present, text/plain and text/html may only be provided once.",
            ));
        }
        Ok(())
    }

    fn accept(&self, inbox: &Inbox) -> Response {
        let sandbox = self.settings.as_ref().and_then(|settings| settings.sandbox_mode.as_ref());
        if sandbox.is_some_and(|sandbox| sandbox.enable) {
            return StatusCode::OK.into_response();
        }
        let id = Uuid::new_v4().simple().to_string();
        let part = |kind: &str| self.content.iter().find(|one| one.kind == kind).map(|one| one.value.clone());
        let messages = self.personalizations.iter().flat_map(|personalization| {
            let Personalization { to, cc, bcc, subject } = personalization;
            to.iter()
                .chain(cc)
                .chain(bcc)
                .map(move |mailbox| (mailbox, subject.as_ref().or(self.subject.as_ref())))
        });
        // 202 says nothing of suppressions: an event does, later.
        inbox.accept_unless_suppressed(messages.map(|(mailbox, subject)| Message {
            channel: Channel::Email,
            via: Via::SendGrid,
            to: mailbox.email.clone(),
            from: self.from.as_ref().map(|from| from.email.clone()).unwrap_or_default(),
            subject: subject.cloned(),
            text: part("text/plain"),
            html: part("text/html"),
            headers: self.headers.clone().into_iter().collect(),
            provider_id: id.clone(),
            our_id: self.custom_args.get("message_id").cloned(),
            status_callback: None,
            received_at: inbox.now(),
        }));
        let mut answer = StatusCode::ACCEPTED.into_response();
        if let Ok(id) = HeaderValue::from_str(&id) {
            answer.headers_mut().insert("x-message-id", id);
        }
        answer
    }
}

fn rank(kind: &str) -> u8 {
    match kind {
        "text/plain" => 0,
        "text/html" => 1,
        _ => 2,
    }
}
