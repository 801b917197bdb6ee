//! Serving on loopback, and only there.

use std::io;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch::channel;

use crate::connection::{ConnectionKiller, Lines};

/// How long open connections may take to end when the server stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Refuses a listener that others than this machine could reach.
pub fn only_loopback(listener: &TcpListener) -> io::Result<()> {
    if listener.local_addr()?.ip().is_loopback() {
        Ok(())
    } else {
        Err(io::Error::other("a stand-in serves loopback addresses only"))
    }
}

/// Serves `router` on `listener`, which must be bound to a loopback address, until `shutdown` resolves; then open
/// connections get two seconds. Dropping the future stops immediately.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    only_loopback(&listener)?;
    let service = router.into_make_service_with_connect_info::<ConnectionKiller>();
    let (stop, mut stopped) = channel(false);
    let server = axum::serve(Lines(listener), service).with_graceful_shutdown(async move {
        shutdown.await;
        // The receiver below lives as long as this future.
        let _ = stop.send(true);
    });
    let timeout = async {
        // An error means that the server has ended by itself.
        let _ = stopped.wait_for(|stopped| *stopped).await;
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        ended = server => ended,
        () = timeout => Ok(()),
    }
}
