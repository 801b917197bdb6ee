//! A gateway with its Redis, and the short forms in which tests talk to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use upstash_gateway::{Billing, Config, ServeError, Unkindness, serve};

use crate::http::{Answer, send};
use crate::redis_server::RedisServer;

pub(crate) const TOKEN: &str = "the-token";
pub(crate) const READ_ONLY_TOKEN: &str = "the-read-only-token";

/// A gateway that stops when dropped.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) redis: RedisServer,
    pub(crate) billing: Arc<Billing>,
    pub(crate) unkindness: Arc<Unkindness>,
    serving: JoinHandle<Result<(), ServeError>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With settings other than the defaults.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let redis = RedisServer::start().await;
        let mut config = Config::new(redis.url(), TOKEN);
        config.read_only_token = Some(READ_ONLY_TOKEN.into());
        change(&mut config);
        let billing = Arc::clone(&config.billing);
        let unkindness = Arc::clone(&config.unkindness);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, config, async {
            let _ = stopped.await;
        }));
        Self { address, redis, billing, unkindness, serving, stop: Some(stop) }
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(&mut self) {
        self.stop.take().expect("stopped once").send(()).expect("it runs");
        (&mut self.serving).await.expect("no panic").expect("a clean end");
    }

    /// A request with the token.
    pub(crate) async fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let bearer = format!("Bearer {TOKEN}");
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        send(self.address, method, target, &headers, body).await
    }

    /// A JSON body to a path.
    pub(crate) async fn post(&self, target: &str, body: &Value) -> Answer {
        self.request("POST", target, &[], body.to_string().as_bytes()).await
    }

    /// One command, as JSON to `/`.
    pub(crate) async fn run(&self, command: Value) -> Value {
        self.post("/", &command).await.json()
    }

    /// Runs commands one after the other, each of which must answer with its result.
    pub(crate) async fn expect(&self, steps: &[(Value, Value)]) {
        for (command, result) in steps {
            assert_eq!(self.run(command.clone()).await, json!({ "result": result }), "{command}");
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
