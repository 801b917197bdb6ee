//! What a machine must have: every program that scripts and tests start is installed by `scripts/install --tests`, comes
//! with Rust, is part of every Debian, or is asked for before it is started.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell;

/// What is started of Debian's required packages: bash, bsdutils, coreutils, diffutils, findutils, grep, libc-bin, sed, tar,
/// util-linux.
const MINIMAL: [&str; 32] = [
    "basename", "bash", "cat", "chmod", "chown", "cmp", "cp", "diff", "dirname", "find", "getconf", "grep",
    "id", "install", "ln", "mkdir", "mktemp", "paste", "rm", "script", "sed", "seq", "sh", "sleep", "sort",
    "stty", "tail", "tar", "touch", "tr", "unshare", "wc",
];
/// Those who ship and operate the functions have it, and the command line says so when it is missing.
const OF_OPERATORS: [&str; 1] = ["gcloud"];
const OF_RUST: [&str; 3] = ["cargo", "rustc", "rustup"];
/// Other programs of the packages that the installer knows by one program.
const OF_PACKAGES: [(&str, &[&str]); 1] = [("initdb", &["pg_ctl", "psql"])];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// What a machine has after `scripts/install --tests`.
fn installed() -> BTreeSet<String> {
    let output = Command::new(root().join("scripts/install")).arg("--list").output().unwrap();
    assert!(output.status.success());
    let list = String::from_utf8(output.stdout).unwrap();
    let listed: BTreeSet<_> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let others = OF_PACKAGES.iter().filter(|(program, _)| listed.contains(program));
    let others = others.flat_map(|(_, others)| others.iter().copied());
    listed
        .iter()
        .copied()
        .chain(others)
        .chain(MINIMAL)
        .chain(OF_RUST)
        .chain(OF_OPERATORS)
        .map(str::to_owned)
        .collect()
}

/// The text of every file of the project's own below `folder`.
pub(crate) fn files(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let is_foreign = ["target", "node_modules", ".git", ".terraform", "fixtures"]
            .iter()
            .any(|name| path.ends_with(name));
        if path.is_symlink() || is_foreign {
        } else if path.is_dir() {
            files(&path, found);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            found.insert(path, text);
        }
    }
}

/// Programs that Rust code starts by a name in its text.
fn started_by_rust(text: &str) -> BTreeSet<String> {
    let mut started = BTreeSet::new();
    for (at, call) in text.match_indices("Command::new(") {
        let argument = text[at + call.len()..].split(')').next().unwrap();
        let constant = || {
            let declaration = format!("const {argument}: &str = ");
            Some(text.split_once(&declaration)?.1.split(';').next().unwrap())
        };
        let literal = if argument.starts_with('"') { Some(argument) } else { constant() };
        let name = literal.unwrap_or_default().trim_matches('"');
        // Commands of Redis are upper-case, and paths are this project's or the system's own.
        let is_part = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
        if !name.is_empty() && name.chars().all(is_part) {
            started.insert(name.to_owned());
        }
    }
    started
}

#[test]
fn every_program_that_is_started_is_installed() {
    let mut all = BTreeMap::new();
    for folder in ["scripts", "tests", "infra", "functions", "shared", ".ci"] {
        files(&root().join(folder), &mut all);
    }
    let installed = installed();
    let (mut missing, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for (path, text) in &all {
        let started = if path.extension().is_some_and(|extension| extension == "rs") {
            started_by_rust(text)
        } else if text.starts_with("#!/usr/bin/env bash") || text.starts_with("#!/bin/sh") {
            shell::commands(text)
        } else {
            continue;
        };
        for program in started {
            let is_asked_for = text.contains(&format!("command -v {program}"));
            if !installed.contains(&program) && !is_asked_for {
                missing.insert(format!("{}: {program}", path.display()));
            }
            seen.insert(program);
        }
    }
    assert!(missing.is_empty(), "neither installed nor asked for:\n{missing:#?}");
    // The check finds programs, and the list has nothing that is not started any more.
    for program in
        ["git", "ps", "kill", "cargo", "npm", "psql", "redis-server", "terraform"].iter().chain(&MINIMAL)
    {
        assert!(seen.contains(*program), "{program} was not found among {seen:?}");
    }
}
