//! The OAuth tokens of users: read, renewed, and their health kept.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use shared::clock::Clock;
use shared::config::InvalidConfig;
use shared::db;
use shared::failure::Failure;
use shared::http;
use shared::job::Setup;
use uuid::Uuid;

use super::notices::{self, Finding};
use super::refusals::Decision;
use super::scope;
use super::token_encryption::{self, TokenCipher};
use super::token_endpoint::TokenEndpoint;
use crate::application::Application;
#[cfg(feature = "google-apis")]
use crate::db::google_waits::{GoogleWait, GoogleWaits};
use crate::db::oauth_tokens::{NewToken, OauthTokens, StoredToken};
use crate::db::refused_tokens::RefusedTokens;
use crate::db::token_health::{HealthReport, Notice, TokenHealth};
use crate::event::EventCode;
use crate::payload::Integration;
use crate::variables;

/// An access token that expires within this time is renewed before it is used.
#[cfg(feature = "google-apis")]
const USABLE_FOR: Duration = Duration::from_mins(5);
/// The user is notified of a token that cannot be renewed this long before it ends.
const EXPIRES_SOON: Duration = Duration::from_hours(24);

/// What the token endpoint says of the application's client, whichever token it is asked about.
const CLIENT_ERRORS: [&str; 3] = ["invalid_client", "deleted_client", "disabled_client"];
/// Wait for the operator to change the configuration.
pub(super) const MISCONFIGURED_WAIT: Duration = Duration::from_mins(5);
/// Likewise, while Google refuses many users' tokens: each try asks it about another of them.
const MANY_REFUSED_WAIT: Duration = Duration::from_hours(1);

/// The users' tokens. Clones share everything.
#[derive(Debug, Clone)]
pub struct Tokens {
    stored: OauthTokens,
    health: TokenHealth,
    refused: RefusedTokens,
    #[cfg(feature = "google-apis")]
    waits: GoogleWaits,
    clock: Clock,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cipher: TokenCipher,
    endpoint: TokenEndpoint,
    application: Application,
}

