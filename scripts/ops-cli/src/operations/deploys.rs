//! Who runs the tasks of each queue: whose the queue is, which revisions serve it, and where its settings differ from the
//! declaration.

use std::collections::BTreeMap;

use catchup::queues;
use serde::Serialize;
use shared::queue::Queue;

use super::{Asked, Operations, Source};
use crate::names::WEBHOOKS;
use crate::queue::{Declaration, Found, concurrent_dispatches};
use crate::service::{Service, Share};
use crate::settings;
use crate::takeover::findings::Findings;

/// All queues with their functions, and the service without a queue.
#[derive(Debug, Serialize)]
pub(crate) struct Deploys {
    pub(crate) sources: Vec<Asked>,
    pub(crate) functions: Vec<Deployed>,
    /// There is no Cloud Run: the functions are processes on this machine.
    #[serde(rename = "isLocal")]
    pub(crate) is_local: bool,
}

/// One queue and its function, or the service without a queue. What is not known is not there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deployed {
    pub(crate) queue: &'static str,
    pub(crate) owner: Option<Owner>,
    /// Where its tasks go; none when each task says so itself.
    pub(crate) address: Option<String>,
    /// What serves, the newest first; none on a machine without Cloud Run.
    pub(crate) revisions: Option<Vec<Share>>,
    /// Settings of the queue that differ from the declaration; of the local cloud's, those that do not depend on a service.
    pub(crate) drift: Option<Vec<Drift>>,
    /// What changes it, as it can be pasted into a shell.
    pub(crate) commands: Vec<String>,
}

/// Whose tasks a queue's are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::Display)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Owner {
    /// They go to our function.
    #[strum(serialize = "ours")]
    Ours,
    /// Each task says where it goes: the application's.
    #[strum(serialize = "the application's: each task says where it goes")]
    EachTask,
    /// They go elsewhere.
    #[strum(serialize = "another's")]
    Other,
    /// It has no queue: anybody may call it.
    #[strum(serialize = "public")]
    Public,
}

/// A setting that is not as it was declared.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Drift {
    pub(crate) setting: String,
    pub(crate) detail: String,
}

impl Operations {
    /// Asks Cloud Tasks for the queues, and Cloud Run for all services: one list of each, none per queue.
    pub(crate) async fn deploys(&self) -> anyhow::Result<Deploys> {
        let declaration = Declaration::read()?;
        let ((mut found, cloud_tasks), (services, cloud_run)) = tokio::join!(
            self.ask(Source::CloudTasks, async { self.cloud_tasks()?.queues().await }),
            self.ask(Source::CloudRun, self.services()),
        );
        let is_local = matches!(services, Some(None));
        let services = services.flatten();
        let functions = queues::all().map(|queue| {
            let found = found.as_mut().and_then(|found| found.remove(&queue.cloud_name()));
            let found = found.map(|found| found.with_backoffs_times(self.backoff_divisor));
            let service = services.as_ref().and_then(|services| services.get(queue.name()));
            deployed(queue, found.as_ref(), service, &declaration, is_local)
        });
        let mut functions = functions.collect::<anyhow::Result<Vec<_>>>()?;
        functions.push(self.public(services.as_ref().and_then(|services| services.get(WEBHOOKS))));
        let sources = if is_local { vec![cloud_tasks] } else { vec![cloud_tasks, cloud_run] };
        Ok(Deploys { sources, functions, is_local })
    }

    /// The service without a queue, of which nothing is declared that could differ.
    fn public(&self, service: Option<&Service>) -> Deployed {
        Deployed {
            queue: WEBHOOKS,
            owner: Some(Owner::Public),
            address: self.functions.webhooks.clone(),
            revisions: service.map(Service::shares),
            drift: None,
            commands: roll_back(WEBHOOKS, service).into_iter().collect(),
        }
    }

    /// None on a machine without Cloud Run.
    pub(super) async fn services(&self) -> anyhow::Result<Option<BTreeMap<String, Service>>> {
        match self.cloud_run()? {
            Some(run) => run.services().await.map(Some),
            None => Ok(None),
        }
    }
}

fn deployed(
    queue: Queue,
    found: Option<&Found>,
    service: Option<&Service>,
    declaration: &Declaration,
    is_local: bool,
) -> anyhow::Result<Deployed> {
    let address = found.and_then(Found::address);
    let owner = found.map(|found| owner(queue, found, address.as_deref(), service));
    let drift = found.map(|found| drift(queue, found, declaration, is_local)).transpose()?;
    let commands = if is_local { Vec::new() } else { commands(queue, owner, drift.as_deref(), service) };
    Ok(Deployed {
        queue: queue.name(),
        owner,
        address,
        revisions: service.map(Service::shares),
        drift,
        commands,
    })
}

fn owner(queue: Queue, found: &Found, address: Option<&str>, service: Option<&Service>) -> Owner {
    let Some(address) = address else {
        return if found.overriding().is_some() { Owner::Other } else { Owner::EachTask };
    };
    let Some(origin) = address.strip_suffix(&queue.path()) else { return Owner::Other };
    // A service has several addresses; the one that Terraform uses is its audience.
    let is_ours = service.is_none_or(|service| {
        let audience = settings::audience(&service.document, queue.name());
        service.document["status"]["url"] == origin || audience.as_deref() == Some(origin)
    });
    if is_ours { Owner::Ours } else { Owner::Other }
}

