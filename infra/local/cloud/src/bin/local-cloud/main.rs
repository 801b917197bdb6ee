//! `local-cloud`: the whole system on one machine, and databases for tools.

use std::process::{ExitCode, ExitStatus};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use local_cloud::stack::without_password;
use local_cloud::{Postgres, postgres};
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

mod life;
mod up;

const FAILED: u8 = 1;
/// Also clap's code for wrong arguments.
const UNUSABLE: u8 = 2;
const POSTGRES_SCHEMES: &[&str] = &["postgres", "postgresql"];
/// What shells answer for a program that a signal ended: this plus the signal's number.
const SIGNALLED: u8 = 128;

/// The whole system on one machine, without a cloud account. Everything listens on 127.0.0.1 only.
#[derive(Parser)]
#[command(name = "local-cloud", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything, run every schedule once, and continue until Ctrl-C.
    Up(up::Up),
    /// Live weeks in simulated time as people of every kind, and look at every message as its reader would.
    Life(life::Life),
    /// Create a database with all tables; run a command with its address in `DATABASE_URL`, or wait until Ctrl-C.
    Database(Database),
    /// Give an empty database all tables.
    Schema {
        /// postgres://user@host:port/name
        url: String,
    },
}

#[derive(Args)]
struct PostgresServer {
    /// Server on which a database of our own is created, and dropped at the end; without it, a private server is started.
    #[arg(long = "postgres", env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    url: Option<String>,
}

#[derive(Args)]
struct Database {
    #[command(flatten)]
    postgres: PostgresServer,
    /// A command and its arguments.
    #[arg(last = true)]
    command: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    shared::stdout::end_with_its_reader();
    let result = match Arguments::parse().command {
        Command::Up(up) => up.run().await,
        Command::Life(life) => life.run().await,
        Command::Database(database) => database.run().await,
        Command::Schema { url } => schema(&url).await.map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("local-cloud: {error:#}");
        ExitCode::from(UNUSABLE)
    })
}

/// Reads a URL. clap would quote one that is malformed, with its password.
fn read_url(name: &str, schemes: &[&str], text: Option<&String>) -> anyhow::Result<Option<Url>> {
    let Some(text) = text else { return Ok(None) };
    let url = text.parse::<Url>().ok().filter(|url| schemes.contains(&url.scheme()));
    url.with_context(|| format!("{name} is not a URL that begins with {}://", schemes[0])).map(Some)
}

fn read_postgres_url(text: Option<&String>) -> anyhow::Result<Option<Url>> {
    read_url("DATABASE_URL", POSTGRES_SCHEMES, text)
}

fn read_redis_url(text: Option<&String>) -> anyhow::Result<Option<Url>> {
    read_url("REDIS_URL", &["redis", "rediss"], text)
}

async fn schema(url: &str) -> anyhow::Result<()> {
    let url: Url = url.parse().context("the address of the database is not a URL")?;
    postgres::prepare(&url).await
}

/// Waits for a request to stop, and returns the number of the signal.
async fn stop_requested() -> anyhow::Result<u8> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let kind = tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
        _ = hang_up.recv() => SignalKind::hangup(),
    };
    Ok(u8::try_from(kind.as_raw_value())?)
}

impl Database {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let postgres = Postgres::start(read_postgres_url(self.postgres.url.as_ref())?.as_ref()).await?;
        let url = postgres.create_database(&format!("tool_{}", std::process::id())).await?;
        let Some((program, arguments)) = self.command.split_first() else {
            // The password of a given server is known to the person who gave it.
            println!("{}", without_password(&url));
            stop_requested().await?;
            return Ok(ExitCode::SUCCESS);
        };
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .env("DATABASE_URL", url.as_str())
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        tokio::select! {
            status = child.wait() => Ok(code(status?)),
            signal = stop_requested() => {
                child.kill().await?;
                Ok(ExitCode::from(SIGNALLED + signal?))
            }
        }
    }
}

fn code(status: ExitStatus) -> ExitCode {
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED))
}
