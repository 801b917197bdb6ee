//! SIGTERM: stop accepting, give jobs some seconds, then interrupt them; nothing is lost and no attempt is spent.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::tasks::Tasks;
use crate::telemetry::EventCode;

/// Cloud Run kills an instance 10 seconds after SIGTERM; the rest is for releasing leases.
const GRACE: Duration = Duration::from_secs(8);
/// What interrupted jobs get to release their leases and to be rescheduled.
const RELEASE_GRACE: Duration = Duration::from_secs(1);
/// What is left for calls that wait in this process.
const FLUSH: Duration = Duration::from_millis(500);

/// Stops a service; clones stop the same one.
#[derive(Debug, Clone)]
pub struct Shutdown {
    begun: CancellationToken,
    over: CancellationToken,
    running: TaskTracker,
    tasks: Tasks,
}

impl Shutdown {
    pub(super) fn new(tasks: Tasks) -> Self {
        Self {
            begun: CancellationToken::new(),
            over: CancellationToken::new(),
            running: TaskTracker::new(),
            tasks,
        }
    }

    /// Begins: jobs see [`crate::job::Context::is_cancelled`] and are interrupted when the grace period has ended.
    pub fn begin(&self) {
        self.begun.cancel();
        let over = self.over.clone();
        tokio::spawn(async move {
            tokio::time::sleep(GRACE).await;
            over.cancel();
        });
    }

    /// Interrupts running jobs now.
    pub fn interrupt(&self) {
        self.begun.cancel();
        self.over.cancel();
    }

    pub(super) fn begun(&self) -> CancellationToken {
        self.begun.clone()
    }

    /// Jobs are interrupted now.
    pub(super) async fn over(&self) {
        self.over.cancelled().await;
    }

    #[cfg(test)]
    pub(super) fn has_ended(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Knows every dispatch that is being worked on.
    pub(super) fn running(&self) -> TaskTracker {
        self.running.clone()
    }

    /// Waits for SIGTERM or Ctrl-C, then begins.
    pub(super) async fn signalled(&self) {
        let terminate = async {
            match signal(SignalKind::terminate()) {
                Ok(mut terminate) => drop(terminate.recv().await),
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = terminate => {}
            Ok(()) = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping");
        self.begin();
    }

    /// Waits until no dispatch is worked on, and sends on what waits in this process; not beyond Cloud Run's timeout.
    pub(super) async fn finish(&self) {
        self.running.close();
        let left = async {
            self.over.cancelled().await;
            tokio::time::sleep(RELEASE_GRACE).await;
        };
        tokio::select! {
            () = self.running.wait() => {}
            () = left => tracing::error!(event = %EventCode::StoppedAtWork, dispatches = self.running.len(), "stopped while dispatches are in progress"),
        }
        if tokio::time::timeout(FLUSH, self.tasks.flush()).await.is_err() {
            tracing::error!(event = %EventCode::StoppedAtWork, "stopped while delayed calls wait");
        }
    }
}
