//! Syncs of calendars: the first one at size, of one with many events and of many; and how long it takes until a change is
//! there. In simulated time, as Google's limit of calls would make it last for hours.

use std::fmt;
use std::io::Write as _;
use std::time::{Duration, Instant};

use ::tests::{Delivery, Google, Stack};
use anyhow::{Context as _, ensure};
use catchup::queues;
use chrono::TimeDelta;
use google_stand_in::{Calendar, Event, SeedOptions, World};
use local_cloud::consumption::Consumption;
use local_cloud::functions::{FunctionProcess, program};
use local_cloud::simulated_time::SimulatedTime;
use serde::Serialize;
use serde_json::{Value, json};
use strum::IntoEnumIterator as _;
use uuid::Uuid;

mod visible;

use crate::options::Common;
use visible::{Scenario, Visible};

const BYTES_PER_MIB: f64 = 1_048_576.0;
/// All of them are in the window of a full sync.
const MINUTES: i64 = 58 * 24 * 60;
/// A sync of a size is compared with one of so much less.
const PART: u32 = 4;
/// So many times as long as it would take if it grew with the size alone.
const MAX_GROWTH: f64 = 1.6;
const POLL: Duration = Duration::from_millis(5);
const TIMEOUT: Duration = Duration::from_mins(6);

/// Seconds, memory, statements and calls of the first sync of a calendar with many events, and of many calendars
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Events in the one calendar [default: 100000; with --short, 400]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=1_000_000))]
    events: Option<u32>,
    /// Calendars with an event each [default: 2300; with --short, 12]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=10_000))]
    calendars: Option<u32>,
    /// Changes, each notified, of which it is measured when they are there [default: 400; with --short, 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    changes: Option<u32>,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Report {
    rows: Vec<Row>,
    visible: Vec<Visible>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Events,
    Calendars,
}

#[derive(Serialize)]
struct Row {
    what: What,
    size: u32,
    /// In which the function worked on it; the minutes that it waited for Google's limit are not counted.
    seconds: f64,
    peak_mib: f64,
    statements: u64,
    calls: u64,
    /// Each is as long as Google's limit of calls allows.
    runs: u32,
    /// Of the next sync, in which nothing has changed.
    next_seconds: f64,
    next_statements: u64,
    next_calls: u64,
}

/// Measures and prints. Returns whether the time grows faster than the size, or a change waits too long.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let mut time = SimulatedTime::enter()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(measure(options, &mut time))?;
    let mut out = std::io::stdout().lock();
    if options.common.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(out, "{report}")?;
    }
    let grows = report.rows.chunks(2).any(|rows| rows[1].growth(&rows[0]) > MAX_GROWTH);
    Ok(!options.common.short && (grows || report.visible.iter().any(Visible::is_late)))
}

async fn measure(options: &Options, time: &mut SimulatedTime) -> anyhow::Result<Report> {
    let events = options.common.number(options.events, 400, 100_000);
    let calendars = options.common.number(options.calendars, 12, 2_300);
    let mut rows = Vec::new();
    for (what, size) in [(What::Events, events), (What::Calendars, calendars)] {
        for size in [size / PART, size] {
            rows.push(Bench::new(what, size, options).await?.measure(what, size, time).await?);
        }
    }
    let changes = options.common.number(options.changes, 20, 400);
    let mut visible = Vec::new();
    for scenario in Scenario::iter() {
        let bench = Bench::new(What::Calendars, visible::CALENDARS, options).await?;
        visible.push(visible::visible(bench, changes, scenario, time).await?);
    }
    Ok(Report { rows, visible })
}

struct Bench {
    stack: Stack,
    google: Google,
    process: FunctionProcess,
    user: Uuid,
    http: reqwest::Client,
    runs: usize,
}

/// What some runs came to.
#[derive(Default)]
struct Spent {
    seconds: f64,
    runs: u32,
    calls: u64,
    statements: u64,
}

