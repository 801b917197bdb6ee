//! Queues: as `infra/queues.json` declares them, and as gcloud shows them.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::repository::Repository;
use crate::wrong_call::WrongCall;

const DECLARATION: &str = "infra/queues.json";
/// How the functions scale, for Terraform.
const SCALING: &str = "infra/gcp/functions.json";
const PAUSED: &str = "PAUSED";
/// `maxAttempts` of a queue that ends no task.
const UNLIMITED: i64 = -1;

/// `infra/queues.json`, as far as Cloud Tasks is concerned.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Declaration {
    pub(crate) queues: BTreeMap<String, Declared>,
}

/// One entry.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Declared {
    pub(crate) attempts: u32,
    pub(crate) min_backoff_seconds: u32,
    pub(crate) max_backoff_seconds: u32,
    pub(crate) max_doublings: u32,
    pub(crate) max_dispatches_per_second: u32,
}

#[derive(Deserialize)]
struct Scalings {
    functions: BTreeMap<String, Scaling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Scaling {
    concurrency: u32,
    max_instances: u32,
}

/// Tasks that Terraform lets the queue of a function run at once: as many as its service can hold.
pub(crate) fn concurrent_dispatches(repository: &Repository, function: &str) -> anyhow::Result<u32> {
    let scalings: Scalings = serde_json::from_str(&repository.current(SCALING)?)
        .with_context(|| format!("cannot read {SCALING}"))?;
    let scaling = scalings.functions.get(function);
    let scaling = scaling.with_context(|| format!("{SCALING} has no function {function}"))?;
    Ok(scaling.concurrency * scaling.max_instances)
}

/// A queue as `gcloud tasks queues describe` shows it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Found {
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) rate_limits: RateLimits,
    #[serde(default)]
    pub(crate) retry_config: RetryConfig,
    pub(crate) http_target: Option<HttpTarget>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RateLimits {
    pub(crate) max_dispatches_per_second: f64,
    pub(crate) max_concurrent_dispatches: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RetryConfig {
    pub(crate) max_attempts: i64,
    pub(crate) min_backoff: String,
    pub(crate) max_backoff: String,
    pub(crate) max_doublings: u32,
    pub(crate) max_retry_duration: Option<String>,
}

/// Where a queue sends all its tasks, whatever they say.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HttpTarget {
    pub(crate) uri_override: Option<UriOverride>,
    #[serde(default)]
    pub(crate) oidc_token: OidcToken,
}

/// What it puts in the place of each task's own address.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct UriOverride {
    scheme: Scheme,
    host: String,
    port: Option<String>,
    path_override: PathOverride,
    #[serde(rename = "uriOverrideEnforceMode")]
    mode: EnforceMode,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PathOverride {
    path: String,
}

/// As Google has them: what is not said is the first.
#[derive(Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Scheme {
    #[default]
    #[serde(alias = "SCHEME_UNSPECIFIED")]
    Https,
    Http,
}

/// When an override counts; what is not said is the first.
#[derive(Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum EnforceMode {
    #[default]
    #[serde(alias = "URI_OVERRIDE_ENFORCE_MODE_UNSPECIFIED")]
    Always,
    IfNotExists,
}

impl HttpTarget {
    /// Nothing is overridden: what is left when each of its fields was cleared.
    fn is_empty(&self) -> bool {
        self.uri_override.is_none() && self.oidc_token.service_account_email.is_empty()
    }
}

impl UriOverride {
    /// Where all tasks go; none of them does where their own address goes before.
    pub(crate) fn address(&self) -> Option<String> {
        let scheme = match self.scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
        };
        let port = self.port.as_deref().map(|port| format!(":{port}")).unwrap_or_default();
        let address = format!("{scheme}://{}{port}{}", self.host, self.path_override.path);
        (self.mode == EnforceMode::Always).then_some(address)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OidcToken {
    pub(crate) service_account_email: String,
    pub(crate) audience: Option<String>,
}

impl Found {
    /// Sends its tasks somewhere else than they say.
    pub(crate) fn overriding(&self) -> Option<&HttpTarget> {
        self.http_target.as_ref().filter(|http_target| !http_target.is_empty())
    }

    /// Tasks wait in it.
    pub(crate) fn is_paused(&self) -> bool {
        self.state == PAUSED
    }
}

impl Declared {
    /// `maxAttempts` of the queue: none ends a task of ours, since its function does; the predecessor's own otherwise.
    pub(crate) fn max_attempts(&self, is_ours: bool) -> i64 {
        if is_ours { UNLIMITED } else { self.attempts.into() }
    }
}

impl Declaration {
    pub(crate) fn read(repository: &Repository) -> anyhow::Result<Self> {
        serde_json::from_str(&repository.current(DECLARATION)?)
            .with_context(|| format!("cannot read {DECLARATION}"))
    }

    /// Name of the function, whether that or the queue's name was given.
    pub(crate) fn function(&self, name: &str) -> anyhow::Result<String> {
        let function = name.strip_suffix("-queue").unwrap_or(name);
        let is_known = self.queues.contains_key(function);
        ensure!(is_known, WrongCall(format!("{DECLARATION} has no queue {name}")));
        Ok(function.to_owned())
    }

    /// Some queues, or all.
    pub(crate) fn functions(&self, names: &[String], all: bool) -> anyhow::Result<Vec<String>> {
        if all {
            return Ok(self.queues.keys().cloned().collect());
        }
        names.iter().map(|name| self.function(name)).collect()
    }
}

/// Name of the queue in Cloud Tasks.
pub(crate) fn cloud_name(function: &str) -> String {
    format!("{function}-queue")
}
