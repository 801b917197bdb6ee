//! Twilio's Messages: `POST /2010-04-01/Accounts/{sid}/Messages.json`.
//! <https://www.twilio.com/docs/messaging/api/message-resource>

use axum::extract::rejection::FormRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use stand_in::ConnectionKiller;
use uuid::Uuid;

use crate::address::is_e164;
use crate::course;
use crate::inbox::{Inbox, Message, Via};
use crate::segments::segments;
use crate::serve::App;

const LONGEST_BODY_CHARS: usize = 1600;

/// The error codes of <https://www.twilio.com/docs/api/errors> that this stand-in gives by itself.
#[derive(Debug, Clone, Copy)]
enum Code {
    Authenticate = 20003,
    NotFound = 20404,
    UnsupportedMediaType = 20415,
    Unsubscribed = 21610,
    InvalidTo = 21211,
    InvalidFrom = 21212,
    SameNumber = 21266,
    BodyRequired = 21602,
    FromRequired = 21603,
    ToRequired = 21604,
    NotOurs = 21606,
    Unreachable = 21612,
    BodyTooLong = 21617,
    DailyLimit = 63038,
}

/// What else the account may send from, besides its number.
const SHORT_CODE: &str = "22395";
const NAME: &str = "CatchUp";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NewMessage {
    to: Option<String>,
    from: Option<String>,
    messaging_service_sid: Option<String>,
    body: Option<String>,
    status_callback: Option<String>,
}

/// What is sent when nothing is missing.
struct Sound {
    to: String,
    from: String,
    body: String,
    status_callback: Option<String>,
}

pub(crate) async fn create(
    State(app): State<App>,
    ConnectInfo(killer): ConnectInfo<ConnectionKiller>,
    Path(account): Path<String>,
    headers: HeaderMap,
    form: Result<Form<NewMessage>, FormRejection>,
) -> Response {
    if !is_authentic(&app, &headers) {
        let mut answer = refuse(StatusCode::UNAUTHORIZED, Code::Authenticate, "Authenticate");
        let realm = header::HeaderValue::from_static("Basic realm=\"Twilio API\"");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        return answer;
    }
    if account != app.config.account_sid {
        let message =
            format!("The requested resource /2010-04-01/Accounts/{account}/Messages.json was not found");
        return refuse(StatusCode::NOT_FOUND, Code::NotFound, &message);
    }
    let Ok(Form(message)) = form else {
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::UnsupportedMediaType,
            "Unsupported Media Type",
        );
    };
    let to = message.to.clone().unwrap_or_default();
    course::run(
        &app.inbox,
        &killer,
        (Via::Twilio.channel(), &[&to]),
        |status, code| error(status, code, "The request was refused"),
        |inbox| match check(&app, message) {
            Ok(message) => accept(&app, inbox, message),
            Err((code @ Code::DailyLimit, text)) => refuse(StatusCode::TOO_MANY_REQUESTS, code, &text),
            Err((code, text)) => refuse(StatusCode::BAD_REQUEST, code, &text),
        },
    )
    .await
}

fn is_authentic(app: &App, headers: &HeaderMap) -> bool {
    let expected = STANDARD.encode(format!("{}:{}", app.config.account_sid, app.config.auth_token));
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.split_once(' '))
        .is_some_and(|(scheme, value)| scheme.eq_ignore_ascii_case("basic") && value == expected)
}

fn check(app: &App, message: NewMessage) -> Result<Sound, (Code, String)> {
    let given = |value: Option<String>| value.filter(|text| !text.is_empty());
    let to = given(message.to).ok_or((Code::ToRequired, "A 'To' phone number is required.".to_owned()))?;
    if !is_e164(&to) {
        return Err((Code::InvalidTo, format!("Invalid 'To' Phone Number: {to}")));
    }
    // A messaging service chooses among its senders: here, the account's one number.
    let service = given(message.messaging_service_sid).map(|_| app.config.phone_number.clone());
    let from = service
        .or(given(message.from))
        .ok_or((Code::FromRequired, "A 'From' phone number is required.".to_owned()))?;
    let is_ours = [app.config.phone_number.as_str(), SHORT_CODE, NAME].contains(&from.as_str());
    if !is_ours && !is_e164(&from) {
        return Err((Code::InvalidFrom, format!("Invalid 'From' Phone Number: {from}")));
    }
    if to == from {
        return Err((Code::SameNumber, "'To' and 'From' number cannot be the same".to_owned()));
    }
    if !is_ours {
        let text = format!(
            "The 'From' phone number {from} is not a valid message-capable Twilio phone number for this destination."
        );
        return Err((Code::NotOurs, text));
    }
    // The United States and Canada take nothing from a name.
    if from == NAME && to.starts_with("+1") {
        let text = format!(
            "The 'To' phone number: {to}, is not currently reachable using the 'From' phone number: {from} via SMS."
        );
        return Err((Code::Unreachable, text));
    }
    let body = given(message.body).ok_or((Code::BodyRequired, "Message body is required.".to_owned()))?;
    if body.chars().count() > LONGEST_BODY_CHARS {
        let text = format!("The concatenated message body exceeds the {LONGEST_BODY_CHARS} character limit");
        return Err((Code::BodyTooLong, text));
    }
    if app.inbox.is_suppressed(&to) {
        return Err((Code::Unsubscribed, "Attempt to send to unsubscribed recipient".to_owned()));
    }
    if app.inbox.has_reached_cap() {
        return Err((Code::DailyLimit, "Account exceeded the daily messages limit".to_owned()));
    }
    Ok(Sound { to, from, body, status_callback: given(message.status_callback) })
}

fn accept(app: &App, inbox: &Inbox, message: Sound) -> Response {
    let Sound { to, from, body, status_callback } = message;
    let sid = format!("SM{}", Uuid::new_v4().simple());
    let now = inbox.now();
    let uri = format!("/2010-04-01/Accounts/{}/Messages/{sid}", app.config.account_sid);
    let date = now.to_rfc2822();
    let answer = json!({
        "account_sid": app.config.account_sid,
        "api_version": "2010-04-01",
        "body": body,
        "date_created": date,
        "date_sent": null,
        "date_updated": date,
        "direction": "outbound-api",
        "error_code": null,
        "error_message": null,
        "from": from,
        "messaging_service_sid": null,
        "num_media": "0",
        "num_segments": segments(&body).1.to_string(),
        "price": null,
        "price_unit": "USD",
        "sid": sid,
        "status": "queued",
        "subresource_uris": { "media": format!("{uri}/Media.json") },
        "to": to,
        "uri": format!("{uri}.json"),
    });
    inbox.accept([Message {
        channel: Via::Twilio.channel(),
        via: Via::Twilio,
        to,
        from,
        subject: None,
        text: Some(body),
        html: None,
        headers: Vec::new(),
        provider_id: sid,
        our_id: None,
        status_callback,
        received_at: now,
    }]);
    (StatusCode::CREATED, Json(answer)).into_response()
}

fn refuse(status: StatusCode, code: Code, message: &str) -> Response {
    error(status, code as u32, message)
}

fn error(status: StatusCode, code: u32, message: &str) -> Response {
    let body = json!({
        "code": code,
        "message": message,
        "more_info": format!("https://www.twilio.com/docs/errors/{code}"),
        "status": status.as_u16(),
    });
    (status, Json(body)).into_response()
}
