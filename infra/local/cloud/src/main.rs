//! `local-cloud`: the whole system on one machine, and databases for tools.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use catchup::queues;
use clap::{Args, Parser, Subcommand};
use google_stand_in::SeedOptions;
use local_cloud::console::Console;
use local_cloud::functions::built_programs;
use local_cloud::once::{Progress, once};
use local_cloud::report::Report;
use local_cloud::simulated_time::SimulatedTime;
use local_cloud::stack::{LocalCloud, Options, Servers};
use local_cloud::verify::Difference;
use local_cloud::{Postgres, days, postgres};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{interval, sleep_until};
use url::Url;

const FAILED: u8 = 1;
/// Also clap's code for wrong arguments.
const UNUSABLE: u8 = 2;
/// What shells answer for a program that a signal ended: this plus the signal's number.
const SIGNALLED: u8 = 128;
/// Differences that are printed one by one.
const SHOWN_DIFFERENCES: usize = 40;
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The whole system on one machine, without a cloud account. Everything listens on 127.0.0.1 only.
#[derive(Parser)]
#[command(name = "local-cloud", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything, run every schedule once, and go on until Ctrl-C.
    Up(Up),
    /// Create a database with all tables; run a command with its address in `DATABASE_URL`, or wait until Ctrl-C.
    Database(Database),
    /// Give an empty database all tables.
    Schema {
        /// postgres://user@host:port/name
        url: Url,
    },
}

#[derive(Args)]
struct PostgresServer {
    /// Server on which a database of our own is created, and dropped at the end; without it, a private server is started.
    #[arg(long = "postgres", env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    url: Option<Url>,
}

#[derive(Args)]
struct Database {
    #[command(flatten)]
    postgres: PostgresServer,
    /// A command and its arguments.
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Args)]
struct Up {
    /// Run every schedule once, wait for the queues, compare Postgres with Google's world, print a table and stop.
    /// Exit code: 0 when all is right, 1 when something is not, 2 when something is missing or misconfigured.
    #[arg(long)]
    once: bool,
    /// Run so many days in simulated time, in a world that changes, with private servers; then as with --once.
    #[arg(long, value_name = "N", conflicts_with = "once", value_parser = clap::value_parser!(u32).range(1..))]
    days: Option<u32>,
    /// With --once or --days: print the result as JSON.
    #[arg(long)]
    json: bool,
    /// With --once: after the result, go on until Ctrl-C.
    #[arg(long, requires = "once")]
    keep: bool,
    /// Users of the world.
    #[arg(long, default_value_t = 50, value_name = "N")]
    users: usize,
    /// The same seed gives the same world.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// People in the largest address book.
    #[arg(long, default_value_t = 5_000, value_name = "N")]
    max_contacts: u64,
    /// Divide the queues' backoffs (minutes, in production) by this, so that a failed attempt is soon repeated.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    shorten_backoff: u32,
    /// With --once or --days: how long the queues may take to become empty.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    patience: u64,
    #[command(flatten)]
    postgres: PostgresServer,
    /// Redis of which an empty database is used, and emptied at the end; without it, a private server is started.
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis: Option<Url>,
    /// Folder of the functions' programs [default: that of this program].
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Folder for logs [default: local-cloud-logs, beside the programs].
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Up(up) => up.run().await,
        Command::Database(database) => database.run().await,
        Command::Schema { url } => postgres::prepare(&url).await.map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("local-cloud: {error:#}");
        ExitCode::from(UNUSABLE)
    })
}

