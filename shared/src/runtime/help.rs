//! What a function's binary says to a person.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use crate::config::{Problem, Variable, variables};

/// A binary, as its help describes it.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// Its name.
    pub(super) name: &'static str,
    /// What it serves.
    pub(super) serves: String,
    /// The product's environment variables.
    pub(super) variables: &'static [Variable],
}

impl Program {
    /// Answers `--help`, `--version` and unknown arguments; `None` means: run.
    pub(super) fn answer(&self, mut arguments: impl Iterator<Item = String>) -> Option<ExitCode> {
        let argument = arguments.next()?;
        let name = self.name;
        // A closed pipe on the other side is no reason to fail.
        let mut out = std::io::stdout().lock();
        let (_written, code) = match argument.as_str() {
            "--help" | "-h" => (out.write_all(self.usage().as_bytes()), ExitCode::SUCCESS),
            "--version" | "-V" => (writeln!(out, "{name} {}", env!("CARGO_PKG_VERSION")), ExitCode::SUCCESS),
            other => (
                writeln!(std::io::stderr(), "{name}: unknown argument {other}; see {name} --help"),
                ExitCode::from(super::EXIT_CONFIGURATION),
            ),
        };
        Some(code)
    }

    /// Writes all problems to standard error, in one go.
    pub(super) fn report(&self, problems: &[Problem]) {
        let mut text = format!("{}: the configuration has {} problem(s)\n", self.name, problems.len());
        for problem in problems {
            let _infallible = writeln!(text, "  {problem}");
        }
        let _no_reader = std::io::stderr().write_all(text.as_bytes());
    }

    fn usage(&self) -> String {
        let name = self.name;
        let mut text = format!(
            "Serves {} over HTTP until SIGTERM.\n\nUsage: {name} [--help | --version]\n\n\
             Exit codes: 0 stopped, 1 cannot listen, 2 configuration cannot be used.\n\nEnvironment:\n",
            self.serves
        );
        for variable in variables::ALL.iter().chain(self.variables) {
            let default = variable.default.map(|value| format!(" [default: {value}]")).unwrap_or_default();
            let _infallible = writeln!(text, "  {:<26} {}{default}", variable.name, variable.what);
        }
        text
    }
}
