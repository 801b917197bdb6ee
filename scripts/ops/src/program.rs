//! Other programs: git, cargo, gcloud.

use std::process::Command;

use anyhow::{Context as _, ensure};

/// Standard output of a command that must succeed; the error carries what it said instead.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed ({}): {}", output.status, said.trim());
    String::from_utf8(output.stdout).with_context(|| format!("{program} did not answer in UTF-8"))
}
