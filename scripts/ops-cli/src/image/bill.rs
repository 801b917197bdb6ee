//! The bill of materials: everything that is linked into a function, with the features that it is linked with.
//!
//! <https://cyclonedx.org/docs/1.6/json/>

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::program;

/// One line per package: depth, name and version, features, licence.
const FORMAT: &str = "\t{p}\t{f}\t{l}";

/// What `cargo tree` says of a function: packages by name and version, and what each links.
#[derive(Debug, Default, PartialEq, Eq)]
struct Closure {
    packages: BTreeMap<String, Package>,
    links: BTreeMap<String, BTreeSet<String>>,
    root: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
    features: String,
    licence: String,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The toolchain's own parts of a static program.
struct Toolchain {
    rust: String,
    libc: String,
}

#[derive(Serialize)]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    reference: String,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Value>,
}

/// The bill of `function` in JSON; `program` is the SHA-256 of its program, `created` the commit's time.
pub(crate) fn of(root: &Path, function: &str, program: &str, created: &str) -> anyhow::Result<String> {
    let tree = program::output(Command::new("cargo").current_dir(root).args([
        "tree",
        "--locked",
        "--package",
        function,
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "depth",
        "--format",
        FORMAT,
    ]))?;
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).context("no Cargo.lock")?;
    let lock: Lock = toml::from_str(&lock).context("a broken Cargo.lock")?;
    let toolchain = Toolchain::here()?;
    let closure = Closure::read(&tree)?;
    Ok(serde_json::to_string_pretty(&bill(&closure, &lock, &toolchain, program, created)?)?)
}

fn bill(
    closure: &Closure,
    lock: &Lock,
    toolchain: &Toolchain,
    program: &str,
    created: &str,
) -> anyhow::Result<Value> {
    let checksum = |package: &Package| {
        let locked = |locked: &&Locked| locked.name == package.name && locked.version == package.version;
        lock.package.iter().find(locked).and_then(|locked| locked.checksum.clone())
    };
    let mut components: Vec<_> = closure
        .packages
        .iter()
        .filter(|(reference, _)| **reference != closure.root)
        .map(|(reference, package)| package.component(reference, checksum(package)))
        .collect();
    components.extend(toolchain.components());
    let linked_by_all: Vec<_> = toolchain.components().map(|component| component.reference).into();
    let dependencies: Vec<_> = closure
        .packages
        .keys()
        .map(|reference| {
            let mut on: Vec<_> = closure.links.get(reference).into_iter().flatten().cloned().collect();
            if *reference == closure.root {
                on.extend(linked_by_all.iter().cloned());
            }
            json!({ "ref": reference, "dependsOn": on })
        })
        .collect();
    let function = closure.packages.get(&closure.root).context("cargo tree lists no function")?;
    let mut function = function.component(&closure.root, Some(program.to_owned()));
    function.kind = "application";
    function.purl = None;
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "timestamp": created, "component": function },
        "components": components,
        "dependencies": dependencies,
    }))
}

impl Closure {
    fn read(tree: &str) -> anyhow::Result<Self> {
        let mut closure = Self::default();
        let mut path: Vec<String> = Vec::new();
        for line in tree.lines() {
            let mut fields = line.split('\t');
            let mut field = || fields.next().with_context(|| format!("cargo tree says {line:?}"));
            let depth: usize = field()?.parse().with_context(|| format!("cargo tree says {line:?}"))?;
            // "name v1.2.3", then a path for a package of this repository; "(*)" after a licence: see above.
            let mut words = field()?.split(' ');
            let mut word = || words.next().with_context(|| format!("cargo tree says {line:?}"));
            let (name, version) = (word()?.to_owned(), word()?.trim_start_matches('v').to_owned());
            let features = field()?.to_owned();
            let licence = field()?.trim_end_matches(" (*)").to_owned();
            let reference = format!("{name}@{version}");
            ensure!(depth <= path.len(), "cargo tree skips a level at {reference}");
            path.truncate(depth);
            if let Some(parent) = path.last() {
                closure.links.entry(parent.clone()).or_default().insert(reference.clone());
            } else {
                closure.root.clone_from(&reference);
            }
            path.push(reference.clone());
            closure.packages.entry(reference).or_insert(Package { name, version, features, licence });
        }
        Ok(closure)
    }
}

