//! The definitions of CI, as far as they can be wrong without anybody noticing.

use std::path::{Path, PathBuf};

fn definitions(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(definitions(&path));
        } else if path.extension().is_some_and(|extension| extension == "yml") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

#[test]
fn every_action_of_others_is_pinned_by_commit() {
    let definitions = definitions(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.github"));
    let mut actions = 0;
    for (path, text) in &definitions {
        for line in text.lines() {
            let Some((_, action)) = line.split_once("uses: ") else { continue };
            if action.starts_with("./") {
                continue;
            }
            let (_, version) = action.split_once('@').unwrap();
            let commit = version.split(' ').next().unwrap();
            let is_commit = commit.len() == 40 && commit.chars().all(|digit| digit.is_ascii_hexdigit());
            assert!(is_commit && version.contains(" # v"), "{}: {line}", path.display());
            actions += 1;
        }
    }
    assert!(actions > 0, "no action was found");
}

#[test]
fn only_the_deployment_gets_an_identity() {
    for (path, text) in definitions(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.github/workflows")) {
        assert!(text.contains("\npermissions:\n  contents: read\n"), "{}", path.display());
        assert!(!text.contains(": write-all") && !text.contains("contents: write"), "{}", path.display());
        assert_eq!(text.matches("id-token: write").count(), 1, "{}", path.display());
    }
}
