//! `scripts/ops new-function`, in copies of this project. `tests/new-queue/run` checks that what it makes passes all tests.

use std::process::{Command, Output};

use crate::history::History;

fn new_function(history: &History, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ops"))
        .arg("new-function")
        .args(arguments)
        .env("OPS_CHECKOUT", history.root())
        .output()
        .unwrap()
}

#[track_caller]
fn check_made(history: &History, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = new_function(history, arguments);
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

#[test]
fn it_names_every_file_that_it_makes_or_changes_and_formats_them() {
    let history = History::of_this_project();
    let made = [
        check_made(&history, &["made-by-a-test"]),
        check_made(&history, &["sweep-made-by-a-test", "--sweep"]),
    ];
    let mut named: Vec<_> = made
        .iter()
        .flat_map(|made| made.lines())
        .filter_map(|line| line.strip_prefix("new ").or(line.strip_prefix("changed ")))
        .map(str::trim)
        .collect();
    named.sort_unstable();
    named.dedup();
    assert_eq!(history.changed(), named);
    let format = Command::new("cargo").args(["fmt", "--all", "--check"]).current_dir(history.root()).output();
    let format = format.unwrap();
    assert!(format.status.success(), "{}", String::from_utf8_lossy(&format.stdout));
}

#[test]
fn a_name_that_cannot_be_a_queues_changes_nothing() {
    let history = History::of_this_project();
    let check = |arguments: &[&str], expected: &str| {
        let output = new_function(&history, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert_eq!(history.changed(), [""; 0], "{arguments:?}");
    };
    check(&[], "<NAME>");
    check(&["Weekly_Digest"], "lower-case words with hyphens");
    check(&["weekly"; 2], "unexpected argument");
    check(&["digest-of-the-whole-week-"], "lower-case words with hyphens");
    check(&["digest-of-a-whole-long-week"], "6 to 24 characters");
    check(&["webhooks"], "reserved");
    check(&["token-refresh"], "there is a package token-refresh");
    check(&["trigger"], "Trigger is the name of something else");
    history.append("functions/begun-by-a-test/src/lib.rs", "// begun by hand\n");
    history.commit();
    check(&["begun-by-a-test"], "functions/begun-by-a-test/src/lib.rs exists already");
}

#[test]
fn what_cargo_refuses_is_undone() {
    let history = History::of_this_project();
    history.replace(
        "functions/token-refresh/Cargo.toml",
        "[dependencies]",
        "[dependencies]\nno-such-crate = \"1\"",
    );
    history.commit();
    let output = new_function(&history, &["begun-by-a-test"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(history.changed(), [""; 0]);
    assert!(!history.root().join("functions/begun-by-a-test").exists());
}
