//! A time of day that can be moved, for this process and everything that it starts.
//!
//! libfaketime answers for the system when a program asks for the time of day, and reads from a file by how much to be
//! wrong. So production code needs no hook, and functions, Postgres, Cloud Tasks and the stand-ins agree at every moment.
//! Time continues as usual between two jumps; timeouts and other waits are measured by the monotonic clock, which stays true.
//!
//! Redis is the exception: its allocator asks for the time before libfaketime can answer. Its keys are aged instead
//! ([`crate::Redis::advance`]).

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use chrono::TimeDelta;

use crate::owned::Folder;

/// Linux' and macOS' way of putting a library before all others.
const PRELOAD: &str = if cfg!(target_os = "macos") { "DYLD_INSERT_LIBRARIES" } else { "LD_PRELOAD" };
/// Where libfaketime reads how wrong the time is to be.
const FILE: &str = "FAKETIME_TIMESTAMP_FILE";
/// Read the file each time, leave the monotonic clock and the times of files alone.
const SETTINGS: [(&str, &str); 3] =
    [("FAKETIME_NO_CACHE", "1"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("NO_FAKE_STAT", "1")];
/// Where Debian and Homebrew put the library, the variant for programs with threads.
const LIBRARIES: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/opt/homebrew/lib/faketime/libfaketimeMT.1.dylib",
    "/usr/local/lib/faketime/libfaketimeMT.1.dylib",
];

/// The time of day of this process and its children.
#[derive(Debug)]
pub struct SimulatedTime {
    file: PathBuf,
    ahead: TimeDelta,
    // Removed with this.
    _folder: Folder,
}

impl SimulatedTime {
    /// Whether the library is installed that simulated time needs.
    #[must_use]
    pub fn is_available() -> bool {
        library().is_some()
    }

    /// Continues in simulated time: starts this program again with the same arguments, unless that has happened.
    pub fn enter() -> anyhow::Result<Self> {
        if let Some(file) = std::env::var_os(FILE).map(PathBuf::from) {
            let folder = file.parent().context("the file of the simulated time is in no folder")?;
            return Ok(Self { _folder: Folder::adopt(folder), file, ahead: TimeDelta::zero() });
        }
        let Some(library) = library() else {
            bail!("libfaketime is not installed: run scripts/install --days");
        };
        let folder = tempfile::Builder::new().prefix("local-cloud-").tempdir_in("/tmp")?.keep();
        // Postgres may run as another user.
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755))?;
        let file = folder.join("time");
        std::fs::write(&file, "+0")?;
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let error = Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(PRELOAD, library)
            .env(FILE, &file)
            .envs(SETTINGS)
            .exec();
        Err(error).context("cannot start in simulated time")
    }

    /// Moves the time forward by so much, in one step.
    pub fn jump(&mut self, by: TimeDelta) -> anyhow::Result<()> {
        self.ahead += by;
        let new = self.file.with_extension("new");
        let micros = self.ahead.num_microseconds().context("too far ahead")?;
        std::fs::write(&new, format!("+{}.{:06}", micros / 1_000_000, micros % 1_000_000))?;
        std::fs::rename(&new, &self.file).context("cannot move the time")
    }
}

fn library() -> Option<&'static str> {
    LIBRARIES.into_iter().find(|library| Path::new(library).exists())
}

/// What a child needs to live in the same time, when its environment is not inherited.
pub(crate) fn inherited() -> impl Iterator<Item = (&'static str, OsString)> {
    let names = SETTINGS.map(|(name, _)| name).into_iter().chain([PRELOAD, FILE]);
    let is_simulated = std::env::var_os(FILE).is_some();
    names.filter_map(move |name| Some((name, std::env::var_os(name).filter(|_| is_simulated)?)))
}

/// Lets a child live in the time of the machine.
pub(crate) fn exempt(command: &mut Command) -> &mut Command {
    if std::env::var_os(FILE).is_some() { command.env_remove(OsStr::new(PRELOAD)) } else { command }
}
