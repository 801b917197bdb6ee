//! Google's token endpoint: a refresh token becomes an access token.

use std::time::Duration;

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use shared::config::{Config, InvalidConfig};
use shared::http;
use shared::telemetry::vendor_call;
use url::Url;

use super::TokenError;
use crate::variables;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(15);
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The endpoint, and the application's name and secret there.
#[derive(Debug)]
pub(super) struct TokenEndpoint {
    http: reqwest::Client,
    url: Url,
    client_id: String,
    client_secret: SecretString,
}

/// What the endpoint gave.
pub(super) struct Grant {
    pub(super) access_token: SecretString,
    /// Set when Google rotates the refresh token.
    pub(super) refresh_token: Option<SecretString>,
    pub(super) expires_in: Duration,
    /// What the user has granted, separated by spaces; `None` when the answer does not say.
    pub(super) scope: Option<String>,
}

#[derive(Deserialize)]
struct GrantBody {
    access_token: String,
    refresh_token: Option<String>,
    /// Seconds.
    #[serde(default = "an_hour")]
    expires_in: u32,
    scope: Option<String>,
}

/// The lifetime of Google's access tokens, should an answer not name it.
fn an_hour() -> u32 {
    3600
}

#[derive(Deserialize)]
struct RefusalBody {
    error: String,
}

impl TokenEndpoint {
    pub(super) fn from_config(config: &mut Config) -> Result<Self, InvalidConfig> {
        let client_id = config.required::<String>(&variables::GOOGLE_CLIENT_ID);
        let client_secret = config.secret(&variables::GOOGLE_CLIENT_SECRET);
        let url = config.required::<Url>(&variables::GOOGLE_TOKEN_URL).and_then(|url| {
            if http::is_safe_for_credentials(&url) {
                Ok(url)
            } else {
                Err(config.problem(&variables::GOOGLE_TOKEN_URL, "is neither https nor on loopback"))
            }
        });
        Ok(Self {
            http: http::client(CONNECT_TIMEOUT, TIMEOUT),
            url: url?,
            client_id: client_id?,
            client_secret: client_secret?,
        })
    }

    /// Exchanges a refresh token (RFC 6749, section 6).
    ///
    /// Errors: [`TokenError::Revoked`] for `invalid_grant`, and for `unauthorized_client`, which Google answers for a token
    /// that it gave to another OAuth client; another 4xx is the application's fault, not the user's; all else may pass.
    pub(super) async fn exchange(&self, refresh_token: &SecretString) -> Result<Grant, TokenError> {
        vendor_call("oauth2.token", self.ask(refresh_token)).await
    }

    async fn ask(&self, refresh_token: &SecretString) -> Result<Grant, TokenError> {
        let response = self
            .http
            .post(self.url.clone())
            .form(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", refresh_token.expose_secret()),
                ("client_id", &self.client_id),
                ("client_secret", self.client_secret.expose_secret()),
            ])
            .send()
            .await
            .map_err(TokenError::Transport)?;
        let status = response.status();
        let body = http::read_limited(response, MAX_ANSWER_BYTES).await.map_err(TokenError::Answer)?;
        if status.is_success() {
            let grant: GrantBody = serde_json::from_slice(&body).map_err(|_| TokenError::Garbage)?;
            return Ok(Grant {
                access_token: grant.access_token.into(),
                refresh_token: grant.refresh_token.map(SecretString::from),
                expires_in: Duration::from_secs(grant.expires_in.into()),
                scope: grant.scope,
            });
        }
        Err(refused(status, &body))
    }
}

fn refused(status: StatusCode, body: &[u8]) -> TokenError {
    let code = serde_json::from_slice::<RefusalBody>(body).map(|body| body.error).unwrap_or_default();
    let is_about_the_token = match code.as_str() {
        "invalid_grant" => status == StatusCode::BAD_REQUEST,
        // It was given to another OAuth client.
        "unauthorized_client" => true,
        _ => false,
    };
    if is_about_the_token && status.is_client_error() {
        TokenError::Revoked
    } else if status == StatusCode::TOO_MANY_REQUESTS || !status.is_client_error() {
        TokenError::Unavailable(status)
    } else {
        TokenError::Refused { status, code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, expected: &str) {
        assert_eq!(refused(StatusCode::from_u16(status).unwrap(), body.as_bytes()).to_string(), expected);
    }

    #[test]
    fn only_invalid_grant_and_another_clients_token_concern_the_user() {
        check(401, r#"{"error":"unauthorized_client"}"#, "refresh token revoked or missing");
        check(
            400,
            r#"{"error":"invalid_grant","error_description":"Bad Request"}"#,
            "refresh token revoked or missing",
        );
        check(
            400,
            r#"{"error":"invalid_request"}"#,
            "token endpoint refuses the application: 400 Bad Request invalid_request",
        );
        check(
            401,
            r#"{"error":"invalid_client"}"#,
            "token endpoint refuses the application: 401 Unauthorized invalid_client",
        );
        check(
            401,
            r#"{"error":"invalid_grant"}"#,
            "token endpoint refuses the application: 401 Unauthorized invalid_grant",
        );
        check(400, "<html>", "token endpoint refuses the application: 400 Bad Request ");
        check(429, "{}", "token endpoint answers 429 Too Many Requests");
        check(500, r#"{"error":"invalid_grant"}"#, "token endpoint answers 500 Internal Server Error");
        check(302, "", "token endpoint answers 302 Found");
    }
}
