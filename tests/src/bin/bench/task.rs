//! CPU, throughput and latency of one task, ours next to the floor.
//!
//! Floor and function take turns on the same Postgres and Redis, so that whatever else the machine does meets both.
//! Times and throughput are the median of the rounds; CPU is that of the process alone, over all its rounds.

use std::fmt;
use std::io::Write as _;
use std::time::Duration;

use ::tests::Issuer;
use anyhow::{Context as _, ensure};
use catchup::queues;
use local_cloud::consumption::Consumption;
use local_cloud::environment::{self, Endpoints};
use local_cloud::tasks::Settings;
use local_cloud::{Background, Postgres, Redis};
use serde::Serialize;
use url::Url;
use uuid::Uuid;

use crate::load::{Connections, Round, Target};
use crate::options::Common;
use crate::process::{Running, free_address};

/// A function whose job for an unknown user is one query.
const FUNCTION: &str = "token-refresh";
const REDIS_TOKEN: &str = "a-token-for-benches";
/// More rounds: less that other work of the machine can do.
const ROUNDS: usize = 10;
const MAX_CPU_RATIO: f64 = 1.3;
const MIN_THROUGHPUT_RATIO: f64 = 0.9;
const MAX_P99_RATIO: f64 = 1.3;

/// CPU per task, tasks per second and latency of token-refresh for an unknown user, compared with the floor
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Tasks for each program and number in flight [default: 10000; with --short, 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tasks: Option<u32>,
    /// Tasks in flight at a time
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,16,64",
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    in_flight: Vec<u32>,
    #[command(flatten)]
    common: Common,
    /// A Postgres server on which a database of our own is created and dropped; a private one otherwise
    #[arg(long = "postgres", env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    postgres: Option<Url>,
    /// A Redis of which an empty database is used and emptied; a private one otherwise
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis: Option<Url>,
}

#[derive(Serialize)]
struct Report {
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    in_flight: u32,
    cpu_ratio: f64,
    throughput_ratio: f64,
    p50_ratio: f64,
    p99_ratio: f64,
    tasks: usize,
    floor: Figures,
    ours: Figures,
}

#[derive(Serialize)]
struct Figures {
    cpu_ms_per_task: f64,
    tasks_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Measures and prints. Returns whether a ratio misses its aim.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(measure(options))?;
    let mut out = std::io::stdout().lock();
    if options.common.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(out, "{report}")?;
        if !options.common.short {
            writeln!(
                out,
                "{:<18}{:>12} {:>11}{:>10}{:>10}",
                "aim",
                format!("≤ {MAX_CPU_RATIO:.2}"),
                format!("≥ {MIN_THROUGHPUT_RATIO:.2}"),
                "",
                format!("≤ {MAX_P99_RATIO:.2}")
            )?;
        }
    }
    Ok(!options.common.short && report.rows.iter().any(Row::misses))
}

async fn measure(options: &Options) -> anyhow::Result<Report> {
    let folder = options.common.folder()?;
    let queue = queues::all().find(|queue| queue.name() == FUNCTION).context("the function has no queue")?;
    let postgres = Postgres::start(options.postgres.as_ref()).await?;
    let database = postgres.create_database(&format!("bench_{}", Uuid::new_v4().simple())).await?;
    let redis = Redis::start(options.redis.as_ref()).await?;
    let config = upstash_gateway::Config::new(redis.url(), REDIS_TOKEN);
    let gateway = Background::start("gateway", |listener| {
        upstash_gateway::serve(listener, config, std::future::pending())
    })?;
    let issuer = Issuer::start();
    let settings = Settings::default();

    let endpoints = Endpoints {
        database: database.as_str(),
        redis_url: &gateway.url(),
        redis_token: REDIS_TOKEN,
        oidc_issuer: &issuer.url(),
        oidc_jwks_url: &issuer.jwks_url(),
        ..Endpoints::unreachable(&settings)
    };
    let address = free_address()?;
    let mut ours = Running::start(&folder.join(FUNCTION), |command| {
        command.envs(endpoints.environment()).envs(environment::listening_on(address));
    })?;
    ours.until_ready(address, Some("/health/ready"))?;
    let token = issuer.token(&settings.function_url(queue));
    let ours_target = Target::of_tasks(address, queue, &token, "unknown_user");

    let address = free_address()?;
    let mut floor = Running::start(&folder.join("floor"), |command| {
        command.arg("--listen").arg(address.to_string());
        command.arg("--redis-url").arg(gateway.url()).arg("--redis-token").arg(REDIS_TOKEN);
        command.arg("--database-url").arg(database.as_str());
    })?;
    floor.until_ready(address, None)?;
    let floor_target = Target::of_tasks(address, queue, &token, "{}");

    let tasks = options.common.number(options.tasks, 100, 10_000) as usize;
    let mut rows = Vec::new();
    for &in_flight in &options.in_flight {
        let mut floor = Side::open(&floor, &floor_target, in_flight as usize).await?;
        let mut ours = Side::open(&ours, &ours_target, in_flight as usize).await?;
        for round in 0..ROUNDS {
            // The last round takes what division left.
            let tasks = tasks * (round + 1) / ROUNDS - tasks * round / ROUNDS;
            floor.round(tasks).await?;
            ours.round(tasks).await?;
        }
        rows.push(Row::new(in_flight, tasks, floor.figures()?, ours.figures()?));
    }
    Ok(Report { rows })
}

