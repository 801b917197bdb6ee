//! The services as real processes, each with its complete environment and its log.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use serde::Deserialize;
use shared::queue::Queue;
use tokio::time::sleep;

use crate::environment::{Environment, listening_on};
use crate::health;
use crate::owned::{Manner, Process};
use crate::ports;
use crate::simulated_time;

const READY_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Cloud Run sends `SIGTERM` and kills ten seconds later.
const AS_CLOUD_RUN: Manner = Manner { signal: Signal::TERM, grace: Duration::from_secs(10) };

/// One task's canonical log line, as far as reports read it; `shared::telemetry::line` declares the names.
#[derive(Debug, Clone, Deserialize)]
pub struct TaskLine {
    /// Queue, without `-queue`.
    #[serde(rename = "task.queue")]
    pub queue: String,
    /// Short name of the task.
    #[serde(rename = "task.name")]
    pub task: String,
    /// How the dispatch ended.
    #[serde(rename = "task.outcome")]
    pub outcome: String,
    /// 1 for the first run.
    #[serde(rename = "task.attempt")]
    pub attempt: u32,
    /// Stable reason of a skip or a failure.
    #[serde(rename = "task.reason", default)]
    pub reason: Option<String>,
    /// From arrival to answer.
    #[serde(rename = "task.duration_ms")]
    pub duration_ms: f64,
    /// Billed Redis commands for the lease.
    #[serde(rename = "redis.idempotency")]
    pub redis_idempotency: u64,
    /// Billed Redis commands for limits.
    #[serde(rename = "redis.rate_limit")]
    pub redis_rate_limit: u64,
    /// Billed Redis commands for the cache.
    #[serde(rename = "redis.cache")]
    pub redis_cache: u64,
    /// SQL statements.
    #[serde(rename = "sql.statements", default)]
    pub sql_statements: u64,
}

impl TaskLine {
    /// Whether nothing follows the dispatch.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self.outcome.as_str(), "done" | "duplicate" | "skipped")
    }
}

/// The program of a service among `folder`'s, if it was built.
#[must_use]
pub fn program(folder: &Path, name: &str) -> Option<PathBuf> {
    Some(folder.join(name)).filter(|program| program.exists())
}

/// The folder that the running program was built into, for a binary as well as for a test.
pub fn built_programs() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let folder = program.parent().context("this program is in no folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.to_owned())
}

/// What is kept of a function's output besides its log.
#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Vec<TaskLine>>,
    /// Why the log is not complete.
    unwritten: OnceLock<io::Error>,
}

impl Output {
    fn lines(&self) -> MutexGuard<'_, Vec<TaskLine>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running function.
#[derive(Debug)]
pub struct FunctionProcess {
    queue: Queue,
    process: ServiceProcess,
}

impl FunctionProcess {
    /// Starts `program` as [`ServiceProcess::spawn`] does.
    pub fn spawn(
        queue: Queue,
        program: &Path,
        environment: &Environment,
        log: &Path,
    ) -> anyhow::Result<Self> {
        Ok(Self { queue, process: ServiceProcess::spawn(queue.name(), program, environment, log)? })
    }

    /// The queue that it serves.
    #[must_use]
    pub fn queue(&self) -> Queue {
        self.queue
    }
}

impl Deref for FunctionProcess {
    type Target = ServiceProcess;

    fn deref(&self) -> &ServiceProcess {
        &self.process
    }
}

impl DerefMut for FunctionProcess {
    fn deref_mut(&mut self) -> &mut ServiceProcess {
        &mut self.process
    }
}

/// An address of loopback at which nothing listens yet.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?)))
}

/// A running service, with or without a queue. Dropping it ends it as Cloud Run does.
#[derive(Debug)]
pub struct ServiceProcess {
    name: &'static str,
    program: PathBuf,
    arguments: &'static [&'static str],
    environment: Environment,
    address: SocketAddr,
    log: PathBuf,
    output: Arc<Output>,
    process: Process,
    reader: Option<JoinHandle<()>>,
}

impl ServiceProcess {
    /// Starts `program` on a free port, with this environment and nothing else; its output is kept in `log`.
    pub fn spawn(
        name: &'static str,
        program: &Path,
        environment: &Environment,
        log: &Path,
    ) -> anyhow::Result<Self> {
        Self::spawn_at(free_address()?, name, program, &[], environment, log)
    }

