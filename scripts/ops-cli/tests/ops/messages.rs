//! What people are sent can be looked at without sending it.

use std::process::{Command, Output};

fn preview(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ops")).args(["messages", "preview"]).args(arguments).output().unwrap()
}

fn printed(arguments: &[&str]) -> String {
    let output = preview(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_message_is_shown_in_each_form() {
    for kind in ["digest", "reminder", "expiry-reminder", "question"] {
        let html = printed(&["--kind", kind, "--channel", "email"]);
        assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>"), "{html}");
        let text = printed(&["--kind", kind, "--channel", "text"]);
        assert!(text.starts_with("Subject: ") && text.contains("\nSettings: https://"), "{text}");
        let sms = printed(&["--kind", kind, "--channel", "sms", "--first"]);
        assert!(sms.starts_with("CatchUp") && sms.ends_with(" Reply STOP to stop.\n"), "{sms}");
    }
}

#[test]
fn a_preview_has_the_reader_and_the_suggestions_that_are_asked_for() {
    let text = printed(&["--zone", "Europe/Berlin", "--name", "Ana Lima", "--suggestions", "1"]);
    assert!(text.contains("\nHi Ana,\n") && text.contains(" · 18:00–19:00\n"), "{text}");
    assert_eq!(text.matches("Open in CatchUp: ").count(), 1);
    let text = printed(&[]);
    assert!(text.contains(" · 6–7 PM\n"), "{text}");
    assert_eq!(text.matches("Open in CatchUp: ").count(), 3);
}

#[test]
fn what_cannot_be_shown_is_a_usage_error() {
    for arguments in [["--zone", "Mars/Olympus"], ["--kind", "postcard"], ["--suggestions", "4"]] {
        assert_eq!(preview(&arguments).status.code(), Some(2), "{arguments:?}");
    }
}
