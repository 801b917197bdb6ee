//! `ops rollback`: one function back to the revision before.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::FAILURE;
use crate::deploy::confirmed;
use crate::gcloud::{Gcloud, Place};
use crate::service::Service;

/// Roll one function back to its newest earlier healthy revision. Nothing is built, and no task is lost.
///
/// This also ends a deployment that was interrupted or is inconclusive: the revision before it gets all tasks again.
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
        let gcloud = Gcloud::new(self.place, self.dry_run);
        let service = Service::read(&gcloud, &self.function)?;
        let bad = service.newest_serving()?;
        let good = match &self.to {
            Some(revision) => {
                ensure!(service.has(revision), "{} has no revision {revision}", self.function);
                revision
            }
            None => service
                .before(bad)
                .with_context(|| format!("no revision before {bad} has a tag; name one with --to"))?,
        };
        eprintln!("{}: rolling back from {bad} to {good}", self.function);
        if !self.dry_run && !self.yes && !confirmed()? {
            return Ok(ExitCode::from(FAILURE));
        }
        service.return_to(&gcloud, good)?;
        println!("{good}");
        Ok(ExitCode::SUCCESS)
    }
}
