//! Accepts connections, and stops in good order.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::auth::Tokens;
use crate::backend::Backend;
use crate::config::{Config, ConfigProblem};
use crate::execute::Executor;
use crate::handle::{Gateway, handle};
use crate::primary::Primary;
use crate::request::Reading;
use crate::stream::Streams;

/// How long a client may be silent between requests or within a request's head. Longer than the pools of usual clients
/// keep an idle connection, so that it is they who close it.
const HEAD_TIMEOUT: Duration = Duration::from_mins(2);

/// How long accepting pauses after it failed (no file descriptors left, usually).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// All that is wrong with the configuration.
    #[error("the configuration cannot work: {}", list(.0))]
    Config(Vec<ConfigProblem>),
}

fn list(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Serves until `shutdown` resolves: then no connection is accepted any more, streams end, requests under way may
/// finish within [`Config::drain_timeout`], and what is left is dropped.
///
/// Redis need not be there yet; requests get 503 until it is. Dropping the future stops everything immediately.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let problems = config.problems();
    if !problems.is_empty() {
        return Err(ServeError::Config(problems));
    }
    let closing = CancellationToken::new();
    let _close_with_us = closing.clone().drop_guard();
    let backend = Backend::new(
        config.redis().map_err(|problem| ServeError::Config(vec![problem]))?,
        config.redis_connections,
        config.connect_timeout,
        config.response_timeout,
    );
    let primary = Arc::new(Primary::new(backend));
    config.unkindness.attach(Arc::clone(&primary));
    let gateway = Gateway {
        tokens: Tokens::new(config.token, config.read_only_token),
        reading: Reading {
            max_bytes: config.max_request_bytes,
            timeout: config.body_timeout,
            stats: config.stats,
            admin: config.admin,
        },
        executor: Executor::new(primary, config.billing, config.unkindness, config.count_script_calls),
        streams: Streams::new(config.max_streams, closing.clone()),
    };
    let router = Router::new().fallback(handle).with_state(Arc::new(gateway));

    let places = Arc::new(Semaphore::new(config.max_connections));
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (stream, place) = accept(&listener, &places) => {
                let connection = connection(stream, router.clone(), closing.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    closing.cancel();
    let all_done = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(config.drain_timeout, all_done).await.is_err() {
        tracing::warn!("connections still open after the time to drain were dropped");
    }
    Ok(())
}

/// The next connection and its place, as soon as there is one, whatever goes wrong with others before it.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => tracing::warn!(%error, "accepting a connection failed"),
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn connection(stream: TcpStream, router: Router, closing: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was closed immediately");
        return;
    }
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut serving = std::pin::pin!(serving);
    let outcome = tokio::select! {
        outcome = serving.as_mut() => outcome,
        () = closing.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended early");
    }
}
