//! Other programs: git, cargo, gcloud.

use std::io::ErrorKind;
use std::process::Command;

use anyhow::{Context as _, anyhow, ensure};

/// Standard output of a command that must succeed; the error carries its error output.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| cannot_run(&program, error))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed ({}): {}", output.status, said.trim());
    String::from_utf8(output.stdout).with_context(|| format!("the output of {program} is not UTF-8"))
}

/// Why a program did not start.
pub(crate) fn cannot_run(program: &str, error: std::io::Error) -> anyhow::Error {
    if error.kind() != ErrorKind::NotFound {
        return anyhow!(error).context(format!("cannot run {program}"));
    }
    let source = match program {
        "gcloud" => ": https://cloud.google.com/sdk/docs/install",
        "cargo" | "rustc" => ": https://rustup.rs",
        _ => "",
    };
    anyhow!("{program} is not installed{source}")
}
