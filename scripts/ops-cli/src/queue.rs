//! Queues: as `infra/queues.json` declares them, and as gcloud shows them.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;

use crate::names;

const DECLARATION: &str = include_str!("../../../infra/queues.json");
/// How the functions scale, for Terraform.
const SCALING: &str = include_str!("../../../infra/gcp/functions.json");
const PAUSED: &str = "PAUSED";
/// `maxAttempts` of a queue that ends no task.
const UNLIMITED: i64 = -1;

/// The part of `infra/queues.json` that concerns Cloud Tasks.
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
    pub(crate) schedules: Vec<Schedule>,
}

/// One schedule of a queue.
#[derive(Deserialize)]
pub(crate) struct Schedule {
    pub(crate) name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Scalings {
    deployment_queue: String,
    functions: BTreeMap<String, Scaling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Scaling {
    concurrency: u32,
    max_instances: u32,
}

impl Scalings {
    fn read() -> anyhow::Result<Self> {
        serde_json::from_str(SCALING).context("infra/gcp/functions.json is malformed")
    }
}

/// The queue of deployments, whose tasks go where each of them says.
pub(crate) fn of_deployments() -> anyhow::Result<String> {
    Ok(Scalings::read()?.deployment_queue)
}

/// Concurrent dispatches that Terraform allows the queue of a function: as many as its service can hold.
pub(crate) fn concurrent_dispatches(function: &str) -> anyhow::Result<u32> {
    let scalings = Scalings::read()?;
    let scaling = scalings.functions.get(function);
    let scaling = scaling.with_context(|| format!("infra/gcp/functions.json has no function {function}"))?;
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

/// Where a queue sends all its tasks, whatever address a task names.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HttpTarget {
    pub(crate) uri_override: Option<UriOverride>,
    #[serde(default)]
    pub(crate) oidc_token: OidcToken,
}

/// What replaces the address of each task.
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

/// Google's values; the first is the default.
#[derive(Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Scheme {
    #[default]
    #[serde(alias = "SCHEME_UNSPECIFIED")]
    Https,
    Http,
}

/// When an override applies; the first is the default.
#[derive(Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum EnforceMode {
    #[default]
    #[serde(alias = "URI_OVERRIDE_ENFORCE_MODE_UNSPECIFIED")]
    Always,
    IfNotExists,
}

impl HttpTarget {
    /// Nothing is overridden: what remains after each field was cleared.
    fn is_empty(&self) -> bool {
        self.uri_override.is_none() && self.oidc_token.service_account_email.is_empty()
    }
}

impl UriOverride {
    /// The address to which all tasks go, unless a task's own address takes precedence.
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
    /// The override of its tasks' addresses, if there is one.
    pub(crate) fn overriding(&self) -> Option<&HttpTarget> {
        self.http_target.as_ref().filter(|http_target| !http_target.is_empty())
    }

    /// Where its tasks go, if not where each of them says.
    pub(crate) fn address(&self) -> Option<String> {
        self.overriding()?.uri_override.as_ref()?.address()
    }

    /// Nothing is overridden, but the setting is not gone: what gcloud leaves of an identity that was cleared replaces that of
    /// each task.
    pub(crate) fn has_remains(&self) -> bool {
        self.http_target.as_ref().is_some_and(HttpTarget::is_empty)
    }

    /// The same with the backoffs of production, where they are divided by a number.
    pub(crate) fn with_backoffs_times(mut self, divisor: u32) -> Self {
        for backoff in [&mut self.retry_config.min_backoff, &mut self.retry_config.max_backoff] {
            let seconds = backoff.strip_suffix('s').and_then(|seconds| seconds.parse::<f64>().ok());
            if let Some(seconds) = seconds {
                *backoff = format!("{}s", (seconds * f64::from(divisor) * 1e3).round() / 1e3);
            }
        }
        self
    }

    /// Its tasks wait.
    pub(crate) fn is_paused(&self) -> bool {
        self.state == PAUSED
    }
}

impl Declared {
    /// `maxAttempts` of the queue: unlimited while it is ours, since the function ends its tasks; else the predecessor's number.
    pub(crate) fn max_attempts(&self, is_ours: bool) -> i64 {
        if is_ours { UNLIMITED } else { self.attempts.into() }
    }
}

impl Declaration {
    /// The queues of the checkout from which this program was built.
    pub(crate) fn read() -> anyhow::Result<Self> {
        serde_json::from_str(DECLARATION).context("infra/queues.json is malformed")
    }

    /// Name of the function, from that or from the queue's name.
    pub(crate) fn function(name: &str) -> anyhow::Result<String> {
        Ok(names::queue(name)?.name().to_owned())
    }
}

/// Whether a service runs the tasks of a queue; `webhooks` has none.
pub(crate) fn has_queue(function: &str) -> anyhow::Result<bool> {
    Ok(Declaration::read()?.queues.contains_key(function))
}

/// Name of the queue in Cloud Tasks.
pub(crate) fn cloud_name(function: &str) -> String {
    format!("{function}-queue")
}
