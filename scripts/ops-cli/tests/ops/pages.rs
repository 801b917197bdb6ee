//! The pages of documentation: what they link to exists, and so do the commands that they show.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs::files;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The project's own files with one of these endings.
fn texts(endings: &[&str]) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    files(&root(), &mut all);
    all.retain(|path, _| endings.iter().any(|ending| path.to_str().unwrap().ends_with(ending)));
    all
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let headings = page.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && line.starts_with('#')
    });
    let headings = headings.map(|line| line.trim_matches(['#', ' ']));
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|it| it.is_alphanumeric() || "-_".contains(*it)).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let mut links = 0;
    for (page, text) in texts(&[".md"]) {
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

    let mut all = BTreeMap::new();
    files(&root(), &mut all);
    let is_read = |path: &Path, text: &str| {
        let endings = [".md", ".yml", ".yaml", ".tf", "/Dockerfile"];
        text.starts_with("#!") && !text.starts_with("#![")
            || endings.iter().any(|ending| path.to_str().unwrap().ends_with(ending))
    };
    all.retain(|path, text| is_read(path, text));
    let mut calls = 0;
    for (path, text) in all {
        for (at, call) in text.match_indices("scripts/ops") {
            // A comment or a command may be continued on the next line.
            let rest = &text[at + call.len()..];
            let next = rest.trim_start_matches([' ', '\\', '\n', '#']);
            if !rest.starts_with([' ', '\n']) {
                continue;
            }
            let word = next.split(|it: char| !it.is_ascii_lowercase() && it != '-').next().unwrap();
            let is_command = commands.contains(word) || word.is_empty() || word.starts_with('-');
            assert!(is_command, "{}: scripts/ops {word}", path.display());
            calls += 1;
        }
    }
    assert!(calls > 60, "only {calls} calls were found");
}
