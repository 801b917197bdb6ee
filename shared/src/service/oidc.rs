//! Lets pass who shows an acceptable identity token.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, header};
use tower::{Layer, layer::layer_fn, service_fn};

use super::verdict::Verdict;
use super::{Stage, call};
use crate::oidc::{Error, Verifier};

/// When the issuer's keys cannot be had, no task can be verified: all wait this long.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(15);

pub(super) fn layer<S: Stage<Request<Body>, Verdict>>(
    verifier: Arc<Verifier>,
) -> impl Layer<S, Service: Stage<Request<Body>, Verdict>> + Clone {
    layer_fn(move |inner: S| {
        let verifier = verifier.clone();
        service_fn(move |request: Request<Body>| {
            let (inner, verifier) = (inner.clone(), verifier.clone());
            async move {
                let authorization =
                    request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
                Ok(match verifier.verify(authorization).await {
                    Ok(()) => call(inner, request).await,
                    Err(Error::Unauthorized(reason)) => Verdict::Unauthorized(reason),
                    Err(Error::Forbidden) => Verdict::Forbidden,
                    Err(error @ Error::Unavailable(_)) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "tokens cannot be verified"
                        );
                        Verdict::Unavailable("oidc_keys", RETRY_AFTER)
                    }
                })
            }
        })
    })
}
