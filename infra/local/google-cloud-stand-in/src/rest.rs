//! How Google's APIs answer.

use axum::Json;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An answer, or an error as Google writes it.
pub(crate) type Answer = Result<Json<Value>, Refusal>;

/// Why a call is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    NotFound(String),
    Invalid(String),
    Exists(String),
    /// The caller does not say who it is.
    Unauthenticated,
    /// As an API answers that is Prometheus'.
    BadData(String),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, status, message) = match self {
            Self::NotFound(message) => (StatusCode::NOT_FOUND, "NOT_FOUND", message),
            Self::Invalid(message) => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", message),
            Self::Exists(message) => (StatusCode::CONFLICT, "ALREADY_EXISTS", message),
            Self::Unauthenticated => {
                let message = "Request is missing required authentication credential.".to_owned();
                (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
            }
            Self::BadData(message) => {
                let error = json!({ "status": "error", "errorType": "bad_data", "error": message });
                return (StatusCode::BAD_REQUEST, Json(error)).into_response();
            }
        };
        let error = json!({ "code": code.as_u16(), "status": status, "message": message });
        (code, Json(json!({ "error": error }))).into_response()
    }
}

pub(crate) async fn not_here(method: Method, uri: Uri) -> Refusal {
    Refusal::NotFound(format!("the stand-in has no {method} {}", uri.path()))
}
