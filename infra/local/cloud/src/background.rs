//! Servers that run inside this process, on a runtime of their own.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

/// A server on a free port of 127.0.0.1. It ends, with all that it spawned, when this is dropped.
///
/// Its runtime is its own: a server that several tests share outlives the runtime of the test that started it.
#[derive(Debug)]
pub struct Background {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Background {
    /// Starts what `serve` makes of a listener.
    pub fn start<F>(name: &str, serve: impl FnOnce(tokio::net::TcpListener) -> F) -> anyhow::Result<Self>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on 127.0.0.1")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(name)
            .enable_all()
            .build()
            .with_context(|| format!("cannot start {name}"))?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(serve(listener));
        Ok(Self { address, runtime: Some(runtime) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as an origin.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for it is not allowed inside another runtime, and nothing of it is worth waiting for.
            runtime.shutdown_background();
        }
    }
}