    /// As [`ServiceProcess::spawn`], with arguments, at an address that was chosen with [`free_address`].
    pub fn spawn_at(
        address: SocketAddr,
        name: &'static str,
        program: &Path,
        arguments: &'static [&'static str],
        environment: &Environment,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let mut environment = environment.clone();
        environment.extend(listening_on(address));
        let output = Arc::default();
        let (process, reader) = start(program, arguments, &environment, log, &output)?;
        Ok(Self {
            name,
            program: program.to_owned(),
            arguments,
            environment,
            address,
            log: log.to_owned(),
            output,
            process,
            reader: Some(reader),
        })
    }

    /// Waits until the function is ready; its end, or 30 s, is an error that shows its log.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let http = shared::http::client(PROBE_TIMEOUT, PROBE_TIMEOUT);
        let url = format!("http://{}/health/ready", self.address);
        let deadline = Instant::now() + READY_DEADLINE;
        loop {
            if http.get(&url).send().await.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
            if let Some(status) = self.process.ended()? {
                self.join_reader();
                bail!("{} ended with {status}:\n{}", self.name, self.log());
            }
            if Instant::now() > deadline {
                bail!("{} is not ready after {READY_DEADLINE:?}:\n{}", self.name, self.log());
            }
            sleep(POLL).await;
        }
    }

    /// Where it listens, also after [`ServiceProcess::respawn`].
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills it where it stands, as `kill -9` does, and waits for its end.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().context("cannot kill")?;
        self.join_reader();
        Ok(())
    }

    /// Asks it to end, and does not wait.
    pub fn terminate(&self) {
        self.process.ask();
    }

    /// Stops it from doing anything, until it is thawed or killed. No peer notices: its connections stay open.
    pub fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets it continue.
    pub fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// The exit status, once it has ended.
    pub fn ended(&mut self) -> anyhow::Result<Option<std::process::ExitStatus>> {
        Ok(self.process.ended()?)
    }

    /// An error if it has ended, or if its log cannot be written.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.process.ended()? {
            bail!(health::ended(self.name, status, Some(&self.log)));
        }
        if let Some(error) = self.output.unwritten.get() {
            bail!(health::unwritable(&self.log, error));
        }
        Ok(())
    }

    /// Starts it again after its end, at the same address and with the same log.
    pub fn respawn(&mut self) -> anyhow::Result<()> {
        let (process, reader) =
            start(&self.program, self.arguments, &self.environment, &self.log, &self.output)?;
        self.process = process;
        self.reader = Some(reader);
        Ok(())
    }

    /// The canonical lines so far, over all its lives.
    #[must_use]
    pub fn lines(&self) -> Vec<TaskLine> {
        self.output.lines().clone()
    }

    /// How many canonical lines there are so far.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.output.lines().len()
    }

    /// Everything that it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Where [`ServiceProcess::log`] is kept.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    fn join_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            // It can only have panicked over a full disk; the log is then as far as it got.
            let _panicked = reader.join();
        }
    }
}

fn start(
    program: &Path,
    arguments: &[&str],
    environment: &Environment,
    log: &Path,
    kept: &Arc<Output>,
) -> anyhow::Result<(Process, JoinHandle<()>)> {
    let log = File::options().create(true).append(true).open(log).context("cannot write a log")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(environment)
        .envs(simulated_time::inherited())
        .stdout(Stdio::piped())
        .stderr(log.try_clone()?);
    let mut process = Process::spawn(&mut command, AS_CLOUD_RUN)?;
    let output = process.take_stdout().context("the function has no output")?;
    let kept = Arc::clone(kept);
    let reader = thread::Builder::new()
        .name("function-log".to_owned())
        .spawn(move || read(BufReader::new(output), log, &kept))
        .context("cannot start a thread")?;
    Ok((process, reader))
}

fn read(output: impl BufRead, mut log: File, kept: &Output) {
    for line in output.lines().map_while(Result::ok) {
        // A log that cannot be written must not stop the function, which would block on a full pipe.
        if let Err(error) = writeln!(log, "{line}") {
            let _first = kept.unwritten.set(error);
        }
        if let Ok(line) = serde_json::from_str(&line) {
            kept.lines().push(line);
        }
    }
}
