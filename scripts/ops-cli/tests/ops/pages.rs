//! The pages of documentation: what they link to exists, and so do the commands that they show.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file of these folders with one of these endings.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !["target", "node_modules", ".git", ".terraform"].contains(&name) {
                files(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings =
        page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_matches(['#', ' ']));
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|it| it.is_alphanumeric() || "-_".contains(*it)).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let mut pages = Vec::new();
    files(&root(), &[".md"], &mut pages);
    let mut links = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split([')', ' ', '\n']).next().unwrap();
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: {link}", page.display());
            if !anchor.is_empty() {
                let headings = anchors(&std::fs::read_to_string(&target).unwrap());
                assert!(headings.contains(anchor), "{}: {link} is none of {headings:?}", page.display());
            }
            links += 1;
        }
    }
    assert!(links > 40, "only {links} links were found");
}

#[test]
fn every_command_that_a_page_or_a_script_names_exists() {
    let output = Command::new(env!("CARGO_BIN_EXE_ops")).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let commands: BTreeSet<_> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();

    let mut texts = Vec::new();
    files(&root(), &[".md", ".yml", ".yaml", ".tf"], &mut texts);
    texts.extend(["scripts/test", "tests/clients/gcloud/run"].map(|script| root().join(script)));
    let mut calls = 0;
    for path in texts {
        let text = std::fs::read_to_string(&path).unwrap();
        for (at, call) in text.match_indices("scripts/ops ") {
            let word = text[at + call.len()..]
                .split(|it: char| !it.is_ascii_lowercase() && it != '-')
                .next()
                .unwrap();
            let is_command = commands.contains(word) || word.is_empty() || word.starts_with('-');
            assert!(is_command, "{}: scripts/ops {word}", path.display());
            calls += 1;
        }
    }
    assert!(calls > 60, "only {calls} calls were found");
}
