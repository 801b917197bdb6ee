//! The settings of each queue against the declaration, and whether it calls its function as whom that accepts.

use catchup::queues;
use serde_json::Value;
use shared::queue::Queue;

use super::super::{Operations, numbers};
use super::Checks;
use super::services::Services;
use crate::queue::{Declaration, Declared, Found, concurrent_dispatches};
use crate::takeover::check::Target;
use crate::takeover::findings::Findings;

pub(super) async fn check(operations: &Operations, services: Option<&Services>, checks: &mut Checks) {
    let found = match operations.cloud_tasks() {
        Ok(tasks) => tasks.queues().await,
        Err(problem) => return checks.unknown("queues", problem.to_string()),
    };
    let (mut found, declaration) = match (found, Declaration::read()) {
        (Ok(found), Ok(declaration)) => (found, declaration),
        (Err(error), _) | (_, Err(error)) => {
            return checks.failed(
                "queues",
                format!("{error:#}"),
                "gcloud auth application-default login  # and the rights of infra/gcp/operators.tf",
            );
        }
    };
    for queue in queues::all() {
        let Some(found) = found.remove(&queue.cloud_name()) else {
            checks.failed(
                queue.name(),
                format!("Cloud Tasks has no queue {}", queue.cloud_name()),
                "terraform apply",
            );
            continue;
        };
        let found = found.with_backoffs_times(operations.backoff_divisor);
        let declared = &declaration.queues[queue.name()];
        let mut findings = Findings::default();
        findings.settings(declared, &found);
        if operations.is_local() {
            of_process(operations, queue, &found, &mut findings).await;
        } else if let Some(services) = services {
            of_service(operations, services, queue, &found, &mut findings);
        }
        let place = operations.cloud_tasks().map(|tasks| tasks.region.clone()).unwrap_or_default();
        checks.take(queue.name(), &findings, |subject| fix(subject, queue, declared, &place));
    }
}

/// The function is a process on this machine.
async fn of_process(operations: &Operations, queue: Queue, found: &Found, findings: &mut Findings) {
    let (Some(address), Some((url, caller))) = (found.address(), operations.functions.of(queue)) else {
        return;
    };
    let target = Target {
        function: queue.name().to_owned(),
        queue: queue.cloud_name(),
        caller,
        url: address.strip_suffix(&queue.path()).unwrap_or(&address).to_owned(),
        audience: url,
        has_remains: found.has_remains(),
    };
    findings.target(found, &target);
    if let Some(page) = numbers::page_of(&address) {
        let read = numbers::read(page).await;
        let detail = read.as_ref().err().map_or_else(|| "responds".to_owned(), |error| format!("{error:#}"));
        findings.expect("function", read.is_ok(), detail);
    }
}

/// The function is a service of Cloud Run.
fn of_service(
    operations: &Operations,
    services: &Services,
    queue: Queue,
    found: &Found,
    findings: &mut Findings,
) {
    if let Ok(declared) = concurrent_dispatches(queue.name()) {
        findings.concurrency(declared, found);
    }
    let service = services.of(queue.name()).unwrap_or(&Value::Null);
    let project = operations.cloud_tasks().map(|tasks| tasks.project.clone()).unwrap_or_default();
    let target = Target::of(service, queue.name(), &project, found);
    findings.service(service, &target);
    findings.target(found, &target);
    match services.policy(queue.name()) {
        Some(Ok(policy)) => findings.invokers(policy, &target),
        Some(Err(problem)) => findings.unknown("invokers", problem),
        None => {}
    }
}

/// What is done about a finding of a queue.
fn fix(subject: &str, queue: Queue, declared: &Declared, region: &str) -> String {
    let (name, function) = (queue.cloud_name(), queue.name());
    let update = |options: String| format!("gcloud tasks queues update {name} --location={region} {options}");
    match subject {
        "rate" => update(format!("--max-dispatches-per-second={}", declared.max_dispatches_per_second)),
        "backoff" => update(format!(
            "--min-backoff={}s --max-backoff={}s --max-doublings={}",
            declared.min_backoff_seconds, declared.max_backoff_seconds, declared.max_doublings
        )),
        "retry duration" => update("--clear-max-retry-duration".to_owned()),
        "concurrency" => {
            let declared = concurrent_dispatches(function).unwrap_or_default();
            update(format!("--max-concurrent-dispatches={declared}"))
        }
        "state" => format!("scripts/ops resume {function}"),
        "attempts" | "target" => {
            format!("scripts/ops giveback {function}, then scripts/ops takeover {function}")
        }
        "function" => format!(
            "start it again: on this machine, scripts/up starts all; its log says why {function} ended"
        ),
        "service" => {
            format!("gcloud run services describe {function} --region={region}  # why it is not ready")
        }
        _ => "terraform apply".to_owned(),
    }
}
