//! Accepts connections, with limits of time, and stops in good order.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use super::shutdown::Shutdown;

/// How long a caller may be silent between requests or within a request's head. Longer than Google's front end keeps an
/// idle connection, so that it is the one who closes it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(620);
/// How long accepting rests after it failed: no file descriptors left, usually.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What answers get to be sent once the work behind them is over.
const LAST_ANSWERS: Duration = Duration::from_millis(250);

/// Serves until `shutdown` is signalled and the answers under way are sent, or its grace period is over.
pub(super) async fn serve(listener: TcpListener, router: Router, shutdown: &Shutdown) {
    let connections = GracefulShutdown::new();
    let mut signalled = pin!(shutdown.signalled());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut signalled => break,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(connections.watch(connection(stream, router.clone())));
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let over = shutdown.over();
    let mut answered = pin!(connections.shutdown());
    tokio::select! {
        () = &mut answered => {}
        () = over.cancelled() => {}
    }
    shutdown.finish().await;
    // The answers of interrupted jobs. Who sends half a request and stays silent is not waited for.
    let _silent = tokio::time::timeout(LAST_ANSWERS, answered).await;
}

type Connection = http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>>;

fn connection(stream: TcpStream, router: Router) -> Connection {
    // Answers are small; waiting for more to send would only cost time.
    let _best_effort = stream.set_nodelay(true);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}
