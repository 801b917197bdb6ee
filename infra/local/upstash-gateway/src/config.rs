//! What an operator can set.

use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionInfo, IntoConnectionInfo};
use secrecy::{ExposeSecret, SecretString};

use crate::{Billing, Unkindness};

/// Upstash's limit for one request, in bytes.
pub const DEFAULT_MAX_REQUEST_BYTES: usize = 10 * 1024 * 1024;

/// Configuration of one gateway. [`Config::new`] fills in the defaults; every field may be changed afterwards.
#[derive(Debug, Clone)]
pub struct Config {
    /// `redis://[user:password@]host:port/db` or `unix:///path/to/socket?db=0`.
    pub redis_url: SecretString,
    /// The token that allows everything.
    pub token: SecretString,
    /// A token that allows reading only; none by default.
    pub read_only_token: Option<SecretString>,
    /// How many connections to Redis carry commands (opened when first needed). Each stream has one of its own besides.
    pub redis_connections: usize,
    /// How long a request waits for a connection to Redis to be made.
    pub connect_timeout: Duration,
    /// How long Redis may take to answer a request (a whole pipeline counts as one).
    pub response_timeout: Duration,
    /// How long a client may take to send a request's body.
    pub body_timeout: Duration,
    /// Largest body, in bytes.
    pub max_request_bytes: usize,
    /// HTTP connections at a time; further ones wait to be accepted.
    pub max_connections: usize,
    /// Open `/subscribe` and `/monitor` streams at a time; further ones get 503.
    pub max_streams: usize,
    /// How long requests under way may take to finish after shutdown was asked for.
    pub drain_timeout: Duration,
    /// Whether `GET /__stats` (the [`crate::Bill`] so far) and `DELETE /__stats` (the same, then reset) are served.
    pub stats: bool,
    /// Whether the calls inside scripts are counted too, as Upstash bills them. Exact, but each script then runs in a
    /// transaction between two `INFO commandstats`.
    pub count_script_calls: bool,
    /// Counts what Upstash would bill; keep a clone to read it in the same process.
    pub billing: Arc<Billing>,
    /// Faults that can be switched on; keep a clone to do so in the same process.
    pub unkindness: Arc<Unkindness>,
    /// Whether faults can be caused over HTTP (with the token): `POST /__admin/lose-writes/<duration>`,
    /// `POST /__admin/evict/<share>[/<pattern>]` and `POST /__admin/flush`.
    pub admin: bool,
}

/// Something in a [`Config`] that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigProblem {
    /// An empty token would let everybody in.
    #[error("the token (UPSTASH_REDIS_REST_TOKEN) is empty")]
    EmptyToken,
    /// The read-only token is set, but empty.
    #[error("the read-only token (UPSTASH_REDIS_REST_READONLY_TOKEN) is empty")]
    EmptyReadOnlyToken,
    /// One token cannot mean two things.
    #[error("the read-only token equals the token")]
    EqualTokens,
    /// Not a URL that leads to a Redis.
    #[error("the address of Redis (REDIS_URL) is not of the form redis://host:port/db or unix:///path?db=0")]
    RedisUrl(#[source] redis::RedisError),
    /// `rediss://` was asked for.
    #[error("the address of Redis (REDIS_URL) asks for TLS, which this gateway does not speak")]
    Tls,
    /// A count of which at least one is needed.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
}

impl Config {
    /// The defaults for a Redis and a token; white space around either (a newline from a secret file) is dropped.
    #[must_use]
    pub fn new(redis_url: &str, token: &str) -> Self {
        Self {
            redis_url: redis_url.trim().into(),
            token: token.trim().into(),
            read_only_token: None,
            redis_connections: 4,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(30),
            max_request_bytes: DEFAULT_MAX_REQUEST_BYTES,
            max_connections: 1024,
            max_streams: 256,
            drain_timeout: Duration::from_secs(8),
            stats: false,
            count_script_calls: false,
            billing: Arc::default(),
            unkindness: Arc::default(),
            admin: false,
        }
    }

    /// Everything that is wrong with this configuration; empty when it can be served.
    #[must_use]
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let token = self.token.expose_secret();
        let read_only = self.read_only_token.as_ref().map(ExposeSecret::expose_secret);
        let mut problems = Vec::new();
        if token.is_empty() {
            problems.push(ConfigProblem::EmptyToken);
        }
        match read_only {
            Some("") => problems.push(ConfigProblem::EmptyReadOnlyToken),
            Some(other) if other == token => problems.push(ConfigProblem::EqualTokens),
            Some(_) | None => {}
        }
        problems.extend(self.redis().err());
        let counts = [
            ("the number of connections to Redis", self.redis_connections),
            ("the number of HTTP connections", self.max_connections),
            ("the number of bytes in a request", self.max_request_bytes),
        ];
        problems.extend(counts.iter().filter(|(_, n)| *n == 0).map(|(what, _)| ConfigProblem::Zero(what)));
        problems
    }

    /// Where and how to connect to Redis.
    pub(crate) fn redis(&self) -> Result<ConnectionInfo, ConfigProblem> {
        let url = self.redis_url.expose_secret();
        // The client library, built without TLS, would call a TLS address malformed.
        if ["rediss:", "valkeys:"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(ConfigProblem::Tls);
        }
        let info = url.into_connection_info().map_err(ConfigProblem::RedisUrl)?;
        // RESP2: its replies are the ones that Upstash's JSON shows (doubles are strings, maps are flat arrays).
        let settings = info.redis_settings().clone().set_protocol(redis::ProtocolVersion::RESP2);
        Ok(info.set_redis_settings(settings))
    }
}
