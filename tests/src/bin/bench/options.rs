//! What every bench is told.

use std::path::PathBuf;

use local_cloud::functions::built_programs;

/// Where the programs are, whether aims apply, and how the figures are printed.
#[derive(clap::Args)]
pub(crate) struct Common {
    /// Folder of the programs [default: that of this program]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Only check that the programs do their work and can be measured: aims do not apply
    #[arg(long)]
    pub(crate) short: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Common {
    /// The folder of the programs.
    pub(crate) fn folder(&self) -> anyhow::Result<PathBuf> {
        self.folder.clone().map_or_else(built_programs, Ok)
    }

    /// The number that is given, or the one for a short or a whole measurement.
    pub(crate) fn number<T>(&self, given: Option<T>, short: T, whole: T) -> T {
        given.unwrap_or(if self.short { short } else { whole })
    }
}
