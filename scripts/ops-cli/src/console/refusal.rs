//! What is not shown or done, and why.

use std::fmt::Display;

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::page::{self, Nonce, STYLE};

/// Why there is no page, or why nothing was changed.
#[derive(Debug)]
pub(super) enum Refusal {
    NotFound(String),
    BadRequest(String),
    Forbidden(&'static str),
    /// A source is unavailable, or refused.
    Failed(anyhow::Error),
}

impl Refusal {
    pub(super) fn bad_request(what: impl Display) -> Self {
        Self::BadRequest(what.to_string())
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

#[derive(Template)]
#[template(path = "console/refusal.html")]
struct Page<'a> {
    nonce: &'a Nonce,
    style: &'static str,
    title: &'static str,
    text: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, title, text) = match self {
            Self::NotFound(text) => (StatusCode::NOT_FOUND, "Not found", text),
            Self::BadRequest(text) => (StatusCode::BAD_REQUEST, "This cannot be asked for", text),
            Self::Forbidden(text) => {
                // What was sent is not repeated: it may be anything.
                eprintln!("console: refused: {text}");
                (StatusCode::FORBIDDEN, "Refused", text.to_owned())
            }
            Self::Failed(error) => {
                eprintln!("console: {error:#}");
                (StatusCode::SERVICE_UNAVAILABLE, "Not known", format!("{error:#}"))
            }
        };
        let nonce = Nonce::new();
        page::respond(status, &nonce, &Page { nonce: &nonce, style: STYLE, title, text })
    }
}
