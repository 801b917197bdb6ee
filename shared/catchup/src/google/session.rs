//! A user's session at a Google API: an access token, and the calls made with it.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use shared::telemetry::vendor_call;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Error, TokenError, Tokens};
use crate::payload::Integration;

/// Time that one call gets, its whole answer included.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// An access token that is renewed at most once when the API refuses it, and a count of the calls made with it.
#[derive(Debug)]
pub struct Session {
    tokens: Tokens,
    user_id: Uuid,
    integration: Integration,
    token: SecretString,
    renewed: bool,
    calls: u32,
}

impl Session {
    /// Begins with an access token that is good for some minutes. Errors: as [`Tokens::access_token`].
    pub async fn begin(tokens: &Tokens, user_id: Uuid, integration: Integration) -> Result<Self, TokenError> {
        let token = tokens.access_token(user_id, integration).await?;
        Ok(Self { tokens: tokens.clone(), user_id, integration, token, renewed: false, calls: 0 })
    }

    /// Calls made so far, for `sync_metrics`.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Makes one call of `method`: `send` is given the access token, and a second time a fresh one after a 401.
    pub(super) async fn call<T, F>(
        &mut self,
        method: &'static str,
        send: impl Fn(String) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        loop {
            self.calls += 1;
            let token = self.token.expose_secret().to_owned();
            let call = async { timeout(CALL_TIMEOUT, send(token)).await.unwrap_or(Err(Error::Timeout)) };
            match vendor_call(method, call).await {
                Err(Error::Unauthorized) if !self.renewed => {
                    self.renewed = true;
                    self.token = self.tokens.renew(self.user_id, self.integration, &self.token).await?;
                }
                answer => return answer,
            }
        }
    }
}
