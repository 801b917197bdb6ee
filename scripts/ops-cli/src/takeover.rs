//! `ops takeover`: a queue's tasks go to its function from now on, those that wait included; or only whether they could.

pub(crate) mod check;
mod database;
pub(crate) mod findings;
pub(crate) mod harmless_task;
pub(crate) mod push_address;

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;
use shared::queue::JOBS_PATH;

use crate::FAILURE;
use crate::gcloud::{Gcloud, Place};
use crate::handover::{Handover, Times};
use crate::queue::{Declaration, Declared, Found};
use check::{CheckOptions, Target};
use findings::Findings;

/// check, pause, wait, switch, settle, schedules, resume, look.
const STEPS: u32 = 8;

/// Take a queue over: check, pause, wait until nothing is in flight, switch, resume, look. What was cut off continues when
/// it is called again.
#[derive(Args)]
pub(crate) struct Takeover {
    /// Name of the queue or its function.
    queue: String,
    /// Only check; nothing is changed, but for one harmless task.
    #[arg(long, conflicts_with = "dry_run")]
    check: bool,
    /// Print the changes without making them.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    options: CheckOptions,
    #[command(flatten)]
    times: Times,
    /// Print JSON: `ready`, and each finding with `subject`, `verdict` and `detail`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

impl Takeover {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let declaration = Declaration::read()?;
        let function = Declaration::function(&self.queue)?;
        let gcloud = Gcloud::new(self.place.clone(), self.dry_run);
        if self.check {
            let mut findings = Findings::default();
            let target = check::all(&gcloud, &declaration, &function, &self.options, &mut findings)?;
            check::harmless_task(&gcloud, &target, &self.options, &mut findings)?;
            findings.print(self.json)?;
            return Ok(code(&findings));
        }
        let handover = Handover::new(&gcloud, &function, &declaration.queues[&function], self.times, STEPS);
        let findings = take_over(&handover, &declaration, &function, &self.options)?;
        if self.json {
            findings.print(true)?;
        }
        Ok(code(&findings))
    }
}

fn code(findings: &Findings) -> ExitCode {
    if findings.is_ready() { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) }
}

/// All steps, but for those whose result is there already.
fn take_over(
    handover: &Handover<'_>,
    declaration: &Declaration,
    function: &str,
    options: &CheckOptions,
) -> anyhow::Result<Findings> {
    let gcloud = handover.gcloud;
    handover.say("check");
    let mut findings = Findings::default();
    let target = check::all(gcloud, declaration, function, options, &mut findings)?;
    if !gcloud.is_dry_run() {
        check::harmless_task(gcloud, &target, options, &mut findings)?;
    }
    findings.show();
    if !findings.is_ready() {
        eprintln!("nothing was changed: put right what is WRONG, and call the same command again");
        return Ok(findings);
    }
    let missing = findings.missing();
    ensure!(
        missing.is_empty() || options.unchecked || gcloud.is_dry_run(),
        "nothing was changed: {} must be checked before a take-over; pass --unchecked to do without",
        missing.join(" and ")
    );
    let found = handover.found()?;
    if found.overriding().is_some() && !found.is_paused() {
        eprintln!("{} is taken over already", handover.queue);
        handover.schedules("resume", "ENABLED")?;
        return Ok(findings);
    }
    steps(handover, &declaration.queues[function], &target, &found).with_context(|| {
        let queue = &handover.queue;
        format!(
            "{queue} is paused, and its tasks wait: call the same command again to continue, or scripts/ops giveback {queue}"
        )
    })?;
    handover.say("look: one more task, which only the queue's setting leads to the function");
    if gcloud.is_dry_run() {
        return Ok(findings);
    }
    let mut findings = Findings::default();
    let found = handover.found()?;
    findings.target(&found, &target);
    findings.settings(&declaration.queues[function], &found);
    check::arrival(gcloud, &target, options, &mut findings)?;
    findings.show();
    if findings.is_ready() {
        eprintln!("{} is taken over. Back: scripts/ops giveback {}", handover.queue, handover.queue);
    } else {
        eprintln!("{} is switched, but something is WRONG. Back: scripts/ops giveback {0}", handover.queue);
    }
    Ok(findings)
}

fn steps(handover: &Handover<'_>, declared: &Declared, target: &Target, found: &Found) -> anyhow::Result<()> {
    handover.pause()?;
    handover.until_idle()?;
    let is_ours = found.overriding().is_some();
    let what = format!(
        "switch: all tasks go to {}, and Cloud Tasks ends none (back: scripts/ops giveback {})",
        target.function, target.queue
    );
    handover.switch(is_ours, &what, &switch(declared, target)?)?;
    handover.schedules("resume", "ENABLED")?;
    handover.resume()
}

/// What makes a queue ours, in one call.
fn switch(declared: &Declared, target: &Target) -> anyhow::Result<Vec<String>> {
    let (scheme, host) = target.url.split_once("://").context("the service has no address")?;
    let (host, port) = match host.split_once(':') {
        Some((host, port)) => (host, format!(",port:{port}")),
        None => (host, String::new()),
    };
    Ok(vec![
        format!(
            "--http-uri-override=scheme:{scheme},host:{host}{port},path:{JOBS_PATH}{},mode:ALWAYS",
            target.function
        ),
        "--http-method-override=post".to_owned(),
        format!("--http-oidc-service-account-email-override={}", target.caller),
        format!("--http-oidc-token-audience-override={}", target.audience),
        format!("--max-attempts={}", declared.max_attempts(true)),
    ])
}

#[cfg(test)]
mod tests;
