//! Cloud Tasks: the emulator in this process, with the queues as `infra/queues.json` declares them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use catchup::queues;
use serde_json::{Value, json};
use shared::queue::{Policy, Queue, Schedule};

use crate::background::Background;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(30);
const TASKS_PER_PAGE: u32 = 1000;
const PLACEHOLDER: &str = "{function}";
/// As `infra/gcp` declares a queue that is ours: the function ends a task, by its recorded failures.
const UNLIMITED_ATTEMPTS: i32 = -1;

/// Where tasks live and how they are dispatched.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `GCP_PROJECT_ID`; any name does.
    pub project: String,
    /// `GCP_REGION`; any name does.
    pub region: String,
    /// `CLOUD_RUN_URL`, with `{function}` in it. With a function's name it is the audience of that function's tokens;
    /// where tasks really go is [`CloudTasks::route`]'s business.
    pub functions_url: String,
    /// `SERVICE_ACCOUNT_EMAIL`: as whom the queues call.
    pub caller: String,
    /// Backoffs of all queues are divided by this; 1 is as in production.
    pub backoff_divisor: u32,
    /// Debounce windows are divided by this; 1 is as in production.
    pub debounce_divisor: u32,
    /// Times of leases are divided by this; 1 is as in production.
    pub lease_divisor: u32,
}

impl Default for Settings {
    /// Names without an owner, and backoffs of production.
    fn default() -> Self {
        Self {
            project: "local".to_owned(),
            region: "loopback1".to_owned(),
            functions_url: format!("http://{PLACEHOLDER}.localhost"),
            caller: "tasks@local.iam.gserviceaccount.com".to_owned(),
            backoff_divisor: 1,
            debounce_divisor: 1,
            lease_divisor: 1,
        }
    }
}

impl Settings {
    /// The base address, and audience, of one function.
    #[must_use]
    pub fn function_url(&self, queue: Queue) -> String {
        self.functions_url.replace(PLACEHOLDER, queue.name())
    }

    /// The name under which the API has all queues.
    #[must_use]
    pub fn parent(&self) -> String {
        format!("projects/{}/locations/{}", self.project, self.region)
    }

    fn queue(&self, queue: Queue) -> String {
        format!("{}/queues/{}", self.parent(), queue.cloud_name())
    }
}

/// Cloud Tasks on loopback; it ends when this is dropped.
#[derive(Debug)]
pub struct CloudTasks {
    server: Background,
    settings: Settings,
    http: reqwest::Client,
}

