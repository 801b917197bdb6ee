//! What people are sent can be looked at without sending it, and what became of it is known.

use std::process::{Command, Output};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::operator::{System, user};

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

/// Writes a message about so many subjects into the ledger, as a run that is about to send it does.
async fn claim(system: &System, message: Uuid, user: Uuid, minutes_ago: u32, subjects: u32) {
    let rows = (1..=subjects).map(|n| {
        format!(
            "('{user}', 'sms', 'suggestion:{n}', '{message}', now() - make_interval(mins => {minutes_ago}))"
        )
    });
    let rows: Vec<_> = rows.collect();
    let columns = "user_id, channel, subject, message_id, claimed_at";
    let sql = format!("INSERT INTO jobs.notification_deliveries ({columns}) VALUES {}", rows.join(", "));
    system.stack.run(&sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_unknown_status_are_listed_by_message_and_settled_once() {
    let system = System::start().await;
    let [old, young, other] = [101, 102, 103].map(user);
    claim(&system, old, user(1), 30, 3).await;
    claim(&system, young, user(2), 1, 1).await;
    claim(&system, other, user(3), 20, 2).await;
    let listed = system.succeeds(&["messages", "list", "--json"]).json();
    let ids: Vec<_> =
        listed["messages"].as_array().unwrap().iter().map(|it| it["messageId"].clone()).collect();
    assert_eq!(ids, [json!(old), json!(other), json!(young)], "the oldest first, each once");
    let cut = system.succeeds(&["messages", "list", "--limit", "1"]);
    assert!(cut.err.contains("the first 1 messages; there are more"), "{cut:?}");
    assert!(cut.out.contains("suggestion:1 suggestion:2 suggestion:3"), "{cut:?}");
    let empty = system.succeeds(&["messages", "list", "--state", "bounced", "--channel", "email"]);
    assert_eq!(empty.all(), "no messages with state bounced, channel email\n");

    // The clocks of Postgres and of the command are the same here.
    let settle = |message: Uuid, how: &[&str]| {
        system.ops(
            &[&["messages", "settle", &message.to_string(), "--why", "asked Twilio", "--as"], how].concat(),
        )
    };
    let refused = settle(young, &["not-sent"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("may be in transit"), "{refused:?}");
    let missing = settle(user(9), &["not-sent"]);
    assert!(missing.code == 1 && missing.err.contains("there is no message"), "{missing:?}");
    let sent = settle(old, &["sent", "--provider", "twilio", "--provider-id", "SM1", "--json"]);
    assert_eq!((sent.code, sent.err.as_str()), (0, "settled\n"));
    assert_eq!(sent.json(), json!({ "message": old, "isSettled": true }));
    let again = settle(old, &["not-sent"]);
    assert!(again.code == 1 && again.err.contains("the message is sent"), "{again:?}");
    let shown = system.succeeds(&["messages", "show", &old.to_string(), "--json"]).json();
    assert_eq!((&shown["state"], &shown["providerId"]), (&json!("sent"), &json!("SM1")), "{shown}");
    assert_eq!(settle(other, &["not-sent"]).code, 0);
    let gone = system.ops(&["messages", "show", &other.to_string()]);
    assert!(gone.code == 1 && gone.err.contains("there is no message"), "it may be sent: {gone:?}");

    let actions: Vec<(String, Option<i64>, Value)> =
        system.stack.rows("SELECT action, changed, filter FROM jobs.operator_actions ORDER BY at").await;
    let filter = json!({ "message": old, "as": "sent", "provider": "twilio", "providerId": "SM1" });
    assert_eq!(actions[0], ("settle".to_owned(), Some(1), filter));
    assert_eq!(actions.len(), 2, "{actions:?}");
}
