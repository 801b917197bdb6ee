//! Address books of any size: a first sync, and one that finds nothing new.

use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use catchup::queues;
use google_stand_in::{Integration, SeedOptions};
use local_cloud::seed::{self, Variety};
use local_cloud::stack::{LocalCloud, Options as CloudOptions, Servers};
use serde::Serialize;
use serde_json::json;
use shared::queue::Queue;
use url::Url;
use uuid::Uuid;

use crate::options::Common;

const QUEUE: Queue = queues::GOOGLE_CONTACTS_SYNC;
const LIMIT: Duration = Duration::from_mins(30);
/// What a first sync of [`AIM_PEOPLE`] may take.
const MAX_SECONDS: f64 = 12.0;
const MAX_PEAK_MIB: f64 = 32.0;
const AIM_PEOPLE: u64 = 100_000;
/// A sync of ten times the people may take so many times as long; a quadratic one takes a hundred times.
const MAX_GROWTH: f64 = 15.0;
/// A sync that finds nothing new asks for the people and for the groups.
const CALLS_WITHOUT_CHANGE: u64 = 2;

/// A first sync of an address book, and one that finds nothing new, for a tenth of the people and for all
#[derive(clap::Args)]
pub(crate) struct Options {
    /// People in the address book [default: 100000; with --short, 2000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    people: Option<u64>,
    #[command(flatten)]
    common: Common,
    /// A Postgres server on which databases of our own are created and dropped; a private one otherwise
    #[arg(long = "postgres", env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    postgres: Option<Url>,
}

#[derive(Serialize)]
struct Report {
    rows: Vec<Row>,
    /// How many times as long a first sync takes with ten times the people.
    growth: f64,
}

#[derive(Serialize)]
struct Row {
    people: u64,
    peak_mib: f64,
    first: Figures,
    unchanged: Figures,
}

#[derive(Serialize)]
struct Figures {
    seconds: f64,
    /// Of the function's process alone.
    cpu_seconds: f64,
    statements: u64,
    calls: u64,
}

/// Measures and prints. Returns whether an aim is missed.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let report = runtime.block_on(measure(options))?;
    let mut out = std::io::stdout().lock();
    if options.common.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(!options.common.short && report.misses())
}

async fn measure(options: &Options) -> anyhow::Result<Report> {
    let program = options.common.folder()?.join(QUEUE.name());
    ensure!(program.exists(), "{} is not built; run scripts/bench", program.display());
    let people = options.common.number(options.people, 2_000, AIM_PEOPLE);
    let mut rows = Vec::new();
    for people in [people / 10, people] {
        rows.push(size(options, &program, people).await?);
    }
    let growth = rows[1].first.seconds / rows[0].first.seconds;
    Ok(Report { rows, growth })
}

async fn size(options: &Options, program: &Path, people: u64) -> anyhow::Result<Row> {
    // The one function alone: nothing else runs next to it.
    let work = std::env::temp_dir().join(format!("bench-{}", Uuid::new_v4().simple()));
    std::fs::create_dir(&work)?;
    std::os::unix::fs::symlink(std::path::absolute(program)?, work.join(QUEUE.name()))?;
    let cloud_options = CloudOptions {
        postgres: options.postgres.clone(),
        redis: None,
        existing: None,
        world: SeedOptions { users: 4, max_contacts: 10, ..SeedOptions::default() },
        variety: Variety::Varied,
        backoff_divisor: 1,
        debounce_divisor: 1,
        lease_divisor: 1,
        programs: Some(work.clone()),
        logs: work.join("logs"),
    };
    let servers = Servers::start(&cloud_options).await?;
    let mut cloud = LocalCloud::start(&cloud_options, servers).await?;
    let row = measure_size(&mut cloud, people).await;
    drop(cloud);
    std::fs::remove_dir_all(&work)?;
    row
}

