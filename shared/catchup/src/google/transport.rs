//! The connections on which the Google API clients travel.
//!
//! The generated clients collect an answer before anyone can look at it, so its size is bounded below them, where bytes
//! arrive.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use google_apis_common::{Body, Client};
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use shared::failure::BoxError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::Service;

use super::error::Refusal;

/// Far above a page of 2500 events or 1000 people, far below the memory of an instance.
pub const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_IDLE_CONNECTIONS: usize = 8;

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Connects by TLS, or plainly where the endpoint says `http`, and bounds what one answer may bring.
#[derive(Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<HttpConnector>,
    oversized: Arc<AtomicU64>,
}

/// A pool of connections, and what was too large on them. Clones share both.
#[derive(Clone)]
pub(super) struct Pool {
    client: Client<Connector>,
    oversized: Arc<AtomicU64>,
}

/// Whether an answer was too large since then: the generated clients lose the error of a body.
#[derive(Debug, Default)]
pub(super) struct Oversized {
    answers: Arc<AtomicU64>,
    before: u64,
}

impl Pool {
    /// The connections, for a generated client.
    pub(super) fn client(&self) -> Client<Connector> {
        self.client.clone()
    }

    /// Listens to a call that begins now.
    pub(super) fn listen(&self) -> Refusal {
        let answers = Arc::clone(&self.oversized);
        Refusal::new(Oversized { before: answers.load(Ordering::Relaxed), answers })
    }
}

impl Oversized {
    pub(super) fn since_then(&self) -> bool {
        self.answers.load(Ordering::Relaxed) > self.before
    }
}

/// HTTP/1.1 only: on such a connection the bytes between two writes are one answer.
pub(super) fn pool() -> Pool {
    let oversized = Arc::new(AtomicU64::new(0));
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_nodelay(true);
    let inner = HttpsConnectorBuilder::new()
        .with_tls_config(shared::http::tls())
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
        .build::<_, Body>(Connector { inner, oversized: Arc::clone(&oversized) });
    Pool { client, oversized }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Bounded>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connection, oversized) = (self.inner.call(uri), Arc::clone(&self.oversized));
        Box::pin(async move {
            let stream = TokioIo::new(connection.await?);
            Ok(TokioIo::new(Bounded { stream, received: 0, oversized }))
        })
    }
}

/// A connection that fails when one answer exceeds [`MAX_ANSWER_BYTES`], and counts that.
pub(super) struct Bounded {
    stream: TokioIo<Stream>,
    received: usize,
    oversized: Arc<AtomicU64>,
}

impl Connection for Bounded {
    fn connected(&self) -> Connected {
        self.stream.inner().connected()
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.received += buffer.filled().len() - before;
        if self.received > MAX_ANSWER_BYTES {
            self.oversized.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(max_bytes = MAX_ANSWER_BYTES, "an answer of google exceeds the limit");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "answer exceeds the limit")));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.received = 0;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.received = 0;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
