//! `ops rollback`: one function back to the revision before, or without the one that never served.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::FAILURE;
use crate::dead_letters::left_behind;
use crate::deploy::confirmed;
use crate::gcloud::{Gcloud, Place};
use crate::names;
use crate::service::Service;

/// Roll one function back to its newest earlier healthy revision. Nothing is built, and no task is lost.
///
/// This also ends a deployment that was interrupted or is inconclusive: the revision before it gets all tasks again. If the
/// newest revision never served, it loses its tag, so that no rollback targets it, and what serves stays. Names the dead letters that the revision left.
#[derive(Args)]
pub(crate) struct Rollback {
    /// Name of the function.
    function: String,
    /// Roll back to this revision instead.
    #[arg(long, value_name = "REVISION")]
    to: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
    /// Print the changes without making them.
    #[arg(long)]
    dry_run: bool,
}

impl Rollback {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let function = names::function(&self.function)?;
        let gcloud = Gcloud::new(self.place, self.dry_run);
        let service = Service::read(&gcloud, &function)?;
        let unused = service.never_served().filter(|_| self.to.is_none());
        let (bad, good) = match (unused, service.serving(), &self.to) {
            (Some(unused), Ok(serving), _) => {
                eprintln!(
                    "{function}: taking the tag of {unused} away, which never served; {serving} keeps the traffic"
                );
                (unused, serving)
            }
            (_, _, to) => {
                let bad = service.newest_serving()?;
                let good = to.as_deref().or_else(|| service.before(bad));
                let good =
                    good.with_context(|| format!("no revision before {bad} has a tag; name one with --to"))?;
                ensure!(service.has(good), "{function} has no revision {good}");
                eprintln!("{function}: rolling back from {bad} to {good}");
                (bad, good)
            }
        };
        if !self.dry_run && !self.yes && !confirmed()? {
            return Ok(ExitCode::from(FAILURE));
        }
        service.return_to(&gcloud, good)?;
        left_behind::print(&gcloud, &service, bad);
        println!("{good}");
        Ok(ExitCode::SUCCESS)
    }
}
