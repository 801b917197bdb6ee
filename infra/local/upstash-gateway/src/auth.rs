//! Who may do what: bearer tokens, compared in constant time.

use axum::http::{HeaderMap, Uri, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// The query parameter that may carry the token.
pub(crate) const TOKEN_PARAMETER: &str = "_token";

/// What the bearer of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Full,
    ReadOnly,
}

/// The tokens this gateway accepts.
#[derive(Debug)]
pub(crate) struct Tokens {
    full: SecretString,
    read_only: Option<SecretString>,
}

impl Tokens {
    pub(crate) fn new(full: SecretString, read_only: Option<SecretString>) -> Self {
        Self { full, read_only }
    }

    /// What the request may do; `None` when its token is missing or unknown. A header goes before the parameter.
    pub(crate) fn access(&self, headers: &HeaderMap, uri: &Uri) -> Option<Access> {
        let given = match headers.get(AUTHORIZATION) {
            Some(value) => bearer(value.to_str().ok()?)?.to_owned(),
            None => parameter(uri)?,
        };
        // Both are always compared, so that the time says nothing about which one was nearly right.
        let full = same(&self.full, &given);
        let read_only = self.read_only.as_ref().is_some_and(|token| same(token, &given));
        match (full, read_only) {
            (true, _) => Some(Access::Full),
            (false, true) => Some(Access::ReadOnly),
            (false, false) => None,
        }
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn parameter(uri: &Uri) -> Option<String> {
    let query = uri.query()?.as_bytes();
    url::form_urlencoded::parse(query).find(|(name, _)| name == TOKEN_PARAMETER).map(|(_, v)| v.into_owned())
}

fn same(expected: &SecretString, given: &str) -> bool {
    expected.expose_secret().as_bytes().ct_eq(given.as_bytes()).into()
}
