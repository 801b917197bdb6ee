//! `ops affected`: the functions whose programs a change can have changed, and the queues whose Terraform it changes.
//!
//! | changed | functions |
//! |---|---|
//! | a file of a workspace package | those that depend on the package |
//! | a package's `tests/`, `benches/`, `examples/` or prose | none |
//! | an entry of `infra/queues.json` | its function, and those that create tasks for it |
//! | an entry of `infra/gcp/functions.json` | none; its queue, and those that it fills |
//! | `migrations` of a package | none; migrations run before any deployment |
//! | other scripts, prose, Terraform, CI | none |
//! | anything else | all |
//!
//! These are built. Whether one is deployed, the digest of its image says: `scripts/ops deploy --images` leaves a function
//! alone that serves the same image already.

mod comparison;
mod entries;
mod packages;
mod paths;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::repository::Repository;
use comparison::Comparison;
use packages::Packages;
use paths::Place;

const DECLARATION: &str = "infra/queues.json";
const NEEDS: &str = "infra/gcp/functions.json";

/// List the functions whose programs a change can have changed, and the queues whose Terraform it changes.
#[derive(Args)]
pub(crate) struct Affected {
    /// Commit to compare the working tree with, or the current commit with --committed: the deployed one, or the base of a branch.
    base: String,
    /// Compare every commit since the base, even one that was reverted, instead of the working tree.
    #[arg(long)]
    committed: bool,
    /// Print JSON: `functions`, `queues`, `migrations` and, for each function, `because`.
    #[arg(long)]
    json: bool,
}

/// The effects of a change.
#[derive(Debug, Default, Serialize)]
struct Effects {
    /// Functions to build, and to deploy if their images have changed.
    functions: BTreeSet<String>,
    /// Queues whose Terraform resources change.
    queues: BTreeSet<String>,
    /// Whether migrations must run first.
    migrations: bool,
    /// For each function, the changes that affect it.
    because: BTreeMap<String, BTreeSet<String>>,
}

impl Effects {
    fn touch<'a>(&mut self, functions: impl IntoIterator<Item = &'a String>, why: &str) {
        for function in functions {
            self.functions.insert(function.clone());
            self.because.entry(function.clone()).or_default().insert(why.to_owned());
        }
    }
}

impl Affected {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let repository = Repository::here()?;
        let comparisons = if self.committed {
            Comparison::of_commits(&repository, &self.base)?
        } else {
            vec![Comparison::with_working_tree(&repository, &self.base)]
        };
        let effects = effects(&repository, &comparisons)?;
        if self.json {
            println!("{}", serde_json::to_string(&effects)?);
            return Ok(ExitCode::SUCCESS);
        }
        let width = effects.functions.iter().map(String::len).max().unwrap_or_default();
        for (function, because) in &effects.because {
            let because: Vec<_> = because.iter().map(String::as_str).collect();
            println!("deploy {function:<width$}  {}", because.join(", "));
        }
        for queue in &effects.queues {
            println!("plan   {queue}");
        }
        if effects.migrations {
            println!("migrate");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn effects(repository: &Repository, comparisons: &[Comparison<'_>]) -> anyhow::Result<Effects> {
    let functions = repository.functions()?;
    let packages = Packages::read(repository, &functions)?;
    let mut effects = Effects::default();
    for comparison in comparisons {
        for path in comparison.paths()? {
            match Place::of(&path, &packages.folders) {
                Place::Nowhere => {}
                Place::Everywhere => effects.touch(&functions, &path),
                Place::Package(package) => effects.touch(packages.dependents(package), &path),
                Place::Migrations => effects.migrations = true,
                Place::Terraform => effects.queues.extend(functions.iter().cloned()),
                Place::Declaration => {
                    let changes = entries::of_queues(comparison)?;
                    let all = || functions.iter().cloned().collect();
                    let touched: BTreeSet<_> = changes.programs.unwrap_or_else(all);
                    effects.touch(touched.intersection(&functions), &path);
                    effects.queues.extend(changes.queues.unwrap_or_else(all));
                }
                Place::Needs => {
                    let queues = entries::of_functions(comparison)?;
                    effects.queues.extend(queues.unwrap_or_else(|| functions.clone()));
                }
            }
        }
    }
    Ok(effects)
}
