//! `ops rollback`: one function back to the revision before.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::NOT_RIGHT;
use crate::deploy::confirmed;
use crate::gcloud::{Gcloud, Place};
use crate::service::Service;

/// Take one function back to the newest earlier revision that was found good. Nothing is built, no task is lost.
///
/// A deployment that was cut off or is undecided is ended: what served before gets all tasks again.
#[derive(Args)]
pub(crate) struct Rollback {
    /// Name of the function.
    function: String,
    /// The revision to go to, instead.
    #[arg(long, value_name = "REVISION")]
    to: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Show what would be changed, and change nothing.
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
                .with_context(|| format!("nothing before {bad} has a tag; name a revision with --to"))?,
        };
        eprintln!("{}: from {bad} to {good}", self.function);
        if !self.dry_run && !self.yes && !confirmed()? {
            return Ok(ExitCode::from(NOT_RIGHT));
        }
        service.return_to(&gcloud, good)?;
        println!("{good}");
        Ok(ExitCode::SUCCESS)
    }
}
