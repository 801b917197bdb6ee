//! `ops top`: the queues, drawn again every few seconds.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Read as _, Write as _, stdin, stdout};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::database::wait_for;
use crate::operations::Operations;
use crate::operations::overview::Overview;
use crate::program::output;
use crate::usage_error::UsageError;
use crate::{moment, queues};

/// A screen of its own without cursor, on which long lines are cut; and what undoes that.
const BEGIN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const END: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// To the first line; to the end of a line, and of the screen, nothing.
const HOME: &str = "\x1b[H";
const NO_MORE_OF_LINE: &str = "\x1b[K";
const NO_MORE: &str = "\x1b[J";

/// Show the queues live, as `scripts/ops queues` shows them once, until `q` or Ctrl-C.
#[derive(Args)]
pub(crate) struct Top {
    /// Time between two looks.
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
}

impl Top {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        if !stdin().is_terminal() || !stdout().is_terminal() {
            let what =
                "top draws on a terminal, and this is none; scripts/ops queues --json shows the same once";
            return Err(UsageError(what.to_owned()).into());
        }
        wait_for(async {
            let _screen = Screen::begin()?;
            let operations = Operations::from_process();
            let mut keys = keys();
            let mut due = interval(Duration::from_secs(self.every));
            due.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = due.tick() => {}
                    _ = keys.recv() => return Ok(ExitCode::SUCCESS),
                    _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
                }
                // A source that does not respond must not keep the keys from being seen.
                let overview = tokio::select! {
                    overview = operations.overview() => overview,
                    _ = keys.recv() => return Ok(ExitCode::SUCCESS),
                    _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
                };
                let mut out = stdout().lock();
                out.write_all(self.drawn(&overview, &operations).as_bytes())?;
                out.flush()?;
            }
        })
    }

    /// The whole screen.
    fn drawn(&self, overview: &Overview, operations: &Operations) -> String {
        let now = operations.clock.now();
        let mut lines =
            vec![format!("{}, every {} s; q ends it", moment::text(now), self.every), String::new()];
        lines.extend(overview.alerts.lines(now));
        lines.extend(queues::table(overview, now).lines());
        for asked in &overview.sources {
            if let Some(problem) = &asked.problem {
                lines.push(format!("not known from {}: {problem}", asked.source));
            }
        }
        let mut drawn = HOME.to_owned();
        for line in lines {
            // Writing to a string does not fail.
            let _ = writeln!(drawn, "{line}{NO_MORE_OF_LINE}");
        }
        drawn + NO_MORE
    }
}

/// The terminal, which gives each key as it is pressed and shows none. It is as it was before when this is dropped.
struct Screen {
    settings: String,
}

impl Screen {
    fn begin() -> anyhow::Result<Self> {
        let settings = output(&mut terminal("-g"))?.trim().to_owned();
        let screen = Self { settings };
        output(terminal("-icanon").arg("-echo"))?;
        print!("{BEGIN}");
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        print!("{END}");
        let _unflushed = stdout().flush();
        let _unchanged = output(&mut terminal(&self.settings));
    }
}

/// The program that knows the terminal which is its standard input.
fn terminal(setting: &str) -> Command {
    let mut command = Command::new("stty");
    command.arg(setting).stdin(Stdio::inherit());
    command
}

/// Says when `q` is pressed, or no key can be any more. The thread waits for keys until the process ends.
fn keys() -> mpsc::Receiver<()> {
    let (pressed, keys) = mpsc::channel(1);
    thread::spawn(move || {
        let is_end = |key: &Result<u8, _>| !matches!(key, Ok(key) if *key != b'q');
        let _end = stdin().lock().bytes().find(is_end);
        let _ended = pressed.blocking_send(());
    });
    keys
}
