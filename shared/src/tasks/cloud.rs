//! Tasks through Cloud Tasks (REST v2).
//!
//! Source: <https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues.tasks/create>.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gcp_auth::TokenProvider;
use reqwest::header;
use serde_json::json;
use tokio::sync::OnceCell;
use url::Url;

use super::{Error, NewTask, Sent, Targets, classify};
use crate::config::{Config, InvalidConfig, variables};
use crate::http;
use crate::queue::Queue;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(10);
const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-tasks"];

#[derive(Clone)]
pub(super) struct CloudTasks {
    http: reqwest::Client,
    /// `https://…/v2/projects/P/locations/R/queues`
    queues: String,
    targets: Targets,
    caller: String,
    credentials: Option<Arc<OnceCell<Arc<dyn TokenProvider>>>>,
}

impl CloudTasks {
    pub(super) fn from_config(
        config: &mut Config,
        targets: Result<Targets, InvalidConfig>,
    ) -> Result<Self, InvalidConfig> {
        let endpoint = config.required::<Url>(&variables::CLOUD_TASKS_URL);
        let project = config.required::<String>(&variables::GCP_PROJECT_ID);
        let region = config.required::<String>(&variables::GCP_REGION);
        let caller = config.required::<String>(&variables::SERVICE_ACCOUNT_EMAIL);
        let endpoint = endpoint?;
        if !http::is_safe_for_credentials(&endpoint) {
            return Err(config.problem(&variables::CLOUD_TASKS_URL, "would send credentials in the clear"));
        }
        let credentials = (!http::is_loopback(&endpoint)).then(Arc::default);
        let endpoint = endpoint.as_str().trim_end_matches('/');
        Ok(Self {
            http: http::client(CONNECT_TIMEOUT, TIMEOUT),
            queues: format!("{endpoint}/v2/projects/{}/locations/{}/queues", project?, region?),
            targets: targets?,
            caller: caller?,
            credentials,
        })
    }

    pub(super) async fn create(&self, task: &NewTask) -> Result<Sent, Error> {
        let queue = format!("{}/{}", self.queues, task.queue.cloud_name());
        let body = self.body(&queue, task);
        let mut request = self.http.post(format!("{queue}/tasks")).json(&body);
        if let Some(token) = self.token().await? {
            request = request.bearer_auth(token);
        }
        // A connection that could not be made has created nothing; a name makes any repetition harmless.
        let again = request.try_clone();
        let response = match (request.send().await, again) {
            (Err(error), Some(again))
                if error.is_connect() || (task.name.is_some() && !error.is_timeout()) =>
            {
                again.send().await
            }
            (result, _) => result,
        };
        let response = response.map_err(|error| Error::Transport(error.without_url()))?;
        let date = response.headers().get(header::DATE).cloned();
        Ok(Sent { enqueued: classify(response).await?, date })
    }

    /// Any answer that is not a server's error, also a refusal, says that Cloud Tasks is there.
    pub(super) async fn is_available(&self, queue: Queue) -> bool {
        let mut request = self.http.get(format!("{}/{}", self.queues, queue.cloud_name()));
        match self.token().await {
            Ok(Some(token)) => request = request.bearer_auth(token),
            Ok(None) => {}
            Err(_no_credentials) => return false,
        }
        let answer = request.send().await;
        answer.is_ok_and(|answer| !answer.status().is_server_error() && answer.status().as_u16() != 429)
    }

    fn body(&self, queue: &str, task: &NewTask) -> serde_json::Value {
        let name = task.name.as_ref().map(|name| {
            let path = queue.split_once("/v2/").map_or(queue, |(_, path)| path);
            format!("{path}/tasks/{name}")
        });
        let mut body = json!({
            "dispatchDeadline": format!("{}s", task.queue.policy().dispatch_deadline().as_secs()),
            "httpRequest": {
                "url": self.targets.job(task.queue),
                "httpMethod": "POST",
                "headers": { "Content-Type": "application/json" },
                "body": STANDARD.encode(&task.body),
                "oidcToken": { "serviceAccountEmail": self.caller, "audience": self.targets.base(task.queue) },
            },
        });
        if let Some(name) = name {
            body["name"] = name.into();
        }
        if let Some(at) = task.at {
            body["scheduleTime"] = at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into();
        }
        json!({ "task": body })
    }

    async fn token(&self) -> Result<Option<String>, Error> {
        let Some(cell) = &self.credentials else { return Ok(None) };
        // The library has no timeout of its own and tries several times.
        let token = tokio::time::timeout(TIMEOUT, async {
            cell.get_or_try_init(gcp_auth::provider).await?.token(SCOPES).await
        });
        let token = token.await.map_err(|_| Error::NoCredentials)?.map_err(Error::Credentials)?;
        Ok(Some(token.as_str().to_owned()))
    }
}

impl fmt::Debug for CloudTasks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CloudTasks({})", self.queues)
    }
}
