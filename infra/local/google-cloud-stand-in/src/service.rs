//! One service: what was asked for, its revisions, and where its traffic goes.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use local_cloud::ServiceProcess;
use serde_json::{Value, json};
use shared::clock::Clock;

use crate::containers::Containers;
use crate::front::{Front, Share};
use crate::rest::Refusal;

const GENERATION: &str = "serving.knative.dev/configurationGeneration";

/// A service and everything that runs of it.
#[derive(Debug)]
pub(crate) struct Service {
    name: &'static str,
    /// As the API shows it.
    document: Value,
    pub(crate) revisions: Vec<Revision>,
    pub(crate) front: Front,
}

/// One image that was started, or failed to.
#[derive(Debug)]
pub(crate) struct Revision {
    pub(crate) name: String,
    generation: usize,
    created: DateTime<Utc>,
    /// The template that it was made of, without the name that may have been asked for.
    template: Value,
    process: Result<ServiceProcess, String>,
}

impl Revision {
    pub(crate) fn process(&self) -> Option<&ServiceProcess> {
        self.process.as_ref().ok()
    }

    pub(crate) fn process_mut(&mut self) -> Option<&mut ServiceProcess> {
        self.process.as_mut().ok()
    }

    fn condition(&self) -> Value {
        match &self.process {
            Ok(_) => json!({ "type": "Ready", "status": "True" }),
            Err(reason) => {
                json!({ "type": "Ready", "status": "False", "reason": "HealthCheckContainerError", "message": reason })
            }
        }
    }

    /// The image by its digest, which is here its version.
    fn image_digest(&self) -> Option<String> {
        let image = self.template["spec"]["containers"][0]["image"].as_str()?;
        let (name, version) = image.split_once('@').or_else(|| image.rsplit_once(':'))?;
        Some(format!("{name}@{version}"))
    }

    /// As the API shows it.
    pub(crate) fn document(&self, service: &str, project: &str) -> Value {
        json!({
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Revision",
            "metadata": {
                "name": self.name,
                "namespace": project,
                "creationTimestamp": self.created.to_rfc3339_opts(SecondsFormat::Secs, true),
                "labels": { "serving.knative.dev/service": service, GENERATION: self.generation.to_string() },
            },
            "spec": self.template["spec"],
            "status": { "conditions": [self.condition()], "imageDigest": self.image_digest() },
        })
    }
}

impl Service {
    pub(crate) fn new(
        name: &'static str,
        timeout: Duration,
        project: &str,
        env: &Value,
        image: &str,
    ) -> anyhow::Result<(Self, Value)> {
        let front = Front::start()?;
        let desired = json!({
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": { "name": name, "namespace": project, "generation": 0 },
            "spec": {
                "template": {
                    "metadata": {},
                    "spec": {
                        "timeoutSeconds": timeout.as_secs(),
                        "containers": [{ "image": image, "env": env }],
                    },
                },
                "traffic": [{ "latestRevision": true, "percent": 100 }],
            },
        });
        Ok((Self { name, document: json!({}), revisions: Vec::new(), front }, desired))
    }

