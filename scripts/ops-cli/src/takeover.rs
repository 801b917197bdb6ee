//! `ops takeover --check`: whether a queue can be taken over. Taking it over is Terraform's `enabled_queues`.

pub(crate) mod dry_run;
mod findings;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use serde_json::Value;

use crate::FAILURE;
use crate::gcloud::{Gcloud, Place};
use crate::queue::{Declaration, Found, cloud_name, concurrent_dispatches};
use crate::settings;
use crate::usage_error::UsageError;
use findings::Findings;

/// Tasks whose envelopes are checked.
const TASKS: &str = "--limit=5";

/// Check that a queue can be taken over: settings, identity, envelope, and one harmless task that the function runs.
#[derive(Args)]
pub(crate) struct Takeover {
    /// Name of the queue or its function.
    queue: String,
    /// Check without taking over, which is all this command does; infra/docs/takeover.md has the steps.
    #[arg(long, required = true)]
    check: bool,
    /// Identity with which the queue calls its function; by default, QUEUE@PROJECT.iam.gserviceaccount.com.
    #[arg(long, value_name = "EMAIL")]
    caller: Option<String>,
    /// Send no task.
    #[arg(long)]
    no_task: bool,
    /// How long to wait for the task.
    #[arg(long = "timeout", default_value_t = 60, value_name = "SECONDS")]
    timeout_seconds: u64,
    /// Print JSON: `ready`, and each finding with `subject`, `verdict` and `detail`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// The service, as the checks need it.
struct Target {
    function: String,
    queue: String,
    caller: String,
    /// Address of the service.
    url: String,
    /// Audience of the queue's tokens.
    audience: String,
}

impl Takeover {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        ensure!(self.check, UsageError("pass --check: this command only checks".to_owned()));
        let declaration = Declaration::read()?;
        let function = declaration.function(&self.queue)?;
        let concurrent = concurrent_dispatches(&function)?;
        let gcloud = Gcloud::new(self.place.clone(), false);
        let (location, region) =
            (format!("--location={}", self.place.region), format!("--region={}", self.place.region));
        let queue = cloud_name(&function);
        let mut findings = Findings::default();

        let found: Found = gcloud.read(&["tasks", "queues", "describe", &queue, &location])?;
        findings.settings(&declaration.queues[&function], &found);
        findings.concurrency(concurrent, &found);

        let service: Value = gcloud.read(&["run", "services", "describe", &function, &region])?;
        let caller = self.caller.clone();
        let caller =
            caller.unwrap_or_else(|| format!("{queue}@{}.iam.gserviceaccount.com", self.place.project));
        let target = Target {
            url: service["status"]["url"].as_str().unwrap_or_default().to_owned(),
            audience: settings::audience(&service, &function).unwrap_or_default(),
            function,
            queue,
            caller,
        };
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
        findings.envelopes(&waiting, &target);

        if self.no_task || found.is_paused() || !findings.is_ready() {
            findings.unknown("dry run", "no task was sent");
        } else {
            dry_run::send(&gcloud, &target, Duration::from_secs(self.timeout_seconds), &mut findings)?;
        }
        findings.print(self.json)?;
        Ok(if findings.is_ready() { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) })
    }
}
