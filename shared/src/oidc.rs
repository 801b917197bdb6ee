//! Identity tokens of callers: RS256, from one issuer, for our audience, of an allowed identity.
//!
//! Source: <https://cloud.google.com/tasks/docs/creating-http-target-tasks#token>,
//! OpenID Connect Core 1.0, section 3.1.3.7.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Once;

use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use url::Url;

use crate::clock::Clock;
use crate::config::{Config, InvalidConfig, variables};
use crate::http::is_safe_for_credentials;

mod keys;
mod ring_provider;
mod verified;

use keys::Keys;
use verified::Verified;

/// Clocks may differ by this much.
const LEEWAY_SECONDS: u64 = 60;
/// An identity token has some 1,000 bytes; no caller needs to make us hash megabytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Google signs with either spelling.
const GOOGLE_ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];

/// Checks identity tokens; the keys are fetched on first use.
pub struct Verifier {
    keys: Keys,
    validation: Validation,
    callers: BTreeSet<String>,
    clock: Clock,
    verified: Verified,
}

/// A token that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Missing, malformed, forged, expired or for another audience: 401.
    #[error("identity token: {}", .0.name())]
    Unauthorized(Rejection),
    /// Genuine, of an identity that may not call: 403.
    #[error("caller is not allowed")]
    Forbidden,
    /// The keys are unavailable: 503.
    #[error("keys of the issuer")]
    Unavailable(#[source] keys::Error),
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumIter, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Rejection {
    /// There is none.
    Missing,
    /// It is no token.
    Malformed,
    /// Its algorithm is not the one that the issuer uses.
    Algorithm,
    /// It names no key.
    #[strum(serialize = "no key id")]
    NoKeyId,
    /// The issuer has no such key.
    #[strum(serialize = "unknown key")]
    UnknownKey,
    /// Another issuer signed it, or it was changed.
    Signature,
    /// It has expired.
    Expired,
    /// Its time has not begun.
    #[strum(serialize = "not yet valid")]
    NotYetValid,
    /// Another issuer signed it.
    Issuer,
    /// It is meant for another service.
    Audience,
}

impl Rejection {
    /// A stable name, for responses and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

#[derive(Deserialize)]
struct Claims {
    email: Option<String>,
    #[serde(default)]
    email_verified: bool,
    iat: Option<i64>,
    exp: i64,
}

impl Verifier {
    /// Reads issuer, audiences and callers; `default_audience` counts when none is set.
    pub fn from_config(
        config: &mut Config,
        default_audience: Result<String, InvalidConfig>,
        clock: Clock,
    ) -> Result<Self, InvalidConfig> {
        let issuer = config.required::<String>(&variables::OIDC_ISSUER);
        let jwks_url = config.required::<Url>(&variables::OIDC_JWKS_URL);
        let audiences = config.optional::<String>(&variables::OIDC_AUDIENCES);
        let account = config.required::<String>(&variables::SERVICE_ACCOUNT_EMAIL);
        let others = config.optional::<String>(&variables::OIDC_CALLERS);
        let jwks_url = jwks_url?;
        if !is_safe_for_credentials(&jwks_url) {
            return Err(config.problem(&variables::OIDC_JWKS_URL, "could be answered by anybody"));
        }
        let audiences = match audiences? {
            Some(list) => match split(&list).collect::<Vec<_>>() {
                audiences if audiences.is_empty() => {
                    return Err(config.problem(&variables::OIDC_AUDIENCES, "names no audience"));
                }
                audiences => audiences,
            },
            None => vec![default_audience?],
        };
        let callers = std::iter::once(account?).chain(split(&others?.unwrap_or_default())).collect();
        Ok(Self::new(Keys::new(jwks_url, clock.clone()), &issuer?, &audiences, callers, clock))
    }

    fn new(keys: Keys, issuer: &str, audiences: &[String], callers: BTreeSet<String>, clock: Clock) -> Self {
        static PROVIDER: Once = Once::new();
        // Another provider can only be there if other code in the process chose one, on purpose.
        PROVIDER.call_once(|| {
            let _already_installed = ring_provider::PROVIDER.install_default();
        });
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(audiences);
        if GOOGLE_ISSUERS.contains(&issuer) {
            validation.set_issuer(&GOOGLE_ISSUERS);
        } else {
            validation.set_issuer(&[issuer]);
        }
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        Self { keys, validation, callers, clock, verified: Verified::default() }
    }

    /// Accepts the value of an `Authorization` header, or says why not. A token that was accepted is accepted without another
    /// look until it expires.
    pub async fn verify(&self, authorization: Option<&str>) -> Result<(), Error> {
        let token = authorization
            .ok_or(Error::Unauthorized(Rejection::Missing))?
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|token| token.len() <= MAX_TOKEN_BYTES)
            .ok_or(Error::Unauthorized(Rejection::Malformed))?;
        let now = self.clock.now().timestamp();
        let digest = Verified::digest(token);
        if self.verified.contains(&digest, now) {
            return Ok(());
        }
        let header =
            jsonwebtoken::decode_header(token).map_err(|_| Error::Unauthorized(Rejection::Malformed))?;
        if header.alg != Algorithm::RS256 {
            return Err(Error::Unauthorized(Rejection::Algorithm));
        }
        let key_id = header.kid.ok_or(Error::Unauthorized(Rejection::NoKeyId))?;
        // Boxed, as it is seldom asked for: most tokens are known.
        let key = Box::pin(self.keys.get(&key_id))
            .await
            .map_err(Error::Unavailable)?
            .ok_or(Error::Unauthorized(Rejection::UnknownKey))?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &self.validation)
            .map_err(|error| Error::Unauthorized(rejection(error.kind())))?
            .claims;
        let leeway = i64::try_from(LEEWAY_SECONDS).unwrap_or_default();
        if claims.iat.is_some_and(|issued| issued > now + leeway) {
            return Err(Error::Unauthorized(Rejection::NotYetValid));
        }
        match claims.email {
            Some(email) if claims.email_verified && self.callers.contains(&email) => {
                self.verified.insert(digest, claims.exp, now);
                Ok(())
            }
            Some(_) | None => Err(Error::Forbidden),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Verifier").field("callers", &self.callers).finish_non_exhaustive()
    }
}

fn split(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty())
}

fn rejection(kind: &jsonwebtoken::errors::ErrorKind) -> Rejection {
    use jsonwebtoken::errors::ErrorKind;
    match kind {
        ErrorKind::InvalidSignature => Rejection::Signature,
        ErrorKind::ExpiredSignature => Rejection::Expired,
        ErrorKind::ImmatureSignature => Rejection::NotYetValid,
        ErrorKind::InvalidIssuer => Rejection::Issuer,
        ErrorKind::InvalidAudience => Rejection::Audience,
        // The enum is open; anything else is a token that is not one.
        _ => Rejection::Malformed,
    }
}
