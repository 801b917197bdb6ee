//! What a person sees: results on standard output, progress on standard error.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::stack::QueueStatus;

/// Between two lines of progress where no terminal can show them in one place.
const PAUSE: Duration = Duration::from_secs(2);

/// Standard error, as it was before [`Console::take_over`].
#[derive(Debug)]
pub struct Console {
    out: File,
    in_place: bool,
    shown: Option<(Instant, QueueStatus)>,
}

impl Console {
    /// Keeps standard error for this console, and sends what else is written there to `log`: the emulator of Cloud Tasks
    /// notes every dispatch.
    pub fn take_over(log: &Path) -> anyhow::Result<Self> {
        let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let stderr = std::io::stderr();
        let in_place = stderr.is_terminal();
        let out = stderr.as_fd().try_clone_to_owned().context("standard error is closed")?;
        rustix::stdio::dup2_stderr(&log).context("cannot redirect standard error")?;
        Ok(Self { out: out.into(), in_place, shown: None })
    }

    /// Says what happens now.
    pub fn say(&mut self, text: &str) {
        self.end_progress();
        // Without a reader there is nothing to do about it.
        let _unheard = writeln!(self.out, "{text}");
    }

    /// Shows how far the queues are.
    pub fn progress(&mut self, status: QueueStatus) {
        let due = self
            .shown
            .is_none_or(|(at, before)| before != status && (self.in_place || at.elapsed() >= PAUSE));
        if due {
            let (start, end) = if self.in_place { ("\r\x1b[K", "") } else { ("", "\n") };
            let QueueStatus { waiting, dispatched } = status;
            let _unheard = write!(self.out, "{start}  {waiting} tasks waiting, {dispatched} dispatches{end}");
            self.shown = Some((Instant::now(), status));
        }
    }

    fn end_progress(&mut self) {
        if self.shown.take().is_some() && self.in_place {
            let _unheard = writeln!(self.out);
        }
    }
}
