//! Redis over HTTP, as Upstash serves it: a function holds no TCP connection to Redis and is billed by the command.
//!
//! **Every command sent through this client must be safe to repeat**: a request whose connection broke is sent once
//! more, and no client can tell whether the first one was carried out. Commands that set, delete or carry a token of
//! their sender are safe; a bare `INCR` or `LPUSH` is not. No scripts either: `EVAL` is billed with each call inside.
//!
//! Source: <https://upstash.com/docs/redis/features/restapi>.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use url::Url;

use crate::config::{Config, InvalidConfig, variables};
use crate::http::is_safe_for_credentials;
use crate::telemetry::{self, Counter};

mod answer;
mod breaker;
mod command;
mod error;
mod transport;

pub use answer::Value;
pub use command::Command;
pub use error::Error;

use answer::WireReply;
use breaker::Breaker;
use transport::Transport;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(2);
const FAILURE_THRESHOLD: u32 = 5;
/// Longer than a probe can take, its retry included.
const OPEN_FOR: Duration = Duration::from_secs(5);
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Says which state of the database an answer came from.
const SYNC_TOKEN: HeaderName = HeaderName::from_static("upstash-sync-token");

/// The state of the database that an answer came from.
#[derive(Debug, Clone)]
pub struct SyncToken(HeaderValue);

/// A handle on Redis; clones share connections and circuit breaker.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    transport: Transport,
    single: Uri,
    pipeline: Uri,
    transaction: Uri,
    authorization: HeaderValue,
    breaker: Mutex<Breaker>,
}

/// What a command is for: the account on which it is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Leases of tasks.
    Idempotency,
    /// Limits.
    RateLimit,
    /// The cache.
    Cache,
}

impl From<Purpose> for Counter {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Idempotency => Self::RedisIdempotency,
            Purpose::RateLimit => Self::RedisRateLimit,
            Purpose::Cache => Self::RedisCache,
        }
    }
}

/// How long to wait for Redis, and when the circuit breaker opens.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Time for a connection, TLS included.
    pub connect_timeout: Duration,
    /// Time for one attempt, its answer included.
    pub timeout: Duration,
    /// Failures in a row after which the circuit opens.
    pub failures: u32,
    /// How long the circuit stays open before one probe; must be longer than a probe can take.
    pub open_for: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_timeout: CONNECT_TIMEOUT,
            timeout: TIMEOUT,
            failures: FAILURE_THRESHOLD,
            open_for: OPEN_FOR,
        }
    }
}

/// Why an endpoint cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// The URL would show the token to the network.
    #[error("would send the token without TLS to another machine")]
    InsecureUrl,
    /// The URL carries more than a place: user, password, query or fragment.
    #[error("carries more than scheme, host and path")]
    UnexpectedUrlParts,
    /// The token has characters that a header cannot carry.
    #[error("is not a valid HTTP header value")]
    Token,
}

impl Redis {
    /// Reads `UPSTASH_REDIS_REST_URL` and `UPSTASH_REDIS_REST_TOKEN`; asks nothing yet.
    pub fn from_config(config: &mut Config) -> Result<Self, InvalidConfig> {
        let url = config.required::<Url>(&variables::UPSTASH_REDIS_REST_URL);
        let token = config.secret(&variables::UPSTASH_REDIS_REST_TOKEN);
        Self::new(&url?, &token?, Timeouts::default()).map_err(|invalid| {
            let variable = match invalid {
                InvalidEndpoint::InsecureUrl | InvalidEndpoint::UnexpectedUrlParts => {
                    &variables::UPSTASH_REDIS_REST_URL
                }
                InvalidEndpoint::Token => &variables::UPSTASH_REDIS_REST_TOKEN,
            };
            config.problem(variable, invalid.to_string())
        })
    }

