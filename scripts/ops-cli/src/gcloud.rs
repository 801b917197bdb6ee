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
    #[cfg(test)]
    fake: Option<Fake>,
}

/// What stands for gcloud in a test: it gets the arguments, and answers what gcloud would print.
#[cfg(test)]
type Fake = Box<dyn Fn(&[&str]) -> anyhow::Result<serde_json::Value> + Send + Sync>;

impl Gcloud {
    pub(crate) fn new(place: Place, dry_run: bool) -> Self {
        Self {
            place,
            dry_run,
            #[cfg(test)]
            fake: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn fake(
        fake: impl Fn(&[&str]) -> anyhow::Result<serde_json::Value> + Send + Sync + 'static,
    ) -> Self {
        let place = Place { project: "p".to_owned(), region: "r".to_owned() };
        Self { place, dry_run: false, fake: Some(Box::new(fake)) }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Changes are only printed.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// What gcloud prints about something.
    pub(crate) fn read<T: DeserializeOwned>(&self, arguments: &[&str]) -> anyhow::Result<T> {
        self.read_as(arguments, "--format=json")
    }

    /// The same, of these fields only.
    pub(crate) fn read_fields<T: DeserializeOwned>(
        &self,
        arguments: &[&str],
        fields: &str,
    ) -> anyhow::Result<T> {
        self.read_as(arguments, &format!("--format=json({fields})"))
    }

    fn read_as<T: DeserializeOwned>(&self, arguments: &[&str], format: &str) -> anyhow::Result<T> {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return Ok(serde_json::from_value(fake(arguments)?)?);
        }
        let answer = program::output(self.command(arguments).arg(format))?;
        serde_json::from_str(&answer)
            .with_context(|| format!("cannot read the output of gcloud {}", arguments.join(" ")))
    }

    /// What gcloud prints, as it is.
    pub(crate) fn text(&self, arguments: &[&str]) -> anyhow::Result<String> {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return Ok(serde_json::from_value(fake(arguments)?)?);
        }
        program::output(&mut self.command(arguments))
    }

    /// Changes something, and shows the command. gcloud's output is in the error: several of them may run at the same time.
    pub(crate) fn change(&self, arguments: &[&str]) -> anyhow::Result<()> {
        eprintln!("+ gcloud {}", arguments.join(" "));
        if self.dry_run {
            return Ok(());
        }
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return fake(arguments).map(drop);
        }
        program::output(self.command(arguments).stdin(Stdio::null())).map(drop)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("gcloud");
        command.args(arguments).arg(format!("--project={}", self.place.project)).arg("--quiet");
        command
    }
}
