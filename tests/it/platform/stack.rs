//! Redis behind its gateway, and the client under test.

use std::sync::Arc;

use local_cloud::{Background, Redis as Server};
use secrecy::SecretString;
use shared::redis::{Command, Purpose, Redis, Timeouts, Value};
use shared::telemetry::{Meter, Scope};
use tests::Upstash;
use upstash_gateway::{Bill, Billing};
use url::Url;

pub(crate) use tests::upstash::REDIS_TOKEN as TOKEN;

/// Redis and its gateway.
pub(crate) struct Stack {
    billing: Arc<Billing>,
    url: Url,
    gateway: Option<Background>,
    _server: Server,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        let Upstash { redis, gateway, billing, .. } = Upstash::start().await;
        Self { billing, url: gateway.url().parse().unwrap(), gateway: Some(gateway), _server: redis }
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
        self.gateway = None;
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
