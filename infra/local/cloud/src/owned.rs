//! What this process owns and takes with it: child processes and folders.
//!
//! Each goes when its owner is dropped. When this process ends without dropping anything (a crash, `kill -9`, a static in
//! a test binary), a watchdog does it: a small shell that reads from a pipe and wakes up when the pipe closes.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// `add` and `drop` lines name `process SIGNAL:PID` or `folder PATH`; at the end of input what is left is ended.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM
add() { eval "$1=\"\$$1 \$2\""; }
drop() { rest=; for item in $(eval echo "\$$1"); do [ "$item" = "$2" ] || rest="$rest $item"; done; eval "$1=\$rest"; }
process= folder=
while read -r verb kind item; do "$verb" "$kind" "$item"; done
for item in $process; do kill -"${item%%:*}" "${item#*:}"; done
for _ in 1 2 3 4 5 6 7 8 9 10; do
    alive=
    for item in $process; do kill -0 "${item#*:}" && alive=yes; done
    [ "$alive" ] || break
    sleep 0.5
done
for item in $process; do kill -KILL "${item#*:}"; done
for item in $folder; do rm -rf "$item"; done
"#;

static WATCHDOG_PIPE: LazyLock<Mutex<Option<ChildStdin>>> = LazyLock::new(|| {
    let shell = Command::new("/bin/sh")
        .args(["-c", WATCHDOG])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Mutex::new(shell.ok().and_then(|mut shell| shell.stdin.take()))
});

fn tell_watchdog(line: &str) {
    let mut pipe = WATCHDOG_PIPE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pipe) = pipe.as_mut() {
        // Without a watchdog everything still goes with its owner.
        let _gone = writeln!(pipe, "{line}");
    }
}

/// A child process in a group of its own, so that a terminal's Ctrl-C reaches only its owner.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    manner: Manner,
    log: Option<PathBuf>,
}

/// How to end a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// What it is asked with.
    pub(crate) signal: Signal,
    /// How long it may take before it is killed.
    pub(crate) grace: Duration,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command, manner: Manner) -> anyhow::Result<Self> {
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let process = Self { child, manner, log: None };
        tell_watchdog(&format!("add {}", process.entry()));
        Ok(process)
    }

    /// Remembers where its output is kept, for the report of its end.
    pub(crate) fn with_log(mut self, log: Option<&Path>) -> Self {
        self.log = log.map(Path::to_owned);
        self
    }

    /// Where its output is kept.
    pub(crate) fn log(&self) -> Option<&Path> {
        self.log.as_deref()
    }

    fn entry(&self) -> String {
        format!("process {}:{}", self.manner.signal.as_raw(), self.child.id())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// The status, once the process has ended.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Asks the process to end, and does not wait for it.
    pub(crate) fn ask(&self) {
        self.signal(self.manner.signal);
    }

    /// Sends the process any signal.
    pub(crate) fn signal(&self, signal: Signal) {
        // Fails only for a process that has ended.
        let _ended = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Kills the process and waits for its end.
    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    fn end(&mut self) {
        let deadline = Instant::now() + self.manner.grace;
        if matches!(self.ended(), Ok(None)) {
            self.ask();
        }
        while matches!(self.ended(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        // Nothing is left to do about a process that can neither be killed nor waited for.
        let _status = self.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        tell_watchdog(&format!("drop {}", self.entry()));
    }
}

/// Output of a process: a new file, or nowhere.
pub(crate) fn output(log: Option<&Path>) -> anyhow::Result<Stdio> {
    let create = |log: &Path| File::create(log).with_context(|| format!("cannot write {}", log.display()));
    Ok(log.map(create).transpose()?.map_or_else(Stdio::null, Stdio::from))
}

/// A new folder below `/tmp`, whose short path leaves room for the name of a socket.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("local-cloud-")
            .tempdir_in("/tmp")
            .context("cannot make a folder in /tmp")?;
        Ok(Self::adopt(&folder.keep()))
    }

    /// Takes over a folder that another process made, to remove it.
    pub(crate) fn adopt(path: &Path) -> Self {
        tell_watchdog(&format!("add folder {}", path.display()));
        Self(path.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The watchdog removes what is still there when this process ends.
        if std::fs::remove_dir_all(self.path()).is_ok() {
            tell_watchdog(&format!("drop folder {}", self.path().display()));
        }
    }
}
