//! The issuer's public keys (RFC 7517), kept as long as its `Cache-Control` allows.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
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
    known: RwLock<Known>,
    /// Held while fetching, so that one request serves all who wait.
    last_fetch: Mutex<Option<Fetch>>,
}

#[derive(Default)]
struct Known {
    keys: HashMap<String, Arc<DecodingKey>>,
    fresh_until: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy)]
struct Fetch {
    at: DateTime<Utc>,
    failed: bool,
}

/// The keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer.
    #[error("issuer did not respond")]
    Transport(#[source] reqwest::Error),
    /// An answer other than 200.
    #[error("answered with status {0}")]
    Status(u16),
    /// The answer broke off or is too long.
    #[error(transparent)]
    Body(#[from] http::Error),
    /// The answer is no key set.
    #[error("response is not a key set")]
    Garbage(#[source] serde_json::Error),
    /// It was asked moments ago, without success.
    #[error("key refresh is rate limited")]
    TooSoon,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Key>,
}

/// Keys of another type are skipped.
#[derive(Deserialize)]
struct Key {
    kid: Option<String>,
    kty: String,
    n: Option<String>,
    e: Option<String>,
}

impl Keys {
    pub(super) fn new(url: Url, clock: Clock) -> Self {
        let http = http::client(CONNECT_TIMEOUT, TIMEOUT);
        Self { url, http, clock, known: RwLock::default(), last_fetch: Mutex::default() }
    }

    /// The key of that id. An unknown id is asked for, since keys rotate, but seldom. Old keys serve while newer ones
    /// are not available: the issuer does not sign with a key that it withdrew.
    pub(super) async fn get(&self, id: &str) -> Result<Option<Arc<DecodingKey>>, Error> {
        let now = self.clock.now();
        if let Some(key) = self.fresh(id, now) {
            return Ok(Some(key));
        }
        let stale = self.known().keys.get(id).cloned();
        let mut last_fetch = match (self.last_fetch.try_lock(), &stale) {
            (Ok(last_fetch), _) => last_fetch,
            // Another request is fetching them; no other needs to wait for that.
            (Err(_), Some(_)) => return Ok(stale),
            (Err(_), None) => self.last_fetch.lock().await,
        };
        if let Some(key) = self.fresh(id, now) {
            return Ok(Some(key));
        }
        let recent = last_fetch.filter(|fetch| (now - fetch.at).abs() < MIN_INTERVAL);
        match (recent, stale) {
            (Some(_), Some(key)) => return Ok(Some(key)),
            (Some(Fetch { failed: true, .. }), None) => return Err(Error::TooSoon),
            (Some(Fetch { failed: false, .. }), None) => return Ok(None),
            (None, _) => {}
        }
        let fetched = self.fetch().await;
        *last_fetch = Some(Fetch { at: now, failed: fetched.is_err() });
        let stale = self.known().keys.get(id).cloned();
        match (fetched, stale) {
            (Ok((keys, max_age)), _) => {
                let key = keys.get(id).cloned();
                let known = Known { keys, fresh_until: Some(now + max_age) };
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
                Ok(key)
            }
            (Err(error), Some(key)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "keys of the issuer not refreshed");
                Ok(Some(key))
            }
            (Err(error), None) => Err(error),
        }
    }

    fn fresh(&self, id: &str, now: DateTime<Utc>) -> Option<Arc<DecodingKey>> {
        let known = self.known();
        known.fresh_until.filter(|until| now < *until).and_then(|_| known.keys.get(id).cloned())
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
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
