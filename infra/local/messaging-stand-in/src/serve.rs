//! The HTTP server: the vendors' paths, the inbox for people and programs, and faults under `/admin`.

use std::io;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::callbacks::Callback;
use crate::fault::Fault;
use crate::inbox::{Inbox, Message};
use crate::{page, sendgrid, twilio};

/// More than the longest mail, so that the vendor's own limit is the one that is met.
const LONGEST_REQUEST_BYTES: usize = 40_000_000;

/// What callers must know, and who they may say they are.
#[derive(Debug, Clone)]
pub struct Config {
    /// `TWILIO_ACCOUNT_SID`.
    pub account_sid: String,
    /// `TWILIO_AUTH_TOKEN`.
    pub auth_token: String,
    /// `TWILIO_PHONE_NUMBER`: the one number of the account.
    pub phone_number: String,
    /// `SENDGRID_API_KEY`.
    pub api_key: String,
    /// `SENDGRID_FROM_EMAIL`: the one verified sender, over SMTP too.
    pub from_email: String,
    /// User of the SMTP server.
    pub smtp_user: String,
    /// Password of that user.
    pub smtp_password: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            account_sid: "AC00000000000000000000000000000000".to_owned(),
            auth_token: "stand-in-auth-token".to_owned(),
            phone_number: "+15005550006".to_owned(),
            api_key: "SG.stand-in.api-key".to_owned(),
            from_email: "hello@catchup.example.test".to_owned(),
            smtp_user: "stand-in".to_owned(),
            smtp_password: "stand-in-password".to_owned(),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) inbox: Inbox,
    pub(crate) config: Arc<Config>,
}

/// Serves `inbox` on `listener`, which must be bound to a loopback address, until `shutdown` resolves; then open
/// connections get two seconds. Dropping the future stops immediately.
pub async fn serve(
    listener: TcpListener,
    inbox: Inbox,
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    stand_in::serve(listener, router(App { inbox, config: Arc::new(config) }), shutdown).await
}

fn router(app: App) -> Router {
    Router::new()
        .route("/2010-04-01/Accounts/{sid}/Messages.json", post(twilio::create))
        .route("/v3/mail/send", post(sendgrid::send))
        .route("/", get(page::show))
        .route("/messages", get(messages).delete(clear))
        .route("/messages/clear", post(clear_and_return))
        .route("/admin/faults", get(faults).post(inject).delete(clear_faults))
        .route("/admin/callbacks/twilio", post(sign_twilio))
        .route("/admin/callbacks/sendgrid", post(sign_sendgrid))
        .route("/admin/suppressions", post(suppress).delete(restore))
        .layer(DefaultBodyLimit::max(LONGEST_REQUEST_BYTES))
        .with_state(app)
}

/// What is to be reported of a text message.
#[derive(Debug, Deserialize)]
struct TwilioStatus {
    url: String,
    sid: String,
    status: String,
    code: Option<u32>,
}

/// The callback with which Twilio would report it; the test that asks for it delivers it.
async fn sign_twilio(State(app): State<App>, Json(status): Json<TwilioStatus>) -> Json<Callback> {
    let TwilioStatus { url, sid, status, code } = status;
    Json(Callback::twilio_status(&app.config, &url, &sid, &status, code))
}

/// What is to be reported of e-mails.
#[derive(Debug, Deserialize)]
struct Events {
    url: String,
    events: Value,
}

/// The callback with which `SendGrid` would report it.
async fn sign_sendgrid(State(app): State<App>, Json(Events { url, events }): Json<Events>) -> Json<Callback> {
    Json(Callback::sendgrid(&url, &events, app.inbox.now().timestamp()))
}

/// Who replies STOP, or is on a suppression list.
#[derive(Debug, Deserialize)]
struct Suppression {
    to: String,
}

async fn suppress(State(app): State<App>, Json(Suppression { to }): Json<Suppression>) -> StatusCode {
    app.inbox.suppress(to);
    StatusCode::NO_CONTENT
}

async fn restore(State(app): State<App>, Json(Suppression { to }): Json<Suppression>) -> StatusCode {
    app.inbox.restore(&to);
    StatusCode::NO_CONTENT
}

async fn messages(State(app): State<App>) -> Json<Vec<Message>> {
    Json(app.inbox.messages())
}

async fn clear(State(app): State<App>) -> StatusCode {
    app.inbox.clear();
    StatusCode::NO_CONTENT
}

/// The button of the page.
async fn clear_and_return(State(app): State<App>) -> Response {
    app.inbox.clear();
    Redirect::to("/").into_response()
}

async fn faults(State(app): State<App>) -> Json<Vec<Fault>> {
    Json(app.inbox.faults())
}

async fn inject(State(app): State<App>, Json(fault): Json<Fault>) -> Json<Fault> {
    app.inbox.fault(fault.clone());
    Json(fault)
}

async fn clear_faults(State(app): State<App>) -> StatusCode {
    app.inbox.clear_faults();
    StatusCode::NO_CONTENT
}
