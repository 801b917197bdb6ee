//! Tokens: what the token endpoint hands out and what an access token opens.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::account::{Grant, GrantState, Integration};
use crate::state::{AccessToken, State, Unknown};

/// Google's access tokens live one hour; the endpoint says one second less.
pub(crate) const ACCESS_TOKEN_LIFETIME: TimeDelta = TimeDelta::hours(1);
/// `expires_in` of the token endpoint's answer.
pub(crate) const EXPIRES_IN_S: u32 = 3599;

/// What is granted by a consent screen on which no box was ticked.
const WITHOUT_BOX: &str = "openid https://www.googleapis.com/auth/userinfo.email";

/// What a refresh hands out.
#[derive(Debug)]
pub(crate) struct Refreshed {
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
    pub(crate) scope: &'static str,
}

impl State {
    /// Whose refresh token this is.
    pub(crate) fn owner_of_refresh_token(&self, token: &str) -> Option<(Uuid, Integration)> {
        self.refresh_tokens.get(token).copied()
    }

    /// Exchanges a refresh token; `None` when it is unknown or its grant revoked.
    pub(crate) fn refresh(&mut self, token: &str, now: DateTime<Utc>) -> Option<Refreshed> {
        let (user, integration) = self.owner_of_refresh_token(token)?;
        let rotates = {
            let account = self.account_mut(user).ok()?;
            let grant = account.user.grant(integration)?;
            if grant.state == GrantState::Revoked {
                return None;
            }
            let before = account.rotating.len();
            account.rotating.retain(|rotating| *rotating != integration);
            account.rotating.len() < before
        };
        let access_token = format!("ya29.{}", self.ids.hex(6));
        let refresh_token = rotates.then(|| format!("1//{}", self.ids.hex(4)));
        self.put_access_token(access_token.clone(), user, integration, now);
        let grant = self.grant_mut(user, integration).ok()?;
        grant.access_token.clone_from(&access_token);
        grant.access_token_expires_at = now + ACCESS_TOKEN_LIFETIME;
        if let Some(new) = &refresh_token {
            grant.refresh_token = Some(new.clone());
            self.refresh_tokens.insert(new.clone(), (user, integration));
        } else if grant.refresh_token.as_deref() == Some(token) {
            // The application has the newest: those before it are of no more use.
            self.refresh_tokens.retain(|known, owner| known == token || *owner != (user, integration));
        }
        let is_ticked = !self.account(user).is_ok_and(|account| account.unticked.contains(&integration));
        let scope = if is_ticked { integration.scope() } else { WITHOUT_BOX };
        Some(Refreshed { access_token, refresh_token, scope })
    }

    /// Whether the token may call the API of that integration.
    pub(crate) fn opens(&self, token: &AccessToken, integration: Integration) -> bool {
        token.integration == integration
            && !self.account(token.user).is_ok_and(|account| account.unticked.contains(&integration))
    }

    fn put_access_token(&mut self, token: String, user: Uuid, integration: Integration, now: DateTime<Utc>) {
        self.access_tokens.retain(|_, known| known.expires_at > now);
        let expires_at = now + ACCESS_TOKEN_LIFETIME;
        self.access_tokens.insert(token, AccessToken { user, integration, expires_at });
    }

    /// Takes the grant back: from now on no token of it works.
    pub(crate) fn revoke(&mut self, user: Uuid, integration: Integration) -> Result<(), Unknown> {
        self.grant_mut(user, integration)?.state = GrantState::Revoked;
        self.access_tokens.retain(|_, token| (token.user, token.integration) != (user, integration));
        Ok(())
    }

    pub(crate) fn grant_mut(&mut self, user: Uuid, integration: Integration) -> Result<&mut Grant, Unknown> {
        self.account_mut(user)?.user.grant_mut(integration).as_mut().ok_or(Unknown::Grant)
    }
}
