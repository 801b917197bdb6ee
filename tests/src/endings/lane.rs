//! Servers on which one row is played after the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use catchup::queues;
use serde_json::Value;
use shared::queue::Queue;
use url::Url;

use crate::acting::RUNS;
use crate::issuer::CALLER;
use crate::redis_proxy::{ProxyAction, Request};
use crate::{RedisProxy, Stack, Switch};

/// The queue of all rows.
pub(super) const QUEUE: Queue = queues::TOKEN_REFRESH;

/// Leases of 3 s, and timeouts of 6 s.
pub(super) const LEASE_DIVISOR: u32 = 20;
const BACKOFF_DIVISOR: u32 = 1000;

/// A stack, and what makes each part of it unavailable to the function.
pub(super) struct Lane {
    pub(super) stack: Stack,
    pub(super) postgres: Switch,
    pub(super) cloud_tasks: Switch,
    pub(super) keys: Switch,
    redis: RedisProxy,
    action: Arc<Mutex<ProxyAction>>,
    renewals: Arc<AtomicU64>,
}

impl Lane {
    pub(super) async fn start() -> Self {
        let stack = Stack::start().await;
        stack.run(RUNS).await;
        let (action, renewals) = (Arc::new(Mutex::new(ProxyAction::Pass)), Arc::<AtomicU64>::default());
        let (decided, counted) = (Arc::clone(&action), Arc::clone(&renewals));
        let redis = RedisProxy::start(&stack.gateway.url(), move |request| {
            let action = *decided.lock().unwrap_or_else(PoisonError::into_inner);
            if action == ProxyAction::Pass && is_renewal(&request) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            async move { action }
        });
        let database = (stack.database.host_str(), stack.database.port().unwrap_or(5432));
        let database = format!("{}:{}", database.0.expect("the database has a host"), database.1);
        let database = tokio::net::lookup_host(database).await.expect("the host is known").next();
        Self {
            postgres: Switch::start(database.expect("the host has an address")),
            cloud_tasks: Switch::start(address(&stack.tasks.url())),
            keys: Switch::start(address(&stack.issuer.url())),
            redis,
            action,
            renewals,
            stack,
        }
    }

    /// Makes everything as it was at the start.
    pub(super) async fn clear(&self) {
        for switch in [&self.postgres, &self.cloud_tasks, &self.keys] {
            switch.turn(true);
        }
        self.redis_answers(ProxyAction::Pass);
        self.stack.unkind.set_quota(None);
        while !self.stack.take_tasks(QUEUE).await.is_empty() {}
        self.stack.run("TRUNCATE runs, jobs.failures, jobs.dead_letters").await;
        self.stack.redis(&["FLUSHALL"]).await;
        self.stack.billing.reset();
        self.renewals.store(0, Ordering::SeqCst);
    }

    /// What becomes of the function's commands from now on.
    pub(super) fn redis_answers(&self, action: ProxyAction) {
        *self.action.lock().unwrap_or_else(PoisonError::into_inner) = action;
    }

    /// Billed commands, without those that only renewed a lease: how many these are depends on how long a run takes.
    pub(super) fn commands(&self) -> u64 {
        self.stack.billing.bill().billed - self.renewals.load(Ordering::SeqCst)
    }

    /// The environment of a function whose dependencies can be switched off.
    pub(super) fn environment(&self) -> BTreeMap<&'static str, String> {
        let address = self.postgres.address();
        let mut database: Url = self.stack.database.clone();
        database.set_ip_host(address.ip()).expect("the URL has a host");
        database.set_port(Some(address.port())).expect("the URL has a port");
        BTreeMap::from([
            ("DATABASE_URL", database.to_string()),
            ("UPSTASH_REDIS_REST_URL", self.redis.url("function")),
            ("CLOUD_TASKS_URL", format!("http://{}", self.cloud_tasks.address())),
            ("OIDC_ISSUER", self.stack.issuer.url()),
            ("OIDC_JWKS_URL", format!("http://{}/jwks", self.keys.address())),
            ("SERVICE_ACCOUNT_EMAIL", CALLER.to_owned()),
            ("LEASE_DIVISOR", LEASE_DIVISOR.to_string()),
            ("TIMEOUT_DIVISOR", LEASE_DIVISOR.to_string()),
            ("RETRY_BACKOFF_DIVISOR", BACKOFF_DIVISOR.to_string()),
        ])
    }
}

/// `SET key value IFEQ old …`, both values of the same run.
fn is_renewal(request: &Request) -> bool {
    let Ok(command) = serde_json::from_str::<Vec<Value>>(&request.body) else { return false };
    let run = |value: &Value| serde_json::from_str::<Value>(value.as_str()?).ok()?.get("run").cloned();
    match command.as_slice() {
        [set, _, value, ifeq, old, ..] if set == "SET" && ifeq == "IFEQ" => {
            run(value).is_some() && run(value) == run(old)
        }
        _ => false,
    }
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().expect("loopback servers have an address")
}
