//! `ops giveback`: a queue's tasks go to the application's own service again, those that wait included.

mod harm;

use std::process::ExitCode;

use anyhow::Context as _;
use catchup::db::handover::{Handovers, OpenWork};
use clap::Args;
use shared::db::Database;

use crate::FAILURE;
use crate::database::wait_for;
use crate::gcloud::{Gcloud, Place};
use crate::handover::{Handover, Times};
use crate::queue::{Declaration, Declared, Found};
use crate::takeover::findings::Findings;
use harm::Harm;

/// check, schedules, pause, wait, purge, switch, settle, resume, look.
const STEPS: u32 = 9;
/// What a queue of the application has no more than that: as on the page, for an emergency without this command.
const CLEARED: [&str; 4] = [
    "--clear-http-uri-override",
    "--clear-http-method-override",
    "--clear-http-oidc-service-account-email-override",
    "--clear-http-oidc-token-audience-override",
];

/// Give a queue back to the application's own service: pause our schedules and the queue, wait until nothing is in flight,
/// switch, resume, look. What was cut off continues when it is called again.
#[derive(Args)]
pub(crate) struct Giveback {
    /// Name of the queue or its function.
    queue: String,
    /// Print the changes without making them.
    #[arg(long)]
    dry_run: bool,
    /// Give back although the old job harms what is open, which the refusal spells out.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    times: Times,
    /// Database of the application; scripts/up prints that of its own, in the cloud it is that of the SQL proxy.
    #[arg(long = "database", env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database: Option<String>,
    #[command(flatten)]
    place: Place,
}

impl Giveback {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let declaration = Declaration::read()?;
        let function = Declaration::function(&self.queue)?;
        let gcloud = Gcloud::new(self.place.clone(), self.dry_run);
        let declared = &declaration.queues[&function];
        let handover = Handover::new(&gcloud, &function, declared, self.times, STEPS);
        let is_right = give_back(&handover, declared, &function, || self.consent(&function))?;
        Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) })
    }

    /// An error that spells out the harm, unless there is none, or the operator accepts it.
    fn consent(&self, function: &str) -> anyhow::Result<()> {
        let Some(harm) = Harm::of(function) else { return Ok(()) };
        harm.accept(self.open_work().as_ref(), self.force)
    }

    fn open_work(&self) -> anyhow::Result<OpenWork> {
        let url = self.database.as_deref().context("DATABASE_URL is not set")?;
        let options = url.parse().context("the URL of the database is malformed")?;
        wait_for(async { Ok(Handovers::from(Database::connect_lazily(options, 1)).open_work().await?) })
    }
}

/// All steps, but for those whose result is there already; whether the queue is as the application left it.
fn give_back(
    handover: &Handover<'_>,
    declared: &Declared,
    function: &str,
    consent: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    handover.say("check what the old job does to what is open");
    let found = handover.found()?;
    let is_ours = found.overriding().is_some();
    if is_ours {
        consent().context("nothing was changed")?;
    }
    handover.schedules("pause", "PAUSED")?;
    if is_given_back(&found, declared) && !found.is_paused() {
        eprintln!("{} is not taken over", handover.queue);
        return Ok(true);
    }
    steps(handover, declared, function, is_given_back(&found, declared)).with_context(|| {
        let queue = &handover.queue;
        format!(
            "{queue} may be paused, and its tasks wait: call the same command again to continue, or scripts/ops takeover {queue}"
        )
    })?;
    handover.say("look");
    if handover.gcloud.is_dry_run() {
        return Ok(true);
    }
    let mut findings = Findings::default();
    let found = handover.found()?;
    findings.expect(
        "target",
        found.overriding().is_none(),
        "tasks go to the address that their producer names",
    );
    findings.settings(declared, &found);
    findings.show();
    if findings.is_ready() {
        eprintln!("{} is given back. Again: scripts/ops takeover {0}", handover.queue);
    }
    Ok(findings.is_ready())
}

fn is_given_back(found: &Found, declared: &Declared) -> bool {
    found.overriding().is_none() && found.retry_config.max_attempts == declared.max_attempts(false)
}

fn steps(handover: &Handover<'_>, declared: &Declared, function: &str, is_done: bool) -> anyhow::Result<()> {
    handover.pause()?;
    handover.until_idle()?;
    // Behind the switch the tasks are the application's.
    handover.purge(!is_done && harm::takes_users_for_sweeps(function))?;
    let mut changes = vec![format!("--max-attempts={}", declared.max_attempts(false))];
    changes.extend(CLEARED.map(str::to_owned));
    let what = format!(
        "switch: tasks go to the address that their producer names, and {} attempts end one (back: scripts/ops takeover {})",
        declared.attempts, handover.queue
    );
    handover.switch(is_done, &what, &changes)?;
    handover.resume()
}

#[cfg(test)]
mod tests;
