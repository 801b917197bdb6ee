//! The first task of every new revision: it has no effects, and comes before any traffic does.
//!
//! It reaches the revision under the address of its tag: through a queue of deployments, which Terraform creates, since the
//! function's own queue sends every task to what serves, and may be paused. The service without a queue gets a request that
//! it has to look up and refuse.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use shared::queue::JOBS_PATH;
use shared::telemetry::line::OutcomeCode;

use crate::database::wait_for;
use crate::gcloud::Gcloud;
use crate::queue;
use crate::service::Service;
use crate::settings;
use crate::takeover::harmless_task::data;

/// An instance has to start, and Cloud Logging takes seconds.
const TIMEOUT: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_secs(2);
const FRESHNESS: &str = "--freshness=10m";
/// Where `webhooks` takes what Google sends about a channel.
const NOTIFICATIONS: &str = "/google-calendar";
/// No channel of ours has this name, nor this token.
const NO_CHANNEL: &str = "deployment-check";

/// What became of the task.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TrialResult {
    /// The revision ran it.
    Passed,
    /// The revision did not, and why.
    Failed(String),
}

/// Sends the task to a revision with a tag, and waits until the log says what became of it.
pub(super) fn run(gcloud: &Gcloud, service: &Service, revision: &str) -> anyhow::Result<TrialResult> {
    let url = service.tag_url(revision).with_context(|| format!("{revision} has no address of its own"))?;
    let name = if queue::has_queue(&service.function)? {
        create(gcloud, service, url)?
    } else {
        notify(url)?;
        NOTIFICATIONS.to_owned()
    };
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let outcomes = outcomes(gcloud, &service.function, revision, &name)?;
        let has_expired = Instant::now() >= deadline;
        if let Some(result) = trial_result(&outcomes, has_expired) {
            return Ok(result);
        }
        sleep(POLL);
    }
}

/// Creates the task, and returns its name.
fn create(gcloud: &Gcloud, service: &Service, url: &str) -> anyhow::Result<String> {
    let function = &service.function;
    let envelope = json!({ "data": data(function)?, "jobName": function });
    let caller = settings::caller(&service.document);
    let caller = caller.with_context(|| format!("{function} names no caller in SERVICE_ACCOUNT_EMAIL"))?;
    let audience = settings::audience(&service.document, function);
    let audience = audience.with_context(|| format!("{function} names no audience in CLOUD_RUN_URL"))?;
    let queue = queue::of_deployments()?;
    let created: anyhow::Result<Value> = gcloud.read(&[
        "tasks",
        "create-http-task",
        &format!("--queue={queue}"),
        &format!("--location={}", gcloud.place().region),
        &format!("--url={url}{JOBS_PATH}{function}"),
        "--method=POST",
        "--header=Content-Type:application/json",
        &format!("--body-content={envelope}"),
        &format!("--oidc-service-account-email={caller}"),
        &format!("--oidc-token-audience={audience}"),
    ]);
    let created = created.with_context(|| {
        format!(
            "the harmless task cannot be created; if there is no queue {queue}, terraform apply creates it"
        )
    })?;
    let name = created["name"].as_str().and_then(|name| name.rsplit('/').next());
    Ok(name.context("the new task has no name")?.to_owned())
}

/// Sends a notification of a channel that is not there.
fn notify(url: &str) -> anyhow::Result<()> {
    let request = shared::http::client(TIMEOUT, TIMEOUT)
        .post(format!("{url}{NOTIFICATIONS}"))
        .header("X-Goog-Channel-ID", NO_CHANNEL)
        .header("X-Goog-Channel-Token", NO_CHANNEL)
        .header("X-Goog-Resource-ID", NO_CHANNEL)
        .header("X-Goog-Resource-State", "exists");
    // What it says is in the log.
    wait_for(async { request.send().await.map(drop).context("the new revision cannot be reached") })
}

/// How the dispatches of the task ended, as the revision says.
fn outcomes(gcloud: &Gcloud, function: &str, revision: &str, name: &str) -> anyhow::Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry {
        json_payload: BTreeMap<String, Value>,
    }
    let filter = format!(
        "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"{function}\" AND \
         resource.labels.revision_name=\"{revision}\" AND jsonPayload.\"task.name\"=\"{name}\""
    );
    let entries: Vec<Entry> = gcloud.read(&["logging", "read", &filter, FRESHNESS])?;
    let text = |entry: &Entry, field| Some(entry.json_payload.get(field)?.as_str()?.to_owned());
    let outcome = |entry: &Entry| match (text(entry, "task.outcome")?, text(entry, "task.reason")) {
        (outcome, Some(reason)) if outcome != OutcomeCode::Skipped.name() => {
            Some(format!("{outcome} {reason}"))
        }
        (outcome, _) => Some(outcome),
    };
    Ok(entries.iter().filter_map(outcome).collect())
}

/// The result, once there is one.
fn trial_result(outcomes: &[String], has_expired: bool) -> Option<TrialResult> {
    let ran = [OutcomeCode::Done, OutcomeCode::Skipped].map(OutcomeCode::name);
    if outcomes.iter().any(|outcome| ran.contains(&outcome.as_str())) {
        return Some(TrialResult::Passed);
    }
    // The queue sends it again until the dependency is there.
    let is_waiting = |outcome: &&String| !outcome.starts_with(OutcomeCode::Unavailable.name());
    if let Some(ended) = outcomes.iter().find(is_waiting) {
        return Some(TrialResult::Failed(format!("it ended the harmless task with {ended}")));
    }
    let silent = "it did not get the harmless task, or died of it: its request log and its own log say why";
    let unavailable = outcomes.first().map(|outcome| format!("it answers {outcome}"));
    has_expired.then(|| TrialResult::Failed(unavailable.unwrap_or_else(|| silent.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_revision_that_ran_the_task_passes() {
        #[track_caller]
        fn check(outcomes: &[&str], has_expired: bool, passed: Option<bool>) {
            let outcomes: Vec<_> = outcomes.iter().map(|outcome| (*outcome).to_owned()).collect();
            let result = trial_result(&outcomes, has_expired);
            assert_eq!(
                result.map(|result| result == TrialResult::Passed),
                passed,
                "{outcomes:?} {has_expired}"
            );
        }
        check(&["skipped"], false, Some(true));
        check(&["done"], false, Some(true));
        check(&["unavailable postgres", "skipped"], false, Some(true));
        check(&["refused audience"], false, Some(false));
        check(&["retry panic"], false, Some(false));
        check(&["dead permanent"], false, Some(false));
        check(&["requeued unreadable"], false, Some(false));
        check(&["unavailable postgres"], false, None);
        check(&["unavailable postgres"], true, Some(false));
        check(&[], false, None);
        check(&[], true, Some(false));
    }
}
