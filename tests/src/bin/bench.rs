//! Measures release binaries of the functions. `scripts/bench` builds them and calls this.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, Subcommand};
use local_cloud::functions::program;
use serde::Serialize;
use shared::queue::Queue;

/// Longest time that a start may take before the bench gives up.
const DEADLINE: Duration = Duration::from_secs(10);
/// An instance counts as idle after this time without a request.
const IDLE: Duration = Duration::from_millis(500);

/// Measures the functions.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// File size, time from start to the first 200 on /health/live, and memory while idle
    ColdStart {
        /// Starts of each function; the median counts
        #[arg(long, default_value_t = 20)]
        starts: usize,
        /// Folder of the binaries
        #[arg(long, default_value = "target/release")]
        folder: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
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

fn main() -> anyhow::Result<ExitCode> {
    let What::ColdStart { starts, folder, json } = Arguments::parse().what;
    let mut rows = Vec::new();
    for queue in Queue::all() {
        if let Some(program) = program(&folder, queue) {
            rows.push(measure(queue, &program, starts)?);
        }
    }
    ensure!(!rows.is_empty(), "no function is built in {}; run scripts/bench", folder.display());
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
    } else {
        writeln!(out, "{:<26}{:>9}{:>16}{:>14}", "function", "file MB", "cold start ms", "idle RSS MB")?;
        for row in rows.iter().chain([&AIM]) {
            let Measured { function, file_mb, cold_start_ms, idle_rss_mb } = row;
            writeln!(out, "{function:<26}{file_mb:>9.1}{cold_start_ms:>16.1}{idle_rss_mb:>14.1}")?;
        }
    }
    let missed = rows.iter().any(|row| {
        row.file_mb > AIM.file_mb
            || row.cold_start_ms > AIM.cold_start_ms
            || row.idle_rss_mb > AIM.idle_rss_mb
    });
    Ok(ExitCode::from(u8::from(missed)))
}

fn measure(queue: Queue, program: &Path, starts: usize) -> anyhow::Result<Measured> {
    let mut times = Vec::new();
    let mut memory = 0.0_f64;
    for start in 0..starts.max(1) {
        let (time, child) = cold_start(program)?;
        times.push(time.as_secs_f64() * 1_000.0);
        if start == 0 {
            std::thread::sleep(IDLE);
            memory = rss_mb(child.0.id())?;
        }
    }
    times.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "files are far smaller than 2^52 bytes")]
    let file_mb = fs::metadata(program)?.len() as f64 / 1e6;
    Ok(Measured {
        function: queue.name(),
        file_mb,
        cold_start_ms: times[times.len() / 2],
        idle_rss_mb: memory,
    })
}

/// Ends with the process that it holds.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // A child that has ended needs no killing.
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn cold_start(program: &Path) -> anyhow::Result<(Duration, Running)> {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    // Nothing of this is reached: a function asks nobody before its first task.
    let nowhere = "http://127.0.0.1:1";
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("HOST", address.ip().to_string())
        .env("PORT", address.port().to_string())
        .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
        .env("UPSTASH_REDIS_REST_URL", nowhere)
        .env("UPSTASH_REDIS_REST_TOKEN", "none")
        .env("GCP_PROJECT_ID", "none")
        .env("GCP_REGION", "none")
        .env("CLOUD_RUN_URL", nowhere)
        .env("SERVICE_ACCOUNT_EMAIL", "nobody@example.com")
        .env("ENCRYPTION_KEY", "00".repeat(32))
        .env("GOOGLE_CLIENT_ID", "none")
        .env("GOOGLE_CLIENT_SECRET", "none")
        .env("APP_BASE_URL", "https://example.com")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let started = Instant::now();
    let mut running =
        Running(command.spawn().with_context(|| format!("cannot start {}", program.display()))?);
    loop {
        if is_live(address) {
            return Ok((started.elapsed(), running));
        }
        if let Some(status) = running.0.try_wait()? {
            let mut text = String::new();
            if let Some(mut stderr) = running.0.stderr.take() {
                stderr.read_to_string(&mut text)?;
            }
            bail!("{} ended with {status}:\n{text}", program.display());
        }
        ensure!(started.elapsed() < DEADLINE, "{} does not answer", program.display());
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn is_live(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

/// Resident memory of a process, as `ps` knows it on every system.
fn rss_mb(id: u32) -> anyhow::Result<f64> {
    let output =
        Command::new("ps").args(["-o", "rss=", "-p", &id.to_string()]).output().context("cannot run ps")?;
    let kib: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("ps shows no memory")?;
    Ok(kib * 1024.0 / 1e6)
}
