//! One request to a provider's HTTP API.

use std::time::Duration;

use axum::body::Bytes;
use http::HeaderMap;
use http::header::RETRY_AFTER;
use reqwest::{RequestBuilder, StatusCode};
use shared::config::{Config, InvalidConfig, Variable};
use shared::http::{is_safe_for_credentials, read_limited};
use shared::telemetry::vendor_call;
use url::Url;

use super::result::{ProviderError, SendError, SendResult};

const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Wait after a limit that names no time: the providers' windows are seconds to a minute long.
const LIMIT_WAIT: Duration = Duration::from_mins(1);
/// A `Retry-After` of nothing must not become a busy loop, and one of days is a mistake.
const MIN_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_hours(1);

/// The endpoint of a provider; it may carry credentials and has no path.
pub(super) fn endpoint(config: &mut Config, variable: &Variable) -> Result<Url, InvalidConfig> {
    let url = config.required::<Url>(variable)?;
    if !is_safe_for_credentials(&url) {
        return Err(config.problem(variable, "is neither https nor on loopback"));
    }
    if url.path() != "/" {
        return Err(config.problem(variable, "has a path"));
    }
    Ok(url)
}

/// What a provider answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Empty when it broke off or is too long: the status says enough, except of success.
    pub(super) body: Bytes,
}

impl Reply {
    /// How long a limit asks to wait.
    pub(super) fn retry_after(&self) -> Duration {
        let seconds = self.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        seconds.map_or(LIMIT_WAIT, Duration::from_secs).clamp(MIN_WAIT, MAX_WAIT)
    }
}

/// Sends a request that must not be sent twice, and lets `classify` read the reply.
pub(super) async fn exchange(
    method: &'static str,
    request: RequestBuilder,
    classify: impl FnOnce(&Reply) -> SendResult,
) -> SendResult {
    vendor_call(method, async {
        let response = request.send().await.map_err(classify_transport_error)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read_limited(response, MAX_ANSWER_BYTES).await.unwrap_or_default();
        classify(&Reply { status, headers, body })
    })
    .await
}

/// Without a connection nothing was sent; whatever breaks later may have been taken.
fn classify_transport_error(error: reqwest::Error) -> SendError {
    let error = error.without_url();
    if error.is_connect() || error.is_builder() {
        SendError::NotTaken(ProviderError::Unreachable(error.into()))
    } else if error.is_timeout() {
        SendError::Unknown(ProviderError::Timeout)
    } else {
        SendError::Unknown(ProviderError::Broken(error.into()))
    }
}
