//! Cloud Scheduler (REST v1): the schedules, each of which creates a task when it is due.
//!
//! Source: <https://cloud.google.com/scheduler/docs/reference/rest/v1/projects.locations.jobs>.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::config::{Config, InvalidConfig, Variable, variables};

use super::google_api::{GoogleApi, endpoint};

const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-platform"];
const ENDPOINT: &str = "https://cloudscheduler.googleapis.com";
const CLOUD_SCHEDULER_URL: Variable = Variable {
    name: "CLOUD_SCHEDULER_URL",
    what: "Endpoint of Cloud Scheduler; one on loopback is called without credentials.",
    form: "https://host (http on loopback)",
    default: None,
    place: "the environment of the command",
};

/// Cloud Scheduler in one region of a project; clones share connections and credentials.
#[derive(Clone)]
pub(crate) struct CloudScheduler {
    api: GoogleApi,
    /// `https://…/v1/projects/P/locations/R/jobs`
    jobs: String,
}

/// What is done with a schedule, as the API spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Verb {
    Run,
    Pause,
    Resume,
}

/// Whether a schedule creates tasks, `DISABLED` and what may come later are neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, strum::Display)]
#[serde(rename_all(serialize = "snake_case", deserialize = "SCREAMING_SNAKE_CASE"))]
#[strum(serialize_all = "snake_case")]
pub(crate) enum State {
    Enabled,
    Paused,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Jobs {
    #[serde(default)]
    jobs: Vec<Job>,
    #[serde(default)]
    next_page_token: String,
}

#[derive(Deserialize)]
struct Job {
    name: String,
    state: State,
}

impl CloudScheduler {
    /// Reads `CLOUD_SCHEDULER_URL`, `GCP_PROJECT_ID` and `GCP_REGION`. Cloud Tasks on this machine is that of the local cloud, which
    /// has no Cloud Scheduler.
    pub(super) fn from_config(config: &mut Config) -> Result<Option<Self>, InvalidConfig> {
        let endpoint = endpoint(config, &CLOUD_SCHEDULER_URL, ENDPOINT);
        let project = config.required::<String>(&variables::GCP_PROJECT_ID);
        let region = config.required::<String>(&variables::GCP_REGION);
        let (Some(endpoint), project, region) = (endpoint?, project?, region?) else { return Ok(None) };
        let base = endpoint.as_str().trim_end_matches('/');
        Ok(Some(Self {
            api: GoogleApi::new("Cloud Scheduler", SCOPES, &endpoint),
            jobs: format!("{base}/v1/projects/{project}/locations/{region}/jobs"),
        }))
    }

    /// The states of all schedules, by their names.
    pub(crate) async fn states(&self) -> anyhow::Result<BTreeMap<String, State>> {
        let (mut states, mut page) = (BTreeMap::new(), String::new());
        loop {
            let request = self.api.http.get(&self.jobs).query(&[("pageToken", &page)]);
            let answer: Jobs = self.api.call(request).await?;
            states.extend(
                answer.jobs.into_iter().map(|Job { name, state }| {
                    (name.rsplit('/').next().unwrap_or_default().to_owned(), state)
                }),
            );
            page = answer.next_page_token;
            if page.is_empty() {
                return Ok(states);
            }
        }
    }

    /// The state of a schedule, if there is such a one.
    pub(super) async fn state(&self, name: &str) -> anyhow::Result<Option<State>> {
        let job: Option<Job> = self.api.find(self.api.http.get(format!("{}/{name}", self.jobs))).await?;
        Ok(job.map(|job| job.state))
    }

    /// Changes a schedule, or lets it create its task now.
    pub(super) async fn change(&self, name: &str, verb: Verb) -> anyhow::Result<()> {
        let url = format!("{}/{name}:{}", self.jobs, <&str>::from(verb));
        self.api.call::<Value>(self.api.http.post(url).json(&json!({}))).await.map(drop)
    }
}
