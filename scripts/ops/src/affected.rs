//! `ops affected`: which functions a change touches.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;

use crate::repository::Repository;

/// Which functions a change touches.
#[derive(Args)]
pub(crate) struct Affected {
    /// What the working tree is compared with: a branch, tag or commit.
    base: String,
}

impl Affected {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let repository = Repository::here()?;
        let functions = repository.functions()?;
        let changed = repository.changed_since(&self.base)?;
        let touched: BTreeSet<_> = changed
            .iter()
            .filter_map(|path| path.strip_prefix("functions/")?.split('/').next())
            .filter(|name| functions.contains(*name))
            .collect();
        for function in touched {
            println!("{function}");
        }
        Ok(ExitCode::SUCCESS)
    }
}
