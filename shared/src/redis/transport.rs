//! The connections on which commands travel: hyper's client without anything around it. Each task makes two calls, and what a
//! general client adds to each (redirects, retries, a URL parsed anew) would cost more than the calls do themselves.

use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;

use super::Error;
use crate::failure::BoxError;
use crate::http::{IDLE_TIMEOUT, tls};

/// Far above what we store, far below what would endanger a small container.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Makes a connection, TLS included, in a bounded time.
type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// Sends requests over kept connections.
pub(super) struct Transport {
    client: legacy::Client<Connector, Full<Bytes>>,
    timeout: Duration,
}

impl Transport {
    /// `connect_timeout` bounds the making of a connection, TLS included, `timeout` all of a request, its answer included.
    pub(super) fn new(connect_timeout: Duration, timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(Connector::new(Timeout::new(connector, connect_timeout)));
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
