//! `ops affected`: the functions that a change affects, and the queues whose Terraform it changes.
//!
//! | changed | functions |
//! |---|---|
//! | a file of a workspace package | those that link the package with the features of the module |
//! | a function that was removed | none |
//! | a package's `tests/`, `benches/`, `examples/` or prose | none |
//! | `Cargo.lock`, a version or feature in `Cargo.toml` | those that link the crate |
//! | a release profile | all |
//! | an entry of `infra/queues.json` | as [`declaration`] says, field by field |
//! | an entry of `infra/gcp/functions.json` | none; as [`needs`] says, queues |
//! | `.sqlx` | all: what a query answers has changed |
//! | `migrations` of a package | none; migrations run before any deployment |
//! | what builds the images | all |
//! | other scripts, prose, Terraform, CI | none |
//! | anything else | all |
//!
//! A file that is missing or broken on one side counts as empty there: all that it says differs.

mod cargo_files;
mod closure;
mod comparison;
mod declaration;
mod modules;
mod needs;
mod paths;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::repository::Repository;
use closure::Closures;
use comparison::Comparison;
use paths::Place;

/// The packages whose manifest names what they link; all functions link both.
const SHARED: [&str; 2] = ["shared", "catchup"];
const LOCK: &str = "Cargo.lock";
const MANIFEST: &str = "Cargo.toml";
const DECLARATION: &str = "infra/queues.json";
const NEEDS: &str = "infra/gcp/functions.json";

/// List the functions that a change affects, and the queues whose Terraform it changes.
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
    /// Functions to build and deploy.
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
    let closures = Closures::read(repository, &functions)?;
    let mut effects = Effects::default();
    for comparison in comparisons {
        add(&mut effects, repository, comparison, &functions, &closures)?;
    }
    Ok(effects)
}

fn add(
    effects: &mut Effects,
    repository: &Repository,
    comparison: &Comparison<'_>,
    functions: &BTreeSet<String>,
    closures: &Closures,
) -> anyhow::Result<()> {
    for path in comparison.paths()? {
        match Place::of(&path, &closures.packages) {
            Place::Nowhere => {}
            Place::Everywhere => effects.touch(functions, &path),
            // No function links another.
            Place::Package(package) if functions.contains(package) => {
                effects.touch([&package.to_owned()], &path);
            }
            Place::Package(package) => {
                let needed = modules::features(repository.root(), &path)?;
                effects.touch(&closures.with_features(package, &needed)?, &path);
            }
            Place::Lock => {
                for changed in cargo_files::locked(comparison)? {
                    effects.touch(&closures.linking(&changed)?, &format!("{LOCK}: {changed}"));
                }
            }
            Place::Manifest => match cargo_files::manifest(comparison)? {
                cargo_files::Change::Everything => effects.touch(functions, &path),
                cargo_files::Change::Crates(crates) => {
                    for changed in crates {
                        effects.touch(&closures.linking(&changed)?, &format!("{MANIFEST}: {changed}"));
                    }
                }
            },
            Place::SharedManifest => {
                if cargo_files::shared_manifest_matters(comparison, &path)? {
                    effects.touch(functions, &path);
                }
            }
            Place::Migrations => effects.migrations = true,
            Place::Terraform => effects.queues.extend(functions.iter().cloned()),
            Place::Needs => {
                effects.queues.extend(needs::queues(comparison)?.unwrap_or_else(|| functions.clone()));
            }
            Place::Declaration => {
                let changes = declaration::changes(comparison)?;
                for (function, fields) in &changes.functions {
                    for field in fields {
                        let touched =
                            functions.iter().filter(|name| function.as_ref().is_none_or(|f| f == *name));
                        effects.touch(touched, &format!("{DECLARATION}: {field}"));
                    }
                }
                effects.queues.extend(changes.queues);
            }
        }
    }
    Ok(())
}