/// As a take-over checks it.
fn drift(
    queue: Queue,
    found: &Found,
    declaration: &Declaration,
    is_local: bool,
) -> anyhow::Result<Vec<Drift>> {
    let mut findings = Findings::default();
    findings.settings(&declaration.queues[queue.name()], found);
    // A process holds as many tasks as come.
    if !is_local {
        findings.concurrency(concurrent_dispatches(queue.name())?, found);
    }
    let wrong = findings
        .wrong()
        .map(|(setting, detail)| Drift { setting: setting.to_owned(), detail: detail.to_owned() });
    Ok(wrong.collect())
}

fn commands(
    queue: Queue,
    owner: Option<Owner>,
    drift: Option<&[Drift]>,
    service: Option<&Service>,
) -> Vec<String> {
    let name = queue.name();
    let hand_over = owner.and_then(|owner| match owner {
        Owner::Ours => Some(format!("scripts/ops giveback {name}")),
        Owner::EachTask | Owner::Other => Some(format!("scripts/ops takeover {name}")),
        Owner::Public => None,
    });
    let correct = drift.is_some_and(|drift| !drift.is_empty()).then(|| "terraform apply".to_owned());
    [hand_over, correct, roll_back(name, service)].into_iter().flatten().collect()
}

/// None, if there is no revision to return to.
fn roll_back(name: &str, service: Option<&Service>) -> Option<String> {
    let service = service?;
    service.before(service.newest_serving().ok()?)?;
    Some(format!("scripts/ops rollback {name}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::queue::cloud_name;

    const QUEUE: Queue = queues::TOKEN_REFRESH;

    fn found(target: Option<&serde_json::Value>, rate: u32) -> Found {
        let declaration = Declaration::read().unwrap();
        let declared = &declaration.queues[QUEUE.name()];
        let is_ours = target.is_some();
        serde_json::from_value(json!({
            "name": cloud_name(QUEUE.name()),
            "state": "RUNNING",
            "rateLimits": {
                "maxDispatchesPerSecond": rate,
                "maxConcurrentDispatches": concurrent_dispatches(QUEUE.name()).unwrap(),
            },
            "retryConfig": {
                "maxAttempts": declared.max_attempts(is_ours),
                "minBackoff": format!("{}s", declared.min_backoff_seconds),
                "maxBackoff": format!("{}s", declared.max_backoff_seconds),
                "maxDoublings": declared.max_doublings,
            },
            "httpTarget": target,
        }))
        .unwrap()
    }

    fn to(host: &str, path: &str) -> serde_json::Value {
        json!({ "uriOverride": { "host": host, "pathOverride": { "path": path } } })
    }

    fn service(traffic: &serde_json::Value) -> Service {
        let service = json!({
            "metadata": { "name": QUEUE.name() },
            "status": { "url": "https://x.run.app", "traffic": traffic, "latestCreatedRevisionName": "r-2" },
        });
        let revision = |n: u32| {
            json!({
                "metadata": {
                    "name": format!("r-{n}"),
                    "creationTimestamp": "2026-11-27T03:00:00Z",
                    "labels": {
                        "serving.knative.dev/service": QUEUE.name(),
                        "serving.knative.dev/configurationGeneration": n.to_string(),
                    },
                },
                "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
            })
        };
        let services = Service::listed(vec![service], vec![revision(1), revision(2)]).unwrap();
        services.into_values().next().unwrap()
    }

    fn deployed(found: &Found, service: Option<&Service>) -> Deployed {
        super::deployed(QUEUE, Some(found), service, &Declaration::read().unwrap(), false).unwrap()
    }

    #[test]
    fn a_queue_is_whose_service_its_tasks_go_to() {
        let rate = QUEUE.policy().max_dispatches_per_second;
        let service = service(&json!([{ "revisionName": "r-2", "percent": 100 }]));
        let check = |target: Option<serde_json::Value>, expected| {
            assert_eq!(deployed(&found(target.as_ref(), rate), Some(&service)).owner, Some(expected));
        };
        check(None, Owner::EachTask);
        check(Some(to("x.run.app", &QUEUE.path())), Owner::Ours);
        check(Some(to("x.run.app", "/api/jobs/another")), Owner::Other);
        check(Some(to("y.run.app", &QUEUE.path())), Owner::Other);
    }

    #[test]
    fn what_differs_and_what_can_be_rolled_back_has_its_command() {
        let rate = QUEUE.policy().max_dispatches_per_second;
        let target = to("x.run.app", &QUEUE.path());
        let split = service(&json!([
            { "revisionName": "r-1", "percent": 90 },
            { "revisionName": "r-2", "percent": 10, "tag": "two" },
        ]));
        let it = deployed(&found(Some(&target), rate + 1), Some(&split));
        let revisions = it.revisions.unwrap();
        let shares: Vec<_> = revisions.iter().map(|it| (it.revision.as_str(), it.percent)).collect();
        assert_eq!(shares, [("r-2", 10), ("r-1", 90)]);
        let drift = it.drift.unwrap();
        assert_eq!((drift.len(), drift[0].setting.as_str()), (1, "rate"), "{drift:?}");
        assert_eq!(
            it.commands,
            ["scripts/ops giveback token-refresh", "terraform apply", "scripts/ops rollback token-refresh"]
        );
        let alone = service(&json!([{ "revisionName": "r-2", "percent": 100 }]));
        let it = deployed(&found(None, rate), Some(&alone));
        assert_eq!(
            (it.drift, it.commands),
            (Some(vec![]), vec!["scripts/ops takeover token-refresh".to_owned()])
        );
    }
}
