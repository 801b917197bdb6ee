//! What all pages have in common: the frame around them, their policy, and the same as JSON.

use std::fmt;

use askama::Template;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, Utc};
use rand::RngExt as _;
use serde::Serialize;

use super::access::{Visitor, hex};
use super::parameters::Parameters;
use super::refusal::Refusal;
use crate::moment;
use crate::operations::Asked;

pub(super) const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = concat!(include_str!("keys.js"), include_str!("live.js"));

/// What of a text is shown in a row, as it is written.
const TEXT_BYTES: usize = 300;
/// What askama writes for a character that means something in HTML.
const ESCAPED_BYTES: usize = "&#60;".len();

/// Path and name of each page, and the key that leads there after `g`.
const PAGES: &[(&str, &str, char)] = &[
    ("/", "Now", 'q'),
    ("/tasks", "Tasks", 't'),
    ("/errors", "Errors", 'e'),
    ("/dead-letters", "Dead letters", 'd'),
    ("/schedules", "Schedules", 's'),
    ("/deploys", "Deploys", 'r'),
    ("/messages", "Messages", 'm'),
    ("/actions", "Actions", 'a'),
];

/// What marks a page's own style and script; of one response.
pub(super) struct Nonce(String);

impl Nonce {
    pub(super) fn new() -> Self {
        Self(hex(&rand::rng().random::<[u8; 16]>()))
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What stands around the content of a page.
pub(super) struct Frame {
    pub(super) nonce: Nonce,
    pub(super) title: String,
    pub(super) visitor: Visitor,
    pub(super) now: DateTime<Utc>,
    pub(super) sources: Vec<Asked>,
    /// The command that shows or does the same.
    pub(super) command: String,
    /// It shows what changes by itself.
    pub(super) is_live: bool,
}

#[expect(clippy::unused_self, reason = "templates call methods")]
impl Frame {
    pub(super) fn style(&self) -> &'static str {
        STYLE
    }

    pub(super) fn script(&self) -> &'static str {
        SCRIPT
    }

    pub(super) fn pages(&self) -> impl Iterator<Item = (&'static str, &'static str, char)> {
        PAGES.iter().copied()
    }

    /// The sources that said what they were asked for.
    pub(super) fn known(&self) -> impl Iterator<Item = &Asked> {
        self.sources.iter().filter(|asked| asked.problem.is_none())
    }

    /// As much of a text as a row has place for.
    pub(super) fn short(&self, text: &str) -> String {
        short(text)
    }

    pub(super) fn time(&self, time: &DateTime<Utc>) -> String {
        moment::text(*time)
    }

    /// How long ago, or until.
    pub(super) fn distance(&self, time: &DateTime<Utc>) -> String {
        moment::distance(*time, self.now)
    }
}

/// As much of a text as a row has place for.
pub(super) fn short(text: &str) -> String {
    cut(text, TEXT_BYTES)
}

/// As much of a text as so many bytes hold of what is written in a page, where some characters take five.
pub(super) fn cut(text: &str, bytes: usize) -> String {
    let mut written = 0;
    let fits = |char: &char| {
        written += if "<>&\"'".contains(*char) { ESCAPED_BYTES } else { char.len_utf8() };
        written <= bytes
    };
    text.chars().take_while(fits).collect()
}

/// The page, or the same as JSON if `?json` asks for it.
pub(super) fn show(
    parameters: &Parameters,
    data: &impl Serialize,
    nonce: &Nonce,
    page: &impl Template,
) -> Result<Response, Refusal> {
    if parameters.has("json") {
        let data = serde_json::to_value(data).map_err(anyhow::Error::from)?;
        return Ok(Json(data).into_response());
    }
    Ok(respond(StatusCode::OK, nonce, page))
}

/// A page whose own style and script are allowed, and nothing else is.
pub(super) fn respond(status: StatusCode, nonce: &Nonce, page: &impl Template) -> Response {
    let Ok(html) = page.render() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'"
    );
    let mut response = (status, Html(html)).into_response();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_place_for_so_many_bytes_as_they_are_written() {
        assert_eq!(short(&"x".repeat(1000)).len(), TEXT_BYTES);
        assert_eq!(short(&"<".repeat(1000)).len(), TEXT_BYTES / ESCAPED_BYTES);
        assert_eq!(short("a < b"), "a < b");
    }
}
