//! `ops deploy`: a new build of one function, first for a share of its tasks, then for all; taken back when it fails.

mod build;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::NOT_RIGHT;
use crate::canary::{Verdict, Watch};
use crate::gcloud::{Gcloud, Place};
use crate::repository::Repository;
use crate::service::{ALL, Service};
use crate::wrong_call::WrongCall;
use build::{Build, Wanted};

/// The new revision keeps what it has, and somebody must decide.
const UNDECIDED: u8 = 3;

/// Deploy one function: with a share of its tasks first, and back by itself when they fail.
///
/// A revision that does no task while it is watched keeps its share, unless --promote-unseen; so does one that fails all
/// of too few. The same call goes on watching a share; scripts/rollback ends it, at any time.
#[derive(Args)]
#[command(after_help = "Exit codes: 0 deployed, 1 not deployed or taken back, 2 the call itself is wrong, \
                        3 undecided: no task came by, or too few that failed, and the new revision keeps what it has.")]
pub(crate) struct Deploy {
    /// Name of the function.
    function: String,
    #[command(flatten)]
    wanted: Wanted,
    /// Percentage of the tasks that it gets at first; 100 leaves the first step out.
    #[arg(long, default_value_t = 10, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    canary: u32,
    /// Give it all tasks although none came by to be judged: for CI, since some queues have one sweep a day.
    #[arg(long)]
    promote_unseen: bool,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    place: Place,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Show what would be changed, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Deploy {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let function = self.function.as_str();
        let repository = Repository::here()?;
        let is_known = repository.functions()?.contains(function);
        ensure!(is_known, WrongCall(format!("there is no function {function}")));
        let gcloud = Gcloud::new(self.place.clone(), self.dry_run);
        let service = Service::read(&gcloud, function)?;
        let Build { image, tag, is_of_checkout } = self.wanted.build(function, &repository, &service)?;
        // One that was left undecided goes on where it was.
        let undecided = service.undecided(&tag);
        let is_new = undecided.is_none();
        let before = undecided.map_or_else(|| service.serving(), Ok)?.to_owned();
        if is_of_checkout {
            self.wanted.ensure_newer(&repository, &service, &before)?;
        }
        eprintln!("{function} in {}: {before} serves; {image} is to replace it", self.place.project);
        if !self.dry_run && !self.yes && !confirmed()? {
            return Ok(ExitCode::from(NOT_RIGHT));
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
            Verdict::Good => {
                println!("{new}");
                ExitCode::SUCCESS
            }
            Verdict::Bad => ExitCode::from(NOT_RIGHT),
            Verdict::Doubtful | Verdict::Unseen => ExitCode::from(UNDECIDED),
        })
    }

    /// The percentages that it gets, one after the other.
    fn steps(&self) -> impl Iterator<Item = u32> {
        let share = (self.canary < ALL).then_some(self.canary);
        share.into_iter().chain([ALL])
    }

    /// Moves the tasks over, from `given` percent on, says how the new revision does them, and takes it back when it
    /// fails. Who moves the traffic meanwhile knows more: nothing is touched then.
    fn shift(&self, gcloud: &Gcloud, new: &str, before: &str, mut given: u32) -> anyhow::Result<Verdict> {
        let read_untouched = |given| {
            let service = Service::read(gcloud, &self.function)?;
            service.expect(new, given, before).map(|()| service)
        };
        let mut service = read_untouched(given)?;
        for percent in self.steps() {
            let verdict = service.give(gcloud, new, percent, before).and_then(|()| {
                given = percent;
                self.watch.run(gcloud, &self.function, new, || read_untouched(given).map(drop))
            });
            service = read_untouched(given)?;
            // One that was good with its share has been seen.
            let may_be_unseen = self.promote_unseen || (percent == ALL && self.canary < ALL);
            match verdict {
                Ok(Verdict::Good) => {}
                Ok(Verdict::Unseen) if may_be_unseen => eprintln!("{new} did no task with {percent} %"),
                Ok(undecided @ (Verdict::Unseen | Verdict::Doubtful)) => {
                    self.leave(new, percent, undecided);
                    return verdict;
                }
                Ok(Verdict::Bad) => {
                    eprintln!("{new} fails: back to {before}");
                    service.return_to(gcloud, before)?;
                    return verdict;
                }
                Err(error) => {
                    eprintln!("{new} cannot be watched: back to {before}");
                    service.return_to(gcloud, before)?;
                    return Err(error);
                }
            }
        }
        Ok(Verdict::Good)
    }

    /// Says what somebody must decide about.
    fn leave(&self, new: &str, percent: u32, verdict: Verdict) {
        let function = &self.function;
        let did = if verdict == Verdict::Unseen { "did no task" } else { "failed the few tasks that it did" };
        let next = if percent == ALL {
            format!("has all tasks now: see its log, and scripts/rollback {function} takes it back")
        } else {
            format!(
                "keeps its {percent} %. The same call goes on watching, with --promote-unseen also when no task comes; scripts/rollback {function} ends it"
            )
        };
        eprintln!("undecided: {new} {did}, and {next}");
    }
}

/// Asks the person; without one, the answer is an error.
pub(crate) fn confirmed() -> anyhow::Result<bool> {
    ensure!(std::io::stdin().is_terminal(), "nobody is there to ask: say --yes");
    eprint!("Go on? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
