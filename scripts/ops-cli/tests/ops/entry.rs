//! `scripts/ops`, with a cargo that only writes down what it is asked.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

/// Names the target folder, and "builds" a program that prints its arguments.
const CARGO: &str = r#"#!/usr/bin/env bash
set -euo pipefail
case $1 in
  metadata) printf '{"packages":[],"target_directory":"%s","version":1}' "${CARGO_TARGET_DIR:-$PWD/elsewhere}" ;;
  build)
    [ -z "${BREAKS:-}" ] || exit 101
    program=${CARGO_TARGET_DIR:?}/debug/ops
    mkdir -p "$(dirname "$program")"
    printf '#!/bin/sh\necho "ran $* for $OPS_CHECKOUT"\n' >"$program"
    chmod +x "$program"
    printf '%s: %s\n' "${program// /\\ }" "${PWD// /\\ }/scripts/ops-cli/src/main.rs ${PWD// /\\ }/shared/src/lib.rs" \
      >"$program.d"
    echo compiled ;;
esac
"#;
const SOURCES: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
    "scripts/ops-cli/Cargo.toml",
    "scripts/ops-cli/src/main.rs",
    "shared/Cargo.toml",
    "shared/src/lib.rs",
];

struct Checkout {
    folder: TempDir,
}

impl Checkout {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let checkout = Self { folder };
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for source in SOURCES {
            checkout.write(source, "", SystemTime::now() - Duration::from_hours(1));
        }
        for script in ["ops", "target-folder"] {
            fs::copy(scripts.join(script), checkout.root().join("scripts").join(script)).unwrap();
        }
        fs::write(checkout.bin().join("cargo"), CARGO).unwrap();
        fs::set_permissions(checkout.bin().join("cargo"), Permissions::from_mode(0o755)).unwrap();
        checkout
    }

    fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("a checkout")
    }

    /// The only folder with programs besides the system's.
    fn bin(&self) -> PathBuf {
        let bin = self.folder.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        bin
    }

    fn write(&self, path: &str, text: &str, at: SystemTime) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::File::options().append(true).open(&path).unwrap().set_modified(at).unwrap();
    }

    fn call(&self, variables: &[(&str, &str)]) -> Output {
        Command::new(self.root().join("scripts/ops"))
            .args(["pause", "--all"])
            .current_dir("/")
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.bin().display()))
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    /// Calls it, and says whether the program was built for that.
    #[track_caller]
    fn builds(&self) -> bool {
        let Output { status, stdout, stderr } = self.call(&[]);
        let said = String::from_utf8(stderr).unwrap();
        assert!(status.success(), "{said}");
        let expected = format!("ran pause --all for {}\n", self.root().display());
        assert_eq!(String::from_utf8(stdout).unwrap(), expected);
        assert_eq!(said.contains("compiled"), said.contains("scripts/ops: builds "), "{said}");
        said.contains("compiled")
    }
}

#[test]
fn program_is_built_when_there_is_none_and_when_a_source_has_changed() {
    let checkout = Checkout::new();
    assert!(checkout.builds());
    assert!(!checkout.builds());
    for source in SOURCES {
        checkout.write(source, "new", SystemTime::now() + Duration::from_secs(2));
        assert!(checkout.builds(), "{source} has changed");
        // From now on it is older than the build, which this cargo always makes.
        checkout.write(source, "new", SystemTime::now() - Duration::from_secs(2));
        assert!(!checkout.builds(), "{source} has not changed");
    }
    fs::remove_file(checkout.root().join("shared/src/lib.rs")).unwrap();
    assert!(checkout.builds());
}

#[test]
fn program_of_another_checkout_in_the_same_target_folder_is_not_run() {
    let (one, other) = (Checkout::new(), Checkout::new());
    symlink(other.root().join("elsewhere"), one.root().join("elsewhere")).unwrap();
    assert!(other.builds());
    assert!(one.builds());
    assert!(!one.builds());
    assert!(other.builds());
}

#[test]
fn built_program_needs_no_cargo() {
    let checkout = Checkout::new();
    let target = checkout.root().join("elsewhere");
    let variables = [("CARGO_TARGET_DIR", target.to_str().unwrap())];
    assert!(checkout.builds());
    fs::remove_file(checkout.bin().join("cargo")).unwrap();
    assert!(checkout.call(&variables).status.success());
    fs::remove_file(target.join("debug/ops")).unwrap();
    let output = checkout.call(&variables);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("https://rustup.rs"));
}

#[test]
fn failed_build_runs_nothing() {
    let output = Checkout::new().call(&[("BREAKS", "yes")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8(output.stderr).unwrap().ends_with("scripts/ops: the build failed\n"));
}
