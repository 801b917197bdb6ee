//! `ops pause` and `ops resume`: queues hold their tasks, or dispatch them again. No task is lost either way.

use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;

use crate::gcloud::{Gcloud, Place};
use crate::queue::{Declaration, cloud_name};

/// Queues to pause or resume.
#[derive(Args)]
pub(crate) struct Queues {
    /// Names of queues or functions.
    #[arg(required_unless_present = "all", value_name = "QUEUE")]
    names: Vec<String>,
    /// All queues.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    #[command(flatten)]
    place: Place,
    /// Print the changes without making them.
    #[arg(long)]
    dry_run: bool,
}

impl Queues {
    pub(crate) fn pause(self) -> anyhow::Result<ExitCode> {
        self.each("pause")
    }

    pub(crate) fn resume(self) -> anyhow::Result<ExitCode> {
        self.each("resume")
    }

    fn each(self, verb: &str) -> anyhow::Result<ExitCode> {
        let functions = Declaration::read()?.functions(&self.names, self.all)?;
        let location = format!("--location={}", self.place.region);
        let gcloud = Gcloud::new(self.place, self.dry_run);
        // A queue that fails does not stop the others.
        let mut failed = Vec::new();
        for queue in functions.iter().map(|function| cloud_name(function)) {
            if let Err(error) = gcloud.change(&["tasks", "queues", verb, &queue, &location]) {
                eprintln!("{queue}: {error:#}");
                failed.push(queue);
            }
        }
        ensure!(failed.is_empty(), "cannot {verb} {}", failed.join(", "));
        Ok(ExitCode::SUCCESS)
    }
}