/// One of the two programs, with as many connections as tasks are in flight.
struct Side<'a> {
    process: &'a Running,
    connections: Connections<'a>,
    cpu: Duration,
    rounds: Vec<Round>,
}

impl<'a> Side<'a> {
    /// Opens the connections, and those of the program with a first task on each.
    async fn open(process: &'a Running, target: &'a Target, in_flight: usize) -> anyhow::Result<Self> {
        let mut connections = Connections::open(target, in_flight).await?;
        connections.send(in_flight).await?;
        Ok(Self { process, connections, cpu: cpu(process)?, rounds: Vec::new() })
    }

    async fn round(&mut self, tasks: usize) -> anyhow::Result<()> {
        if tasks > 0 {
            self.rounds.push(self.connections.send(tasks).await?);
        }
        Ok(())
    }

    fn figures(&self) -> anyhow::Result<Figures> {
        // Idle, it uses none: all of it is that of its own rounds.
        let cpu = cpu(self.process)?.saturating_sub(self.cpu);
        let tasks: usize = self.rounds.iter().map(|round| round.latencies.len()).sum();
        ensure!(tasks > 0, "no task was measured");
        Ok(Figures {
            cpu_ms_per_task: milliseconds(cpu) / count(tasks),
            tasks_per_s: self.median(|round| count(round.latencies.len()) / round.elapsed.as_secs_f64()),
            p50_ms: self.median(|round| milliseconds(round.percentile(50))),
            p99_ms: self.median(|round| milliseconds(round.percentile(99))),
        })
    }

    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
    }
}

/// What the process has used so far.
fn cpu(process: &Running) -> anyhow::Result<Duration> {
    Ok(Consumption::of(process.id()).context("CPU is measured on Linux only, of a process that runs")?.cpu)
}

impl Round {
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut latencies = self.latencies.clone();
        latencies.sort();
        latencies[(latencies.len() * percent).div_ceil(100).max(1) - 1]
    }
}

impl Row {
    fn new(in_flight: u32, tasks: usize, floor: Figures, ours: Figures) -> Self {
        Self {
            in_flight,
            cpu_ratio: ours.cpu_ms_per_task / floor.cpu_ms_per_task,
            throughput_ratio: ours.tasks_per_s / floor.tasks_per_s,
            p50_ratio: ours.p50_ms / floor.p50_ms,
            p99_ratio: ours.p99_ms / floor.p99_ms,
            tasks,
            floor,
            ours,
        }
    }

    fn misses(&self) -> bool {
        self.cpu_ratio > MAX_CPU_RATIO
            || self.throughput_ratio < MIN_THROUGHPUT_RATIO
            || self.p99_ratio > MAX_P99_RATIO
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["CPU ms/task", "tasks/s", "p50 ms", "p99 ms"];
        writeln!(
            out,
            "{:<18}{:>12}{:>12}{:>10}{:>10}",
            "in flight", header[0], header[1], header[2], header[3]
        )?;
        for row in &self.rows {
            for (name, figures) in [("floor", &row.floor), ("ours", &row.ours)] {
                let Figures { cpu_ms_per_task: cpu, tasks_per_s, p50_ms, p99_ms } = figures;
                writeln!(
                    out,
                    "{:<10}{name:<8}{cpu:>12.3}{tasks_per_s:>12.0}{p50_ms:>10.2}{p99_ms:>10.2}",
                    row.in_flight
                )?;
            }
            writeln!(
                out,
                "{:<10}{:<8}{:>12.2}{:>12.2}{:>10.2}{:>10.2}",
                row.in_flight, "ratio", row.cpu_ratio, row.throughput_ratio, row.p50_ratio, row.p99_ratio
            )?;
        }
        Ok(())
    }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

pub(crate) fn count(tasks: usize) -> f64 {
    u32::try_from(tasks).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_least_latency_that_so_many_do_not_exceed() {
        let check = |ms: Vec<u64>, percent, expected| {
            let latencies = ms.into_iter().map(Duration::from_millis).collect();
            let round = Round { elapsed: Duration::ZERO, latencies };
            assert_eq!(round.percentile(percent), Duration::from_millis(expected));
        };
        check((1..=100).rev().collect(), 50, 50);
        check((1..=100).rev().collect(), 99, 99);
        check(vec![7], 50, 7);
        check(vec![7], 99, 7);
    }

    #[test]
    fn each_aim_can_be_missed_alone() {
        let row = |cpu_ms_per_task, tasks_per_s, p99_ms| {
            let floor = Figures { cpu_ms_per_task: 1.0, tasks_per_s: 100.0, p50_ms: 1.0, p99_ms: 1.0 };
            Row::new(1, 1, floor, Figures { cpu_ms_per_task, tasks_per_s, p50_ms: 1.0, p99_ms })
        };
        assert!(!row(1.25, 95.0, 1.25).misses());
        assert!(row(1.35, 95.0, 1.25).misses());
        assert!(row(1.25, 85.0, 1.25).misses());
        assert!(row(1.25, 95.0, 1.35).misses());
    }
}
