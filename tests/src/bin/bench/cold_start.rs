//! File size, time from start to the first 200, and memory while idle.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use catchup::queues;
use local_cloud::environment::{self, Endpoints, Environment};
use local_cloud::functions::program;
use local_cloud::tasks::Settings;
use serde::Serialize;
use shared::queue::Queue;

use crate::options::Common;
use crate::process::{Running, free_address};

/// An instance counts as idle after this time without a request.
const IDLE: Duration = Duration::from_millis(500);

/// File size, time from start to the first 200 on /health/live, and memory while idle
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Starts of each function; the median counts [default: 20; with --short, 1]
    #[arg(long, value_name = "N")]
    starts: Option<usize>,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Measured {
    function: &'static str,
    file_mb: f64,
    cold_start_ms: f64,
    idle_rss_mb: f64,
}

/// What the numbers are compared with.
const AIM: Measured = Measured { function: "aim", file_mb: 10.0, cold_start_ms: 15.0, idle_rss_mb: 12.0 };

/// Measures every function and prints the figures. Returns whether an aim was missed.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let folder = options.common.folder()?;
    // Nothing of it is reached: a function calls no server before its first task.
    let environment = Endpoints::unreachable(&Settings::default()).environment();
    let starts = options.common.number(options.starts, 1, 20).max(1);
    let mut rows = Vec::new();
    for name in queues::all().map(Queue::name).chain([webhooks::SERVICE.name]) {
        let program = program(&folder, name)
            .with_context(|| format!("{name} is not built in {}; run scripts/bench", folder.display()))?;
        rows.push(measure(name, &program, &environment, starts)?);
    }
    let mut out = std::io::stdout().lock();
    if options.common.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
    } else {
        writeln!(out, "{:<26}{:>9}{:>16}{:>14}", "function", "file MB", "cold start ms", "idle RSS MB")?;
        for row in rows.iter().chain((!options.common.short).then_some(&AIM)) {
            let Measured { function, file_mb, cold_start_ms, idle_rss_mb } = row;
            writeln!(out, "{function:<26}{file_mb:>9.1}{cold_start_ms:>16.1}{idle_rss_mb:>14.1}")?;
        }
    }
    Ok(!options.common.short && rows.iter().any(Measured::misses))
}

impl Measured {
    fn misses(&self) -> bool {
        self.file_mb > AIM.file_mb
            || self.cold_start_ms > AIM.cold_start_ms
            || self.idle_rss_mb > AIM.idle_rss_mb
    }
}

fn measure(
    name: &'static str,
    program: &Path,
    environment: &Environment,
    starts: usize,
) -> anyhow::Result<Measured> {
    let mut times = Vec::new();
    let mut memory = 0.0_f64;
    for start in 0..starts {
        let (time, process) = cold_start(program, environment)?;
        times.push(time.as_secs_f64() * 1_000.0);
        if start == 0 {
            std::thread::sleep(IDLE);
            memory = rss_mb(process.id())?;
        }
    }
    times.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "files are far smaller than 2^52 bytes")]
    let file_mb = fs::metadata(program)?.len() as f64 / 1e6;
    Ok(Measured { function: name, file_mb, cold_start_ms: times[times.len() / 2], idle_rss_mb: memory })
}

fn cold_start(program: &Path, environment: &Environment) -> anyhow::Result<(Duration, Running)> {
    let address = free_address()?;
    let started = Instant::now();
    let mut running = Running::start(program, |command| {
        command.envs(environment).envs(environment::listening_on(address));
    })?;
    running.until_ready(address, Some("/health/live"))?;
    Ok((started.elapsed(), running))
}

/// Resident memory of a process, as `ps` knows it on every system.
fn rss_mb(id: u32) -> anyhow::Result<f64> {
    let output =
        Command::new("ps").args(["-o", "rss=", "-p", &id.to_string()]).output().context("cannot run ps")?;
    let kib: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("ps shows no memory")?;
    Ok(kib * 1024.0 / 1e6)
}
