//! Push notifications that one instance takes: each through a channel of its own, and several through each channel. None may
//! be lost: each user's last notification has a task that begins after it was sent.
//!
//! Postgres and Cloud Tasks are on the same machine and take their part of its CPU; the figures per notification are those of the
//! instance alone.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use ::webhooks::SERVICE;
use ::webhooks::google_calendar::PATHS;
use anyhow::Context as _;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use catchup::queues;
use chrono::{DateTime, Utc};
use local_cloud::consumption::Consumption;
use local_cloud::environment::{self, Endpoints};
use local_cloud::tasks::Settings;
use local_cloud::{CloudTasks, Postgres, postgres};
use serde::Serialize;
use serde_json::Value;
use shared::clock::Clock;
use sqlx::PgConnection;
use url::Url;
use uuid::Uuid;

use crate::load::{Connections, Target};
use crate::options::Common;
use crate::process::{Running, free_address};
use crate::task::{count, milliseconds};

/// Of one user each.
const CHANNELS: &str = "
    WITH added AS (
        INSERT INTO users (id, email, google_id)
        SELECT gen_random_uuid(), 'user' || n || '@example.test', 'user' || n FROM generate_series(1, $1::int) n
        RETURNING id, substr(google_id, 5) AS number
    )
    INSERT INTO calendar_webhook_subscriptions (user_id, channel_id, resource_id, resource_uri, expiration, token)
    SELECT id, 'channel-' || number, 'resource-' || number, 'uri', '2100-01-01', 'token-' || number FROM added";
/// Notifications through one channel, one after the other.
const REPEATED: usize = 10;
/// What one instance must take.
const MIN_PER_SECOND: f64 = 10_000.0 / 60.0;
/// Per notification, and a little for windows that end meanwhile.
const MAX_STATEMENTS: f64 = 1.01;
const MAX_TASKS: f64 = 1.01;

/// Push notifications that one instance takes: a second, latency, CPU, statements and tasks per notification, memory
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Notifications of each kind [default: 10000; with --short, 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    notifications: Option<u32>,
    /// Notifications in flight at a time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    in_flight: u32,
    #[command(flatten)]
    common: Common,
    /// A Postgres server on which a database of our own is created and dropped; a private one otherwise
    #[arg(long = "postgres", env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    postgres: Option<Url>,
}

#[derive(Serialize)]
struct Row {
    kind: &'static str,
    notifications: usize,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_ms_per_notification: f64,
    statements_per_notification: f64,
    tasks_per_notification: f64,
    peak_mib: f64,
    /// Users whose last notification no task covers.
    lost: usize,
}

impl Row {
    fn misses(&self) -> bool {
        self.per_second < MIN_PER_SECOND
            || self.statements_per_notification > MAX_STATEMENTS
            || self.tasks_per_notification > MAX_TASKS
    }
}

/// Measures and prints. Returns whether an aim is missed, or a notification was lost.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rows = runtime.block_on(measure(options))?;
    let mut out = std::io::stdout().lock();
    if options.common.json {
        writeln!(out, "{}", serde_json::to_string(&rows)?)?;
    } else {
        writeln!(
            out,
            "{:<24}{:>10}{:>9}{:>9}{:>9}{:>12}{:>8}{:>10}{:>6}",
            "notifications",
            "a second",
            "p50 ms",
            "p99 ms",
            "CPU ms",
            "statements",
            "tasks",
            "peak MiB",
            "lost"
        )?;
        for row in &rows {
            writeln!(
                out,
                "{:<24}{:>10.0}{:>9.2}{:>9.2}{:>9.3}{:>12.2}{:>8.2}{:>10.1}{:>6}",
                row.kind,
                row.per_second,
                row.p50_ms,
                row.p99_ms,
                row.cpu_ms_per_notification,
                row.statements_per_notification,
                row.tasks_per_notification,
                row.peak_mib,
                row.lost
            )?;
        }
        if !options.common.short {
            writeln!(out, "{:<24}{:>10}{:>39}{:>8}{:>16}", "aim", "≥ 167", "≤ 1", "≤ 1", "0")?;
        }
    }
    let misses = |row: &Row| row.lost > 0 || (!options.common.short && row.misses());
    Ok(rows.iter().any(misses))
}

async fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let program = options.common.folder()?.join(SERVICE.name);
    let notifications = options.common.number(options.notifications, 100, 10_000) as usize;
    let server = Postgres::start(options.postgres.as_ref()).await?;
    let database = server.create_database(&format!("bench_{}", Uuid::new_v4().simple())).await?;
    let mut connection = postgres::connect(&database).await?;
    sqlx::query(CHANNELS)
        .bind(i32::try_from(2 * notifications).context("too many notifications")?)
        .execute(&mut connection)
        .await?;
    sqlx::query("ANALYZE").execute(&mut connection).await?;
    let tasks = CloudTasks::start(Settings::default()).await?;
    let endpoints = Endpoints {
        database: database.as_str(),
        tasks_url: &tasks.url(),
        ..Endpoints::unreachable(tasks.settings())
    };
    let address = free_address()?;
    let mut process = Running::start(&program, |command| {
        command.envs(endpoints.environment()).envs(environment::listening_on(address));
    })?;
    process.until_ready(address, Some("/health/ready"))?;

    let mut rows = Vec::new();
    for (kind, begin, repeated) in
        [("each of its own channel", 0, 1), ("ten of each channel", notifications, REPEATED)]
    {
        let channels = notifications.div_ceil(repeated);
        let sent = Rc::new(RefCell::new(Sent::default()));
        let request = {
            let sent = Rc::clone(&sent);
            Box::new(move || request(address, begin + sent.borrow_mut().next(channels)))
        };
        let target = Target { address, request, status: 204, contains: "" };
        let mut connections = Connections::open(&target, options.in_flight as usize).await?;
        let before = Used::of(&process, address, &tasks).await?;
        let round = connections.send(notifications).await?;
        let used = Used::of(&process, address, &tasks).await?;
        let covered_until = covered_until(&mut connection, &tasks).await?;
        rows.push(Row {
            kind,
            notifications,
            per_second: count(notifications) / round.elapsed.as_secs_f64(),
            p50_ms: milliseconds(round.percentile(50)),
            p99_ms: milliseconds(round.percentile(99)),
            cpu_ms_per_notification: milliseconds(used.cpu.saturating_sub(before.cpu)) / count(notifications),
            statements_per_notification: (used.statements - before.statements) / count(notifications),
            tasks_per_notification: count(used.tasks - before.tasks) / count(notifications),
            peak_mib: used.peak_mib,
            lost: sent.borrow().lost(begin, &covered_until),
        });
    }
    Ok(rows)
}

/// When the last notification through each channel was sent: the channels take turns.
#[derive(Default)]
struct Sent {
    number: usize,
    last: Vec<DateTime<Utc>>,
}

impl Sent {
    /// The number of the channel, from 1, through which the next one is sent now.
    fn next(&mut self, channels: usize) -> usize {
        let (channel, now) = (self.number % channels, Clock::system().now());
        self.number += 1;
        match self.last.get_mut(channel) {
            Some(last) => *last = now,
            None => self.last.push(now),
        }
        channel + 1
    }

    /// Channels whose last notification no task covers.
    fn lost(&self, begin: usize, covered_until: &HashMap<String, DateTime<Utc>>) -> usize {
        let is_lost = |(channel, sent): &(usize, &DateTime<Utc>)| {
            covered_until.get(&format!("channel-{channel}")).is_none_or(|until| until <= sent)
        };
        (begin + 1..).zip(&self.last).filter(is_lost).count()
    }
}

/// When the last task of each channel's user begins: it covers what was sent before.
async fn covered_until(
    connection: &mut PgConnection,
    tasks: &CloudTasks,
) -> anyhow::Result<HashMap<String, DateTime<Utc>>> {
    let channels: Vec<(Uuid, String)> =
        sqlx::query_as("SELECT user_id, channel_id FROM calendar_webhook_subscriptions")
            .fetch_all(connection)
            .await?;
    let channels: HashMap<Uuid, String> = channels.into_iter().collect();
    let mut until: HashMap<String, DateTime<Utc>> = HashMap::new();
    for task in tasks.list(queues::CALENDAR_SYNC).await? {
        let begins = task["scheduleTime"].as_str().context("a task has no time")?.parse()?;
        let body = task["httpRequest"]["body"].as_str().context("a task has no body")?;
        let envelope: Value = serde_json::from_slice(&BASE64_STANDARD.decode(body)?)?;
        let user: Uuid = envelope["data"]["userId"].as_str().context("a task names no user")?.parse()?;
        let channel = channels.get(&user).context("a task is for a user without a channel")?;
        let last = until.entry(channel.clone()).or_insert(begins);
        *last = begins.max(*last);
    }
    Ok(until)
}

/// What the instance has used so far.
struct Used {
    cpu: Duration,
    peak_mib: f64,
    statements: f64,
    tasks: usize,
}

impl Used {
    async fn of(process: &Running, address: SocketAddr, tasks: &CloudTasks) -> anyhow::Result<Self> {
        let consumption =
            Consumption::of(process.id()).context("CPU is measured on Linux only, of a process that runs")?;
        #[expect(clippy::cast_precision_loss, reason = "memory is far smaller than 2^52 bytes")]
        let peak_mib = consumption.peak_bytes as f64 / f64::from(1 << 20);
        let tasks = tasks.count(queues::CALENDAR_SYNC).await?;
        Ok(Self { cpu: consumption.cpu, peak_mib, statements: statements(address)?, tasks })
    }
}

/// SQL statements of the process so far, as it says itself.
fn statements(address: SocketAddr) -> anyhow::Result<f64> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    let line = page.lines().find_map(|line| line.strip_prefix("sql_statements_total "));
    line.context("the process does not say how many statements it made")?.trim().parse().context("no number")
}

/// A notification as Google sends it.
fn request(address: SocketAddr, channel: usize) -> String {
    format!(
        "POST {} HTTP/1.1\r\n\
         Host: {address}\r\n\
         Accept: */*\r\n\
         Content-Length: 0\r\n\
         User-Agent: APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)\r\n\
         X-Goog-Channel-ID: channel-{channel}\r\n\
         X-Goog-Channel-Token: token-{channel}\r\n\
         X-Goog-Channel-Expiration: Fri, 01 Jan 2100 00:00:00 GMT\r\n\
         X-Goog-Message-Number: 2\r\n\
         X-Goog-Resource-ID: resource-{channel}\r\n\
         X-Goog-Resource-State: exists\r\n\
         X-Goog-Resource-URI: https://www.googleapis.com/calendar/v3/calendars/primary/events\r\n\r\n",
        PATHS[0]
    )
}
