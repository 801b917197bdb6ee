//! A queue that changes hands by calls of Cloud Tasks alone, in the order of `scripts/ops takeover` and `giveback`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use local_cloud::CloudTasks;
use serde_json::{Value, json};
use shared::queue::{JOBS_PATH, Queue};

const TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// `maxAttempts` of a queue that ends no task.
const UNLIMITED: i64 = -1;

/// One queue and the service that it is taken over from.
pub struct Handover<'a> {
    tasks: &'a CloudTasks,
    queue: Queue,
    predecessor: String,
    http: reqwest::Client,
}

impl<'a> Handover<'a> {
    /// The queue, and the address of its predecessor.
    #[must_use]
    pub fn new(tasks: &'a CloudTasks, queue: Queue, predecessor: String) -> Self {
        Self { tasks, queue, predecessor, http: shared::http::client(TIMEOUT, TIMEOUT) }
    }

    fn path(&self) -> String {
        format!("{}/queues/{}", self.tasks.settings().parent(), self.queue.cloud_name())
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "{status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Creates a task as a producer of the application does; returns its short name.
    pub async fn create(&self, job: &str, key: Option<&str>, data: &Value) -> anyhow::Result<String> {
        let mut envelope = json!({ "data": data, "jobName": job });
        if let Some(key) = key {
            envelope["idempotencyKey"] = key.into();
        }
        let task = json!({ "httpRequest": {
            "url": format!("{}{JOBS_PATH}{job}", self.predecessor),
            "headers": { "Content-Type": "application/json" },
            "body": STANDARD.encode(envelope.to_string()),
        } });
        let url = format!("{}/v2/{}/tasks", self.tasks.url(), self.path());
        let created = self.send(self.http.post(url).json(&json!({ "task": task }))).await?;
        let name = created["name"].as_str().and_then(|name| name.rsplit('/').next());
        name.map(str::to_owned).context("a task has a name")
    }

    /// Tasks that Cloud Tasks has dispatched and not seen answered.
    pub async fn in_flight(&self) -> anyhow::Result<usize> {
        let tasks = self.tasks.list(self.queue).await?;
        let is_in_flight = |task: &&Value| {
            let attempt = &task["lastAttempt"];
            !attempt["dispatchTime"].is_null() && attempt["responseTime"].is_null()
        };
        Ok(tasks.iter().filter(is_in_flight).count())
    }

    /// Its tasks wait.
    pub async fn is_paused(&self) -> anyhow::Result<bool> {
        let url = format!("{}/v2/{}", self.tasks.url(), self.path());
        Ok(self.send(self.http.get(url)).await?["state"] == "PAUSED")
    }

    /// Pauses the queue, and waits until nothing is in flight.
    pub async fn pause(&self) -> anyhow::Result<()> {
        self.tasks.pause(self.queue).await?;
        while self.in_flight().await? > 0 {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Changes fields of the queue, named by `mask`.
    pub async fn change(&self, mask: &str, fields: &Value) -> anyhow::Result<()> {
        let url = format!("{}/v2/{}?updateMask={mask}", self.tasks.url(), self.path());
        self.send(self.http.patch(url).json(fields)).await.map(drop)
    }

    /// The queue is ours: its tasks go there, and it ends none.
    pub async fn take_over(&self, function: SocketAddr) -> anyhow::Result<()> {
        self.pause().await?;
        self.change("retryConfig.maxAttempts", &json!({ "retryConfig": { "maxAttempts": UNLIMITED } }))
            .await?;
        self.tasks.route(self.queue, function).await
    }

    /// The queue is the predecessor's, with its number of attempts.
    pub async fn give_back(&self) -> anyhow::Result<()> {
        self.pause().await?;
        let attempts = self.queue.policy().attempts;
        let fields = json!({ "retryConfig": { "maxAttempts": attempts } });
        self.change("httpTarget,retryConfig.maxAttempts", &fields).await?;
        self.tasks.resume(self.queue).await
    }
}
