//! Cloud Monitoring: the numbers of all instances of the functions in a project, from their log lines (its Prometheus API), and
//! the alerts that fire.
//!
//! Sources: <https://cloud.google.com/monitoring/api/ref_v3/rest/v1/projects.location.prometheus.api.v1>,
//! <https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.alerts/list>.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use shared::config::{Config, InvalidConfig, Variable, variables};

use super::Listed;
use super::alerts::Alert;
use super::google_api::{GoogleApi, endpoint};
use super::last_hour::Counted;
use super::numbers::Numbers;

const SCOPES: &[&str] = &["https://www.googleapis.com/auth/monitoring.read"];
const ENDPOINT: &str = "https://monitoring.googleapis.com";
const CLOUD_MONITORING_URL: Variable = Variable {
    name: "CLOUD_MONITORING_URL",
    what: "Endpoint of Cloud Monitoring; one on loopback is called without credentials.",
    form: "https://host (http on loopback)",
    default: None,
    place: "the environment of the command",
};
/// Of which time the numbers are: some tasks of rare sweeps are in it, and an incident fills it within minutes.
pub(super) const WINDOW_MINUTES: u32 = 60;
/// What Terraform names the metrics, of which this is the kind of resource.
const METRICS: &str = "logging_googleapis_com:user_jobs_";
const RESOURCE: &str = "{monitored_resource=\"cloud_run_revision\"}";

/// Cloud Monitoring of a project; clones share connections and credentials.
#[derive(Clone)]
pub(crate) struct CloudMonitoring {
    api: GoogleApi,
    /// `https://…/v1/projects/P/location/global/prometheus/api/v1`
    prometheus: String,
    /// `https://…/v3/projects/P/alerts`
    alerts: String,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: Data<T>,
}

#[derive(Deserialize)]
struct Data<T> {
    result: Vec<T>,
}

/// Seconds since 1970, and a number as text.
type Point = (f64, String);

#[derive(Deserialize)]
struct Sample {
    #[serde(rename = "metric")]
    labels: Labels,
    value: Point,
}

/// The points of a time.
#[derive(Deserialize)]
struct Series {
    #[serde(rename = "metric")]
    labels: Labels,
    values: Vec<Point>,
}

#[derive(Deserialize)]
struct Labels(BTreeMap<String, String>);

impl Labels {
    fn get(&self, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_default()
    }
}

/// None, if nothing was counted.
fn number((_, text): &Point) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A time that is cut into equal steps, whose ends are `first`, … `last`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    pub(super) first: DateTime<Utc>,
    pub(super) last: DateTime<Utc>,
    pub(super) minutes: u32,
}

impl Steps {
    /// So many, the last of which is whole.
    pub(super) fn until(now: DateTime<Utc>, minutes: u32, count: u32) -> Self {
        let length = TimeDelta::minutes(minutes.into());
        let last = now.duration_trunc(length).unwrap_or(now);
        Self { first: last - TimeDelta::minutes((minutes * (count - 1)).into()), last, minutes }
    }

    pub(super) fn ends(self) -> impl Iterator<Item = DateTime<Utc>> {
        let length = TimeDelta::minutes(self.minutes.into());
        std::iter::successors(Some(self.first), move |end| Some(*end + length))
            .take_while(move |end| *end <= self.last)
    }
}

