//! Cloud Tasks (REST v2): the queues, and the tasks that wait in them.
//!
//! Source: <https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues>.

use std::collections::BTreeMap;

use anyhow::Context as _;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::config::{Config, InvalidConfig, variables};
use shared::http;
use shared::queue::Queue;
use url::Url;

use super::google_api::GoogleApi;
use crate::queue::Found;

const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-tasks"];
/// The most that the API gives per page.
pub(crate) const PAGE: usize = 1000;

/// Cloud Tasks in one region of a project; clones share connections and credentials.
#[derive(Clone)]
pub(crate) struct CloudTasks {
    api: GoogleApi,
    /// `https://…/v2/projects/P/locations/R/queues`
    queues: String,
    pub(crate) project: String,
    pub(crate) region: String,
}

/// The tasks of a queue, as far as they were looked at.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Those in flight included.
    pub(crate) tasks: usize,
    /// There are more than were looked at.
    pub(crate) is_cut: bool,
    /// Dispatched and not answered.
    pub(crate) in_flight: usize,
    /// Since when the oldest of those whose time has come waits.
    pub(crate) oldest_due: Option<DateTime<Utc>>,
}

/// How much is shown of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE")]
pub(crate) enum View {
    /// All but its body.
    Basic,
    /// All of it.
    Full,
}

/// A task as the API shows it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FoundTask {
    name: String,
    pub(crate) schedule_time: DateTime<Utc>,
    pub(crate) create_time: DateTime<Utc>,
    #[serde(default)]
    pub(crate) dispatch_count: u32,
    last_attempt: Option<Attempt>,
    http_request: Option<HttpRequest>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    response_time: Option<DateTime<Utc>>,
    response_status: Option<Status>,
}

#[derive(Debug, Clone, Deserialize)]
struct Status {
    #[serde(default)]
    message: String,
}

#[derive(Debug, Clone, Deserialize)]
struct HttpRequest {
    #[serde(default)]
    body: String,
}

impl FoundTask {
    /// Its name in its queue.
    pub(crate) fn name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// It was dispatched, and has not been answered.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.last_attempt.as_ref().is_some_and(|attempt| attempt.response_time.is_none())
    }

    /// What Cloud Tasks says about the last answer to a dispatch, such as `UNAVAILABLE(14): HTTP status code 503`.
    pub(crate) fn last_answer(&self) -> Option<&str> {
        let message = &self.last_attempt.as_ref()?.response_status.as_ref()?.message;
        (!message.is_empty()).then_some(message)
    }

    /// Its body, with [`View::Full`].
    pub(crate) fn body(&self) -> Vec<u8> {
        let body = self.http_request.as_ref().map(|request| BASE64_STANDARD.decode(&request.body));
        body.and_then(Result::ok).unwrap_or_default()
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
            api: GoogleApi::new("Cloud Tasks", SCOPES, &endpoint),
            queues: format!("{base}/v2/projects/{project}/locations/{region}/queues"),
            project,
            region,
        })
    }

    /// All queues, by their names in Cloud Tasks.
    pub(crate) async fn queues(&self) -> anyhow::Result<BTreeMap<String, Found>> {
        let (mut all, mut page) = (BTreeMap::new(), String::new());
        loop {
            let request = self.api.http.get(&self.queues).query(&[("pageToken", &page)]);
            let answer: Queues = self.api.call(request).await?;
            all.extend(answer.queues.into_iter().map(|Named { name, found }| {
                (name.rsplit('/').next().unwrap_or_default().to_owned(), found)
            }));
            page = answer.next_page_token;
            if page.is_empty() {
                return Ok(all);
            }
        }
    }

    /// The tasks that wait in a queue, of which the first [`PAGE`] are looked at.
    pub(crate) async fn waiting(&self, queue: Queue, now: DateTime<Utc>) -> anyhow::Result<Waiting> {
        let mut tasks = Vec::new();
        let is_cut = self.tasks(queue, View::Basic, PAGE, |task| tasks.push(task)).await?;
        Ok(Waiting {
            tasks: tasks.len(),
            is_cut,
            in_flight: tasks.iter().filter(|task| task.is_in_flight()).count(),
            oldest_due: tasks.iter().map(|task| task.schedule_time).filter(|at| *at <= now).min(),
        })
    }

    /// Gives the tasks of a queue to `take`, a page at a time until there have been `at_most`; returns whether there are more.
    pub(crate) async fn tasks(
        &self,
        queue: Queue,
        view: View,
        at_most: usize,
        mut take: impl FnMut(FoundTask),
    ) -> anyhow::Result<bool> {
        let url = format!("{}/{}/tasks", self.queues, queue.cloud_name());
        let (mut page, mut taken) = (String::new(), 0);
        loop {
            let size = (at_most - taken).min(PAGE).to_string();
            let query = [("pageSize", &*size), ("pageToken", &page), ("responseView", view.into())];
            let answer: Tasks = self.api.call(self.api.http.get(&url).query(&query)).await?;
            taken += answer.tasks.len();
            answer.tasks.into_iter().for_each(&mut take);
            page = answer.next_page_token;
            if page.is_empty() || taken >= at_most {
                return Ok(!page.is_empty());
            }
        }
    }

    /// The task of that name, unless it has ended.
    pub(crate) async fn task(&self, queue: Queue, name: &str) -> anyhow::Result<Option<FoundTask>> {
        self.api.find(self.api.http.get(self.task_url(queue, name)?)).await
    }

    /// Dispatches a task immediately, whatever its time and the state of its queue; `false` if it has ended.
    pub(crate) async fn run(&self, queue: Queue, name: &str) -> anyhow::Result<bool> {
        let url = self.task_url(queue, &format!("{name}:run"))?;
        let ran: Option<Value> = self.api.find(self.api.http.post(url).json(&json!({}))).await?;
        Ok(ran.is_some())
    }

    /// Deletes a task; `false` if it has ended.
    pub(crate) async fn delete(&self, queue: Queue, name: &str) -> anyhow::Result<bool> {
        let deleted: Option<Value> = self.api.find(self.api.http.delete(self.task_url(queue, name)?)).await?;
        Ok(deleted.is_some())
    }

    fn task_url(&self, queue: Queue, name: &str) -> anyhow::Result<Url> {
        let mut url: Url = format!("{}/{}/tasks", self.queues, queue.cloud_name()).parse()?;
        url.path_segments_mut().ok().context("the address of Cloud Tasks has no path")?.push(name);
        Ok(url)
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
        self.api.call::<Value>(self.api.http.post(url).json(&json!({}))).await.map(drop)
    }
}
