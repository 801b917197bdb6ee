//! What an operator's terminal shows: the queues live, pages of the manual, and what the shell completes.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use crate::operator::{System, ops_with, user};

/// What ends a frame, and what the screen is left with.
const END_OF_FRAME: &str = "\x1b[J";
const LEFT: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

#[tokio::test(flavor = "multi_thread")]
async fn top_draws_what_queues_prints_and_leaves_the_terminal_as_it_was() {
    let system = System::start().await;
    system.fail(2).await;
    system.stack.tasks.pause(System::QUEUE).await.unwrap();
    // Not due yet, so no figure changes with the time.
    for n in 1..=3 {
        system.succeeds(&["enqueue", "token-refresh", "--user", &user(n).to_string(), "--in", "2h"]);
    }
    let table = system.succeeds(&["queues"]).out;
    let row = table.lines().find(|line| line.starts_with("token-refresh ")).unwrap();
    let cells: Vec<_> = row.split_whitespace().take(4).collect();
    assert_eq!(cells, ["token-refresh", "paused", "3", "-"], "{table}");

    let top = format!("timeout --foreground 60 {} top --every 3600", env!("CARGO_BIN_EXE_ops"));
    let mut terminal = Command::new("script")
        .args(["--quiet", "--return", "--command", &top, "/dev/null"])
        .env_clear()
        .envs(system.environment())
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut keys, mut screen) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
    let (mut shown, mut byte) = (Vec::new(), [0]);
    while !shown.ends_with(END_OF_FRAME.as_bytes()) {
        screen.read_exact(&mut byte).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&shown)));
        shown.extend(byte);
    }
    keys.write_all(b"q").unwrap();
    let mut rest = String::new();
    screen.read_to_string(&mut rest).unwrap();
    assert!(terminal.wait().unwrap().success());
    assert!(rest.contains(LEFT), "{rest:?}");
    let shown = String::from_utf8(shown).unwrap();
    let (_, frame) = shown.rsplit_once("\x1b[H").unwrap();
    let lines: Vec<_> = frame.lines().map(|line| line.trim_end().trim_end_matches("\x1b[K")).collect();
    assert!(lines[0].ends_with(", every 3600 s; q ends it"), "{frame}");
    let expected: Vec<_> = table.lines().collect();
    assert_eq!(lines[2..lines.len() - 1], expected, "{frame}");
}

#[test]
fn a_page_of_the_manual_is_that_of_the_command_and_an_unknown_one_is_a_usage_error() {
    let environment = std::collections::BTreeMap::new();
    let page = ops_with(&environment, &["man", "dead-letters", "replay"]);
    assert!(page.code == 0 && page.out.contains("\n.SH SYNOPSIS\n"), "{page:?}");
    assert!(page.out.contains("\\fBops dead\\-letters replay\\fR"), "{page:?}");
    let wrong = ops_with(&environment, &["man", "dead-letter"]);
    assert!(wrong.code == 2 && wrong.err.contains("did you mean dead-letters?"), "{wrong:?}");
}

#[test]
fn a_shell_completes_commands_and_the_names_of_queues() {
    let script = ops_with(&std::collections::BTreeMap::new(), &["completions", "bash"]);
    assert_eq!(script.code, 0, "{script:?}");
    let completed = |words: &[&str]| {
        let all = words.join(" ");
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let call = format!(
            "{}\nCOMP_WORDS=({all}); COMP_CWORD={}; _ops ops '{last}' '{before}'; echo \"${{COMPREPLY[*]}}\"",
            script.out,
            words.len() - 1
        );
        let output = Command::new("bash").args(["--norc", "-c", &call]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(completed(&["ops", "dead"]), "dead-letters");
    assert_eq!(completed(&["ops", "dead-letters", "disc"]), "discard");
    assert_eq!(completed(&["ops", "errors", "--queue", "token-r"]), "token-refresh");
}
