//! Who is there, as Identity-Aware Proxy says with each request: in a header that it signs, and that is checked here.
//!
//! Source: <https://cloud.google.com/iap/docs/signed-headers-howto>.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use chrono::{DateTime, TimeDelta, Utc};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use shared::http;
use tokio::sync::Mutex;
use url::Url;

/// Where IAP puts its assertion.
pub(super) const HEADER: &str = "x-goog-iap-jwt-assertion";
const ISSUER: &str = "https://cloud.google.com/iap";
pub(super) const KEYS: &str = "https://www.gstatic.com/iap/verify/public_key-jwk";
const ALGORITHM: &str = "ES256";
/// Clocks may differ by this much.
const LEEWAY: TimeDelta = TimeDelta::seconds(30);
/// An assertion has some 1,000 bytes.
const MAX_ASSERTION_BYTES: usize = 16 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_KEYS_BYTES: usize = 256 * 1024;
/// Google's keys are asked for again after so long.
const MAX_AGE: TimeDelta = TimeDelta::hours(1);
/// Assertions with made-up key ids must not turn into requests to Google.
const MIN_INTERVAL: TimeDelta = TimeDelta::seconds(10);
/// What stands before the two coordinates of a point that is not compressed (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;
const COORDINATE_BYTES: usize = 32;

/// What is expected of an assertion, and what those may do who have one.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    /// `/projects/NUMBER/global/backendServices/ID`, or Cloud Run's form.
    pub(super) audience: String,
    /// E-mail addresses of who may act. All others may read.
    pub(super) operators: Vec<String>,
    /// Of who also sees bodies.
    pub(super) personal: Vec<String>,
}

/// Checks assertions; the keys are fetched on first use. Clones share them.
#[derive(Clone)]
pub(super) struct Iap {
    audience: Arc<str>,
    operators: Arc<BTreeSet<String>>,
    personal: Arc<BTreeSet<String>>,
    keys: Arc<Keys>,
}

/// Who is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    /// In lower case.
    pub(super) email: String,
    pub(super) may_operate: bool,
    pub(super) sees_bodies: bool,
}

/// Why an assertion is not accepted.
#[derive(Debug)]
pub(super) enum Error {
    /// What is wrong with it.
    Rejected(&'static str),
    /// The keys are.
    Unavailable(anyhow::Error),
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    #[serde(default)]
    kid: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    exp: i64,
    iat: i64,
    #[serde(default)]
    email: String,
}

struct Keys {
    url: Url,
    http: reqwest::Client,
    /// Held while fetching, so that one request serves all who wait.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    keys: HashMap<String, Vec<u8>>,
    asked_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    #[serde(default)]
    kid: String,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
}

impl Iap {
    /// Keys are Google's, or those of a server on loopback.
    pub(super) fn new(policy: Policy, keys: &str) -> anyhow::Result<Self> {
        let url: Url = keys.parse().context("the address of the keys is malformed")?;
        ensure!(keys == KEYS || http::is_loopback(&url), "the keys are those of {KEYS}");
        let http = http::client(CONNECT_TIMEOUT, TIMEOUT);
        let emails =
            |list: Vec<String>| Arc::new(list.iter().map(|it| it.trim().to_ascii_lowercase()).collect());
        Ok(Self {
            audience: policy.audience.into(),
            operators: emails(policy.operators),
            personal: emails(policy.personal),
            keys: Arc::new(Keys { url, http, known: Mutex::default() }),
        })
    }