    /// As the API shows it.
    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    /// Makes the service what it is asked to be. What does not start leaves the traffic where it is.
    ///
    /// A template without a name becomes a new revision if it differs from that of the newest. One with the name of a
    /// revision must be what that revision was made of, or else the answer is 409: so every later change is refused once a
    /// client has left a name in the template.
    pub(crate) async fn replace(
        &mut self,
        containers: &Containers,
        mut desired: Value,
    ) -> Result<(), Refusal> {
        let generation = self.document["metadata"]["generation"].as_u64().unwrap_or_default() + 1;
        desired["metadata"]["generation"] = generation.into();
        let (asked, template) = named(&desired["spec"]["template"]);
        let existing = match &asked {
            Some(name) => self.revision(name),
            None => self.revisions.last().filter(|newest| newest.template == template),
        };
        if let Some(other) = existing.filter(|existing| existing.template != template) {
            let message =
                format!("Revision named '{}' with different configuration already exists.", other.name);
            return Err(Refusal::Exists(message));
        }
        let is_new = existing.is_none();
        if is_new {
            let number = self.revisions.len() + 1;
            let name = asked.unwrap_or_else(|| format!("{}-{number:05}-new", self.name));
            let image = template["spec"]["containers"][0]["image"].as_str();
            let image = image.ok_or_else(|| Refusal::Invalid("no image".to_owned()))?;
            let process = containers.start(self.name, &name, image).await;
            let process = process.map_err(|error| error.to_string());
            self.revisions.push(Revision {
                name,
                generation: number,
                created: Clock::system().now(),
                template,
                process,
            });
        }
        let before = self.document["status"]["traffic"].clone();
        let newest = self.revisions.last();
        let failed = is_new && newest.is_some_and(|revision| revision.process.is_err());
        let traffic = if failed { before } else { self.resolve(&desired["spec"]["traffic"])? };
        let ready = self.revisions.iter().rfind(|revision| revision.process.is_ok());
        let condition = newest.map(Revision::condition).unwrap_or_default();
        let mut conditions = vec![condition.clone(), condition.clone(), condition];
        for (condition, kind) in conditions.iter_mut().zip(["Ready", "ConfigurationsReady", "RoutesReady"]) {
            condition["type"] = kind.into();
        }
        desired["status"] = json!({
            "observedGeneration": generation,
            "conditions": conditions,
            "latestCreatedRevisionName": newest.map(|revision| &revision.name),
            "latestReadyRevisionName": ready.map(|revision| &revision.name),
            "traffic": traffic,
            "url": self.front.url(),
            "address": { "url": self.front.url() },
        });
        self.document = desired;
        self.route();
        Ok(())
    }

    fn revision(&self, name: &str) -> Option<&Revision> {
        self.revisions.iter().find(|revision| revision.name == name)
    }

    /// Names the revisions that the targets mean.
    fn resolve(&self, targets: &Value) -> Result<Value, Refusal> {
        let mut targets = targets.as_array().cloned().unwrap_or_default();
        for target in &mut targets {
            if target["latestRevision"] == true {
                let latest = self.revisions.iter().rfind(|revision| revision.process.is_ok());
                target["revisionName"] = latest.map(|revision| revision.name.clone()).into();
            }
            let name = target["revisionName"].as_str().unwrap_or_default();
            // A tag may stay on a revision that did not start; traffic may not.
            let has_traffic = target["percent"].as_i64().is_some_and(|percent| percent > 0);
            let found = self.revision(name).is_some_and(|it| it.process.is_ok() || !has_traffic);
            if !found {
                return Err(Refusal::Invalid(format!("Revision '{name}' is not ready or not there.")));
            }
            if let Some(tag) = target["tag"].as_str() {
                target["url"] = format!("{}/{tag}", self.front.url()).into();
            }
        }
        let sum: i64 = targets.iter().filter_map(|target| target["percent"].as_i64()).sum();
        if sum != 100 {
            return Err(Refusal::Invalid(format!("Traffic adds up to {sum} percent.")));
        }
        Ok(targets.into())
    }

    fn route(&self) {
        let targets = self.document["status"]["traffic"].as_array().cloned().unwrap_or_default();
        let share = |target: &Value| {
            let revision = self.revision(target["revisionName"].as_str()?)?;
            let address = revision.process()?.address();
            let percent = target["percent"].as_i64().unwrap_or_default();
            Some(Share::new(revision.name.clone(), address, percent, target["tag"].as_str()))
        };
        self.front.split(targets.iter().filter_map(share).collect());
    }
}

/// The name that a template asks for, if any, and the rest of it.
fn named(template: &Value) -> (Option<String>, Value) {
    let mut rest = template.clone();
    let name = rest["metadata"].as_object_mut().and_then(|metadata| metadata.remove("name"));
    let name = name.as_ref().and_then(Value::as_str).filter(|name| !name.is_empty());
    (name.map(str::to_owned), rest)
}
