//! `scripts/ops new-function`, in copies of this project.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::history::{COPIED, History};

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

/// The tests of a new function and those of all payloads pass as they are. What a whole `scripts/test` builds is shared:
/// the crates of others, and on a second run everything that has not changed.
#[test]
fn a_new_function_passes_its_tests_and_those_of_the_payloads() {
    let history = History::of_this_project();
    // Cargo tells packages of two checkouts apart by their versions only, and these must not replace this checkout's.
    history.replace("Cargo.toml", "version = \"0.1.0\"", "version = \"0.1.0-copy\"");
    check_made(&history, &["made-by-a-test", "--sweep"]);
    // Under a name that no other test has, so that no others are built.
    let function = history.root().join("functions/made-by-a-test");
    fs::rename(function.join("tests/job.rs"), function.join("tests/made_by_a_test.rs")).unwrap();
    history.append(
        "functions/made-by-a-test/tests/made_by_a_test.rs",
        "\n#[path = \"../../../tests/it/payloads.rs\"]\nmod payloads;\n",
    );
    history.copy("tests/fixtures", "functions/made-by-a-test");

    // One place for all runs, where only what is different is written.
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-function");
    fs::create_dir_all(&place).unwrap();
    for item in COPIED {
        mirror(&history.root().join(item), &place.join(item));
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--workspace", "--test", "made_by_a_test", "--locked", "--offline"]);
    // What cargo tells this test about its package, others' build scripts would take for a change.
    let is_told = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_told) {
            cargo.env_remove(name);
        }
    }
    let output = cargo.current_dir(&place).env("CARGO_TARGET_DIR", target).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    for test in [
        "an_unknown_user_is_skipped",
        "nothing_is_done_for_a_user",
        "a_sweep_without_due_users_creates_no_task",
        "payloads::payloads_of_every_version_are_read",
    ] {
        assert!(said.contains(&format!("test {test} ... ok\n")), "{test} did not run, or failed: {said}");
    }
    // It is no program of this checkout.
    fs::remove_file(target.join("debug/made-by-a-test")).unwrap();
}

/// Makes `to` what `from` is; what is the same keeps its time, by which cargo tells what has changed.
fn mirror(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        let entries = |folder: &Path| -> Vec<PathBuf> {
            folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into()).collect()
        };
        let names = entries(from);
        for gone in entries(to).iter().filter(|name| !names.contains(name)) {
            let gone = to.join(gone);
            if gone.is_dir() { fs::remove_dir_all(gone) } else { fs::remove_file(gone) }.unwrap();
        }
        for name in names {
            mirror(&from.join(&name), &to.join(&name));
        }
    } else {
        let text = fs::read(from).unwrap();
        if fs::read(to).ok().as_ref() != Some(&text) {
            fs::write(to, text).unwrap();
        }
    }
}