/// What all instances of a function counted in one step.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Step {
    pub(super) dispatches: f64,
    pub(super) total_ms: f64,
    pub(super) redis_commands: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedAlerts {
    #[serde(default)]
    alerts: Vec<OpenAlert>,
    #[serde(default)]
    next_page_token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OpenAlert {
    open_time: DateTime<Utc>,
    #[serde(default)]
    metric: Metric,
    policy: Policy,
}

#[derive(Default, Deserialize)]
struct Metric {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    display_name: String,
    #[serde(default)]
    severity: String,
}

impl From<OpenAlert> for Alert {
    fn from(mut found: OpenAlert) -> Self {
        Self {
            policy: found.policy.display_name,
            severity: found.policy.severity.to_ascii_lowercase(),
            queue: found.metric.labels.remove("queue"),
            since: found.open_time,
        }
    }
}

impl CloudMonitoring {
    /// Reads `CLOUD_MONITORING_URL` and `GCP_PROJECT_ID`. Cloud Tasks on this machine is that of the local cloud, whose functions
    /// are asked themselves.
    pub(super) fn from_config(config: &mut Config) -> Result<Option<Self>, InvalidConfig> {
        let endpoint = endpoint(config, &CLOUD_MONITORING_URL, ENDPOINT);
        let project = config.required::<String>(&variables::GCP_PROJECT_ID);
        let (Some(endpoint), project) = (endpoint?, project?) else { return Ok(None) };
        let base = endpoint.as_str().trim_end_matches('/');
        Ok(Some(Self {
            api: GoogleApi::new("Cloud Monitoring", SCOPES, &endpoint),
            prometheus: format!("{base}/v1/projects/{project}/location/global/prometheus/api/v1"),
            alerts: format!("{base}/v3/projects/{project}/alerts"),
        }))
    }

    /// How the tasks of each queue ended in the last hour, and how fast; a queue without a dispatch is not there.
    pub(super) async fn numbers(&self) -> anyhow::Result<BTreeMap<String, Numbers>> {
        let window = format!("[{WINDOW_MINUTES}m]");
        let dispatches =
            format!("sum by (queue, outcome) (increase({METRICS}tasks_total{RESOURCE}{window}))");
        let quantile = |quantile: &str| {
            format!(
                "histogram_quantile({quantile}, \
                 sum by (queue, le) (increase({METRICS}task_duration_ms_bucket{RESOURCE}{window})))"
            )
        };
        let (p50, p95) = (quantile("0.5"), quantile("0.95"));
        let (dispatches, p50, p95) =
            tokio::try_join!(self.samples(&dispatches), self.samples(&p50), self.samples(&p95))?;
        let mut outcomes: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for sample in &dispatches {
            if let Some(count) = number(&sample.value).map(whole) {
                let labels = &sample.labels;
                outcomes.entry(labels.get("queue")).or_default().insert(labels.get("outcome"), count);
            }
        }
        let ms = |samples: &[Sample], queue: &str| {
            let of_queue = samples.iter().find(|sample| sample.labels.get("queue") == queue);
            of_queue.and_then(|sample| number(&sample.value))
        };
        let numbers = outcomes.into_iter().map(|(queue, by_outcome)| {
            let (p50, p95) = (ms(&p50, &queue), ms(&p95, &queue));
            let numbers = Numbers::of(by_outcome, p50, p95);
            (queue, Numbers { window_minutes: Some(WINDOW_MINUTES), ..numbers })
        });
        Ok(numbers.collect())
    }

    /// How the dispatches of each queue ended, step by step, with the end of each step.
    pub(super) async fn outcomes(&self, steps: Steps) -> anyhow::Result<BTreeMap<DateTime<Utc>, Counted>> {
        let mut counted: BTreeMap<_, Counted> = BTreeMap::new();
        for series in self.series("queue, outcome", "tasks_total", steps).await? {
            let (queue, outcome) = (series.labels.get("queue"), series.labels.get("outcome"));
            for (at, count) in series.points() {
                let of_queue = counted.entry(at).or_default().entry(queue.clone()).or_default();
                of_queue.insert(outcome.clone(), whole(count));
            }
        }
        Ok(counted)
    }

    /// What the functions used, by queue, step by step.
    pub(super) async fn used(
        &self,
        steps: Steps,
    ) -> anyhow::Result<BTreeMap<String, BTreeMap<DateTime<Utc>, Step>>> {
        let (dispatches, durations, leases, limits, caches) = tokio::try_join!(
            self.series("queue", "tasks_total", steps),
            self.series("queue", "task_duration_ms_sum", steps),
            self.series("queue", "redis_idempotency_sum", steps),
            self.series("queue", "redis_rate_limit_sum", steps),
            self.series("queue", "redis_cache_sum", steps),
        )?;
        let mut used: BTreeMap<String, BTreeMap<_, Step>> = BTreeMap::new();
        let mut add = |all: Vec<Series>, field: fn(&mut Step) -> &mut f64| {
            for series in all {
                let of_queue = used.entry(series.labels.get("queue")).or_default();
                series.points().for_each(|(at, count)| *field(of_queue.entry(at).or_default()) += count);
            }
        };
        add(dispatches, |step| &mut step.dispatches);
        add(durations, |step| &mut step.total_ms);
        for commands in [leases, limits, caches] {
            add(commands, |step| &mut step.redis_commands);
        }
        Ok(used)
    }

    /// The alerts that fire, the newest first.
    pub(super) async fn alerts(&self, limit: u32) -> anyhow::Result<Listed<Alert>> {
        let query = [("filter", "state=\"OPEN\"".to_owned()), ("pageSize", limit.to_string())];
        let listed: ListedAlerts = self.api.call(self.api.http.get(&self.alerts).query(&query)).await?;
        let items = listed.alerts.into_iter().map(Alert::from).collect();
        Ok(Listed { items, is_cut: !listed.next_page_token.is_empty() })
    }

    async fn samples(&self, query: &str) -> anyhow::Result<Vec<Sample>> {
        self.ask("query", &[("query", query.to_owned())]).await
    }

    /// By how much a metric grew in each step.
    async fn series(&self, by: &str, metric: &str, steps: Steps) -> anyhow::Result<Vec<Series>> {
        let Steps { first, last, minutes } = steps;
        let query = format!("sum by ({by}) (increase({METRICS}{metric}{RESOURCE}[{minutes}m]))");
        let [start, end] = [first, last].map(|time| time.timestamp().to_string());
        let parameters =
            [("query", query), ("start", start), ("end", end), ("step", format!("{}s", minutes * 60))];
        self.ask("query_range", &parameters).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        parameters: &[(&str, String)],
    ) -> anyhow::Result<Vec<T>> {
        let request = self.api.http.get(format!("{}/{method}", self.prometheus)).query(parameters);
        // Boxed: there are several of them at the same time.
        Ok(Box::pin(self.api.call::<Answer<T>>(request)).await?.data.result)
    }
}

impl Series {
    fn points(&self) -> impl Iterator<Item = (DateTime<Utc>, f64)> {
        self.values.iter().filter_map(|point| {
            let at = DateTime::from_timestamp(whole(point.0).try_into().ok()?, 0)?;
            Some((at, number(point)?))
        })
    }
}

/// Increases are estimated between two samples, and are no whole numbers.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "dispatches of an hour are far below 2^52, and none is negative"
)]
fn whole(count: f64) -> u64 {
    count.max(0.0).round() as u64
}