impl Bench {
    async fn new(what: What, size: u32, options: &Options) -> anyhow::Result<Self> {
        let stack = Stack::start().await;
        let seed = SeedOptions { users: 1, max_contacts: 1, ..SeedOptions::default() };
        let google = Google::start(&stack, seed).await;
        let world = &google.world;
        let user = world.users()[0].id;
        let primary = world.calendars(user)?.remove(0);
        for calendar in world.calendars(user)?.iter().filter(|calendar| !calendar.primary) {
            world.delete_calendar(user, &calendar.id)?;
        }
        match what {
            What::Events => add_events(world, user, &primary.id, size)?,
            What::Calendars => {
                for number in 0..size {
                    let id = calendar_id(number);
                    let calendar = Calendar { id: id.clone(), primary: false, ..primary.clone() };
                    world.add_calendar(user, calendar)?;
                    add_events(world, user, &id, 1)?;
                }
                let chosen = format!(
                    "INSERT INTO google_calendars (user_id, calendar_id, name, selected)
                     SELECT '{user}', format('calendar-%s@example.test', lpad(n::text, 5, '0')), n::text, true
                     FROM generate_series(0, {size} - 1) n"
                );
                stack.run(&chosen).await;
            }
        }
        let folder = options.common.folder()?;
        let program = program(&folder, queues::CALENDAR_SYNC.name()).context("calendar-sync is not built")?;
        let mut environment = stack.environment();
        environment.extend(google.environment());
        let log = std::env::temp_dir().join(format!("bench-{}.log", Uuid::new_v4().simple()));
        let mut process = FunctionProcess::spawn(queues::CALENDAR_SYNC, &program, &environment, &log)?;
        process.ready().await?;
        Ok(Self { stack, google, process, user, http: shared::http::client(TIMEOUT, TIMEOUT), runs: 0 })
    }

    async fn measure(mut self, what: What, size: u32, time: &mut SimulatedTime) -> anyhow::Result<Row> {
        let first = self.sync(time).await?;
        let count: i64 = self.stack.rows::<(i64,)>("SELECT count(*) FROM calendar_events").await[0].0;
        ensure!(count >= i64::from(size), "only {count} of {size} events are there");
        self.advance(TimeDelta::minutes(2), time).await?;
        let next = self.sync(time).await?;
        let used = Consumption::of(self.process.id()).context("memory is measured on Linux only")?;
        // No process of this machine has that much.
        #[expect(clippy::cast_precision_loss)]
        let peak_mib = used.peak_bytes as f64 / BYTES_PER_MIB;
        let _gone = std::fs::remove_file(self.process.log_path());
        Ok(Row {
            what,
            size,
            seconds: first.seconds,
            peak_mib,
            statements: first.statements,
            calls: first.calls,
            runs: first.runs,
            next_seconds: next.seconds,
            next_statements: next.statements,
            next_calls: next.calls,
        })
    }

    /// A sync, in as many runs as it takes.
    async fn sync(&mut self, time: &mut SimulatedTime) -> anyhow::Result<Spent> {
        let (calls, statements) = (self.calls(), self.statements().await);
        let mut spent = Spent::default();
        let mut task = Delivery::of(queues::CALENDAR_SYNC, &json!({ "userId": self.user }));
        loop {
            let began = Instant::now();
            let (_, outcome) = self.deliver(&task).await?;
            spent.seconds += began.elapsed().as_secs_f64();
            spent.runs += 1;
            self.runs += 1;
            if outcome == "done" {
                break;
            }
            ensure!(outcome == "snoozed", "the sync ended as {outcome}: {}", self.process.log());
            let mut tasks = self.stack.take_tasks(queues::CALENDAR_SYNC).await;
            ensure!(tasks.len() == 1, "{} tasks wait", tasks.len());
            task = tasks.remove(0);
            let wait = task.due.context("a rescheduled task has a time")? - self.google.world.now();
            self.advance(wait + TimeDelta::seconds(1), time).await?;
        }
        spent.calls = self.calls() - calls;
        spent.statements = self.statements().await - statements;
        Ok(spent)
    }

