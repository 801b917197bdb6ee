//! What each function links, as Cargo resolves it for that function alone.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde::Deserialize;

use crate::program;
use crate::repository::Repository;

/// Functions, what they link, and where the workspace's packages are.
pub(super) struct Closures {
    /// Folder of each workspace package, relative to the root.
    pub(super) packages: BTreeMap<String, String>,
    root: PathBuf,
    names: BTreeSet<String>,
    /// Read when it is needed: Cargo takes its time.
    functions: OnceCell<BTreeMap<String, Closure>>,
}

/// Names of crates, each with the features that it is built with.
type Closure = BTreeMap<String, BTreeSet<String>>;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

impl Closures {
    pub(super) fn read(repository: &Repository, functions: &BTreeSet<String>) -> anyhow::Result<Self> {
        let metadata = cargo(repository.root(), &["metadata", "--format-version=1", "--no-deps"])?;
        let metadata: Metadata = serde_json::from_str(&metadata).context("cargo metadata is no JSON")?;
        let packages = metadata.packages.into_iter().filter_map(|package| {
            let folder = package.manifest_path.parent()?.strip_prefix(repository.root()).ok()?;
            Some((package.name, folder.to_str()?.to_owned()))
        });
        Ok(Self {
            packages: packages.collect(),
            root: repository.root().to_owned(),
            names: functions.clone(),
            functions: OnceCell::new(),
        })
    }

    /// Functions that link a crate, or are it.
    pub(super) fn linking(&self, name: &str) -> anyhow::Result<Vec<String>> {
        self.with_features(name, &BTreeSet::new())
    }

    /// Functions that link a crate with all of `needed`.
    pub(super) fn with_features(&self, name: &str, needed: &BTreeSet<String>) -> anyhow::Result<Vec<String>> {
        let fits = |closure: &Closure| closure.get(name).is_some_and(|features| needed.is_subset(features));
        let linking = self.functions()?.iter().filter(|(_, closure)| fits(closure));
        Ok(linking.map(|(function, _)| function.clone()).collect())
    }

    fn functions(&self) -> anyhow::Result<&BTreeMap<String, Closure>> {
        if let Some(functions) = self.functions.get() {
            return Ok(functions);
        }
        let closures = self.names.iter().map(|name| Ok((name.clone(), closure(&self.root, name)?)));
        let closures = closures.collect::<anyhow::Result<_>>()?;
        Ok(self.functions.get_or_init(|| closures))
    }
}

fn closure(root: &Path, function: &str) -> anyhow::Result<Closure> {
    // All targets: an image may be built for another machine than this one.
    let arguments = [
        "tree",
        "--package",
        function,
        "--edges=normal,build",
        "--target=all",
        "--prefix=none",
        "--format={p}|{f}",
    ];
    let mut closure = Closure::new();
    for line in cargo(root, &arguments)?.lines() {
        let (package, features) = line.split_once('|').unwrap_or((line, ""));
        let name = package.split(' ').next().unwrap_or(package);
        // Lines of crates that were listed before end with a star.
        let features = features.trim_end_matches(" (*)").split(',').filter(|feature| !feature.is_empty());
        closure.entry(name.to_owned()).or_default().extend(features.map(str::to_owned));
    }
    Ok(closure)
}

fn cargo(root: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    program::output(Command::new("cargo").current_dir(root).args(arguments).arg("--locked"))
}
