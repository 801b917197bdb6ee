//! An API of Google, as operators call it: with their own credentials, except on loopback.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use gcp_auth::TokenProvider;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use shared::config::{Config, InvalidConfig, Variable, variables};
use shared::http;
use tokio::sync::OnceCell;
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Google explains itself in less.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;

/// One API; clones share connections and credentials.
#[derive(Clone)]
pub(crate) struct GoogleApi {
    /// As errors name it.
    name: &'static str,
    scopes: &'static [&'static str],
    pub(super) http: reqwest::Client,
    /// None on loopback.
    credentials: Option<Arc<OnceCell<Arc<dyn TokenProvider>>>>,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: Explained,
}

/// As Google's APIs explain themselves, and as those do that are Prometheus'.
#[derive(Deserialize)]
#[serde(untagged)]
enum Explained {
    Google {
        #[serde(default)]
        message: String,
    },
    Prometheus(String),
}

impl Default for Explained {
    fn default() -> Self {
        Self::Prometheus(String::new())
    }
}

impl Explained {
    fn text(&self) -> &str {
        match self {
            Self::Google { message } | Self::Prometheus(message) => message,
        }
    }
}

/// Where an API is that the local cloud has not: what the variable says, or else Google's own. None where Cloud Tasks is on this
/// machine, which is the local cloud's.
pub(super) fn endpoint(
    config: &mut Config,
    variable: &'static Variable,
    of_google: &str,
) -> Result<Option<Url>, InvalidConfig> {
    let given = config.optional::<Url>(variable);
    let cloud_tasks = config.required::<Url>(&variables::CLOUD_TASKS_URL);
    match (given?, cloud_tasks?) {
        (Some(given), _) if http::is_safe_for_credentials(&given) => Ok(Some(given)),
        (Some(_), _) => Err(config.problem(variable, "would send credentials in the clear")),
        (None, cloud_tasks) if http::is_loopback(&cloud_tasks) => Ok(None),
        (None, _) => {
            of_google.parse().map(Some).map_err(|_| config.problem(variable, "has no usable default"))
        }
    }
}

impl GoogleApi {
    pub(super) fn new(name: &'static str, scopes: &'static [&'static str], endpoint: &Url) -> Self {
        Self {
            name,
            scopes,
            http: http::client(CONNECT_TIMEOUT, TIMEOUT),
            credentials: (!http::is_loopback(endpoint)).then(Arc::default),
        }
    }

    /// What the API answers.
    pub(super) async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        self.read(self.send(request).await?).await
    }

    /// What the API answers; none if it has no such thing.
    pub(super) async fn find<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> anyhow::Result<Option<T>> {
        let response = self.send(request).await?;
        if response.status() == StatusCode::NOT_FOUND {
            Ok(None)
        } else {
            self.read(response).await.map(Some)
        }
    }

    async fn send(&self, mut request: RequestBuilder) -> anyhow::Result<Response> {
        let Self { name, scopes, .. } = self;
        if let Some(cell) = &self.credentials {
            // The library has no timeout of its own and tries several times.
            let token = tokio::time::timeout(TIMEOUT, async {
                cell.get_or_try_init(gcp_auth::provider).await?.token(scopes).await
            });
            let token = token.await.with_context(|| format!("no credentials for {name} in time"))?;
            request =
                request.bearer_auth(token.with_context(|| format!("no credentials for {name}"))?.as_str());
        }
        let response = request.send().await.map_err(reqwest::Error::without_url);
        response.with_context(|| format!("{name} does not respond"))
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> anyhow::Result<T> {
        let status = response.status();
        if !status.is_success() {
            let body = http::read_limited(response, MAX_REFUSAL_BYTES).await.unwrap_or_default();
            let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
            bail!("{} responded {status}: {}", self.name, refusal.error.text());
        }
        let answer = response.json().await.map_err(reqwest::Error::without_url);
        answer.with_context(|| format!("cannot read the response of {}", self.name))
    }
}