async fn measure_size(cloud: &mut LocalCloud, people: u64) -> anyhow::Result<Row> {
    let users = cloud.world().users();
    let user = users.iter().find(|user| user.grant(Integration::GoogleContacts).is_some_and(seed::works));
    let user = user.context("no user has contacts")?.id;
    cloud.world().add_address_book(user, people)?;
    let first = sync(cloud, user, "full").await?;
    let unchanged = sync(cloud, user, "incremental").await?;
    #[expect(clippy::cast_precision_loss, reason = "memory is far smaller than 2^52 bytes")]
    let peak_mib = consumed(cloud)?.peak_bytes as f64 / f64::from(1 << 20);
    Ok(Row { people, peak_mib, first, unchanged })
}

async fn sync(cloud: &mut LocalCloud, user: Uuid, sync_type: &str) -> anyhow::Result<Figures> {
    let (cpu, lines) = (consumed(cloud)?.cpu, cloud.lines().len());
    cloud.world().reset_calls();
    let envelope = json!({ "data": { "userId": user, "syncType": sync_type }, "jobName": QUEUE.name() });
    cloud.tasks().create(QUEUE, envelope.to_string().as_bytes()).await?;
    cloud.until_done(QUEUE, LIMIT).await?;
    let ended = cloud.lines().split_off(lines);
    ensure!(!ended.is_empty() && ended.iter().all(|line| line.outcome == "done"), "a sync failed: {ended:?}");
    Ok(Figures {
        seconds: ended.iter().map(|line| line.duration_ms).sum::<f64>() / 1_000.0,
        cpu_seconds: consumed(cloud)?.cpu.saturating_sub(cpu).as_secs_f64(),
        statements: ended.iter().map(|line| line.sql_statements).sum(),
        calls: cloud.world().calls(user).values().sum(),
    })
}

fn consumed(cloud: &LocalCloud) -> anyhow::Result<local_cloud::consumption::Consumption> {
    cloud.consumption().remove(QUEUE.name()).context("CPU and memory are measured on Linux only")
}

impl Report {
    fn misses(&self) -> bool {
        self.growth > MAX_GROWTH || self.rows.iter().any(Row::misses)
    }
}

impl Row {
    fn misses(&self) -> bool {
        self.unchanged.calls > CALLS_WITHOUT_CHANGE
            || self.people <= AIM_PEOPLE && (self.first.seconds > MAX_SECONDS || self.peak_mib > MAX_PEAK_MIB)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<10}{:<12}{:>9}{:>9}{:>12}{:>8}{:>10}",
            "people", "sync", "seconds", "CPU s", "statements", "calls", "peak MiB"
        )?;
        for Row { people, peak_mib, first, unchanged } in &self.rows {
            for (name, figures) in [("first", first), ("unchanged", unchanged)] {
                let Figures { seconds, cpu_seconds, statements, calls } = figures;
                writeln!(
                    out,
                    "{people:<10}{name:<12}{seconds:>9.2}{cpu_seconds:>9.2}{statements:>12}{calls:>8}{peak_mib:>10.1}"
                )?;
            }
        }
        writeln!(out, "ten times the people take {:.1} times as long", self.growth)?;
        writeln!(
            out,
            "aim: {AIM_PEOPLE} people in {MAX_SECONDS} s and {MAX_PEAK_MIB} MiB, {MAX_GROWTH} times as long"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_aim_can_be_missed_alone() {
        let figures = |seconds, calls| Figures { seconds, cpu_seconds: 0.0, statements: 0, calls };
        let report = |seconds, peak_mib, calls, growth| Report {
            rows: vec![Row {
                people: AIM_PEOPLE,
                peak_mib,
                first: figures(seconds, 102),
                unchanged: figures(0.1, calls),
            }],
            growth,
        };
        assert!(!report(11.0, 31.0, 2, 11.0).misses());
        assert!(report(13.0, 31.0, 2, 11.0).misses());
        assert!(report(11.0, 33.0, 2, 11.0).misses());
        assert!(report(11.0, 31.0, 3, 11.0).misses());
        assert!(report(11.0, 31.0, 2, 16.0).misses());
    }
}
