//! What changed in `Cargo.lock` and in the manifests that several packages share.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::{Table, Value};

use super::comparison::Comparison;
use super::{LOCK, MANIFEST};

/// What a change of the workspace's manifest reaches.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// All that is built.
    Everything,
    /// Users of these crates.
    Crates(BTreeSet<String>),
}

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Locked>,
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
    /// `name` or, where there are several of that name, `name version`.
    #[serde(default)]
    dependencies: BTreeSet<String>,
}

/// Names of crates that have another version, another source or other dependencies than before, gone ones included.
pub(super) fn locked(comparison: &Comparison<'_>) -> anyhow::Result<BTreeSet<String>> {
    let (before, now) = tables(comparison, LOCK)?;
    Ok(differing_crates(&before, &now))
}

fn differing_crates(before: &Table, now: &Table) -> BTreeSet<String> {
    let packages = |lock: &Table| -> BTreeSet<Locked> {
        let packages = lock.clone().try_into().map(|lock: Lock| lock.package).unwrap_or_default();
        let versions: Vec<_> = packages.iter().map(|it| (it.name.clone(), it.version.clone())).collect();
        let resolved = |name: &String| match versions.iter().find(|(known, _)| known == name) {
            Some((_, version)) => format!("{name} {version}"),
            None => name.clone(),
        };
        let resolve = |mut package: Locked| {
            // What packages of the workspace need is in their manifests, apart from what only their tests need.
            let is_own = package.source.is_none();
            package.dependencies =
                if is_own { BTreeSet::new() } else { package.dependencies.iter().map(resolved).collect() };
            package
        };
        packages.into_iter().map(resolve).collect()
    };
    let (before, now) = (packages(before), packages(now));
    before.symmetric_difference(&now).map(|package| package.name.clone()).collect()
}

/// What changed in the workspace's manifest: dependencies one by one, a profile or an edition for all.
pub(super) fn manifest(comparison: &Comparison<'_>) -> anyhow::Result<Change> {
    let (before, now) = tables(comparison, MANIFEST)?;
    Ok(manifest_change(before, now))
}

fn manifest_change(mut before: Table, mut now: Table) -> Change {
    let (old, new) = (take_dependencies(&mut before), take_dependencies(&mut now));
    if before != now {
        return Change::Everything;
    }
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    // A dependency that is renamed here has its own name in what functions link.
    let real = |name: &String| {
        let entry = new.get(name).or_else(|| old.get(name));
        entry.and_then(|entry| entry.get("package")?.as_str()).unwrap_or(name).to_owned()
    };
    Change::Crates(differ.map(real).collect())
}

/// Takes out what is looked at one by one, and what no shipped build reads.
fn take_dependencies(manifest: &mut Table) -> BTreeMap<String, Value> {
    if let Some(Value::Table(profiles)) = manifest.get_mut("profile") {
        profiles.retain(|name, _| name == "release");
    }
    let Some(Value::Table(workspace)) = manifest.get_mut("workspace") else { return BTreeMap::new() };
    // New members have folders of their own.
    workspace.remove("members");
    workspace.remove("lints");
    match workspace.remove("dependencies") {
        Some(Value::Table(dependencies)) => dependencies.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}

/// Whether a package's manifest changed in more than what its tests need.
pub(super) fn shared_manifest_matters(comparison: &Comparison<'_>, path: &str) -> anyhow::Result<bool> {
    let shipped = |mut manifest: Table| {
        for unshipped in ["dev-dependencies", "test", "bench", "example", "lints"] {
            manifest.remove(unshipped);
        }
        manifest
    };
    let (before, now) = tables(comparison, path)?;
    Ok(shipped(before) != shipped(now))
}

/// A file before and after; empty where it is missing or broken.
fn tables(comparison: &Comparison<'_>, path: &str) -> anyhow::Result<(Table, Table)> {
    let table = |text: String| text.parse().unwrap_or_default();
    Ok((table(comparison.before(path)?), table(comparison.after(path)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_looked_at_part_by_part() {
        const BASE: &str = "
            [workspace]
            members = ['a']
            [workspace.dependencies]
            serde = '1'
            alias = { version = '1', package = 'real' }
            [profile.dev]
            debug = 1
            [profile.release]
            lto = 'fat'
        ";
        #[track_caller]
        fn check(from: &str, to: &str, expected: Option<&[&str]>) {
            let change = manifest_change(BASE.parse().unwrap(), BASE.replace(from, to).parse().unwrap());
            let crates = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            assert_eq!(change, crates.map_or(Change::Everything, Change::Crates), "{from} → {to}");
        }
        check("serde = '1'", "serde = '2'", Some(&["serde"]));
        check("serde = '1'", "", Some(&["serde"]));
        check("alias = { version = '1'", "alias = { version = '2'", Some(&["real"]));
        check("['a']", "['a', 'b']", Some(&[]));
        check("debug = 1", "debug = 2", Some(&[]));
        check("'fat'", "'thin'", None);
        check("[workspace]", "[workspace]\nresolver = '3'", None);
    }

    #[test]
    fn a_lock_file_differs_by_version_source_checksum_and_dependencies() {
        const BASE: &str = "
            [[package]]
            name = 'a'
            version = '1.0.0'
            source = 'registry'
            checksum = '0'
            dependencies = ['b']
            [[package]]
            name = 'b'
            version = '1.0.0'
            dependencies = ['a']
        ";
        #[track_caller]
        fn check(from: &str, to: &str, expected: &[&str]) {
            let differ = differing_crates(&BASE.parse().unwrap(), &BASE.replace(from, to).parse().unwrap());
            assert_eq!(differ.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{from} → {to}");
        }
        check("x", "y", &[]);
        check("checksum = '0'", "checksum = '1'", &["a"]);
        check("version = '1.0.0'", "version = '1.0.1'", &["a", "b"]);
        check("name = 'b'", "name = 'c'", &["a", "b", "c"]);
        check("['b']", "[]", &["a"]);
        // Said with its version because there is another of that name now.
        check("['b']", "['b 1.0.0']", &[]);
        // A package of the workspace: its manifest says more.
        check("['a']", "[]", &[]);
    }
}
