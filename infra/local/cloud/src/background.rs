//! Servers that run inside this process, on a runtime of their own.
//!
//! Dropping one waits until nothing of it runs any more, so the caller can look at what a stopped server or a killed
//! "process" left without waiting for anything else.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Builder, EnterGuard, Runtime};
use tokio::task::JoinHandle;

/// How long a dropped runtime may take: until each of its tasks comes to its next await.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A runtime apart from the one that uses it. When it is dropped, its tasks are dropped at their next await, and the drop
/// returns when that has happened.
#[derive(Debug)]
pub struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    /// A runtime with one thread of that name.
    pub fn start(name: &str) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build();
        Ok(Self(Some(runtime.with_context(|| format!("cannot start {name}"))?)))
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("only dropping takes it")
    }

    /// Makes it the runtime of the calling thread until the guard is dropped.
    pub fn enter(&self) -> EnterGuard<'_> {
        self.runtime().enter()
    }

    /// Runs `future` on it.
    pub fn spawn<F: Future<Output: Send> + Send + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.runtime().spawn(future)
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        let Some(runtime) = self.0.take() else { return };
        // On a thread of its own: this one may belong to another runtime, in which waiting for one is not allowed.
        let stopping = thread::spawn(move || runtime.shutdown_timeout(STOP_DEADLINE));
        // It cannot panic but by a bug of tokio's.
        let _stopped = stopping.join();
    }
}

/// A server on a free port of 127.0.0.1. It ends, with all that it spawned, when this is dropped.
///
/// Its runtime is its own: a server that several tests share outlives the runtime of the test that started it.
#[derive(Debug)]
pub struct Background {
    address: SocketAddr,
    _runtime: OwnRuntime,
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
        let runtime = OwnRuntime::start(name)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(serve(listener));
        Ok(Self { address, _runtime: runtime })
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test]
    async fn nothing_of_a_dropped_runtime_runs_any_more() {
        for _ in 0..50 {
            let counted = Arc::new(AtomicU64::new(0));
            let in_task = Arc::clone(&counted);
            let runtime = OwnRuntime::start("counts").expect("a thread");
            runtime.spawn(async move {
                loop {
                    in_task.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            });
            while counted.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            drop(runtime);
            // The task is gone, with all that it held.
            assert_eq!(Arc::strong_count(&counted), 1);
        }
    }

    #[tokio::test]
    async fn no_process_listens_on_the_address_of_a_dropped_server() {
        let server = Background::start("accepts", async |listener| {
            loop {
                let _connection = listener.accept().await;
            }
        });
        let server = server.expect("loopback is available");
        let address = server.address();
        assert!(std::net::TcpStream::connect(address).is_ok());
        drop(server);
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}
