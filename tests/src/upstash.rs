//! A Redis of one's own, behind a gateway of one's own.

use std::sync::Arc;

use local_cloud::{Background, Redis};
use redis::FromRedisValue;
use upstash_gateway::{Bill, Billing, Config, Unkindness};

/// Token of every test's gateway.
pub const REDIS_TOKEN: &str = "a-token-for-tests";

/// Asks the Redis at `url`.
pub async fn ask<T: FromRedisValue>(url: &str, command: &[&str]) -> T {
    let mut connection = local_cloud::redis::connect(url).await.expect("Redis answers");
    redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await.expect("Redis obeys")
}

/// Redis as Upstash offers it.
pub struct Upstash {
    /// Redis itself.
    pub redis: Redis,
    /// Redis over HTTP.
    pub gateway: Background,
    /// What Upstash would bill.
    pub billing: Arc<Billing>,
    /// What Upstash may do to its clients: replica lag, lost writes, evictions, the quota.
    pub unkind: Arc<Unkindness>,
}

impl Upstash {
    /// With the gateway's own settings.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With other settings of the gateway.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let redis = Redis::start(None)
            .await
            .unwrap_or_else(|error| panic!("no Redis: {error:#}; scripts/install --tests installs it"));
        let mut config = Config::new(redis.url(), REDIS_TOKEN);
        change(&mut config);
        let (billing, unkind) = (Arc::clone(&config.billing), Arc::clone(&config.unkindness));
        let serve = |listener| upstash_gateway::serve(listener, config, std::future::pending());
        let gateway = Background::start("gateway", serve).expect("the gateway starts");
        Self { redis, gateway, billing, unkind }
    }

    /// What a function's environment says about Redis.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [("UPSTASH_REDIS_REST_URL", self.gateway.url()), ("UPSTASH_REDIS_REST_TOKEN", REDIS_TOKEN.to_owned())]
    }

    /// Asks Redis itself, past the gateway.
    pub async fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        ask(self.redis.url(), command).await
    }

    /// What was billed while `work` ran.
    pub async fn billed<T>(&self, work: impl Future<Output = T>) -> (T, Bill) {
        self.billing.reset();
        let result = work.await;
        (result, self.billing.reset())
    }
}
