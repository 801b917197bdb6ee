//! The working tree that a command looks at, and its history.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use chrono::{DateTime, FixedOffset};

use crate::program;

/// Set by `scripts/ops`: the root of the checkout that it is part of.
const CHECKOUT: &str = "OPS_CHECKOUT";
/// Set by `scripts/ops`, as cargo resolves it.
const TARGET: &str = "CARGO_TARGET_DIR";

/// A working tree, and what git knows about it.
pub(crate) struct Repository {
    root: PathBuf,
}

impl Repository {
    /// The checkout whose `scripts/ops` was called, or else the one around the current folder.
    pub(crate) fn here() -> anyhow::Result<Self> {
        if let Some(root) = std::env::var_os(CHECKOUT) {
            return Ok(Self { root: root.into() });
        }
        let root = program::output(Command::new("git").args(["rev-parse", "--show-toplevel"]))?;
        Ok(Self { root: root.trim_end().into() })
    }

    /// Cargo's target folder for it.
    pub(crate) fn target(&self) -> PathBuf {
        std::env::var_os(TARGET).map_or_else(|| self.root.join("target"), PathBuf::from)
    }

    /// Its root folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The functions: folders under `functions/`.
    pub(crate) fn functions(&self) -> anyhow::Result<BTreeSet<String>> {
        let folder = self.root.join("functions");
        let entries = folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))?;
        let mut functions = BTreeSet::new();
        for entry in entries {
            let entry = entry?;
            if entry.path().join("Cargo.toml").exists() {
                functions.insert(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(functions)
    }

    /// When the current commit was made.
    pub(crate) fn committed_at(&self) -> anyhow::Result<DateTime<FixedOffset>> {
        let time = self.git(&["log", "-1", "--format=%cI"])?;
        DateTime::parse_from_rfc3339(time.trim()).context("git shows no time")
    }

    /// Whether a commit is the current one or an ancestor of it; an unknown commit is neither.
    pub(crate) fn contains(&self, commit: &str) -> bool {
        self.git(&["merge-base", "--is-ancestor", commit, "HEAD"]).is_ok()
    }

    /// Paths that differ between two commits, or a commit and the working tree, untracked files included.
    pub(crate) fn changed(&self, before: &str, after: Option<&str>) -> anyhow::Result<BTreeSet<String>> {
        let mut arguments = vec!["diff", "--name-only", "--no-renames", "-z", before];
        arguments.extend(after);
        arguments.push("--");
        let mut paths = self.git(&arguments)?;
        if after.is_none() {
            paths += &self.git(&["ls-files", "--others", "--exclude-standard", "-z"])?;
        }
        Ok(paths.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
    }

    /// A file as it was at a commit; empty if it was not there.
    pub(crate) fn at(&self, commit: &str, path: &str) -> anyhow::Result<String> {
        if self.git(&["ls-tree", "--name-only", commit, "--", path])?.is_empty() {
            return Ok(String::new());
        }
        self.git(&["show", &format!("{commit}:{path}")])
    }

    /// A file as it is.
    pub(crate) fn current(&self, path: &str) -> anyhow::Result<String> {
        std::fs::read_to_string(self.root.join(path)).with_context(|| format!("cannot read {path}"))
    }

    /// What git prints about it.
    pub(crate) fn git(&self, arguments: &[&str]) -> anyhow::Result<String> {
        program::output(Command::new("git").arg("-C").arg(&self.root).args(arguments))
    }
}
