//! Who may look, and who may act.
//!
//! On loopback the token makes the difference; it is in the address that is printed, and in a cookie from then on. A form also
//! carries a second token made of it, and comes from a page of ours: the browser says from where.
//!
//! Behind Identity-Aware Proxy its assertion makes the difference: whom it lets through may read, and who may act, or see bodies,
//! is configured.

use std::fmt::Write as _;
use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::App;
use super::iap::{self, Iap, Person};
use super::parameters::Parameters;
use super::refusal::Refusal;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const TOKEN_BYTES: usize = 24;

/// The rule of one console.
#[derive(Clone)]
pub(super) struct Access {
    listens_on: SocketAddr,
    /// None beyond loopback, where the console cannot tell who is there, and behind Identity-Aware Proxy, which says it.
    token: Option<String>,
    iap: Option<Iap>,
    /// What the tokens of forms are made of.
    secret: String,
}

/// Who asks for a page.
pub(super) struct Visitor {
    /// As Identity-Aware Proxy knows who is there; none with a token, or without.
    pub(super) email: Option<String>,
    pub(super) may_operate: bool,
    /// Bodies are personal data.
    pub(super) sees_bodies: bool,
    /// What a form must carry; empty for who may not act.
    pub(super) form_token: String,
}

impl Access {
    pub(super) fn on(listens_on: SocketAddr, token: Option<String>, iap: Option<Iap>) -> Self {
        let token = token.filter(|token| !token.is_empty()).unwrap_or_else(new_token);
        let has_token = listens_on.ip().is_loopback() && iap.is_none();
        Self { listens_on, secret: token.clone(), token: has_token.then_some(token), iap }
    }

    /// What is printed for the operator.
    pub(super) fn address(&self) -> String {
        match &self.token {
            Some(token) => format!("http://{}/?token={token}", self.listens_on),
            None if self.iap.is_some() => {
                format!("http://{}/ (behind Identity-Aware Proxy)", self.listens_on)
            }
            None => format!("http://{}/ (read-only: it is not on loopback)", self.listens_on),
        }
    }

    /// The cookie of who opened the printed address; none if that is not its token.
    pub(super) fn cookie_for(&self, shown: &str) -> Option<String> {
        let token = self.token.as_ref().filter(|token| is_same(token, shown))?;
        Some(format!("{}={token}; HttpOnly; SameSite=Strict; Path=/", self.cookie_name()))
    }

    /// Browsers keep cookies per host, whatever the port.
    fn cookie_name(&self) -> String {
        format!("ops_console_{}", self.listens_on.port())
    }

    async fn visitor(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Result<Visitor, Refusal> {
        if let Some(iap) = &self.iap {
            return self.person(iap, headers, now).await;
        }
        let is_shown = self.token.as_ref().is_some_and(|token| {
            let name = self.cookie_name();
            cookies(headers).any(|(cookie, value)| cookie == name && is_same(token, value))
        });
        let form_token = if is_shown { self.form_token("") } else { String::new() };
        Ok(Visitor { email: None, may_operate: is_shown, sees_bodies: is_shown, form_token })
    }

    /// Whom Identity-Aware Proxy lets through. No one else is there.
    async fn person(&self, iap: &Iap, headers: &HeaderMap, now: DateTime<Utc>) -> Result<Visitor, Refusal> {
        let mut assertions = headers.get_all(iap::HEADER).iter().map(|it| it.to_str().unwrap_or_default());
        let assertion = assertions.next().filter(|_| assertions.next().is_none());
        let Person { email, may_operate, sees_bodies } =
            iap.verify(assertion, now).await.map_err(|error| match error {
                iap::Error::Rejected(why) => Refusal::Forbidden(why),
                iap::Error::Unavailable(error) => {
                    Refusal::Failed(error.context("the keys of Identity-Aware Proxy are not known"))
                }
            })?;
        let form_token = if may_operate { self.form_token(&email) } else { String::new() };
        Ok(Visitor { email: Some(email), may_operate, sees_bodies, form_token })
    }

    /// Of one visitor.
    fn form_token(&self, email: &str) -> String {
        hex(&Sha256::digest(format!("form:{}:{email}", self.secret)))
    }

    /// A page of another site may have a name that leads here: only our own names are answered.
    fn knows(&self, host: &str) -> bool {
        if !self.listens_on.ip().is_loopback() {
            return true;
        }
        let port = self.listens_on.port();
        host == self.listens_on.to_string()
            || ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| host == format!("{name}:{port}"))
    }
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let host = text(&parts.headers, &header::HOST);
        if !app.access.knows(host) {
            return Err(Refusal::Forbidden("The console does not go by this name."));
        }
        app.access.visitor(&parts.headers, app.operations.clock.now()).await
    }
}

impl Visitor {
    /// Whether a form may change something.
    fn may_post(&self, headers: &HeaderMap, form: &Parameters) -> Result<(), Refusal> {
        if !self.may_operate {
            return Err(Refusal::Forbidden(if self.email.is_some() {
                "You may read, and not act."
            } else {
                "Acting takes the address with the token, which the console printed."
            }));
        }
        let origin = text(headers, &header::ORIGIN);
        // Identity-Aware Proxy is reached with TLS.
        let scheme = if self.email.is_some() { "https" } else { "http" };
        if origin != format!("{scheme}://{}", text(headers, &header::HOST)) {
            return Err(Refusal::Forbidden("The form does not come from a page of the console."));
        }
        let site = text(headers, &SEC_FETCH_SITE);
        if !site.is_empty() && site != "same-origin" {
            return Err(Refusal::Forbidden("The form does not come from a page of the console."));
        }
        if !is_same(&self.form_token, form.get("form")?.unwrap_or_default()) {
            return Err(Refusal::Forbidden("The form is of another console; load its page again."));
        }
        Ok(())
    }
}

/// A form of a page of ours, sent by a visitor who may act: what changes something takes this, and nothing else.
pub(super) struct Posted(pub(super) Parameters);

impl FromRequest<App> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, app).await;
        let visitor = visitor.map_err(Refusal::into_response)?;
        let headers = parts.headers.clone();
        let body = Bytes::from_request(Request::from_parts(parts, body), app).await;
        let form = Parameters::of(&body.map_err(IntoResponse::into_response)?);
        visitor.may_post(&headers, &form).map_err(Refusal::into_response)?;
        Ok(Self(form.sent_by(visitor.email)))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';')).filter_map(|cookie| cookie.trim().split_once('='))
}

fn is_same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

fn new_token() -> String {
    hex(&rand::rng().random::<[u8; TOKEN_BYTES]>())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