/// There is no usable access token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The user has no token for the integration.
    #[error("user has no token")]
    NotConnected,
    /// The user must connect again; the token's health says so, and a notification is open.
    #[error("refresh token revoked or missing")]
    Revoked,
    /// The user has not granted all that the integration needs; health and notification say so.
    #[error("token lacks a scope")]
    MissingScope,
    /// Google refuses the refresh token, and it is too early to tell whether only this one.
    #[error("refresh token refused, perhaps not by the user's doing")]
    Suspected {
        /// When to try again.
        until: DateTime<Utc>,
    },
    /// Google refuses so many refresh tokens that no user is to blame.
    #[error("refresh tokens of many users refused")]
    ManyRefused,
    /// The stored token changed while it was renewed, and what is stored now is not usable either.
    #[error("token changed while it was renewed")]
    Superseded,
    /// The stored token cannot be decrypted.
    #[error("token cannot be decrypted")]
    Encryption(#[from] token_encryption::Error),
    /// The application's credentials are wrong; no user is to blame.
    #[error("token endpoint refuses the application: {status} {code}")]
    Refused {
        /// The answer's status.
        status: StatusCode,
        /// The answer's `error`.
        code: String,
    },
    /// 5xx, a limit, or a status that a token endpoint does not answer with.
    #[error("token endpoint answers {0}")]
    Unavailable(StatusCode),
    /// No connection, or no answer in time.
    #[error("no answer from the token endpoint")]
    Transport(#[source] reqwest::Error),
    /// The answer broke off or is too long.
    #[error("token endpoint response was incomplete or too large")]
    Answer(#[source] http::Error),
    /// The answer is no token.
    #[error("answer of the token endpoint cannot be read")]
    Garbage,
    /// The database failed.
    #[error("tokens cannot be read or stored")]
    Database(#[from] db::Error),
}

impl TokenError {
    /// Google refuses the application's OAuth client: the answer is the same for every user.
    fn is_about_the_client(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if CLIENT_ERRORS.contains(&code.as_str()))
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Database(error) => error.into(),
            TokenError::NotConnected | TokenError::Revoked | TokenError::MissingScope => {
                Self::permanent(error)
            }
            error if error.is_about_the_client() => Self::unavailable(MISCONFIGURED_WAIT, error),
            TokenError::ManyRefused => Self::unavailable(MANY_REFUSED_WAIT, error),
            // A wrong key is put right by a deployment: the task must outlive it.
            TokenError::Encryption(_)
            | TokenError::Refused { .. }
            | TokenError::Suspected { .. }
            | TokenError::Superseded
            | TokenError::Unavailable(_)
            | TokenError::Transport(_)
            | TokenError::Answer(_)
            | TokenError::Garbage => Self::transient(error),
        }
    }
}

impl Tokens {
    /// Reads the encryption key, the application's OAuth client and the token endpoint.
    ///
    /// Their problems are reported together.
    pub fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let (stored, health, clock) = (OauthTokens::new(setup), TokenHealth::new(setup), setup.clock());
        let refused = RefusedTokens::new(setup);
        #[cfg(feature = "google-apis")]
        let waits = GoogleWaits::new(setup);
        let config = setup.config();
        let cipher = config.secret(&variables::ENCRYPTION_KEY).and_then(|key| {
            let cipher = key.expose_secret().parse();
            cipher.map_err(|error: token_encryption::Error| {
                config.problem(&variables::ENCRYPTION_KEY, format!("cannot be used: {error}"))
            })
        });
        let endpoint = TokenEndpoint::from_config(config);
        let application = Application::from_config(config);
        let inner = Inner { cipher: cipher?, endpoint: endpoint?, application: application? };
        Ok(Self {
            stored: stored?,
            health: health?,
            refused: refused?,
            #[cfg(feature = "google-apis")]
            waits: waits?,
            clock,
            inner: Arc::new(inner),
        })
    }

    /// An access token that is good for five minutes at least, renewed if need be, for the one that is stored.
    ///
    /// One that cannot be renewed is given out until its end.
    #[cfg(feature = "google-apis")]
    pub(super) async fn usable(
        &self,
        user_id: Uuid,
        integration: Integration,
        stored: StoredToken,
    ) -> Result<SecretString, TokenError> {
        if outlasts(&stored, self.clock.now() + USABLE_FOR) {
            return self.decrypt(&stored);
        }
        self.exchange(user_id, integration, stored).await
    }

    /// What is stored, and what the user's calls wait for.
    #[cfg(feature = "google-apis")]
    pub(super) async fn stored_with_wait(
        &self,
        user_id: Uuid,
        integration: Integration,
    ) -> Result<(StoredToken, Option<GoogleWait>), TokenError> {
        self.waits.with_token(user_id, integration).await?.ok_or(TokenError::NotConnected)
    }

    #[cfg(feature = "google-apis")]
    pub(super) fn waits(&self) -> &GoogleWaits {
        &self.waits
    }

    #[cfg(feature = "google-apis")]
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Renews the access token, whatever its age, and keeps the token's health and notifications.
    ///
    /// [`TokenError::Revoked`] and [`TokenError::MissingScope`] after health and notification are written; no other error
    /// changes either.
    pub async fn refresh(&self, user_id: Uuid, integration: Integration) -> Result<SecretString, TokenError> {
        let stored = self.stored(user_id, integration).await?;
        self.exchange(user_id, integration, stored).await
    }

    /// Another access token than `refused`: the stored one if another task renewed it meanwhile, else a fresh one.
    #[cfg(feature = "google-apis")]
    pub(super) async fn renew(
        &self,
        user_id: Uuid,
        integration: Integration,
        refused: &SecretString,
    ) -> Result<SecretString, TokenError> {
        let stored = self.stored(user_id, integration).await?;
        let current = self.decrypt(&stored)?;
        if current.expose_secret() != refused.expose_secret() && outlasts(&stored, self.clock.now()) {
            return Ok(current);
        }
        self.exchange(user_id, integration, stored).await
    }

    async fn stored(&self, user_id: Uuid, integration: Integration) -> Result<StoredToken, TokenError> {
        self.stored.get(user_id, integration).await?.ok_or(TokenError::NotConnected)
    }

    fn decrypt(&self, stored: &StoredToken) -> Result<SecretString, TokenError> {
        Ok(self.inner.cipher.decrypt(&stored.access_token)?)
    }

    /// Nothing is locked while Google answers: each write holds only if the row is still the one that was read.
    async fn exchange(
        &self,
        user_id: Uuid,
        integration: Integration,
        stored: StoredToken,
    ) -> Result<SecretString, TokenError> {
        let cipher = &self.inner.cipher;
        let Some(used) = &stored.refresh_token else {
            return self.without_refresh_token(user_id, integration, &stored).await;
        };
        let used = cipher.decrypt(used)?;
        match self.inner.endpoint.exchange(&used).await {
            Ok(grant) => {
                let now = self.clock.now();
                let access_token = cipher.encrypt(&grant.access_token);
                let rotated = grant
                    .refresh_token
                    .filter(|token| token.expose_secret() != used.expose_secret())
                    .map(|token| cipher.encrypt(&token));
                let new = NewToken {
                    access_token: &access_token,
                    refresh_token: rotated.as_deref(),
                    expires_at: now + grant.expires_in,
                    is_sufficient: scope::is_sufficient(integration, grant.scope.as_deref()),
                };
                if !self.stored.store_refreshed(user_id, integration, &stored, new, now).await? {
                    self.superseded(user_id, integration).await
                } else if new.is_sufficient {
                    Ok(grant.access_token)
                } else {
                    self.lacks_scope(user_id, integration, &grant.access_token).await?;
                    Err(TokenError::MissingScope)
                }
            }
            Err(TokenError::Revoked) => self.refused(user_id, integration, &stored).await,
            Err(error) => {
                if error.is_about_the_client() {
                    tracing::error!(event = %EventCode::GoogleMisconfigured, %error, "google refuses the application");
                }
                Err(error)
            }
        }
    }

    /// Google answers `invalid_grant`.
    async fn refused(
        &self,
        user_id: Uuid,
        integration: Integration,
        stored: &StoredToken,
    ) -> Result<SecretString, TokenError> {
        if self.health.is_marked_refused(user_id, integration).await? {
            return Err(TokenError::Revoked);
        }
        let now = self.clock.now();
        let Some(refusals) = self.refused.record(user_id, integration, stored, now).await? else {
            return self.superseded(user_id, integration).await;
        };
        match refusals.decide(now) {
            Decision::Believed => {
                if self.report(user_id, integration, stored, Finding::Refused).await? {
                    Err(TokenError::Revoked)
                } else {
                    self.superseded(user_id, integration).await
                }
            }
            Decision::Early { until } => Err(TokenError::Suspected { until }),
            Decision::Many => {
                if self.refused.raise_alarm(now).await? {
                    tracing::error!(
                        event = %EventCode::ManyRefusedTokens,
                        refused = refusals.refused,
                        "google refuses the tokens of many users: no user is marked, the fault is ours"
                    );
                }
                Err(TokenError::ManyRefused)
            }
        }
    }

    /// Marks a token that lacks a scope, if it is still the user's.
    pub(super) async fn lacks_scope(
        &self,
        user_id: Uuid,
        integration: Integration,
        token: &SecretString,
    ) -> Result<(), TokenError> {
        let Some(stored) = self.stored.get(user_id, integration).await? else { return Ok(()) };
        if self.decrypt(&stored)?.expose_secret() == token.expose_secret() {
            self.report(user_id, integration, &stored, Finding::MissingScope).await?;
        }
        Ok(())
    }

    /// A token without refresh token works until it expires; its user is notified a day before, and when it has
    /// expired.
    async fn without_refresh_token(
        &self,
        user_id: Uuid,
        integration: Integration,
        stored: &StoredToken,
    ) -> Result<SecretString, TokenError> {
        let now = self.clock.now();
        let usable = outlasts(stored, now);
        let finding = if outlasts(stored, now + EXPIRES_SOON) {
            Finding::Usable
        } else if usable {
            Finding::ExpiresSoon
        } else {
            Finding::Expired
        };
        if !self.report(user_id, integration, stored, finding).await? {
            self.superseded(user_id, integration).await
        } else if usable {
            self.decrypt(stored)
        } else {
            Err(TokenError::Revoked)
        }
    }

    /// Another task stored a token while we used ours: theirs is the newer, whatever ours came to.
    async fn superseded(&self, user_id: Uuid, integration: Integration) -> Result<SecretString, TokenError> {
        let stored = self.stored(user_id, integration).await?;
        if outlasts(&stored, self.clock.now()) { self.decrypt(&stored) } else { Err(TokenError::Superseded) }
    }

    /// Writes the token's health and the notification that goes with it; `false` if the token is another by now.
    async fn report(
        &self,
        user_id: Uuid,
        integration: Integration,
        used: &StoredToken,
        finding: Finding,
    ) -> Result<bool, TokenError> {
        let text = notices::text(integration, finding)
            .map(|(kind, text)| (kind, text, self.inner.application.preferences()));
        let notice =
            text.as_ref().map(|(kind, message, re_auth_link)| Notice { kind: *kind, message, re_auth_link });
        let (status, error) = finding.health();
        let report = HealthReport { status, expires_at: used.expires_at, error, notice };
        Ok(self.health.report(user_id, integration, used, &report, self.clock.now()).await?)
    }
}

/// Whether the access token is still good at `moment`; one without a known end is not.
fn outlasts(stored: &StoredToken, moment: DateTime<Utc>) -> bool {
    stored.expires_at.is_some_and(|end| end > moment)
}
