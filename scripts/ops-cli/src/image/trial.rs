//! Tests of images: a run of the local cloud in which the file system of each image is the root of its function.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context as _, ensure};

use super::layout::{self, Process};
use crate::repository::Repository;
use crate::usage_error::UsageError;

/// Runs a program with a folder as its root.
const RUNNER: &str = "infra/images/run";
/// Exit code of a function whose environment is empty.
const MISCONFIGURED: i32 = 2;
const EXECUTABLE: u32 = 0o755;

/// The option of `scripts/up` with which images are tested.
const ONCE: &str = "--once";

/// Fails unless `scripts/up` accepts these arguments: a typing error must not cost the images.
pub(crate) fn ensure_usable(repository: &Repository, arguments: &[String]) -> anyhow::Result<()> {
    let mut up = Command::new(repository.root().join("scripts/up"));
    let help = up.arg(ONCE).args(arguments).arg("--help").output().context("cannot run scripts/up")?;
    ensure!(help.status.success(), UsageError(String::from_utf8_lossy(&help.stderr).trim().to_owned()));
    Ok(())
}

/// Unpacks these images (a function's name and a layout each), and runs the whole local cloud with their functions;
/// the other functions run as `scripts/up` built them, and `arguments` go to it. Returns whether the run succeeded.
pub(crate) fn passes(
    repository: &Repository,
    images: &[(String, PathBuf)],
    arguments: &[String],
) -> anyhow::Result<bool> {
    let work = tempfile::tempdir().context("cannot make a folder")?;
    let programs = work.path().join("programs");
    fs::create_dir(&programs)?;
    let (root, built) = (repository.root(), repository.target());
    let functions = repository.functions()?;
    for function in functions.iter().filter(|function| images.iter().all(|(name, _)| name != *function)) {
        symlink(built.join("debug").join(function), programs.join(function))?;
    }
    for (function, layout) in images {
        let unpacked = work.path().join(function);
        fs::create_dir(&unpacked)?;
        let process =
            layout::unpack(layout, &unpacked).with_context(|| format!("the image of {function}"))?;
        let trial = Trial { runner: root.join(RUNNER), root: unpacked, process };
        trial.starts_alone().with_context(|| format!("the image of {function}"))?;
        let launcher = programs.join(function);
        fs::write(&launcher, trial.launcher()?)?;
        fs::set_permissions(&launcher, Permissions::from_mode(EXECUTABLE))?;
    }
    let mut up = Command::new(root.join("scripts/up"));
    up.args([ONCE, "--programs"]).arg(&programs).arg("--logs").arg(built.join("images/logs"));
    // What is printed here is the result of the command itself.
    let status = up.args(arguments).stdout(std::io::stderr()).status().context("cannot run scripts/up")?;
    Ok(status.success())
}

/// An image that was unpacked.
struct Trial {
    runner: PathBuf,
    root: PathBuf,
    process: Process,
}

impl Trial {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.runner);
        command.arg(&self.root).arg(&self.process.user).args(&self.process.entrypoint).env_clear();
        command
    }

    /// Without an environment, a function names the variables that are missing; a program that needs a library does not get that far.
    fn starts_alone(&self) -> anyhow::Result<()> {
        let Output { status, stderr, stdout } = self.command().output().context("cannot run an image")?;
        ensure!(
            status.code() == Some(MISCONFIGURED),
            "the program does not run without anything else ({status}): {}{}\n{RUNNER} --help says what it needs",
            String::from_utf8_lossy(&stderr),
            String::from_utf8_lossy(&stdout),
        );
        Ok(())
    }

    /// A program that runs the image, for the local cloud, which runs programs.
    fn launcher(&self) -> anyhow::Result<String> {
        let command = self.command();
        let mut text = format!("#!/bin/sh\nexec {}", quoted(self.runner.to_str().context("not UTF-8")?));
        for argument in command.get_args() {
            text.push(' ');
            text.push_str(&quoted(argument.to_str().context("not UTF-8")?));
        }
        Ok(text + "\n")
    }
}

/// One word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::path::Path;
    use std::process::Stdio;

    use super::*;

    /// Says what it sees and what it may write, and waits.
    const PROBE: &str = r#"fn main() {
        let mut names: Vec<_> = std::fs::read_dir("/").unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        println!("{names:?} {:?}", std::fs::write("/new", "").unwrap_err().kind());
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }"#;

    /// A line of `/proc/<id>/status`.
    fn status(id: u32, name: &str) -> Vec<String> {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn an_image_is_all_that_its_program_sees_and_the_program_is_unprivileged() {
        let work = tempfile::tempdir().unwrap();
        let root = work.path().join("it's a root");
        fs::create_dir(&root).unwrap();
        let source = work.path().join("probe.rs");
        fs::write(&source, PROBE).unwrap();
        let compiled = Command::new("rustc")
            .args(["-C", "target-feature=+crt-static", "-o"])
            .arg(root.join("function"))
            .arg(&source)
            .status()
            .unwrap();
        assert!(compiled.success());
        let process =
            serde_json::from_str(r#"{"User":"65532:65532","Entrypoint":["/function"],"Labels":{}}"#);
        let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(RUNNER);
        let trial = Trial { runner, root, process: process.unwrap() };
        let launcher = work.path().join("launcher");
        fs::write(&launcher, trial.launcher().unwrap()).unwrap();

        let mut child =
            Command::new("sh").arg(&launcher).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said.trim(), r#"["dev", "function"] ReadOnlyFilesystem"#);
        assert_eq!(status(child.id(), "CapEff:"), ["0000000000000000"]);
        let own = status(std::process::id(), "Uid:");
        if own[0] == "0" {
            assert_eq!(status(child.id(), "Uid:"), ["65532"; 4]);
            assert_eq!(status(child.id(), "Groups:"), [""; 0]);
        }
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
}
