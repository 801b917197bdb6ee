//! Why a whole request fails: the status and the `{"error"}` text for each reason.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::backend::BackendError;

/// A request that is answered with one `{"error"}` and a status other than 200.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("ERR method not allowed; use HEAD, GET, POST or PUT")]
    Method,
    #[error("WRONGPASS invalid or missing auth token")]
    Unauthorized,
    /// The request is not understood, or its command is refused by us or by Redis. The text is the whole message.
    #[error("{0}")]
    Refused(String),
    #[error("ERR max request size exceeded. Limit: {limit} bytes, Actual: {actual} bytes")]
    TooLarge { limit: usize, actual: usize },
    #[error("ERR the request's body took too long to arrive")]
    SlowBody,
    #[error("ERR the request's body could not be read")]
    BrokenBody,
    #[error("ERR too many streams are open")]
    TooManyStreams,
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Refused(message) => refusal_status(message),
            Self::BrokenBody => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::TooManyStreams | Self::Backend(BackendError::Unreachable(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Backend(BackendError::Silent(_)) => StatusCode::GATEWAY_TIMEOUT,
            Self::Backend(BackendError::Lost(_) | BackendError::Refused(_)) => StatusCode::BAD_GATEWAY,
        }
    }
}

/// 400, except where Redis says that it cannot serve anybody just now: that is no fault of the command.
pub(crate) fn refusal_status(message: &str) -> StatusCode {
    match message.split(' ').next() {
        Some("LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "READONLY") => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Some(_) | None => StatusCode::BAD_REQUEST,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.to_string() }).to_string();
        let mut response =
            (self.status(), [(header::CONTENT_TYPE, "application/json")], body).into_response();
        match self {
            Self::Method => {
                response.headers_mut().insert(header::ALLOW, const { header_value("HEAD, GET, POST, PUT") });
            }
            // The rest of the body may still be on its way: this connection cannot carry another request.
            Self::TooLarge { .. } | Self::SlowBody | Self::BrokenBody => {
                response.headers_mut().insert(header::CONNECTION, const { header_value("close") });
            }
            Self::Unauthorized | Self::Refused(_) | Self::TooManyStreams | Self::Backend(_) => {}
        }
        response
    }
}

const fn header_value(text: &'static str) -> header::HeaderValue {
    header::HeaderValue::from_static(text)
}
