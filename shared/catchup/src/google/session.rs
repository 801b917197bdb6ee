//! A user's session at a Google API: an access token, and the calls made with it.

use std::time::Duration;

use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use shared::telemetry::vendor_call;
use tokio::time::timeout;
use uuid::Uuid;

use super::wait::backoff;
use super::{Error, TokenError, Tokens};
use crate::db::google_waits::{GoogleWait, WaitReason};
use crate::event::EventCode;
use crate::payload::Integration;

/// Time that one call gets, its whole answer included.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an account without the service is not asked again.
const NO_ACCOUNT_WAIT: TimeDelta = TimeDelta::days(7);

/// An access token that is renewed at most once when the API refuses it, and a count of the calls made with it.
#[derive(Debug)]
pub struct Session {
    tokens: Tokens,
    user_id: Uuid,
    integration: Integration,
    token: SecretString,
    renewed: bool,
    calls: u32,
    /// What is to end with the first call that succeeds.
    wait: Option<GoogleWait>,
}

impl Session {
    /// Begins with an access token that is good for some minutes.
    ///
    /// Errors: as [`Tokens::refresh`]; [`Error::Limited`] and [`Error::NoCalendarAccount`], without a call, while
    /// Google's last word holds.
    pub async fn begin(tokens: &Tokens, user_id: Uuid, integration: Integration) -> Result<Self, Error> {
        let (stored, wait) = tokens.stored_with_wait(user_id, integration).await?;
        if let Some(wait) = wait.filter(|wait| wait.until > tokens.now()) {
            return Err(match wait.reason {
                WaitReason::Limit => {
                    let left = wait.until - tokens.now();
                    Error::Limited { retry_after: left.to_std().unwrap_or_default() }
                }
                WaitReason::NoAccount => Error::NoCalendarAccount,
            });
        }
        let token = tokens.usable(user_id, integration, stored).await?;
        Ok(Self { tokens: tokens.clone(), user_id, integration, token, renewed: false, calls: 0, wait })
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
                Ok(answer) => {
                    self.end_wait().await;
                    return Ok(answer);
                }
                Err(error) => return Err(self.learn(error).await?),
            }
        }
    }

    /// What Google said of the user's account, or of ours, is recorded here: whichever job called, and whatever.
    async fn learn(&mut self, error: Error) -> Result<Error, TokenError> {
        match &error {
            Error::Limited { retry_after } => {
                let wait = self.wait_for_limit(*retry_after).await?;
                return Ok(Error::Limited { retry_after: wait });
            }
            Error::NoCalendarAccount => {
                self.record(WaitReason::NoAccount, NO_ACCOUNT_WAIT).await?;
            }
            Error::MissingScope => {
                self.tokens.lacks_scope(self.user_id, self.integration, &self.token).await?;
            }
            Error::ApiDisabled | Error::AddressRefused { .. } => {
                tracing::error!(event = %EventCode::GoogleMisconfigured, %error, "google refuses the application");
            }
            Error::Token(_)
            | Error::Unauthorized
            | Error::SyncTokenExpired
            | Error::NotFound
            | Error::Forbidden { .. }
            | Error::Refused { .. }
            | Error::Unavailable(_)
            | Error::Timeout
            | Error::Transport(_)
            | Error::Truncated
            | Error::TooLarge
            | Error::Garbage(_)
            | Error::Client(_) => {}
        }
        Ok(error)
    }

    async fn wait_for_limit(&mut self, retry_after: Duration) -> Result<Duration, TokenError> {
        let times = self.times(WaitReason::Limit);
        let wait = backoff(times, retry_after, rand::random());
        self.record(WaitReason::Limit, TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX)).await?;
        let times = times + 1;
        let (user_id, integration, wait_s) = (self.user_id, self.integration.as_str(), wait.as_secs());
        tracing::warn!(event = %EventCode::GoogleLimited, %user_id, integration, times, wait_s, "a user's calls wait");
        Ok(wait)
    }

    /// How often in a row Google has said so.
    fn times(&self, reason: WaitReason) -> u32 {
        self.wait.filter(|wait| wait.reason == reason).map_or(0, |wait| wait.times)
    }

    /// Records a wait from now on.
    async fn record(&mut self, reason: WaitReason, wait: TimeDelta) -> Result<(), TokenError> {
        let now = self.tokens.now();
        let wait = GoogleWait { reason, until: now + wait, times: self.times(reason).saturating_add(1) };
        self.tokens.waits().record(self.user_id, self.integration, &wait, now).await?;
        self.wait = Some(wait);
        Ok(())
    }

    /// Best effort: a wait that is left over makes the next one longer, and no more.
    async fn end_wait(&mut self) {
        if self.wait.take().is_some()
            && let Err(error) = self.tokens.waits().clear(self.user_id, self.integration).await
        {
            let (user_id, error) = (self.user_id, &error as &dyn std::error::Error);
            tracing::warn!(%user_id, error, "the end of a user's wait was not recorded");
        }
    }
}