/// Waits for a request to stop, and answers the signal's number.
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
        let postgres = Postgres::start(self.postgres.url.as_ref()).await?;
        let url = postgres.create_database(&format!("tool_{}", std::process::id())).await?;
        let Some((program, arguments)) = self.command.split_first() else {
            println!("{url}");
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

impl Up {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let mut time = self.days.map(|_| SimulatedTime::enter()).transpose()?;
        let options = self.options()?;
        std::fs::create_dir_all(&options.logs).context("cannot make a folder for the logs")?;
        let mut console = Console::take_over(&options.logs.join("local-cloud.log"))?;
        let result = tokio::select! {
            result = self.work(&options, time.as_mut(), &mut console) => result,
            signal = stop_requested() => {
                let interrupted = ExitCode::from(SIGNALLED + signal?);
                Ok(if (self.once && !self.keep) || self.days.is_some() { interrupted } else { ExitCode::SUCCESS })
            }
        };
        // Everything has ended by now, with the future that owned it.
        console.say("stopped");
        match result {
            Err(error) => {
                console.say(&format!("local-cloud: {error:#}"));
                Ok(ExitCode::from(UNUSABLE))
            }
            ok => ok,
        }
    }

    fn options(&self) -> anyhow::Result<Options> {
        let programs = self.programs.clone().map_or_else(built_programs, Ok)?;
        let logs = self.logs.clone().unwrap_or_else(|| programs.join("local-cloud-logs"));
        Ok(Options {
            // A server that others started does not live in simulated time.
            postgres: self.postgres.url.clone().filter(|_| self.days.is_none()),
            redis: self.redis.clone().filter(|_| self.days.is_none()),
            world: SeedOptions {
                seed: self.seed,
                users: self.users,
                max_contacts: self.max_contacts,
                ..SeedOptions::default()
            },
            backoff_divisor: self.shorten_backoff,
            lease_divisor: 1,
            programs: Some(programs),
            logs,
        })
    }

    /// Errors are what keeps the system from starting; what goes wrong later is a failure.
    async fn work(
        &self,
        options: &Options,
        time: Option<&mut SimulatedTime>,
        console: &mut Console,
    ) -> anyhow::Result<ExitCode> {
        console.say("starting Postgres and Redis");
        let servers = Servers::start(options).await?;
        console.say(&format!("seeding {} users and starting the functions", self.users));
        let mut cloud = LocalCloud::start(options, servers).await?;
        let width = cloud.addresses().iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, address) in cloud.addresses() {
            console.say(&format!("  {name:<width$}  {address}"));
        }
        let result = match (time, self.days) {
            (Some(time), Some(days)) => self.days(&mut cloud, time, days, console).await,
            _ if self.once => self.once(&mut cloud, console).await,
            _ => go_on(&mut cloud, console).await,
        };
        let code = result.unwrap_or_else(|error| {
            console.say(&format!("failed: {error:#}"));
            ExitCode::from(FAILED)
        });
        if self.keep {
            console.say("Ctrl-C stops everything");
            std::future::pending::<()>().await;
        }
        Ok(code)
    }

    async fn once(&self, cloud: &mut LocalCloud, console: &mut Console) -> anyhow::Result<ExitCode> {
        let started = Instant::now();
        let patience = Duration::from_secs(self.patience);
        let mut differences = once(cloud, patience, |progress| match progress {
            Progress::Schedules(queue) => console.say(&format!("running the schedules of {}", queue.name())),
            Progress::Queues(standing) => console.progress(standing),
            Progress::Comparing => console.say("comparing Postgres, Google's world and the inbox"),
            Progress::Changing(users) => console.say(&format!("{users} users enter an event")),
        })
        .await?;
        let seconds = started.elapsed().as_secs_f64();
        let over_budget = Report::of(&cloud.lines(), &BTreeMap::new()).over_redis_budget();
        differences.extend(over_budget.into_iter().map(|what| Difference { user: None, what }));
        self.report(cloud, &differences, seconds).await
    }

    async fn days(
        &self,
        cloud: &mut LocalCloud,
        time: &mut SimulatedTime,
        days: u32,
        console: &mut Console,
    ) -> anyhow::Result<ExitCode> {
        let started = Instant::now();
        let patience = Duration::from_secs(self.patience);
        let differences = days::days(cloud, time, days, patience, |progress| match progress {
            days::Progress::Now(now) => console.say(&now.format("%a %F %H:%M UTC").to_string()),
            days::Progress::Comparing => console.say("comparing Postgres, Google's world and the inbox"),
        })
        .await?;
        self.report(cloud, &differences, started.elapsed().as_secs_f64()).await
    }

    /// Prints what happened, and whether all is right.
    async fn report(
        &self,
        cloud: &LocalCloud,
        differences: &[Difference],
        seconds: f64,
    ) -> anyhow::Result<ExitCode> {
        let report = Report::of(&cloud.lines(), &cloud.consumption());
        let held: Vec<_> = cloud.held().await?.into_iter().filter(|(_, tasks)| *tasks > 0).collect();
        let right = differences.is_empty() && report.failures() == 0;
        if self.json {
            let held: serde_json::Map<_, _> =
                held.iter().map(|(queue, tasks)| (queue.name().to_owned(), json!(tasks))).collect();
            let queues = serde_json::to_value(&report)?;
            println!(
                "{}",
                json!({ "right": right, "seconds": seconds, "queues": queues["queues"], "held": held, "messages": cloud.inbox().messages().len(), "differences": differences })
            );
        } else {
            print!("{report}");
            for (queue, tasks) in held {
                println!("{:<24} {tasks:>6} tasks wait for a function that is not here", queue.name());
            }
            print_differences(differences);
            let verdict = if right { "all is right" } else { "NOT RIGHT" };
            let messages = cloud.inbox().messages().len();
            println!("{verdict}: {} users, {messages} messages, {seconds:.1} s", self.users);
        }
        Ok(if right { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }
}

fn print_differences(differences: &[Difference]) {
    for difference in differences.iter().take(SHOWN_DIFFERENCES) {
        println!("{difference}");
    }
    if differences.len() > SHOWN_DIFFERENCES {
        println!("… and {} more differences", differences.len() - SHOWN_DIFFERENCES);
    }
}

/// Runs every schedule now and then at its period, until somebody stops it.
async fn go_on(cloud: &mut LocalCloud, console: &mut Console) -> anyhow::Result<ExitCode> {
    console.say("Ctrl-C stops everything");
    let now = tokio::time::Instant::now();
    let mut due: Vec<_> = queues::all()
        .filter(|queue| cloud.serves(*queue))
        .flat_map(|queue| queue.policy().schedules.iter().map(move |schedule| (now, queue, schedule)))
        .collect();
    let mut look = interval(PROGRESS_EVERY);
    loop {
        due.sort_by_key(|(at, ..)| *at);
        let (next, queue, schedule) = due.first().copied().context("no function here has a schedule")?;
        tokio::select! {
            () = sleep_until(next) => {
                cloud.run_schedule(queue, schedule).await?;
                due[0].0 = next + Duration::from_secs(schedule.period_seconds.into());
            }
            _ = look.tick() => console.progress(cloud.standing().await?),
        }
    }
}
