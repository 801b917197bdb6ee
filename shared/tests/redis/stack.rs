//! A Redis of one's own, behind a gateway of one's own.

use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::DateTime;
use secrecy::SecretString;
use shared::clock::Clock;
use shared::redis::{Command, Purpose, Redis, Timeouts, Value};
use shared::telemetry::{Meter, Scope};
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinHandle;
use upstash_gateway::{Bill, Billing, Config};
use url::Url;

pub(crate) const TOKEN: &str = "token-of-the-tests";
const DEADLINE: Duration = Duration::from_secs(20);

/// `redis-server` on a socket in a folder that goes away with it.
struct Server {
    process: Child,
    folder: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(folder.path())
            .arg("--unixsocket")
            .arg(folder.path().join("redis"))
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let server = Self { process, folder };
        let socket = server.socket();
        eventually(async || UnixStream::connect(&socket).await.ok()).await;
        server
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Redis and its gateway.
pub(crate) struct Stack {
    _server: Server,
    billing: Arc<Billing>,
    url: Url,
    gateway: JoinHandle<()>,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        let server = Server::start().await;
        let config = Config::new(&format!("unix://{}", server.socket().display()), TOKEN);
        let billing = Arc::clone(&config.billing);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let gateway = tokio::spawn(async move {
            upstash_gateway::serve(listener, config, std::future::pending()).await.unwrap();
        });
        Self { _server: server, billing, url, gateway }
    }

    /// A client as another process would have it.
    pub(crate) fn redis(&self) -> Redis {
        client(&self.url, Timeouts::default())
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// What was billed while `work` ran.
    pub(crate) async fn billed<T>(&self, work: impl Future<Output = T>) -> (T, Bill) {
        self.billing.reset();
        let result = work.await;
        (result, self.billing.reset())
    }

    /// Runs a command past every client under test.
    pub(crate) async fn ask<const N: usize>(&self, parts: [&str; N]) -> Value {
        let command = Command::new(parts[0]).args(&parts[1..]);
        self.redis().run(Purpose::Idempotency, command).await.unwrap()
    }

    /// Takes Redis away for good.
    pub(crate) fn stop(&mut self) {
        self.gateway.abort();
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.gateway.abort();
    }
}

pub(crate) fn client(url: &Url, timeouts: Timeouts) -> Redis {
    Redis::new(url, &SecretString::from(TOKEN), timeouts).unwrap()
}

/// Runs `work` as one task would, with a meter of its own.
pub(crate) async fn metered<T>(work: impl Future<Output = T>) -> (T, Arc<Meter>) {
    let scope = Arc::new(Scope::default());
    let meter = Arc::clone(&scope.meter);
    (scope.enter(work).await, meter)
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "nothing came of it");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub(crate) struct HandClock(Arc<AtomicI64>);

impl HandClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_763_900_000_000)))
    }

    pub(crate) fn ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock_off_by(0)
    }

    pub(crate) fn clock_off_by(&self, skew_ms: i64) -> Clock {
        let hand = self.clone();
        Clock::from_fn(move || DateTime::from_timestamp_millis(hand.ms() + skew_ms).unwrap())
    }
}
