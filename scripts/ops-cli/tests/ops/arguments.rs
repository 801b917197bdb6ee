//! The scripts' arguments: a typing error must not cost an installation or a build.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// Runs a script of this project where cargo, apt-get and the like do nothing but say that they were called.
fn run(script: &str, arguments: &[&str]) -> Output {
    let bin = tempfile::tempdir().unwrap();
    for program in ["cargo", "rustup", "apt-get", "brew", "sudo", "terraform"] {
        let path = bin.path().join(program);
        fs::write(&path, "#!/bin/sh\necho \"STARTED $0 $*\" >&2\nexit 99\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(script))
        .args(arguments)
        .env("PATH", format!("{}:/usr/bin:/bin", bin.path().display()))
        .output()
        .unwrap()
}

#[track_caller]
fn said(output: &Output) -> String {
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!said.contains("STARTED"), "{said}");
    said
}

#[test]
fn wrong_arguments_end_a_script_before_it_does_anything() {
    #[track_caller]
    fn check(script: &str, arguments: &[&str], expected: &str) {
        let output = run(script, arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{script} {arguments:?}: {said}");
        assert!(said.contains(expected), "{script} {arguments:?}: {said}");
        assert!(said.contains(&format!("see scripts/{script} --help")), "{said}");
    }
    for script in ["bench", "install", "prepare", "terraform", "test", "up"] {
        check(script, &["--qiuck"], "--qiuck");
    }
    check("up", &["--onec"], "unknown argument --onec");
    check("up", &["once"], "unknown argument once");
    check("up", &["--once", "--days", "3"], "exclude each other");
    check("up", &["--once=yes"], "--once takes no value");
    check("up", &["--keep"], "--keep needs --once");
    check("up", &["--json"], "--json needs --once or --days");
    check("up", &["--users"], "--users needs a value");
    check("up", &["--users", "many"], "--users needs a number, not many");
    check("up", &["--days=few"], "--days needs a number, not few");
    check("bench", &["task", "--tasks", "0"], "--tasks needs a number");
}

#[test]
fn every_script_has_help_that_says_its_exit_codes() {
    for script in ["bench", "install", "prepare", "terraform", "test", "up"] {
        let output = run(script, &["--help"]);
        let said = said(&output);
        assert!(output.status.success(), "{script}: {said}");
        assert!(said.contains("Usage: ") && said.contains("Exit codes: 0 "), "{script}: {said}");
    }
    // Right arguments before it do not keep it from being shown.
    assert!(run("up", &["--once", "--users", "3", "--seed=2", "--logs", "x", "--help"]).status.success());
}