    /// Whether the task was taken, and its outcome.
    async fn deliver(&self, task: &Delivery) -> anyhow::Result<(bool, String)> {
        let queue = queues::CALENDAR_SYNC;
        let audience = self.stack.tasks.settings().function_url(queue);
        let mut request = self
            .http
            .post(format!("http://{}{}", self.process.address(), queue.path()))
            .bearer_auth(self.stack.issuer.token(&audience))
            .header("content-type", "application/json")
            .body(task.body.clone());
        for (name, value) in task.headers(queue) {
            request = request.header(name, value);
        }
        let answer = request.send().await?;
        let is_taken = answer.status().is_success();
        let answer: Value = answer.json().await.unwrap_or_default();
        Ok((is_taken, answer["status"].as_str().unwrap_or_default().to_owned()))
    }

    async fn advance(&self, by: TimeDelta, time: &mut SimulatedTime) -> anyhow::Result<()> {
        time.jump(by.max(TimeDelta::zero()))?;
        self.stack.redis.advance(by.max(TimeDelta::zero())).await
    }

    fn calls(&self) -> u64 {
        self.google.world.calls(self.user).values().sum()
    }

    async fn statements(&self) -> u64 {
        // The answer is faster than the log.
        while self.process.lines().len() < self.runs {
            tokio::time::sleep(POLL).await;
        }
        self.process.lines().iter().map(|line| line.sql_statements).sum()
    }
}

fn calendar_id(number: u32) -> String {
    format!("calendar-{number:05}@example.test")
}

fn add_events(world: &World, user: Uuid, calendar: &str, count: u32) -> anyhow::Result<()> {
    let now = world.now();
    for number in 0..i64::from(count) {
        let start = now + TimeDelta::minutes(60 + number % MINUTES);
        let event = Event::timed(&format!("Event {number}"), start, TimeDelta::minutes(30));
        world.add_event(user, calendar, event)?;
    }
    Ok(())
}

impl Row {
    /// How many times as long it took as `smaller` says for its size.
    fn growth(&self, smaller: &Self) -> f64 {
        self.seconds / (smaller.seconds * f64::from(self.size) / f64::from(smaller.size))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<10}{:>8}{:>10}{:>10}{:>12}{:>8}{:>7}{:>16}{:>12}",
            "first sync",
            "size",
            "seconds",
            "peak MiB",
            "statements",
            "calls",
            "runs",
            "next: seconds",
            "statements"
        )?;
        for row in &self.rows {
            let what = match row.what {
                What::Events => "events",
                What::Calendars => "calendars",
            };
            writeln!(
                out,
                "{what:<10}{:>8}{:>10.2}{:>10.1}{:>12}{:>8}{:>7}{:>16.2}{:>12}",
                row.size,
                row.seconds,
                row.peak_mib,
                row.statements,
                row.calls,
                row.runs,
                row.next_seconds,
                row.next_statements
            )?;
        }
        for visible in &self.visible {
            let Visible { scenario, changes, p50_s, p99_s, max_s, histogram } = visible;
            let scenario: &str = scenario.into();
            writeln!(
                out,
                "{changes} changes, {scenario}: there after {p50_s:.1} s (p50), {p99_s:.1} s (p99), {max_s:.1} s (longest)"
            )?;
            for (class, count) in histogram.iter().filter(|(_, count)| *count > 0) {
                writeln!(out, "{class:>12}{count:>8}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_time_for_the_same_size() {
        let row = |size, seconds| Row {
            what: What::Events,
            size,
            seconds,
            peak_mib: 0.0,
            statements: 0,
            calls: 0,
            runs: 1,
            next_seconds: 0.0,
            next_statements: 0,
            next_calls: 0,
        };
        assert!((row(400, 4.0).growth(&row(100, 1.0)) - 1.0).abs() < 1e-9);
        assert!((row(400, 16.0).growth(&row(100, 1.0)) - 4.0).abs() < 1e-9);
    }
}
