//! `ops deploy`: new revisions of functions, each tried with a harmless task, then given a share of the tasks, then all; rolled
//! back when it fails.

mod build;
mod harmless_task;
mod rollout;

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::thread::{self, ScopedJoinHandle};

use anyhow::ensure;
use clap::Args;
use shared::clock::Clock;

use crate::FAILURE;
use crate::canary::{Health, Watch};
use crate::gcloud::{Gcloud, Place};
use crate::names;
use crate::repository::Repository;
use build::Wanted;
use rollout::Rollout;

/// The new revision keeps its share, and an operator must decide.
const INCONCLUSIVE: u8 = 3;
/// Instead of the usual ones.
pub(crate) const EXIT_CODES: &str = "Exit codes: 0 deployed, 1 not deployed or rolled back, 2 usage error, \
    3 inconclusive: a new revision failed the few tasks that it got, and keeps its share.";

/// Deploy functions: a harmless task first, then a share of the tasks, then all; rolled back automatically when they fail.
///
/// Of several functions one is deployed first, and the others in parallel once it serves; if it fails, the others stay as
/// they are. A function that serves the image already is left alone. A revision that fails all of its tasks when they are too
/// few to tell keeps its share: the same command continues to watch it, and `scripts/ops rollback` ends it at any time.
#[derive(Args)]
pub(crate) struct Deploy {
    /// Names of the functions.
    #[arg(required = true, value_name = "FUNCTION")]
    functions: Vec<String>,
    #[command(flatten)]
    wanted: Wanted,
    /// Share of the tasks that a new revision gets first; 100 skips this step.
    #[arg(long, default_value_t = 10, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    canary: u32,
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
        let functions = self.functions.iter().map(|function| names::function(function));
        let functions = functions.collect::<Result<BTreeSet<_>, _>>()?;
        self.wanted.ensure_fits(functions.len())?;
        let gcloud = Gcloud::new(self.place.clone(), self.dry_run);
        let plans = in_parallel(functions, |function| self.plan(&gcloud, &function));
        let mut rollouts = Vec::new();
        for plan in plans {
            rollouts.extend(plan?);
        }
        if rollouts.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        if !self.dry_run && !self.yes && !confirmed()? {
            return Ok(ExitCode::from(FAILURE));
        }
        // What fails shows it soonest where there is work.
        rollouts.sort_by_key(|rollout| rollout.is_idle);
        let (worst, untouched) = ship_all(&rollouts, |rollout| ship(&gcloud, rollout));
        if !untouched.is_empty() {
            let untouched: Vec<_> = untouched.iter().map(Rollout::function).collect();
            eprintln!("not deployed, because of {}: {}", rollouts[0].function(), untouched.join(", "));
        }
        Ok(match worst {
            Health::Healthy => {
                if !self.dry_run && self.wanted.is_of_checkout() {
                    print_lead_time();
                }
                ExitCode::SUCCESS
            }
            Health::Inconclusive => ExitCode::from(INCONCLUSIVE),
            Health::Unhealthy => ExitCode::from(FAILURE),
        })
    }

    /// What is to be done about a function; `None` if it serves the image already.
    fn plan(&self, gcloud: &Gcloud, function: &str) -> anyhow::Result<Option<Rollout>> {
        let rollout = Rollout::plan(gcloud, function, &self.wanted, &self.watch, self.canary)?;
        match &rollout {
            Some(rollout) => eprintln!("{function} in {}: {rollout}", self.place.project),
            None => eprintln!("{function} in {}: serves this image already", self.place.project),
        }
        Ok(rollout)
    }
}

/// Ships the first, and the others at the same time once it is healthy. Returns the worst health, and those that stay as they
/// are because of the first.
fn ship_all<T: Sync>(all: &[T], ship: impl Fn(&T) -> Health + Sync) -> (Health, &[T]) {
    let Some((first, others)) = all.split_first() else { return (Health::Healthy, &[]) };
    match ship(first) {
        Health::Healthy => {
            let worst = in_parallel(others, ship).into_iter().fold(Health::Healthy, Health::max);
            (worst, &[])
        }
        worst => (worst, others),
    }
}

/// Deploys one function, and prints its new revision.
fn ship(gcloud: &Gcloud, rollout: &Rollout) -> Health {
    match rollout.run(gcloud) {
        Ok((Health::Healthy, new)) => {
            println!("{new}");
            Health::Healthy
        }
        Ok((health, _)) => health,
        Err(error) => {
            eprintln!("{}: {error:#}", rollout.function());
            Health::Unhealthy
        }
    }
}

/// Does something for each, at the same time. gcloud is slow, and mostly waits.
pub(crate) fn in_parallel<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || work(item))).collect();
        let results = threads.into_iter().map(ScopedJoinHandle::join);
        results.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// How long ago the current commit was made: what it took to ship it.
fn print_lead_time() {
    let committed = Repository::here().and_then(|repository| repository.committed_at());
    if let Ok(committed) = committed {
        let seconds = (Clock::system().now() - committed.to_utc()).num_seconds();
        eprintln!("all serve, {seconds} s after the commit");
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn the_others_stay_as_they_are_when_the_first_is_not_healthy() {
        #[track_caller]
        fn check(healths: &[Health], worst: Health, shipped: usize) {
            let tried = Mutex::new(Vec::new());
            let ship = |health: &Health| {
                tried.lock().unwrap().push(*health);
                *health
            };
            let (found, untouched) = ship_all(healths, ship);
            assert_eq!((found, untouched), (worst, &healths[shipped..]), "{healths:?}");
            let mut tried = tried.into_inner().unwrap();
            assert_eq!(tried[0], healths[0], "the first comes first");
            tried.sort();
            let mut expected = healths[..shipped].to_vec();
            expected.sort();
            assert_eq!(tried, expected);
        }
        use Health::{Healthy, Inconclusive, Unhealthy};
        check(&[Healthy], Healthy, 1);
        check(&[Healthy, Healthy, Healthy], Healthy, 3);
        check(&[Unhealthy, Healthy, Healthy], Unhealthy, 1);
        check(&[Inconclusive, Healthy], Inconclusive, 1);
        check(&[Healthy, Unhealthy, Healthy], Unhealthy, 3);
    }
}
