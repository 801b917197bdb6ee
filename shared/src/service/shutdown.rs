//! SIGTERM: stop accepting, give jobs some seconds, then interrupt them; nothing is lost and no attempt is spent.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tower::{Layer, layer::layer_fn, service_fn};

use super::dispatch::Dispatch;
use super::verdict::Interruption;
use super::{Stage, call};
use crate::job::Outcome;
use crate::tasks::Tasks;

/// Cloud Run kills an instance 10 seconds after SIGTERM; the rest is for releasing claims.
const GRACE: Duration = Duration::from_secs(8);
/// What is left for calls that wait in this process.
const FLUSH: Duration = Duration::from_secs(1);

/// Stops a service; clones stop the same one.
#[derive(Debug, Clone)]
pub struct Shutdown {
    begun: CancellationToken,
    over: CancellationToken,
    tasks: Tasks,
}

impl Shutdown {
    pub(super) fn new(tasks: Tasks) -> Self {
        Self { begun: CancellationToken::new(), over: CancellationToken::new(), tasks }
    }

    /// Begins: jobs see [`crate::job::Context::is_cancelled`] and are interrupted when the grace period is over.
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

    /// Waits for SIGTERM or Ctrl-C, then begins.
    pub(super) async fn signalled(self) {
        let terminate = async {
            match signal(SignalKind::terminate()) {
                Ok(mut terminate) => drop(terminate.recv().await),
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = terminate => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping");
        self.begin();
    }

    /// Sends on what waits in this process.
    pub(super) async fn finish(&self) {
        let deadline = CancellationToken::new();
        let flushed = self.tasks.flush(deadline.clone());
        let expired = async {
            tokio::time::sleep(FLUSH).await;
            deadline.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = flushed => {}
            () = expired => {}
        }
    }
}

pub(super) fn layer<S: Stage<Dispatch, Result<Outcome, Interruption>>>(
    shutdown: Shutdown,
) -> impl Layer<S, Service: Stage<Dispatch, Result<Outcome, Interruption>>> + Clone {
    layer_fn(move |inner: S| {
        let over = shutdown.over.clone();
        service_fn(move |dispatch: Dispatch| {
            let (inner, over) = (inner.clone(), over.clone());
            async move {
                Ok(tokio::select! {
                    outcome = call(inner, dispatch) => outcome,
                    () = over.cancelled() => Err(Interruption::Cancelled),
                })
            }
        })
    })
}
