//! gcloud, Google's own command line: every change in the cloud is a call of it, which is printed first.

use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::Args;
use serde::de::DeserializeOwned;

use crate::program;

/// Where the functions run.
#[derive(Args, Clone)]
pub(crate) struct Place {
    /// Project of the functions.
    #[arg(long, env = "GCP_PROJECT_ID", value_name = "ID")]
    pub(crate) project: String,
    /// Region of the functions.
    #[arg(long, env = "GCP_REGION", value_name = "REGION")]
    pub(crate) region: String,
}

/// How gcloud is called.
pub(crate) struct Gcloud {
    place: Place,
    /// Changes are printed instead of made.
    dry_run: bool,
}

impl Gcloud {
    pub(crate) fn new(place: Place, dry_run: bool) -> Self {
        Self { place, dry_run }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Whether changes are printed instead of made.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// What gcloud prints about something.
    pub(crate) fn read<T: DeserializeOwned>(&self, arguments: &[&str]) -> anyhow::Result<T> {
        let answer = program::output(self.command(arguments).arg("--format=json"))?;
        serde_json::from_str(&answer)
            .with_context(|| format!("cannot read the output of gcloud {}", arguments.join(" ")))
    }

    /// Changes something, and shows the command. gcloud's output is in the error: several of them may run at the same time.
    pub(crate) fn change(&self, arguments: &[&str]) -> anyhow::Result<()> {
        eprintln!("+ gcloud {}", arguments.join(" "));
        if self.dry_run {
            return Ok(());
        }
        program::output(self.command(arguments).stdin(Stdio::null())).map(drop)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("gcloud");
        command.args(arguments).arg(format!("--project={}", self.place.project)).arg("--quiet");
        command
    }
}
