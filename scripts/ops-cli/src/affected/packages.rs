//! The workspace's packages: where they are, and which functions depend on them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use serde::Deserialize;

use crate::program;
use crate::repository::Repository;

/// What `cargo metadata` says of the workspace.
pub(super) struct Packages {
    /// Folder of each package, relative to the root.
    pub(super) folders: BTreeMap<String, String>,
    /// For each package, the functions that depend on it, or are it.
    dependents: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

impl Packages {
    pub(super) fn read(repository: &Repository, functions: &BTreeSet<String>) -> anyhow::Result<Self> {
        let mut cargo = Command::new("cargo");
        cargo
            .args(["metadata", "--format-version=1", "--no-deps", "--locked"])
            .current_dir(repository.root());
        let metadata: Metadata = serde_json::from_str(&program::output(&mut cargo)?)
            .context("cannot read the output of cargo metadata")?;
        let folders = metadata.packages.iter().filter_map(|package| {
            let folder = package.manifest_path.parent()?.strip_prefix(repository.root()).ok()?;
            Some((package.name.clone(), folder.to_str()?.to_owned()))
        });
        Ok(Self { folders: folders.collect(), dependents: dependents(&metadata.packages, functions) })
    }

    /// The functions that depend on a package, or are it.
    pub(super) fn dependents(&self, package: &str) -> impl Iterator<Item = &String> {
        self.dependents.get(package).into_iter().flatten()
    }
}

fn dependents(packages: &[Package], functions: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
    // What only tests use is in no program.
    let is_shipped = |dependency: &&Dependency| dependency.kind.as_deref() != Some("dev");
    let mut dependents: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for function in functions {
        let mut waiting = vec![function.as_str()];
        while let Some(name) = waiting.pop() {
            let Some(package) = packages.iter().find(|package| package.name == name) else { continue };
            if dependents.entry(name.to_owned()).or_default().insert(function.clone()) {
                let shipped = package.dependencies.iter().filter(is_shipped);
                waiting.extend(shipped.map(|dependency| dependency.name.as_str()));
            }
        }
    }
    dependents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_depend_on_what_they_link_directly_or_not() {
        let package = |name: &str, dependencies: &[(&str, Option<&str>)]| Package {
            name: name.to_owned(),
            manifest_path: PathBuf::new(),
            dependencies: dependencies
                .iter()
                .map(|(name, kind)| Dependency { name: (*name).to_owned(), kind: kind.map(str::to_owned) })
                .collect(),
        };
        let packages = [
            package("one", &[("domain", None), ("kit", Some("dev"))]),
            package("two", &[("platform", None), ("macros", Some("build"))]),
            package("domain", &[("platform", None), ("outside", None)]),
            package("platform", &[]),
            package("macros", &[]),
            package("kit", &[("one", None), ("platform", None)]),
        ];
        let functions = ["one", "two"].map(str::to_owned).into();
        let dependents = dependents(&packages, &functions);
        let check = |package: &str, expected: &[&str]| {
            let found = dependents.get(package).into_iter().flatten().map(String::as_str);
            assert_eq!(found.collect::<Vec<_>>(), expected, "{package}");
        };
        check("one", &["one"]);
        check("domain", &["one"]);
        check("platform", &["one", "two"]);
        check("macros", &["two"]);
        check("kit", &[]);
    }
}
