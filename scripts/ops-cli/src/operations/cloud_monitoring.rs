//! Cloud Monitoring (its Prometheus API): the numbers of all instances of the functions in a project, from their log lines.
//!
//! Source: <https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.location.prometheus.api.v1/query>.

use std::collections::BTreeMap;

use serde::Deserialize;
use shared::config::{Config, InvalidConfig, Variable, variables};

use super::google_api::{GoogleApi, endpoint};
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
    /// `https://…/v1/projects/P/location/global/prometheus/api/v1/query`
    query: String,
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    metric: BTreeMap<String, String>,
    /// Seconds since 1970, and a number as text.
    value: (f64, String),
}

impl Sample {
    fn label(&self, name: &str) -> String {
        self.metric.get(name).cloned().unwrap_or_default()
    }

    /// None, if nothing was counted.
    fn number(&self) -> Option<f64> {
        self.value.1.parse().ok().filter(|number: &f64| number.is_finite())
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
            query: format!("{base}/v1/projects/{project}/location/global/prometheus/api/v1/query"),
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
            if let Some(count) = sample.number().map(whole) {
                outcomes.entry(sample.label("queue")).or_default().insert(sample.label("outcome"), count);
            }
        }
        let ms = |samples: &[Sample], queue: &str| {
            samples.iter().find(|sample| sample.label("queue") == queue).and_then(Sample::number)
        };
        let numbers = outcomes.into_iter().map(|(queue, by_outcome)| {
            let (p50, p95) = (ms(&p50, &queue), ms(&p95, &queue));
            let numbers = Numbers::of(by_outcome, p50, p95);
            (queue, Numbers { window_minutes: Some(WINDOW_MINUTES), ..numbers })
        });
        Ok(numbers.collect())
    }

    async fn samples(&self, query: &str) -> anyhow::Result<Vec<Sample>> {
        let request = self.api.http.get(&self.query).query(&[("query", query)]);
        // Boxed: there are three of them at the same time.
        Ok(Box::pin(self.api.call::<Answer>(request)).await?.data.result)
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