    /// The Redis at `url`.
    pub fn new(url: &Url, token: &SecretString, timeouts: Timeouts) -> Result<Self, InvalidEndpoint> {
        if !is_safe_for_credentials(url) {
            return Err(InvalidEndpoint::InsecureUrl);
        }
        let has_other_parts = !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some();
        if has_other_parts {
            return Err(InvalidEndpoint::UnexpectedUrlParts);
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
            .map_err(|_shows_the_token| InvalidEndpoint::Token)?;
        authorization.set_sensitive(true);
        Ok(Self(Arc::new(Inner {
            transport: Transport::new(timeouts.connect_timeout, timeouts.timeout),
            single: below(url, "")?,
            pipeline: below(url, "pipeline")?,
            transaction: below(url, "multi-exec")?,
            authorization,
            breaker: Mutex::new(Breaker::new(timeouts.failures, timeouts.open_for)),
        })))
    }

    /// Runs one command.
    ///
    /// Cancelled while under way, the command may still be carried out.
    pub async fn run(&self, purpose: Purpose, command: Command) -> Result<Value, Error> {
        Ok(self.run_after(purpose, command, None).await?.0)
    }

    /// Runs one command on a state that is at least as new as the one that `after` came with, and says which state it met:
    /// replicas answer what is only read.
    ///
    /// Cancelled while under way, the command may still be carried out.
    pub async fn run_after(
        &self,
        purpose: Purpose,
        command: Command,
        after: Option<SyncToken>,
    ) -> Result<(Value, Option<SyncToken>), Error> {
        self.post(&self.0.single, purpose, 1, &command, after, |body| {
            // What most writes are answered.
            if body == br#"{"result":"OK"}"# {
                return Ok(Value::Text("OK".to_owned()));
            }
            serde_json::from_slice::<WireReply>(body).map_err(|_| Error::Garbage)?.into()
        })
        .await
    }

    /// Runs commands in their order, but not as a unit: others' commands may run between them, and each may fail alone.
    pub async fn pipeline(
        &self,
        purpose: Purpose,
        commands: Vec<Command>,
    ) -> Result<Vec<Result<Value, Error>>, Error> {
        self.batch(&self.0.pipeline, purpose, commands).await
    }

    /// Runs commands in their order with nothing between them. Each may fail alone; that undoes no other.
    pub async fn transaction(
        &self,
        purpose: Purpose,
        commands: Vec<Command>,
    ) -> Result<Vec<Result<Value, Error>>, Error> {
        self.batch(&self.0.transaction, purpose, commands).await
    }

    async fn batch(
        &self,
        uri: &Uri,
        purpose: Purpose,
        commands: Vec<Command>,
    ) -> Result<Vec<Result<Value, Error>>, Error> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.post(uri, purpose, commands.len(), &commands, None, |body| {
            if let Ok(answers) = serde_json::from_slice::<Vec<WireReply>>(body) {
                let complete = answers.len() == commands.len();
                return if complete {
                    Ok(answers.into_iter().map(Into::into).collect())
                } else {
                    Err(Error::Garbage)
                };
            }
            // A transaction that was discarded as a whole.
            match serde_json::from_slice(body) {
                Ok(WireReply::Error { error }) => Err(Error::refused(&error)),
                Ok(WireReply::Result { .. }) | Err(_) => Err(Error::Garbage),
            }
        });
        Ok(answers.await?.0)
    }

    async fn post<T>(
        &self,
        uri: &Uri,
        purpose: Purpose,
        commands: usize,
        body: &impl Serialize,
        after: Option<SyncToken>,
        read: impl Fn(&[u8]) -> Result<T, Error>,
    ) -> Result<(T, Option<SyncToken>), Error> {
        if !self.with_breaker(|breaker| breaker.admits(Instant::now())) {
            return Err(Error::CircuitOpen);
        }
        let body = Bytes::from(serde_json::to_vec(body).expect("commands are lists of strings"));
        let mut answer = self.attempt(uri, purpose, commands, body.clone(), after.clone()).await;
        if matches!(answer, Err(Error::Unreachable(_) | Error::Broken(_))) {
            answer = self.attempt(uri, purpose, commands, body, after).await;
        }
        let result = answer.and_then(|(body, token)| Ok((read(&body)?, token)));
        let unavailable = result.as_ref().is_err_and(Error::is_unavailable);
        self.with_breaker(
            |breaker| if unavailable { breaker.failed(Instant::now()) } else { breaker.succeeded() },
        );
        result
    }

    async fn attempt(
        &self,
        uri: &Uri,
        purpose: Purpose,
        commands: usize,
        body: Bytes,
        after: Option<SyncToken>,
    ) -> Result<(Bytes, Option<SyncToken>), Error> {
        let mut bill = Bill { purpose, commands };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        request.headers_mut().insert(header::AUTHORIZATION, self.0.authorization.clone());
        request.headers_mut().insert(header::CONTENT_TYPE, JSON);
        if let Some(SyncToken(token)) = after {
            request.headers_mut().insert(SYNC_TOKEN, token);
        }
        let answer = self.0.transport.send(request).await.inspect_err(|error| {
            if matches!(error, Error::Unreachable(_)) {
                bill.commands = 0;
            }
        });
        let (status, headers, body) = answer?;
        let token = headers.get(SYNC_TOKEN).cloned().map(SyncToken);
        match status {
            StatusCode::OK => Ok((body, token)),
            StatusCode::BAD_REQUEST => match serde_json::from_slice(&body) {
                Ok(WireReply::Error { error }) => Err(Error::refused(&error)),
                Ok(WireReply::Result { .. }) | Err(_) => Err(Error::Garbage),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::Unauthorized),
            other => Err(Error::Status(other.as_u16())),
        }
    }

    fn with_breaker<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        act(&mut self.0.breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Redis({})", self.0.single)
    }
}

