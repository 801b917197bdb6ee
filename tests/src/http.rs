//! Plain HTTP to a server under test.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A client that waits longer than any server of a test takes.
#[must_use]
pub fn client() -> reqwest::Client {
    shared::http::client(TIMEOUT, TIMEOUT)
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; a string when it is no JSON.
    pub body: Value,
}

impl Answer {
    /// Sends a request, and reads the answer to its end.
    pub async fn of(request: RequestBuilder) -> Result<Self, reqwest::Error> {
        let answer = request.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let bytes = answer.bytes().await?;
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Self { status, headers, body })
    }

    /// The body of a success.
    #[expect(clippy::must_use_candidate, reason = "that it is one may be all that is asked")]
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        self.body
    }
}
