//! What is printed when no process reads it any more.

use std::io::pipe;
use std::process::Command;

#[test]
fn a_reader_that_has_seen_enough_ends_the_command_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    std::fs::write(&report, r#"{ "queues": {} }"#).unwrap();
    let cost = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ops"));
        command.arg("cost").arg("--report").arg(&report);
        command
    };
    assert!(cost().output().unwrap().status.success());
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let output = cost().stdout(writer).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // As a shell shows it of `cat` and others.
    assert_eq!((output.status.code(), &*said), (Some(141), ""));
}
