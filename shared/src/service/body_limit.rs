//! Reads the body, within limits of size and time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Request;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower::{Layer, layer::layer_fn, service_fn};

use super::verdict::Verdict;
use super::{Stage, call};

/// Cloud Tasks carries no task of more than 1 MB.
const MAX_BODY_BYTES: usize = 1_048_576;
const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) fn layer<S: Stage<Request<Bytes>, Verdict>>()
-> impl Layer<S, Service: Stage<Request<Body>, Verdict>> + Clone {
    layer_fn(|inner: S| {
        service_fn(move |request: Request<Body>| {
            let inner = inner.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = tokio::time::timeout(TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await;
                Ok(match body {
                    Ok(Ok(body)) => call(inner, Request::from_parts(head, body.to_bytes())).await,
                    Ok(Err(error)) if error.is::<LengthLimitError>() => Verdict::TooLarge,
                    Ok(Err(_)) | Err(_) => Verdict::NoBody,
                })
            }
        })
    })
}
