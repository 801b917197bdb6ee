//! Tasks without Cloud Tasks: the function is called over HTTP, as Cloud Tasks would call it.
//!
//! A switch for one machine, or for an outage of Cloud Tasks. There is no queue: the caller waits until the job has run, and
//! a task with a time, also the next run of one that failed, waits in this process. [`Direct::flush`] sends early what waits when the
//! process ends; what its function does not accept by then is lost.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use super::{Enqueued, Error, NewTask, Targets, classify};
use crate::config::{Config, InvalidConfig, variables};
use crate::http;
use crate::telemetry::EventCode;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The metadata server speaks plain HTTP on a link that ends in the machine.
const METADATA_HOST: &str = "metadata.google.internal";
/// An identity token has some 1,000 bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// What a function answers to what it cannot explain.
const UNEXPLAINED: u16 = 500;

#[derive(Debug, Clone)]
pub(super) struct Direct {
    http: reqwest::Client,
    identity_url: Url,
    targets: Targets,
    waiting: TaskTracker,
    hurry: CancellationToken,
}

impl Direct {
    pub(super) fn from_config(
        config: &mut Config,
        targets: Result<Targets, InvalidConfig>,
    ) -> Result<Self, InvalidConfig> {
        let identity_url = config.required::<Url>(&variables::IDENTITY_URL)?;
        if identity_url.host_str() != Some(METADATA_HOST) && !http::is_safe_for_credentials(&identity_url) {
            return Err(config.problem(&variables::IDENTITY_URL, "would show tokens to the network"));
        }
        Ok(Self {
            // The function's own deadline bounds the call; this one only bounds a lost connection.
            http: http::client(CONNECT_TIMEOUT, Duration::from_hours(1)),
            identity_url,
            targets: targets?,
            waiting: TaskTracker::new(),
            hurry: CancellationToken::new(),
        })
    }

    pub(super) async fn call(&self, task: &NewTask, now: DateTime<Utc>) -> Result<Enqueued, Error> {
        // A task that reschedules itself has not ended yet.
        let Some(at) = task.at else { return self.post(task).await };
        let wait = (at - now).to_std().unwrap_or_default();
        let (this, task) = (self.clone(), task.clone());
        self.waiting.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = this.hurry.cancelled() => {}
            }
            if let Err(error) = this.post(&task).await {
                tracing::error!(
                    event = %EventCode::DirectCallFailed,
                    queue = task.queue.name(),
                    error = &error as &dyn std::error::Error,
                    "delayed call failed"
                );
            }
        });
        Ok(Enqueued::Created)
    }

    pub(super) async fn flush(&self) {
        self.hurry.cancel();
        self.waiting.close();
        self.waiting.wait().await;
    }

    async fn post(&self, task: &NewTask) -> Result<Enqueued, Error> {
        let name = task.name.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let response = self
            .http
            .post(self.targets.job(task.queue))
            .timeout(task.queue.policy().dispatch_deadline())
            .bearer_auth(self.identity(&self.targets.base(task.queue)).await?)
            .header("X-CloudTasks-QueueName", task.queue.cloud_name())
            .header("X-CloudTasks-TaskName", name)
            .header("X-CloudTasks-TaskRetryCount", "0")
            .header("Content-Type", "application/json")
            .body(task.body.clone())
            .send()
            .await
            .map_err(|error| Error::Transport(error.without_url()))?;
        if response.status().as_u16() == UNEXPLAINED {
            // The task was delivered: no reason for its producer to stop.
            tracing::error!(
                event = %EventCode::DirectCallFailed,
                queue = task.queue.name(),
                "a directly called function failed and is not called again"
            );
            return Ok(Enqueued::Created);
        }
        classify(response).await
    }

    /// An identity token for `audience`, from the metadata server, which keeps it until it expires.
    async fn identity(&self, audience: &str) -> Result<String, Error> {
        let response = self
            .http
            .get(self.identity_url.clone())
            .timeout(CONNECT_TIMEOUT)
            .query(&[("audience", audience), ("format", "full")])
            .header("Metadata-Flavor", "Google")
            .send()
            .await
            .map_err(|error| Error::Transport(error.without_url()))?;
        let status = response.status();
        let token = http::read_limited(response, MAX_TOKEN_BYTES).await;
        match (status.is_success(), token) {
            (true, Ok(token)) => Ok(String::from_utf8_lossy(&token).trim().to_owned()),
            _ => Err(Error::Refused { status: status.as_u16(), code: "no identity token".to_owned() }),
        }
    }
}
