//! Everything that is checked before a queue changes hands.

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use shared::queue::JOBS_PATH;

use super::findings::Findings;
use super::{database, harmless_task, push_address};
use crate::gcloud::Gcloud;
use crate::queue::{Declaration, Found, cloud_name, concurrent_dispatches};
use crate::settings;

/// Tasks whose envelopes are checked.
const TASKS: &str = "--limit=5";
/// Where a task leads that the queue's setting does not lead elsewhere: nowhere.
const NOWHERE: &str = "https://not-taken-over.invalid";

#[derive(Args, Clone)]
pub(crate) struct CheckOptions {
    /// Identity with which the queue calls its function; by default, QUEUE@PROJECT.iam.gserviceaccount.com.
    #[arg(long, value_name = "EMAIL")]
    pub(super) caller: Option<String>,
    /// Send no task.
    #[arg(long)]
    pub(super) no_task: bool,
    /// How long to wait for the task.
    #[arg(long = "timeout", default_value_t = 60, value_name = "SECONDS")]
    pub(super) timeout_seconds: u64,
    /// Take over although the database's schema or the encryption key could not be checked.
    #[arg(long)]
    pub(super) unchecked: bool,
    /// Database of the application; scripts/up prints that of its own, in the cloud it is that of the SQL proxy.
    #[arg(long = "database", env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(super) database: Option<String>,
}

/// The service, as the checks need it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) function: String,
    pub(crate) queue: String,
    pub(crate) caller: String,
    /// Address of the service.
    pub(crate) url: String,
    /// Audience of the queue's tokens.
    pub(crate) audience: String,
    /// A task's own identity does not count.
    pub(crate) has_remains: bool,
}

impl Target {
    /// What the service of a function and its queue say, with the caller that Terraform creates.
    pub(crate) fn of(service: &Value, function: &str, project: &str, found: &Found) -> Self {
        let queue = cloud_name(function);
        Self {
            url: service["status"]["url"].as_str().unwrap_or_default().to_owned(),
            audience: settings::audience(service, function).unwrap_or_default(),
            caller: format!("{queue}@{project}.iam.gserviceaccount.com"),
            function: function.to_owned(),
            queue,
            has_remains: found.has_remains(),
        }
    }
}

/// All that is checked without a task of our own.
pub(super) fn all(
    gcloud: &Gcloud,
    declaration: &Declaration,
    function: &str,
    options: &CheckOptions,
    findings: &mut Findings,
) -> anyhow::Result<Target> {
    let place = gcloud.place();
    let (location, region) = (format!("--location={}", place.region), format!("--region={}", place.region));
    let queue = cloud_name(function);

    let found: Found = gcloud.read(&["tasks", "queues", "describe", &queue, &location])?;
    findings.settings(&declaration.queues[function], &found);
    findings.concurrency(concurrent_dispatches(function)?, &found);

    let service: Value = gcloud.read(&["run", "services", "describe", function, &region])?;
    let mut target = Target::of(&service, function, &place.project, &found);
    if let Some(caller) = &options.caller {
        target.caller.clone_from(caller);
    }
    findings.service(&service, &target);
    findings.target(&found, &target);
    let policy: Value = gcloud.read(&["run", "services", "get-iam-policy", &target.function, &region])?;
    findings.invokers(&policy, &target);

    let in_queue = format!("--queue={}", target.queue);
    let tasks: Vec<Value> = gcloud.read(&["tasks", "list", &in_queue, &location, TASKS])?;
    let mut waiting = Vec::new();
    for task in &tasks {
        let name = task["name"].as_str().unwrap_or_default();
        // A task that has run since then is no longer there.
        waiting.extend(gcloud.read::<Value>(&["tasks", "describe", name, "--response-view=full"]));
    }
    let others = declaration.queues.keys().filter(|name| *name != function);
    findings.envelopes(&waiting, &others.map(String::as_str).collect::<Vec<_>>());

    database::check(gcloud, &service, options.database.as_deref(), findings)?;
    push_address::check(&service, findings)?;
    Ok(target)
}

/// One harmless task, addressed to the function.
pub(super) fn harmless_task(
    gcloud: &Gcloud,
    target: &Target,
    options: &CheckOptions,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    if options.no_task || !findings.is_ready() {
        findings.unknown(harmless_task::SUBJECT, "no task was sent");
        return Ok(());
    }
    if target.has_remains {
        let why = "no task was sent: gcloud left an empty identity in the queue, which replaces that of a task; the look after \
                   the switch sends one";
        findings.unknown(harmless_task::SUBJECT, why);
        return Ok(());
    }
    let url = format!("{}{JOBS_PATH}{}", target.url, target.function);
    harmless_task::send(gcloud, target, &url, Duration::from_secs(options.timeout_seconds), findings)
}

/// One harmless task that only a queue that is taken over sends to the function.
pub(super) fn arrival(
    gcloud: &Gcloud,
    target: &Target,
    options: &CheckOptions,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    if options.no_task {
        findings.unknown(harmless_task::SUBJECT, "no task was sent");
        return Ok(());
    }
    harmless_task::send(gcloud, target, NOWHERE, Duration::from_secs(options.timeout_seconds), findings)
}
