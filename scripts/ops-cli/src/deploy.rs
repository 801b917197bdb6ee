//! `ops deploy`: a new revision of one function, first with a share of its tasks, then with all; rolled back when it fails.

mod build;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::FAILURE;
use crate::canary::{Health, Watch};
use crate::gcloud::{Gcloud, Place};
use crate::repository::Repository;
use crate::service::{ALL, Service};
use crate::usage_error::UsageError;
use build::{Build, Wanted};

/// The new revision keeps its share, and an operator must decide.
const INCONCLUSIVE: u8 = 3;
/// Instead of the usual ones.
pub(crate) const EXIT_CODES: &str = "Exit codes: 0 deployed, 1 not deployed or rolled back, 2 usage error, \
    3 inconclusive: the new revision got no task, or failed the few that it got, and keeps its share.";

/// Deploy one function: a share of its tasks first, then all; rolled back automatically when they fail.
///
/// A revision that gets no task while it is watched keeps its share, unless --promote-without-traffic is given; so does
/// one that fails all of its tasks when they are too few to tell. The same command continues to watch a share;
/// `scripts/ops rollback` ends it at any time.
#[derive(Args)]
pub(crate) struct Deploy {
    /// Name of the function.
    function: String,
    #[command(flatten)]
    wanted: Wanted,
    /// Share of the tasks that the new revision gets first; 100 skips this step.
    #[arg(long, default_value_t = 10, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    canary: u32,
    /// Give the new revision all tasks even if it got none while it was watched. For CI: some queues have one sweep per day.
    #[arg(long)]
    promote_without_traffic: bool,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    place: Place,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
    /// Print the changes without making them.
    #[arg(long)]
    dry_run: bool,
}

impl Deploy {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let function = self.function.as_str();
        // Without a checkout, only Cloud Run knows the functions.
        if let Ok(functions) = Repository::here().and_then(|repository| repository.functions()) {
            ensure!(functions.contains(function), UsageError(format!("there is no function {function}")));
        }
        let gcloud = Gcloud::new(self.place.clone(), self.dry_run);
        let service = Service::read(&gcloud, function)?;
        let Build { image, tag, is_of_checkout } = self.wanted.build(function, &service)?;
        // An interrupted or inconclusive deployment continues with its share.
        let unfinished = service.unfinished(&tag);
        let is_new = unfinished.is_none();
        let before = unfinished.map_or_else(|| service.serving(), Ok)?.to_owned();
        if is_of_checkout {
            self.wanted.ensure_newer(&service, &before)?;
        }
        eprintln!("{function} in {}: {image} will replace {before}", self.place.project);
        if !self.dry_run && !self.yes && !confirmed()? {
            return Ok(ExitCode::from(FAILURE));
        }

        let (region, image, to_tag) =
            (format!("--region={}", self.place.region), format!("--image={image}"), format!("--tag={tag}"));
        if is_new {
            gcloud.change(&[
                "run",
                "services",
                "update",
                function,
                &region,
                &image,
                &to_tag,
                "--no-traffic",
            ])?;
        }
        if self.dry_run {
            for percent in self.steps() {
                service.give(&gcloud, "<new>", percent, &before)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let service = Service::read(&gcloud, function)?;
        let new =
            service.tagged(&tag).with_context(|| format!("no revision of {function} has the tag {tag}"))?;
        let given = if is_new { 0 } else { service.percent(new) };
        Ok(match self.shift(&gcloud, new, &before, given)? {
            Health::Healthy => {
                println!("{new}");
                ExitCode::SUCCESS
            }
            Health::Unhealthy => ExitCode::from(FAILURE),
            Health::Inconclusive | Health::NoTraffic => ExitCode::from(INCONCLUSIVE),
        })
    }

    /// The percentages that the new revision gets, one after the other.
    fn steps(&self) -> impl Iterator<Item = u32> {
        let share = (self.canary < ALL).then_some(self.canary);
        share.into_iter().chain([ALL])
    }

    /// Moves the tasks to the new revision, from `given` percent on, returns its health, and rolls it back when it fails.
    /// If another command moves the traffic meanwhile, nothing is changed.
    fn shift(&self, gcloud: &Gcloud, new: &str, before: &str, mut given: u32) -> anyhow::Result<Health> {
        let read_untouched = |given| {
            let service = Service::read(gcloud, &self.function)?;
            service.expect(new, given, before).map(|()| service)
        };
        let mut service = read_untouched(given)?;
        for percent in self.steps() {
            let health = service.give(gcloud, new, percent, before).and_then(|()| {
                given = percent;
                self.watch.run(gcloud, &self.function, new, || read_untouched(given).map(drop))
            });
            service = read_untouched(given)?;
            // A revision that was healthy with its share had traffic.
            let needs_no_traffic = self.promote_without_traffic || (percent == ALL && self.canary < ALL);
            match health {
                Ok(Health::Healthy) => {}
                Ok(Health::NoTraffic) if needs_no_traffic => {
                    eprintln!("{new} got no task with {percent} % of the traffic");
                }
                Ok(inconclusive @ (Health::NoTraffic | Health::Inconclusive)) => {
                    self.leave(new, percent, inconclusive);
                    return health;
                }
                Ok(Health::Unhealthy) => {
                    eprintln!("{new} is unhealthy: rolling back to {before}");
                    service.return_to(gcloud, before)?;
                    return health;
                }
                Err(error) => {
                    eprintln!("{new} cannot be watched: rolling back to {before}");
                    service.return_to(gcloud, before)?;
                    return Err(error);
                }
            }
        }
        Ok(Health::Healthy)
    }

    /// Prints what the operator must decide.
    fn leave(&self, new: &str, percent: u32, health: Health) {
        let function = &self.function;
        let did =
            if health == Health::NoTraffic { "got no task" } else { "failed the few tasks that it got" };
        let next = if percent == ALL {
            format!("has all traffic now: see its log; `scripts/ops rollback {function}` rolls it back")
        } else {
            format!(
                "keeps {percent} % of the traffic. The same command continues to watch it, and with --promote-without-traffic promotes it even if it gets no task; `scripts/ops rollback {function}` ends it"
            )
        };
        eprintln!("inconclusive: {new} {did}, and {next}");
    }
}

/// Asks for confirmation; fails if there is no terminal.
pub(crate) fn confirmed() -> anyhow::Result<bool> {
    ensure!(std::io::stdin().is_terminal(), "stdin is not a terminal; pass --yes");
    eprint!("Continue? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
