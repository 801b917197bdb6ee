//! What a function's binary says to a person.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use crate::config::{Problem, variables};
use crate::job::Job;
use crate::payload::Payload;
use crate::queue::Queue;

/// Answers `--help`, `--version` and unknown arguments; `None` means: run.
pub(super) fn answer<J: Job>(mut arguments: impl Iterator<Item = String>) -> Option<ExitCode> {
    let argument = arguments.next()?;
    let queue = J::Payload::QUEUE;
    let name = queue.name();
    // A closed pipe on the other side is no reason to fail.
    let mut out = std::io::stdout().lock();
    let (_written, code) = match argument.as_str() {
        "--help" | "-h" => (out.write_all(usage(queue).as_bytes()), ExitCode::SUCCESS),
        "--version" | "-V" => (writeln!(out, "{name} {}", env!("CARGO_PKG_VERSION")), ExitCode::SUCCESS),
        other => (
            writeln!(std::io::stderr(), "{name}: unknown argument {other}; see {name} --help"),
            ExitCode::from(super::EXIT_CONFIGURATION),
        ),
    };
    Some(code)
}

/// Writes all problems to standard error, in one go.
pub(super) fn report(queue: Queue, problems: &[Problem]) {
    let mut text = format!("{}: the configuration has {} problem(s)\n", queue.name(), problems.len());
    for problem in problems {
        let _infallible = writeln!(text, "  {problem}");
    }
    let _no_reader = std::io::stderr().write_all(text.as_bytes());
}

fn usage(queue: Queue) -> String {
    let name = queue.name();
    let mut text = format!(
        "Serves the tasks of {name}-queue over HTTP until SIGTERM.\n\nUsage: {name} [--help | --version]\n\n\
         Exit codes: 0 stopped, 1 cannot listen, 2 configuration cannot be used.\n\nEnvironment:\n"
    );
    for variable in variables::ALL.iter().chain(queue.declaration().variables) {
        let default = variable.default.map(|value| format!(" [default: {value}]")).unwrap_or_default();
        let _infallible = writeln!(text, "  {:<26} {}{default}", variable.name, variable.what);
    }
    text
}
