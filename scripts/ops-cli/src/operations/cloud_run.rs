//! Cloud Run (the API that gcloud uses): the services, and which revisions serve them.
//!
//! Source: <https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services/list>.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use shared::config::{Config, InvalidConfig, Variable, variables};

use super::google_api::{GoogleApi, endpoint};
use crate::service::Service;

const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-platform"];
const CLOUD_RUN_ADMIN_URL: Variable = Variable {
    name: "CLOUD_RUN_ADMIN_URL",
    what: "Endpoint of Cloud Run's own API; one on loopback is called without credentials.",
    form: "https://host (http on loopback)",
    default: None,
    place: "the environment of the command",
};

/// Cloud Run in one region of a project; clones share connections and credentials.
#[derive(Clone)]
pub(crate) struct CloudRun {
    api: GoogleApi,
    /// `https://…/apis/serving.knative.dev/v1/namespaces/P`
    namespace: String,
}

#[derive(Deserialize)]
struct Items {
    #[serde(default)]
    items: Vec<Value>,
    #[serde(default)]
    metadata: ListMetadata,
}

#[derive(Default, Deserialize)]
struct ListMetadata {
    /// Of the next page.
    #[serde(default, rename = "continue")]
    next: String,
}

impl CloudRun {
    /// Reads `CLOUD_RUN_ADMIN_URL`, `GCP_PROJECT_ID` and `GCP_REGION`. Cloud Tasks on this machine is that of the local cloud, whose
    /// functions are processes and no services.
    pub(super) fn from_config(config: &mut Config) -> Result<Option<Self>, InvalidConfig> {
        let project = config.required::<String>(&variables::GCP_PROJECT_ID);
        let region = config.required::<String>(&variables::GCP_REGION);
        let of_google = format!("https://{}-run.googleapis.com", region?);
        let endpoint = endpoint(config, &CLOUD_RUN_ADMIN_URL, &of_google);
        let (Some(endpoint), project) = (endpoint?, project?) else { return Ok(None) };
        let base = endpoint.as_str().trim_end_matches('/');
        Ok(Some(Self {
            api: GoogleApi::new("Cloud Run", SCOPES, &endpoint),
            namespace: format!("{base}/apis/serving.knative.dev/v1/namespaces/{project}"),
        }))
    }

    /// All services, by their names: two lists, however many there are.
    pub(crate) async fn services(&self) -> anyhow::Result<BTreeMap<String, Service>> {
        let (services, revisions) = tokio::try_join!(self.list("services"), self.list("revisions"))?;
        Service::listed(services, revisions)
    }

    async fn list(&self, kind: &str) -> anyhow::Result<Vec<Value>> {
        let (mut all, mut page) = (Vec::new(), String::new());
        loop {
            let request = self.api.http.get(format!("{}/{kind}", self.namespace));
            let answer: Items = self.api.call(request.query(&[("continue", &page)])).await?;
            all.extend(answer.items);
            page = answer.metadata.next;
            if page.is_empty() {
                return Ok(all);
            }
        }
    }
}
