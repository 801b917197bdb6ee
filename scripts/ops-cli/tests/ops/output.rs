//! What is printed for a program, and when no process reads it any more.

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
    let table = cost().output().unwrap();
    assert!(table.status.success());
    // A program gets the same numbers, and of the same users.
    let json = cost().args(["--json", "--users", "50,1000"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    let line = table.lines().find(|line| line.starts_with("USD Cloud Scheduler")).unwrap();
    let row =
        json["rows"].as_array().unwrap().iter().find(|row| row["what"] == "USD Cloud Scheduler").unwrap();
    assert_eq!(json["users"], serde_json::json!([50, 1000]));
    assert_eq!(row["amounts"].as_array().unwrap().len(), 2);
    assert!(line.contains(&format!("{:.2}", row["amounts"][0].as_f64().unwrap())), "{line} {row}");
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let output = cost().stdout(writer).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // As a shell shows it of `cat` and others.
    assert_eq!((output.status.code(), &*said), (Some(141), ""));
}
