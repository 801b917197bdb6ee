//! Cloud Run's administration API, in the two forms that gcloud calls: Knative's v1 and, for policies, Google's.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Json;
use axum::extract::{Path, Query, State};
use catchup::queues;
use local_cloud::{Environment, ServiceProcess};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::containers::Containers;
use crate::rest::{Answer, Refusal};
use crate::service::{Revision, Service};

/// All services.
#[derive(Debug)]
pub(crate) struct Run {
    containers: Containers,
    project: String,
    /// Who may invoke them.
    caller: String,
    pub(crate) services: Mutex<BTreeMap<String, Service>>,
}

impl Run {
    pub(crate) fn new(containers: Containers, project: String, caller: String) -> Self {
        Self { containers, project, caller, services: Mutex::default() }
    }

    /// Does something with every process of a service.
    pub(crate) async fn each_process(
        &self,
        service: &str,
        mut act: impl FnMut(&mut ServiceProcess) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut services = self.services.lock().await;
        let service = services.get_mut(service).with_context(|| format!("there is no service {service}"))?;
        service.revisions.iter_mut().filter_map(Revision::process_mut).try_for_each(&mut act)
    }

    pub(crate) async fn create(
        &self,
        name: &'static str,
        timeout: Duration,
        image: &str,
    ) -> anyhow::Result<SocketAddr> {
        let env = shown(&self.containers.environment, name);
        let (mut service, desired) = Service::new(name, timeout, &self.project, &env, image)?;
        let created = service.replace(&self.containers, desired).await;
        created.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
        let address = service.front.address();
        self.services.lock().await.insert(name.to_owned(), service);
        Ok(address)
    }
}

/// Which of the environment a service shows: who may call it, for whom it is, and what a take-over checks.
fn shown(environment: &Environment, service: &str) -> Value {
    let is_shown = |variable: &str| match variable {
        "SERVICE_ACCOUNT_EMAIL" | "CLOUD_RUN_URL" | "OIDC_AUDIENCES" | "ENCRYPTION_KEY" => true,
        "CALENDAR_WEBHOOK_URL" => service == queues::WEBHOOK_RENEWAL.name(),
        _ => false,
    };
    let entries = environment.iter().filter(|(name, _)| is_shown(name));
    entries.map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn missing(service: &str) -> Refusal {
    Refusal::NotFound(format!("Resource '{service}' of kind 'SERVICE' does not exist."))
}

pub(crate) async fn list_services(State(run): State<Arc<Run>>) -> Answer {
    let services = run.services.lock().await;
    let items: Vec<_> = services.values().map(Service::document).collect();
    Ok(Json(
        json!({ "apiVersion": "serving.knative.dev/v1", "kind": "ServiceList", "metadata": {}, "items": items }),
    ))
}

pub(crate) async fn service(
    State(run): State<Arc<Run>>,
    Path((_, service)): Path<(String, String)>,
) -> Answer {
    let services = run.services.lock().await;
    let service = services.get(&service).ok_or_else(|| missing(&service))?;
    Ok(Json(service.document().clone()))
}

pub(crate) async fn replace_service(
    State(run): State<Arc<Run>>,
    Path((_, service)): Path<(String, String)>,
    Json(desired): Json<Value>,
) -> Answer {
    let mut services = run.services.lock().await;
    let service = services.get_mut(&service).ok_or_else(|| missing(&service))?;
    service.replace(&run.containers, desired).await?;
    Ok(Json(service.document().clone()))
}

pub(crate) async fn revisions(
    State(run): State<Arc<Run>>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let selector = query.get("labelSelector").map(String::as_str).unwrap_or_default();
    let wanted = selector.split_once('=').map(|(_, name)| name.trim());
    let services = run.services.lock().await;
    let items: Vec<Value> = services
        .iter()
        .filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name))
        .flat_map(|(name, service)| {
            service.revisions.iter().map(|revision| revision.document(name, &run.project))
        })
        .collect();
    Ok(Json(
        json!({ "apiVersion": "serving.knative.dev/v1", "kind": "RevisionList", "metadata": {}, "items": items }),
    ))
}

/// `…/services/NAME:getIamPolicy`.
pub(crate) async fn policy(
    State(run): State<Arc<Run>>,
    Path((_, _, call)): Path<(String, String, String)>,
) -> Answer {
    let service = call.strip_suffix(":getIamPolicy").ok_or_else(|| missing(&call))?;
    if !run.services.lock().await.contains_key(service) {
        return Err(missing(service));
    }
    let member = format!("serviceAccount:{}", run.caller);
    let binding = json!({ "role": "roles/run.invoker", "members": [member] });
    Ok(Json(json!({ "version": 1, "etag": "AA==", "bindings": [binding] })))
}
