//! The views of the console, of a database in which a million runs failed: time on the server, and size.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use local_cloud::consumption::Consumption;
use local_cloud::environment::Endpoints;
use local_cloud::tasks::Settings;
use local_cloud::{CloudTasks, Postgres, postgres};
use serde::Serialize;
use shared::http;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use tests::Incident;
use url::Url;
use uuid::Uuid;

use crate::options::Common;
use crate::process::{Running, free_address};
use crate::task::milliseconds;

const PROGRAM: &str = "ops";
const TIMEOUT: Duration = Duration::from_mins(1);
const MAX_MS: f64 = 100.0;
const MAX_KB: f64 = 50.0;

/// Time and size of each view of the console when very much has failed
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Failed runs, and rows of the ledger of messages [default: 1000000; with --short, 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    failures: Option<u32>,
    /// Dead letters that were not replayed [default: 10000; with --short, 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    dead_letters: Option<u32>,
    #[command(flatten)]
    common: Common,
    /// A Postgres server on which a database of our own is created and dropped; a private one otherwise
    #[arg(long = "postgres", env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    postgres: Option<Url>,
}

#[derive(Serialize)]
struct Row {
    view: String,
    /// Of several.
    median_ms: f64,
    slowest_ms: f64,
    /// Of the console and of Postgres: it does not depend on what else the machine does.
    cpu_ms: f64,
    kb: f64,
}

/// Measures and prints. Returns whether an aim is missed.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rows = runtime.block_on(measure(options))?;
    let mut out = std::io::stdout().lock();
    if options.common.json {
        writeln!(out, "{}", serde_json::to_string(&rows)?)?;
    } else {
        writeln!(out, "{:<84}{:>10}{:>12}{:>8}{:>8}", "view", "median ms", "slowest ms", "CPU ms", "KB")?;
        for Row { view, median_ms, slowest_ms, cpu_ms, kb } in &rows {
            writeln!(out, "{view:<84}{median_ms:>10.1}{slowest_ms:>12.1}{cpu_ms:>8.1}{kb:>8.1}")?;
        }
        if !options.common.short {
            writeln!(out, "{:<84}{:>10}{:>28}", "aim", format!("< {MAX_MS}"), format!("< {MAX_KB}"))?;
        }
    }
    let misses = |row: &Row| row.kb >= MAX_KB || (!options.common.short && row.median_ms >= MAX_MS);
    Ok(rows.iter().any(misses))
}

async fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let program = options.common.folder()?.join(PROGRAM);
    let failures = options.common.number(options.failures, 10_000, 1_000_000);
    let incident = Incident {
        failures,
        dead_letters: options.common.number(options.dead_letters, 1_000, 10_000),
        deliveries: failures,
        error_chars: 20,
    };
    let server = Postgres::start(options.postgres.as_ref()).await?;
    let database = server.create_database(&format!("bench_{}", Uuid::new_v4().simple())).await?;
    let mut connection = postgres::connect(&database).await?;
    for statement in incident.statements() {
        connection.execute(AssertSqlSafe(statement)).await?;
    }
    let tasks = CloudTasks::start(Settings::default()).await?;
    let endpoints = Endpoints {
        database: database.as_str(),
        tasks_url: &tasks.url(),
        ..Endpoints::unreachable(tasks.settings())
    };
    let address = free_address()?;
    let mut process = Running::start(&program, |command| {
        command.args(["console", "--port", &address.port().to_string()]).envs(endpoints.environment());
    })?;
    process.until_ready(address, Some("/health/ready"))?;
    let repeat = options.common.number(None, 1, 9);
    let mut rows = Vec::new();
    for view in incident.views() {
        rows.push(measure_view(&mut connection, &process, address, view, repeat).await?);
    }
    Ok(rows)
}

/// After one look that is not counted: connections, and what Postgres reads from disk.
async fn measure_view(
    connection: &mut PgConnection,
    process: &Running,
    address: SocketAddr,
    view: String,
    repeat: u32,
) -> anyhow::Result<Row> {
    let http = http::client(TIMEOUT, TIMEOUT);
    let (mut times, mut bytes, mut cpu) = (Vec::new(), 0, Duration::ZERO);
    for number in 0..=repeat {
        if number == 1 {
            cpu = used(connection, process).await?;
        }
        let began = Instant::now();
        let response = http.get(format!("http://{address}{view}")).send().await?;
        let status = response.status();
        bytes = response.bytes().await?.len();
        times.push(began.elapsed());
        ensure!(status.is_success(), "{view} responds {status}");
    }
    let cpu_ms = milliseconds(used(connection, process).await?.saturating_sub(cpu)) / f64::from(repeat);
    times.remove(0);
    times.sort();
    #[expect(clippy::cast_precision_loss, reason = "a page is far smaller than 2^52 bytes")]
    let kb = bytes as f64 / 1000.0;
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    Ok(Row { view, median_ms: milliseconds(median), slowest_ms: milliseconds(slowest), cpu_ms, kb })
}

/// CPU that the console has used so far, and what serves it in Postgres.
async fn used(connection: &mut PgConnection, process: &Running) -> anyhow::Result<Duration> {
    let backends: Vec<(i32,)> = sqlx::query_as(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .fetch_all(connection)
    .await?;
    let backends = backends.into_iter().filter_map(|(id,)| u32::try_from(id).ok());
    let ids = backends.chain([process.id()]);
    Ok(ids.filter_map(Consumption::of).map(|used| used.cpu).sum())
}