/// Counts the commands of one attempt when it ends, also by being cancelled. What reached no server is not billed.
struct Bill {
    purpose: Purpose,
    commands: usize,
}

impl Drop for Bill {
    fn drop(&mut self) {
        if self.commands > 0 {
            telemetry::count(self.purpose.into(), self.commands as u64);
        }
    }
}

/// The path below the endpoint, whether or not that ends with a slash.
fn below(endpoint: &Url, path: &str) -> Result<Uri, InvalidEndpoint> {
    let mut url = endpoint.clone();
    url.set_path(&format!("{}/{path}", endpoint.path().trim_end_matches('/')));
    Uri::try_from(url.as_str()).map_err(|_| InvalidEndpoint::UnexpectedUrlParts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[(&str, &str)], problems: &[&str]) {
        let mut config = Config::from_pairs(pairs.iter().copied());
        let _ = Redis::from_config(&mut config);
        let found: Vec<_> = config
            .problems()
            .into_iter()
            .map(|problem| format!("{} {}", problem.name, problem.what))
            .collect();
        assert_eq!(found, problems);
    }

    #[test]
    fn both_variables_are_missed_together() {
        check(&[], &["UPSTASH_REDIS_REST_URL is not set", "UPSTASH_REDIS_REST_TOKEN is not set"]);
    }

    #[test]
    fn the_token_leaves_the_machine_only_over_tls() {
        let token = ("UPSTASH_REDIS_REST_TOKEN", "secret");
        check(&[("UPSTASH_REDIS_REST_URL", "http://127.0.0.1:8079"), token], &[]);
        check(&[("UPSTASH_REDIS_REST_URL", "https://eu1.upstash.io"), token], &[]);
        check(
            &[("UPSTASH_REDIS_REST_URL", "http://eu1.upstash.io"), token],
            &["UPSTASH_REDIS_REST_URL would send the token without TLS to another machine"],
        );
    }

    #[test]
    fn a_url_that_carries_a_secret_is_refused() {
        check(
            &[
                ("UPSTASH_REDIS_REST_URL", "https://eu1.upstash.io/?_token=x"),
                ("UPSTASH_REDIS_REST_TOKEN", "x"),
            ],
            &["UPSTASH_REDIS_REST_URL carries more than scheme, host and path"],
        );
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused() {
        check(
            &[("UPSTASH_REDIS_REST_URL", "https://eu1.upstash.io"), ("UPSTASH_REDIS_REST_TOKEN", "a\nb")],
            &["UPSTASH_REDIS_REST_TOKEN is not a valid HTTP header value"],
        );
    }

    #[test]
    fn the_token_is_not_in_the_debug_form() {
        let token = SecretString::from("hunter2");
        let redis = Redis::new(&"http://127.0.0.1:1/".parse().unwrap(), &token, Timeouts::default()).unwrap();
        assert_eq!(format!("{redis:?}"), "Redis(http://127.0.0.1:1/)");
    }

    #[test]
    fn paths_stand_below_the_endpoint() {
        for (endpoint, url) in [
            ("http://a.localhost", "http://a.localhost/pipeline"),
            ("http://a.localhost/r/", "http://a.localhost/r/pipeline"),
        ] {
            assert_eq!(below(&endpoint.parse().unwrap(), "pipeline").unwrap(), url);
        }
    }
}