impl CloudTasks {
    /// Starts Cloud Tasks and creates all queues. Each is paused until [`CloudTasks::route`] says where its tasks go.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        let server = Background::start("cloud-tasks", async |listener| {
            let issuer = listener.local_addr().map(|address| format!("http://{address}"));
            cloud_tasks_emulator::serve(listener, issuer.unwrap_or_default(), Vec::new()).await
        })?;
        let tasks = Self { server, settings, http: shared::http::client(CONNECT_TIMEOUT, TIMEOUT) };
        for queue in queues::all() {
            let body = tasks.declaration(queue);
            tasks.post(&format!("{}/queues", tasks.settings.parent()), &body).await?;
            tasks.pause(queue).await?;
        }
        Ok(tasks)
    }

    /// `CLOUD_TASKS_URL`, and the issuer of its identity tokens.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Keys of its identity tokens.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        format!("{}/jwks", self.url())
    }

    /// What it was started with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Sends all tasks of a queue to `address`, whatever URL their producer wrote, as `infra/gcp` does for a queue that is
    /// enabled; and lets the queue run.
    pub async fn route(&self, queue: Queue, address: SocketAddr) -> anyhow::Result<()> {
        let target = json!({
            "uriOverride": {
                "scheme": "HTTP",
                "host": address.ip().to_string(),
                "port": address.port().to_string(),
                "pathOverride": { "path": queue.path() },
                "uriOverrideEnforceMode": "ALWAYS",
            },
            "oidcToken": {
                "serviceAccountEmail": self.settings.caller,
                "audience": self.settings.function_url(queue),
            },
        });
        let url = self.address(&format!("{}?updateMask=httpTarget", self.settings.queue(queue)));
        self.send(self.http.patch(url).json(&json!({ "httpTarget": target }))).await?;
        self.resume(queue).await
    }

    /// Creates another queue, whose tasks go where each of them says.
    pub async fn create_queue(&self, name: &str) -> anyhow::Result<()> {
        let parent = self.settings.parent();
        let body = json!({ "name": format!("{parent}/queues/{name}") });
        self.post(&format!("{parent}/queues"), &body).await.map(drop)
    }

    /// Holds the queue's tasks back.
    pub async fn pause(&self, queue: Queue) -> anyhow::Result<()> {
        self.post(&format!("{}:pause", self.settings.queue(queue)), &json!({})).await.map(drop)
    }

    /// Lets the queue run.
    pub async fn resume(&self, queue: Queue) -> anyhow::Result<()> {
        self.post(&format!("{}:resume", self.settings.queue(queue)), &json!({})).await.map(drop)
    }

    /// Creates the task of a schedule as Cloud Scheduler does: without idempotency key and without name.
    pub async fn create_scheduled(&self, queue: Queue, schedule: &Schedule) -> anyhow::Result<()> {
        let envelope = json!({ "data": schedule.payload, "jobName": queue.name() });
        self.create(queue, envelope.to_string().as_bytes()).await.map(drop)
    }

    /// Creates a task with this body, and returns its name.
    pub async fn create(&self, queue: Queue, body: &[u8]) -> anyhow::Result<String> {
        let task = json!({
            "dispatchDeadline": seconds(queue.policy().dispatch_deadline()),
            "httpRequest": {
                "url": format!("{}{}", self.settings.function_url(queue), queue.path()),
                "headers": { "Content-Type": "application/json" },
                "body": base64(body),
            },
        });
        let path = format!("{}/tasks", self.settings.queue(queue));
        let created = self.post(&path, &json!({ "task": task })).await?;
        created["name"].as_str().map(str::to_owned).context("the new task has no name")
    }

    /// How many tasks the queue holds, those under way included.
    pub async fn count(&self, queue: Queue) -> anyhow::Result<usize> {
        Ok(self.list(queue).await?.len())
    }

    /// The payloads of the tasks that the queue holds.
    pub async fn payloads(&self, queue: Queue) -> anyhow::Result<Vec<Value>> {
        let payload = |mut task: Value| {
            let body = task["httpRequest"]["body"].take();
            let body = BASE64_STANDARD.decode(body.as_str().context("a task has no body")?)?;
            let mut envelope: Value = serde_json::from_slice(&body)?;
            Ok(envelope["data"].take())
        };
        self.list(queue).await?.into_iter().map(payload).collect()
    }

    /// The tasks that the queue holds, as the API shows them, bodies included.
    pub async fn list(&self, queue: Queue) -> anyhow::Result<Vec<Value>> {
        let path =
            format!("{}/tasks?pageSize={TASKS_PER_PAGE}&responseView=FULL", self.settings.queue(queue));
        let mut tasks = Vec::new();
        let mut page = String::new();
        loop {
            let url = self.address(&format!("{path}&pageToken={page}"));
            let mut answer = self.send(self.http.get(url)).await?;
            if let Some(Value::Array(items)) = answer.get_mut("tasks").map(Value::take) {
                tasks.extend(items);
            }
            match answer["nextPageToken"].as_str() {
                Some(next) if !next.is_empty() => next.clone_into(&mut page),
                Some(_) | None => return Ok(tasks),
            }
        }
    }

    fn declaration(&self, queue: Queue) -> Value {
        let policy = queue.policy();
        json!({
            "name": self.settings.queue(queue),
            "rateLimits": { "maxDispatchesPerSecond": policy.max_dispatches_per_second },
            "retryConfig": self.retry_config(policy),
        })
    }

    fn retry_config(&self, policy: &Policy) -> Value {
        let divisor = self.settings.backoff_divisor.max(1);
        json!({
            "maxAttempts": UNLIMITED_ATTEMPTS,
            "minBackoff": seconds(policy.min_backoff() / divisor),
            "maxBackoff": seconds(policy.max_backoff() / divisor),
            "maxDoublings": policy.max_doublings,
        })
    }

    fn address(&self, path: &str) -> String {
        format!("{}/v2/{path}", self.url())
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(self.http.post(self.address(path)).json(body)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let response = request.send().await.context("Cloud Tasks does not answer")?;
        let status = response.status();
        let text = response.text().await.context("Cloud Tasks' answer broke off")?;
        ensure!(status.is_success(), "Cloud Tasks answered {status}: {text}");
        serde_json::from_str(&text).context("Cloud Tasks' answer is no JSON")
    }
}

/// A duration as the API writes it.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}