impl Package {
    fn component(&self, reference: &str, checksum: Option<String>) -> Component {
        // A package without a checksum is one of this repository.
        let purl = checksum.as_ref().map(|_| format!("pkg:cargo/{}@{}", self.name, self.version));
        let features = self.features.split(',').filter(|feature| !feature.is_empty());
        Component {
            kind: "library",
            reference: reference.to_owned(),
            name: self.name.clone(),
            version: self.version.clone(),
            purl,
            // Old manifests write "MIT/Apache-2.0".
            licenses: Some(self.licence.replace('/', " OR "))
                .filter(|licence| !licence.is_empty())
                .map(|licence| json!({ "expression": licence }))
                .into_iter()
                .collect(),
            hashes: checksum.map(|sum| json!({ "alg": "SHA-256", "content": sum })).into_iter().collect(),
            properties: features.map(|name| json!({ "name": "cargo:feature", "value": name })).collect(),
        }
    }
}

impl Toolchain {
    fn here() -> anyhow::Result<Self> {
        let rust = program::output(Command::new("rustc").arg("--version"))?;
        let rust = rust.split(' ').nth(1).with_context(|| format!("rustc --version says {rust}"))?.to_owned();
        let libc = program::output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
        let libc =
            libc.trim().strip_prefix("glibc ").with_context(|| format!("getconf says {libc}"))?.to_owned();
        Ok(Self { rust, libc })
    }

    fn components(&self) -> [Component; 2] {
        let part = |name: &str, version: &str, licence: &str| Component {
            kind: "library",
            reference: format!("{name}@{version}"),
            name: name.to_owned(),
            version: version.to_owned(),
            purl: Some(format!("pkg:generic/{name}@{version}")),
            licenses: vec![json!({ "expression": licence })],
            hashes: Vec::new(),
            properties: Vec::new(),
        };
        [part("rust-std", &self.rust, "MIT OR Apache-2.0"), part("glibc", &self.libc, "LGPL-2.1-or-later")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "0\tsync v0.1.0 (/src/functions/sync)\t\tMIT\n\
                        1\tserde v1.0.2\tderive,std\tMIT OR Apache-2.0\n\
                        2\tcore v2.0.0\t\tMIT/Apache-2.0\n\
                        1\tshared v0.1.0 (/src/shared)\tcache\tMIT\n\
                        2\tserde v1.0.2\tderive,std\tMIT OR Apache-2.0 (*)\n";

    fn sample() -> Value {
        let lock = Lock {
            package: [("serde", "1.0.2"), ("serde", "0.9.0"), ("core", "2.0.0")]
                .map(|(name, version)| Locked {
                    name: name.to_owned(),
                    version: version.to_owned(),
                    checksum: Some(format!("sum of {name} {version}")),
                })
                .into(),
        };
        let toolchain = Toolchain { rust: "1.95.0".to_owned(), libc: "2.36".to_owned() };
        bill(&Closure::read(TREE).unwrap(), &lock, &toolchain, "abc", "2026-01-01T00:00:00Z").unwrap()
    }

    #[test]
    fn what_is_linked_is_listed_once_with_its_features_and_its_sum() {
        let bill = sample();
        let names: Vec<_> =
            bill["components"].as_array().unwrap().iter().map(|each| &each["bom-ref"]).collect();
        assert_eq!(names, ["core@2.0.0", "serde@1.0.2", "shared@0.1.0", "rust-std@1.95.0", "glibc@2.36"]);
        assert_eq!(
            bill["components"][1],
            json!({
                "type": "library",
                "bom-ref": "serde@1.0.2",
                "name": "serde",
                "version": "1.0.2",
                "purl": "pkg:cargo/serde@1.0.2",
                "licenses": [{ "expression": "MIT OR Apache-2.0" }],
                "hashes": [{ "alg": "SHA-256", "content": "sum of serde 1.0.2" }],
                "properties": [
                    { "name": "cargo:feature", "value": "derive" },
                    { "name": "cargo:feature", "value": "std" },
                ],
            })
        );
        assert_eq!(bill["metadata"]["component"]["hashes"][0]["content"], "abc");
    }

    #[test]
    fn who_links_whom_is_kept() {
        let bill = sample();
        assert_eq!(
            bill["dependencies"],
            json!([
                { "ref": "core@2.0.0", "dependsOn": [] },
                { "ref": "serde@1.0.2", "dependsOn": ["core@2.0.0"] },
                { "ref": "shared@0.1.0", "dependsOn": ["serde@1.0.2"] },
                {
                    "ref": "sync@0.1.0",
                    "dependsOn": ["serde@1.0.2", "shared@0.1.0", "rust-std@1.95.0", "glibc@2.36"]
                },
            ])
        );
    }
}
