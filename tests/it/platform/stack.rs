//! Redis behind its gateway, and the client under test.

use std::sync::Arc;

use secrecy::SecretString;
use shared::redis::{Command, Purpose, Redis, Timeouts, Value};
use shared::telemetry::{Meter, Scope};
use tests::Upstash;
use upstash_gateway::Bill;
use url::Url;

pub(crate) use tests::upstash::REDIS_TOKEN as TOKEN;

/// Redis and its gateway.
pub(crate) struct Stack {
    upstash: Option<Upstash>,
    url: Url,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        let upstash = Upstash::start().await;
        Self { url: upstash.gateway.url().parse().unwrap(), upstash: Some(upstash) }
    }

    /// A client as another process would have it.
    pub(crate) fn redis(&self) -> Redis {
        client(&self.url, Timeouts::default())
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// What was billed while `work` ran.
    pub(crate) fn billed<T>(&self, work: impl Future<Output = T>) -> impl Future<Output = (T, Bill)> {
        self.upstash.as_ref().expect("Redis is there").billed(work)
    }

    /// Runs a command past every client under test.
    pub(crate) async fn ask<const N: usize>(&self, parts: [&str; N]) -> Value {
        let command = Command::new(parts[0]).args(&parts[1..]);
        self.redis().run(Purpose::Idempotency, command).await.unwrap()
    }

    /// Takes Redis away for good.
    pub(crate) fn stop(&mut self) {
        self.upstash = None;
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
