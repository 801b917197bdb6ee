//! Cloud Tasks (REST v2): the queues, and the tasks that wait in them.
//!
//! Source: <https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues>.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use gcp_auth::TokenProvider;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use shared::config::{Config, InvalidConfig, variables};
use shared::http;
use shared::queue::Queue;
use tokio::sync::OnceCell;
use url::Url;

use crate::queue::Found;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(10);
const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-tasks"];
/// The most that the API gives per page, which is also all that is looked at of a queue.
const MAX_TASKS: usize = 1000;
/// Google explains itself in less.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;

/// Cloud Tasks in one region of a project; clones share connections and credentials.
#[derive(Clone)]
pub(crate) struct CloudTasks {
    http: reqwest::Client,
    /// `https://…/v2/projects/P/locations/R/queues`
    queues: String,
    pub(crate) project: String,
    pub(crate) region: String,
    /// None on loopback.
    credentials: Option<Arc<OnceCell<Arc<dyn TokenProvider>>>>,
}

/// The tasks of a queue, as far as they were looked at.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Those under way included.
    pub(crate) tasks: usize,
    /// There are more than were looked at.
    pub(crate) is_cut: bool,
    /// Dispatched and not answered.
    pub(crate) in_flight: usize,
    /// Since when the oldest of those whose time has come waits.
    pub(crate) oldest_due: Option<DateTime<Utc>>,
}

/// A task as the API shows it, without its body.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FoundTask {
    pub(crate) schedule_time: DateTime<Utc>,
    pub(crate) create_time: DateTime<Utc>,
    #[serde(default)]
    pub(crate) dispatch_count: u32,
    last_attempt: Option<Attempt>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    response_time: Option<DateTime<Utc>>,
}

impl FoundTask {
    /// It was dispatched, and has not been answered.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.last_attempt.as_ref().is_some_and(|attempt| attempt.response_time.is_none())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Queues {
    #[serde(default)]
    queues: Vec<Named>,
    #[serde(default)]
    next_page_token: String,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    found: Found,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tasks {
    #[serde(default)]
    tasks: Vec<FoundTask>,
    #[serde(default)]
    next_page_token: String,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: Explained,
}

#[derive(Default, Deserialize)]
struct Explained {
    #[serde(default)]
    message: String,
}

impl CloudTasks {
    /// Reads `CLOUD_TASKS_URL`, `GCP_PROJECT_ID` and `GCP_REGION`.
    pub(crate) fn from_config(config: &mut Config) -> Result<Self, InvalidConfig> {
        let endpoint = config.required::<Url>(&variables::CLOUD_TASKS_URL);
        let project = config.required::<String>(&variables::GCP_PROJECT_ID);
        let region = config.required::<String>(&variables::GCP_REGION);
        let (endpoint, project, region) = (endpoint?, project?, region?);
        if !http::is_safe_for_credentials(&endpoint) {
            return Err(config.problem(&variables::CLOUD_TASKS_URL, "would send credentials in the clear"));
        }
        let base = endpoint.as_str().trim_end_matches('/');
        Ok(Self {
            http: http::client(CONNECT_TIMEOUT, TIMEOUT),
            queues: format!("{base}/v2/projects/{project}/locations/{region}/queues"),
            project,
            region,
            credentials: (!http::is_loopback(&endpoint)).then(Arc::default),
        })
    }

    /// All queues, by their names in Cloud Tasks.
    pub(crate) async fn queues(&self) -> anyhow::Result<BTreeMap<String, Found>> {
        let (mut all, mut page) = (BTreeMap::new(), String::new());
        loop {
            let answer: Queues = self.get(&self.queues, &[("pageToken", &page)]).await?;
            all.extend(answer.queues.into_iter().map(|Named { name, found }| {
                (name.rsplit('/').next().unwrap_or_default().to_owned(), found)
            }));
            page = answer.next_page_token;
            if page.is_empty() {
                return Ok(all);
            }
        }
    }

    /// The tasks that wait in a queue, of which the first [`MAX_TASKS`] are looked at: one call, unless the API gives a page that is
    /// not full.
    pub(crate) async fn waiting(&self, queue: Queue, now: DateTime<Utc>) -> anyhow::Result<Waiting> {
        let url = format!("{}/{}/tasks", self.queues, queue.cloud_name());
        let (size, mut page, mut tasks) = (MAX_TASKS.to_string(), String::new(), Vec::<FoundTask>::new());
        loop {
            let answer: Tasks = self.get(&url, &[("pageSize", &size), ("pageToken", &page)]).await?;
            tasks.extend(answer.tasks);
            page = answer.next_page_token;
            if page.is_empty() || tasks.len() >= MAX_TASKS {
                break;
            }
        }
        Ok(Waiting {
            tasks: tasks.len(),
            is_cut: !page.is_empty(),
            in_flight: tasks.iter().filter(|task| task.is_in_flight()).count(),
            oldest_due: tasks.iter().map(|task| task.schedule_time).filter(|at| *at <= now).min(),
        })
    }

    /// The task of that name, unless it has ended.
    pub(crate) async fn task(&self, queue: Queue, name: &str) -> anyhow::Result<Option<FoundTask>> {
        let mut url: Url = format!("{}/{}/tasks", self.queues, queue.cloud_name()).parse()?;
        url.path_segments_mut().ok().context("the address of Cloud Tasks has no path")?.push(name);
        let response = self.send(self.http.get(url)).await?;
        match response.status().as_u16() {
            404 => Ok(None),
            _ => Ok(Some(read(response).await?)),
        }
    }

    /// Holds a queue's tasks back.
    pub(crate) async fn pause(&self, queue: Queue) -> anyhow::Result<()> {
        self.change(queue, "pause").await
    }

    /// Lets a queue dispatch its tasks again.
    pub(crate) async fn resume(&self, queue: Queue) -> anyhow::Result<()> {
        self.change(queue, "resume").await
    }

    async fn change(&self, queue: Queue, verb: &str) -> anyhow::Result<()> {
        let url = format!("{}/{}:{verb}", self.queues, queue.cloud_name());
        let response = self.send(self.http.post(url).json(&serde_json::json!({}))).await?;
        read::<serde_json::Value>(response).await.map(drop)
    }

    async fn get<T: DeserializeOwned>(&self, url: &str, query: &[(&str, &str)]) -> anyhow::Result<T> {
        read(self.send(self.http.get(url).query(query)).await?).await
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        if let Some(cell) = &self.credentials {
            // The library has no timeout of its own and tries several times.
            let token = tokio::time::timeout(TIMEOUT, async {
                cell.get_or_try_init(gcp_auth::provider).await?.token(SCOPES).await
            });
            let token = token.await.context("no credentials for Cloud Tasks in time")?;
            request = request.bearer_auth(token.context("no credentials for Cloud Tasks")?.as_str());
        }
        let response = request.send().await.map_err(reqwest::Error::without_url);
        response.context("Cloud Tasks does not respond")
    }
}

async fn read<T: DeserializeOwned>(response: reqwest::Response) -> anyhow::Result<T> {
    let status = response.status();
    if !status.is_success() {
        let body = http::read_limited(response, MAX_REFUSAL_BYTES).await.unwrap_or_default();
        let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
        bail!("Cloud Tasks responded {status}: {}", refusal.error.message);
    }
    let answer = response.json().await.map_err(reqwest::Error::without_url);
    answer.context("cannot read the response of Cloud Tasks")
}
