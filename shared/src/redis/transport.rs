//! The connections on which commands travel: hyper's client without anything around it. Each task makes two calls, and what a
//! general client adds to each (redirects, retries, a URL parsed anew) would cost more than the calls do themselves.

use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::Error;
use crate::http::{IDLE_TIMEOUT, tls};

/// Far above what we store, far below what would endanger a small container.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Sends requests over kept connections.
pub(super) struct Transport {
    client: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

impl Transport {
    /// `connect_timeout` bounds a TCP connection, `timeout` all of a request, its answer included.
    pub(super) fn new(connect_timeout: Duration, timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Self { client, timeout }
    }

    /// Sends a request and reads its answer.
    ///
    /// Dropped while under way, the request may still be carried out.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, HeaderMap, Bytes), Error> {
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                if error.is_connect() {
                    Error::Unreachable(error.into())
                } else {
                    Error::Broken(error.into())
                }
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() { Error::TooLarge } else { Error::Broken(error) }
            })?;
            Ok((head.status, head.headers, body.to_bytes()))
        };
        tokio::time::timeout(self.timeout, exchange).await.unwrap_or(Err(Error::Timeout))
    }
}
