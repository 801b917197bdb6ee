//! Little git histories: this project's files in a folder of their own, with commits on top.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// What Cargo needs to resolve the workspace, and what changes are made to.
const COPIED: [&str; 11] = [
    "Cargo.toml",
    "Cargo.lock",
    ".cargo",
    ".rustfmt.toml",
    ".sqlx",
    "README.md",
    "functions",
    "infra",
    "scripts",
    "shared",
    "tests",
];

/// A copy of the project with one commit, and whatever a test adds.
pub(crate) struct History(TempDir);

impl History {
    pub(crate) fn of_this_project() -> Self {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let history = Self(tempfile::tempdir().unwrap());
        for item in COPIED {
            let source = project.join(item);
            run(Command::new("cp").arg("-R").arg(source).arg(history.root()));
        }
        history.git(&["init", "--quiet"]);
        history.commit();
        history
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Replaces text that must be there.
    #[track_caller]
    pub(crate) fn replace(&self, path: &str, from: &str, to: &str) {
        let path = self.path(path);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{} does not contain {from}", path.display());
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    /// Adds text to the end of a file, which may be new.
    pub(crate) fn append(&self, path: &str, text: &str) {
        let path = self.path(path);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(path, before + text).unwrap();
    }

    /// Replaces the part of a file that begins with `from`, up to `to`, which stays.
    #[track_caller]
    pub(crate) fn replace_part(&self, path: &str, from: &str, to: &str, with: &str) {
        let text = std::fs::read_to_string(self.path(path)).unwrap();
        let (_, part) = text.split_once(from).unwrap();
        let (part, _) = part.split_once(to).unwrap();
        self.replace(path, &format!("{from}{part}"), with);
    }

    /// Removes a file or a folder.
    pub(crate) fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }

    /// Copies a folder.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        run(Command::new("cp").arg("-R").args([self.path(from), self.path(to)]));
    }

    /// Commits everything, and returns the commit.
    pub(crate) fn commit(&self) -> String {
        self.git(&["add", "--all", "--force"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message=change"]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Paths that differ from the last commit.
    pub(crate) fn changed(&self) -> Vec<String> {
        self.git(&["add", "--all", "--force"]);
        let changed = self.git(&["diff", "--cached", "--name-only"]);
        changed.lines().map(str::to_owned).collect()
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .args(["-c", "user.name=test", "-c", "user.email=test@example.test", "-C"])
            .arg(self.root())
            .args(arguments);
        run(&mut command)
    }
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
