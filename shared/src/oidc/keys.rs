//! The issuer's public keys (RFC 7517), kept as long as its `Cache-Control` allows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::DecodingKey;
use reqwest::header::CACHE_CONTROL;
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use crate::clock::Clock;
use crate::http;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_BYTES: usize = 256 * 1024;
/// Used when the answer names no time.
const DEFAULT_MAX_AGE: TimeDelta = TimeDelta::minutes(5);
/// Tokens with made-up key ids must not turn into requests to the issuer.
const MIN_INTERVAL: TimeDelta = TimeDelta::seconds(10);

pub(super) struct Keys {
    url: Url,
    http: reqwest::Client,
    clock: Clock,
    /// Held while fetching, so that one request serves all who wait.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    keys: HashMap<String, Arc<DecodingKey>>,
    fetched: Option<DateTime<Utc>>,
    fresh_until: Option<DateTime<Utc>>,
}

/// The keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer.
    #[error("no answer")]
    Transport(#[source] reqwest::Error),
    /// An answer other than 200.
    #[error("answered with status {0}")]
    Status(u16),
    /// The answer broke off or is too long.
    #[error(transparent)]
    Body(#[from] http::Error),
    /// The answer is no key set.
    #[error("no key set")]
    Garbage(#[source] serde_json::Error),
    /// It was asked moments ago, without success.
    #[error("asked a moment ago")]
    TooSoon,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Key>,
}

/// Keys of another type or use have other fields and are passed over.
#[derive(Deserialize)]
struct Key {
    kid: Option<String>,
    kty: String,
    n: Option<String>,
    e: Option<String>,
}

impl Keys {
    pub(super) fn new(url: Url, clock: Clock) -> Self {
        Self { url, http: http::client(CONNECT_TIMEOUT, TIMEOUT), clock, known: Mutex::default() }
    }

    /// The key of that id. An unknown id is asked for, since keys rotate, but seldom.
    pub(super) async fn get(&self, id: &str) -> Result<Option<Arc<DecodingKey>>, Error> {
        let mut known = self.known.lock().await;
        let now = self.clock.now();
        let fresh = known.fresh_until.is_some_and(|until| now < until);
        if let (Some(key), true) = (known.keys.get(id), fresh) {
            return Ok(Some(key.clone()));
        }
        if known.fetched.is_none_or(|fetched| (now - fetched).abs() >= MIN_INTERVAL) {
            known.fetched = Some(now);
            match self.fetch().await {
                Ok((keys, max_age)) => {
                    known.keys = keys;
                    known.fresh_until = Some(now + max_age);
                }
                // Old keys are better than none: the issuer does not sign with a key that it withdrew.
                Err(error) if known.keys.contains_key(id) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "keys of the issuer not refreshed"
                    );
                }
                Err(error) => return Err(error),
            }
        } else if known.keys.is_empty() {
            return Err(Error::TooSoon);
        }
        Ok(known.keys.get(id).cloned())
    }

    async fn fetch(&self) -> Result<(HashMap<String, Arc<DecodingKey>>, TimeDelta), Error> {
        let response = self.http.get(self.url.clone()).send().await.map_err(Error::Transport)?;
        if !response.status().is_success() {
            return Err(Error::Status(response.status().as_u16()));
        }
        let max_age = response.headers().get(CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
        let body = http::read_limited(response, MAX_BYTES).await?;
        let set: KeySet = serde_json::from_slice(&body).map_err(Error::Garbage)?;
        let keys = set.keys.into_iter().filter(|key| key.kty == "RSA").filter_map(|key| {
            let decoding = DecodingKey::from_rsa_components(&key.n?, &key.e?).ok()?;
            Some((key.kid?, Arc::new(decoding)))
        });
        Ok((keys.collect(), max_age.unwrap_or(DEFAULT_MAX_AGE)))
    }
}

/// `max-age` of a `Cache-Control` header (RFC 9111, section 5.2.2.1).
fn max_age(header: &str) -> Option<TimeDelta> {
    let seconds = header.split(',').find_map(|part| part.trim().strip_prefix("max-age="))?;
    TimeDelta::try_seconds(seconds.parse::<u32>().ok()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_found_among_other_directives() {
        assert_eq!(max_age("public, max-age=20842, must-revalidate"), TimeDelta::try_seconds(20_842));
        assert_eq!(max_age("no-store"), None);
        assert_eq!(max_age("max-age=-1"), None);
    }
}
