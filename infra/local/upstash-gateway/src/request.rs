//! From an HTTP request to what the client wants done.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, Method, Uri};
use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;

use crate::admin::{self, AdminCommand};
use crate::auth::TOKEN_PARAMETER;
use crate::command::{Command, arguments};
use crate::failure::Failure;
use crate::reply::{Format, Strings};

/// The path of the counts, where they are served.
const STATS_PATH: &str = "/__stats";

/// A body over the limit is read on (and dropped) up to this many times the limit: a client that is cut off while it
/// still writes would see a broken connection instead of the answer.
const READ_ON: usize = 8;

/// What a request asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Wish {
    Command(Command),
    Pipeline(Vec<Command>),
    Transaction(Vec<Command>),
    Subscribe(Subscription),
    Monitor,
    /// The counts; then start again from zero, if so.
    Stats {
        reset: bool,
    },
    Admin(AdminCommand),
}

/// Channels or patterns to listen to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) kind: SubscriptionKind,
    pub(crate) names: Vec<Vec<u8>>,
}

/// What the names of a [`Subscription`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubscriptionKind {
    Channels,
    Patterns,
}

/// The parts of the gateway's configuration that decide how requests are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) max_bytes: usize,
    pub(crate) timeout: Duration,
    pub(crate) stats: bool,
    pub(crate) admin: bool,
}

impl Reading {
    /// Whether a request with this method and path can be answered at all.
    pub(crate) fn allows(self, method: &Method, uri: &Uri) -> bool {
        [Method::HEAD, Method::GET, Method::POST, Method::PUT].contains(method)
            || (*method == Method::DELETE && self.is_stats(uri))
    }

    fn is_stats(self, uri: &Uri) -> bool {
        self.stats && uri.path() == STATS_PATH
    }

    /// Reads the whole request.
    pub(crate) async fn wish(self, method: &Method, uri: &Uri, body: Body) -> Result<Wish, Failure> {
        if self.is_stats(uri) {
            return Ok(Wish::Stats { reset: *method == Method::DELETE });
        }
        let body =
            tokio::time::timeout(self.timeout, self.body(body)).await.map_err(|_| Failure::SlowBody)??;
        let mut segments: Vec<Vec<u8>> = uri
            .path()
            .trim_start_matches('/')
            .split('/')
            .map(|segment| percent_decode_str(segment).collect())
            .collect();
        // The slash at the end, and the empty path.
        if segments.last().is_some_and(Vec::is_empty) {
            segments.pop();
        }
        let Some((first, rest)) = segments.split_first() else { return single(&body) };
        match (first.to_ascii_lowercase().as_slice(), rest) {
            (admin::PATH, command) if self.admin && *method == Method::POST => AdminCommand::read(command)
                .map_or_else(|| refuse("ERR unknown admin command"), |c| Ok(Wish::Admin(c))),
            (b"pipeline", []) => many(&body, "pipeline").map(Wish::Pipeline),
            (b"multi-exec", []) => many(&body, "transaction").map(Wish::Transaction),
            (b"monitor", []) => Ok(Wish::Monitor),
            (b"subscribe", [_, ..]) => Ok(subscribe(SubscriptionKind::Channels, rest)),
            (b"psubscribe", [_, ..]) => Ok(subscribe(SubscriptionKind::Patterns, rest)),
            _ => Ok(from_path(segments, method, uri, &body)),
        }
    }

    async fn body(self, mut body: Body) -> Result<Vec<u8>, Failure> {
        let expected = body.size_hint().exact().and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
        let mut bytes = Vec::with_capacity(expected.min(self.max_bytes));
        let mut actual = 0;
        while let Some(frame) = body.frame().await {
            let data: Bytes = frame.map_err(|_| Failure::BrokenBody)?.into_data().unwrap_or_default();
            actual += data.len();
            if actual <= self.max_bytes {
                bytes.extend_from_slice(&data);
            } else if actual / READ_ON > self.max_bytes {
                break;
            }
        }
        if actual > self.max_bytes {
            return Err(Failure::TooLarge { limit: self.max_bytes, actual: actual.max(expected) });
        }
        Ok(bytes)
    }
}

/// How the client wants its replies.
pub(crate) fn format(headers: &HeaderMap) -> Result<Format, Failure> {
    let is = |name: &str, value: &str| {
        headers.get(name).is_some_and(|given| given.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
    };
    let base64 = is("upstash-encoding", "base64");
    if is("upstash-response-format", "resp2") {
        if base64 {
            return refuse(
                "ERR Upstash-Encoding: base64 is not permitted with Upstash-Response-Format: resp2",
            );
        }
        return Ok(Format::Resp2);
    }
    if headers.contains_key("upstash-response-format") && !is("upstash-response-format", "json") {
        return refuse("ERR Upstash-Response-Format must be json or resp2");
    }
    Ok(Format::Json(if base64 { Strings::Base64 } else { Strings::Text }))
}

fn single(body: &[u8]) -> Result<Wish, Failure> {
    match serde_json::from_slice::<Vec<&RawValue>>(body) {
        Ok(values) => command(&values).map(Wish::Command),
        Err(_) if body.is_empty() => refuse("ERR empty command"),
        Err(_) => refuse("ERR failed to parse command"),
    }
}

fn many(body: &[u8], what: &str) -> Result<Vec<Command>, Failure> {
    match serde_json::from_slice::<Vec<Vec<&RawValue>>>(body) {
        Ok(commands) if commands.is_empty() => refuse(&format!("ERR empty {what} request")),
        Ok(commands) => commands.iter().map(|values| command(values)).collect(),
        Err(_) => refuse(&format!("ERR failed to parse {what} request")),
    }
}

fn command(values: &[&RawValue]) -> Result<Command, Failure> {
    match arguments(values).map(Command::new) {
        Ok(Some(command)) => Ok(command),
        Ok(None) => refuse("ERR empty command"),
        Err(message) => refuse(message),
    }
}

fn subscribe(kind: SubscriptionKind, names: &[Vec<u8>]) -> Wish {
    Wish::Subscribe(Subscription { kind, names: names.to_vec() })
}

/// `/CMD/arg/…`, then the body, then the query parameters (`?EX=100&NX`) without the token.
fn from_path(mut segments: Vec<Vec<u8>>, method: &Method, uri: &Uri, body: &[u8]) -> Wish {
    if !body.is_empty() && [Method::POST, Method::PUT].contains(method) {
        segments.push(body.to_vec());
    }
    let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    for (name, value) in query.filter(|(name, _)| name != TOKEN_PARAMETER) {
        segments.push(name.into_owned().into_bytes());
        if !value.is_empty() {
            segments.push(value.into_owned().into_bytes());
        }
    }
    Wish::Command(Command::new(segments).expect("a path that is not empty has a first segment"))
}

fn refuse<T>(message: &str) -> Result<T, Failure> {
    Err(Failure::Refused(message.to_owned()))
}
