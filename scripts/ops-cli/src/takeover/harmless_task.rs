//! One harmless task through the real queue, with the real identity, to the new function.
//!
//! A task names its own address. While the queue is not taken over, that address applies, so this one task reaches the new
//! function and all others reach the old one. Its payload does nothing: [`payload::Kind::dry_run`].

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use catchup::payload;
use chrono::{SecondsFormat, TimeDelta};
use serde_json::{Value, json};
use shared::clock::Clock;

use super::check::Target;
use super::findings::Findings;
use crate::gcloud::Gcloud;

/// The finding.
pub(super) const SUBJECT: &str = "harmless task";
const POLL: Duration = Duration::from_secs(2);
/// Entries of the log arrive later than the task leaves.
const FRESHNESS: &str = "--freshness=1h";
/// When the task would run by itself: it is run by hand before.
const LATER: TimeDelta = TimeDelta::hours(1);
/// Outcomes of a task that had nothing to do.
const HARMLESS: [&str; 2] = ["skipped", "done"];

/// The data of a task without effects, which is next to the payload's type.
pub(crate) fn data(function: &str) -> anyhow::Result<Value> {
    let kind = payload::ALL.iter().find(|kind| kind.queue.name() == function);
    let kind = kind.with_context(|| format!("{function} has no payload in shared/catchup/src/payload.rs"))?;
    Ok((kind.dry_run)()?)
}

/// Sends the task, addressed to `url`, and waits until it has left the queue and is recorded in the function's log.
pub(super) fn send(
    gcloud: &Gcloud,
    target: &Target,
    url: &str,
    timeout: Duration,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let location = format!("--location={}", gcloud.place().region);
    let queue = format!("--queue={}", target.queue);
    let envelope = json!({ "data": data(&target.function)?, "jobName": target.function });
    let later = (Clock::system().now() + LATER).to_rfc3339_opts(SecondsFormat::Secs, true);
    let created: Value = gcloud.read(&[
        "tasks",
        "create-http-task",
        &queue,
        &location,
        &format!("--url={url}"),
        &format!("--schedule-time={later}"),
        "--method=POST",
        "--header=Content-Type:application/json",
        &format!("--body-content={envelope}"),
        &format!("--oidc-service-account-email={}", target.caller),
        &format!("--oidc-token-audience={}", target.audience),
    ])?;
    let task = created["name"].as_str().unwrap_or_default();
    let short = task.rsplit('/').next().unwrap_or_default();
    // What is run by hand waits for no pause, no rate, and no other task.
    gcloud.read::<Value>(&["tasks", "run", task])?;
    let deadline = Instant::now() + timeout;
    loop {
        match outcome(gcloud, target, short)? {
            Some(outcome) if HARMLESS.contains(&outcome.as_str()) => {
                findings.expect(SUBJECT, true, format!("{short}: {outcome}"));
                return Ok(());
            }
            Some(outcome) => {
                findings.expect(SUBJECT, false, format!("{short}: {outcome}"));
                break;
            }
            None if Instant::now() > deadline => {
                let what = "did not reach the function: see the status codes in its request log (401, 403: identity)";
                findings.expect(SUBJECT, false, format!("{short} {what}"));
                break;
            }
            None => sleep(POLL),
        }
    }
    // If it is still there, it must not be dispatched again and again.
    if let Err(gone) = gcloud.change(&["tasks", "delete", task]) {
        eprintln!("{short} is no longer in the queue ({gone})");
    }
    Ok(())
}

/// The outcome of the task in the function's log.
fn outcome(gcloud: &Gcloud, target: &Target, task: &str) -> anyhow::Result<Option<String>> {
    let filter = format!(
        "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"{}\" AND jsonPayload.\"task.name\"=\"{task}\"",
        target.function
    );
    let entries: Vec<Value> = gcloud.read(&["logging", "read", &filter, FRESHNESS, "--limit=1"])?;
    Ok(entries.first().and_then(|entry| entry["jsonPayload"]["task.outcome"].as_str()).map(str::to_owned))
}
