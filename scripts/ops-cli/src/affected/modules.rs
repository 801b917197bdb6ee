//! Under which features of its crate a source file is compiled, read off the declarations of its modules.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// What the words of messages are compiled into.
const TEMPLATES: (&str, &str) = ("shared/catchup/templates/", "notify");

/// Features that all must be on for `path` (relative to `root`) to be compiled; none when in doubt.
pub(super) fn features(root: &Path, path: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut needed = BTreeSet::new();
    if path.starts_with(TEMPLATES.0) {
        needed.insert(TEMPLATES.1.to_owned());
    }
    let Some((package, inside)) = path.split_once("/src/") else { return Ok(needed) };
    let Some(inside) = inside.strip_suffix(".rs") else { return Ok(needed) };
    let source = root.join(package).join("src");
    let mut declared_in = source.join("lib.rs");
    let mut folder = source;
    for module in inside.split('/') {
        if let Some(feature) = gate(&declared_in, module)? {
            needed.insert(feature);
        }
        folder.push(module);
        declared_in = with_extension(&folder);
    }
    Ok(needed)
}

fn with_extension(folder: &Path) -> PathBuf {
    folder.with_extension("rs")
}

/// The feature of a line `#[cfg(feature = "…")]` right before `mod module;`. Other conditions are doubt: no feature.
fn gate(file: &Path, module: &str) -> anyhow::Result<Option<String>> {
    if !file.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut attribute = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            attribute = Some(line);
            continue;
        }
        let declared = line.strip_suffix(';').and_then(|line| line.rsplit_once("mod "));
        if declared.is_some_and(|(_, name)| name == module) {
            let feature =
                attribute.and_then(|line| line.strip_prefix("#[cfg(feature = \"")?.strip_suffix("\")]"));
            return Ok(feature.map(str::to_owned));
        }
        attribute = None;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_add_up_from_the_crate_to_the_file() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("shared/src/lib.rs", "pub mod db;\n#[cfg(feature = \"google\")]\npub mod google;\n");
        write(
            "shared/src/google.rs",
            "#[cfg(feature = \"calendar\")]\npub mod calendar;\nmod tokens;\n#[cfg(any(feature = \"a\", test))]\nmod odd;\n",
        );
        let check = |path: &str, expected: &[&str]| {
            let expected = expected.iter().map(|feature| (*feature).to_owned()).collect();
            assert_eq!(features(root.path(), path).unwrap(), expected, "{path}");
        };
        check("shared/src/google/calendar.rs", &["google", "calendar"]);
        check("shared/src/google/calendar/page.rs", &["google", "calendar"]);
        check("shared/src/google/tokens.rs", &["google"]);
        check("shared/src/google.rs", &["google"]);
        check("shared/src/google/odd.rs", &["google"]);
        check("shared/src/db/users.rs", &[]);
        check("shared/src/lib.rs", &[]);
        check("shared/src/undeclared.rs", &[]);
        check("shared/build.rs", &[]);
        check("shared/catchup/templates/digest/mail.html", &["notify"]);
    }
}
