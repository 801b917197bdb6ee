//! What keeps a running local cloud from being right, said as soon as it happens: which part, where its log is, what to do.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::Signal;

/// A server on this machine that takes longer does not answer.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Between two questions to a server that others started.
pub(crate) const BETWEEN_CHECKS: Duration = Duration::from_secs(5);
/// Postgres stops at zero, and logs are cut off.
const MIN_FREE_BYTES: u64 = 64 << 20;
const MIB: u64 = 1 << 20;

/// That a process ended which should run, and what to do about it.
pub(crate) fn ended(name: &str, status: ExitStatus, log: Option<&Path>) -> String {
    let log = log.map(|log| format!("; its log: {}", log.display())).unwrap_or_default();
    let advice = if status.signal() == Some(Signal::KILL.as_raw()) {
        "it was killed, or the machine ran out of memory (see the kernel's log)"
    } else {
        "the end of its log says why"
    };
    format!("{name} ended with {status}{log}; {advice}; start again with scripts/up")
}

/// An error if the disk of `folder` is nearly full.
pub(crate) fn check_disk(folder: &Path) -> anyhow::Result<()> {
    let disk = rustix::fs::statvfs(folder).with_context(|| format!("cannot look at {}", folder.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    ensure!(
        free >= MIN_FREE_BYTES,
        "the disk of {} is full: {} MiB are left, {} are needed; free some space and start again with scripts/up",
        folder.display(),
        free / MIB,
        MIN_FREE_BYTES / MIB,
    );
    Ok(())
}

/// That a log cannot be written, and what to do about it.
pub(crate) fn unwritable(log: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}; free some space and start again with scripts/up", log.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_names_the_process_its_log_and_what_to_do() {
        let killed =
            ended("calendar-sync", ExitStatus::from_raw(9), Some(Path::new("/logs/calendar-sync.log")));
        for part in
            ["calendar-sync ended with signal: 9", "/logs/calendar-sync.log", "out of memory", "scripts/up"]
        {
            assert!(killed.contains(part), "{part} is missing in {killed}");
        }
    }

    #[test]
    fn a_disk_with_space_is_no_error() {
        check_disk(Path::new("/")).expect("this test has a disk");
        assert!(check_disk(Path::new("/no such folder")).is_err());
    }
}