    /// Who the assertion says is there, or why it is not accepted.
    pub(super) async fn verify(&self, assertion: Option<&str>, now: DateTime<Utc>) -> Result<Person, Error> {
        let assertion =
            assertion.ok_or(Error::Rejected("The assertion of Identity-Aware Proxy is missing."))?;
        if assertion.len() > MAX_ASSERTION_BYTES {
            return Err(malformed());
        }
        let (signed, signature) = assertion.rsplit_once('.').ok_or_else(malformed)?;
        let (head, claims) = signed.split_once('.').ok_or_else(malformed)?;
        let head: Head = decoded(head).ok_or_else(malformed)?;
        if head.alg != ALGORITHM {
            return Err(Error::Rejected("The assertion of Identity-Aware Proxy has another algorithm."));
        }
        let key = self.keys.get(&head.kid, now).await.map_err(Error::Unavailable)?;
        let key =
            key.ok_or(Error::Rejected("The assertion of Identity-Aware Proxy names an unknown key."))?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_invalid| malformed())?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(signed.as_bytes(), &signature).map_err(
            |_forged| Error::Rejected("The assertion of Identity-Aware Proxy has another signature."),
        )?;
        // From here on it is Google's.
        let claims: Claims = decoded(claims).ok_or_else(malformed)?;
        self.person(&claims, now)
    }

    fn person(&self, claims: &Claims, now: DateTime<Utc>) -> Result<Person, Error> {
        let (now, leeway) = (now.timestamp(), LEEWAY.num_seconds());
        for (is_wrong, what) in [
            (claims.iss != ISSUER, "The assertion of Identity-Aware Proxy is of another issuer."),
            (claims.aud != *self.audience, "The assertion of Identity-Aware Proxy is for another audience."),
            (claims.exp.saturating_add(leeway) <= now, "The assertion of Identity-Aware Proxy has expired."),
            (
                claims.iat.saturating_sub(leeway) > now,
                "The assertion of Identity-Aware Proxy is not yet valid.",
            ),
            (claims.email.is_empty(), "The assertion of Identity-Aware Proxy names no one."),
        ] {
            if is_wrong {
                return Err(Error::Rejected(what));
            }
        }
        let email = claims.email.to_ascii_lowercase();
        let sees_bodies = self.personal.contains(&email);
        Ok(Person { may_operate: sees_bodies || self.operators.contains(&email), sees_bodies, email })
    }
}

impl Keys {
    /// The key of that id. An unknown id is asked for, since keys rotate, but seldom. Old keys serve while newer ones are
    /// unavailable.
    async fn get(&self, id: &str, now: DateTime<Utc>) -> anyhow::Result<Option<Vec<u8>>> {
        let mut known = self.known.lock().await;
        let age = known.asked_at.map(|asked_at| now - asked_at);
        let key = known.keys.get(id).cloned();
        let is_fresh = age.is_some_and(|age| age < if key.is_some() { MAX_AGE } else { MIN_INTERVAL });
        if is_fresh {
            return Ok(key);
        }
        known.asked_at = Some(now);
        match self.fetch().await {
            Ok(keys) => {
                known.keys = keys;
                Ok(known.keys.get(id).cloned())
            }
            Err(error) if key.is_some() => {
                eprintln!("console: the keys of Identity-Aware Proxy are not refreshed: {error:#}");
                Ok(key)
            }
            Err(error) => Err(error),
        }
    }

    async fn fetch(&self) -> anyhow::Result<HashMap<String, Vec<u8>>> {
        let response = self.http.get(self.url.clone()).send().await.map_err(reqwest::Error::without_url);
        let response = response.context("they are not served")?;
        ensure!(response.status().is_success(), "their server responded {}", response.status());
        let set: KeySet = serde_json::from_slice(&http::read_limited(response, MAX_KEYS_BYTES).await?)?;
        let keys = set.keys.into_iter().filter(|key| key.crv == "P-256");
        Ok(keys.filter_map(|key| Some((key.kid.clone(), point(&key)?))).collect())
    }
}

fn malformed() -> Error {
    Error::Rejected("The assertion of Identity-Aware Proxy is malformed.")
}

/// As ring takes a public key.
fn point(key: &Key) -> Option<Vec<u8>> {
    let mut point = vec![UNCOMPRESSED];
    for coordinate in [&key.x, &key.y] {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(coordinate).ok()?;
        if bytes.len() != COORDINATE_BYTES {
            return None;
        }
        point.extend(bytes);
    }
    Some(point)
}

fn decoded<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
