//! What the queues did, from the functions' canonical log lines.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use google_stand_in::{Call, CallCounts};
use serde::Serialize;

use crate::consumption::Consumption;
use crate::functions::TaskLine;

const BYTES_PER_MIB: f64 = 1_048_576.0;

/// One row per queue.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// In the order of their names.
    pub queues: BTreeMap<String, Row>,
    /// Calls of each of Google's methods per user and day, where days have passed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub google_calls: BTreeMap<String, f64>,
}

/// What one queue did.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Tasks by name; one that was rescheduled under another name counts again.
    pub tasks: usize,
    /// Ran to their end.
    pub done: usize,
    /// Had nothing to do, or had been done before.
    pub skipped: usize,
    /// Rescheduled as another task: a limit, a lease, a shutdown.
    pub postponed: usize,
    /// Attempts that failed.
    pub retried: usize,
    /// Became dead letters.
    pub dead: usize,
    /// Dispatches that were refused: none, unless a token is forged.
    pub refused: usize,
    /// Time from arrival to answer.
    pub p50_ms: f64,
    /// Likewise.
    pub p95_ms: f64,
    /// Billed Redis commands, all purposes.
    pub redis_commands_per_task: f64,
    /// Of the task that had the most.
    pub redis_commands_worst_task: u64,
    /// On average, for the lease.
    pub redis_claim_commands_per_task: f64,
    /// SQL statements.
    pub sql_statements_per_task: f64,
    /// Time on a CPU, the process's start included; absent where the system does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms_per_task: Option<f64>,
    /// The most memory that the process ever had; absent where the system does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_mib: Option<f64>,
}

impl Report {
    /// Sums up.
    #[must_use]
    pub fn of(lines: &[TaskLine], consumption: &BTreeMap<String, Consumption>) -> Self {
        let mut by_queue: BTreeMap<String, Vec<&TaskLine>> = BTreeMap::new();
        for line in lines {
            by_queue.entry(line.queue.clone()).or_default().push(line);
        }
        let row = |(queue, lines): (String, Vec<&TaskLine>)| {
            let row = Row::of(&lines, consumption.get(&queue));
            (queue, row)
        };
        Self { queues: by_queue.into_iter().map(row).collect(), google_calls: BTreeMap::new() }
    }

    /// Adds the calls to Google that so many users caused in so many days.
    #[must_use]
    pub fn with_google_calls(self, calls: &CallCounts, users: usize, days: u32) -> Self {
        let user_days = users as u64 * u64::from(days);
        let per_day = |(call, count): (&Call, &u64)| (call.to_string(), ratio(*count, user_days));
        Self { google_calls: calls.iter().map(per_day).collect(), ..self }
    }

    /// What no run without faults may have: dead letters and refused dispatches.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.queues.values().map(|row| row.dead + row.refused).sum()
    }

    /// Where tasks cost more Redis commands than they may.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of a local run are far below 2^52")]
    pub fn over_redis_budget(&self) -> Vec<String> {
        let queues = self.queues.iter().filter(|(_, row)| row.redis_commands_per_task > MAX_REDIS_COMMANDS);
        let mut over: Vec<_> = queues
            .map(|(queue, row)| {
                format!("a task of {queue} costs {:.1} Redis commands", row.redis_commands_per_task)
            })
            .collect();
        let tasks: usize = self.queues.values().map(|row| row.tasks).sum();
        let commands: f64 =
            self.queues.values().map(|row| row.redis_commands_per_task * row.tasks as f64).sum();
        let average = commands / tasks.max(1) as f64;
        if average > MAX_AVERAGE_REDIS_COMMANDS {
            over.push(format!("a task costs {average:.1} Redis commands on average"));
        }
        over
    }
}

impl Row {
    #[expect(clippy::cast_precision_loss, reason = "counts of a local run are far below 2^52")]
    fn of(lines: &[&TaskLine], consumption: Option<&Consumption>) -> Self {
        let tasks = lines.iter().map(|line| &line.task).collect::<HashSet<_>>().len();
        let count =
            |outcomes: &[&str]| lines.iter().filter(|line| outcomes.contains(&line.outcome.as_str())).count();
        let per_task = |number: fn(&TaskLine) -> u64| {
            let sum: u64 = lines.iter().map(|line| number(line)).sum();
            ratio(sum, tasks as u64)
        };
        let mut redis_by_task: HashMap<&str, u64> = HashMap::new();
        for line in lines {
            *redis_by_task.entry(&line.task).or_default() += redis_commands(line);
        }
        let mut times: Vec<f64> = lines.iter().map(|line| line.duration_ms).collect();
        times.sort_by(f64::total_cmp);
        Self {
            tasks,
            done: count(&["done"]),
            skipped: count(&["skipped", "duplicate"]),
            postponed: count(&["snoozed", "deferred", "requeued"]),
            retried: count(&["retry", "unavailable"]),
            dead: count(&["dead"]),
            refused: count(&["refused"]),
            p50_ms: percentile(&times, 50),
            p95_ms: percentile(&times, 95),
            redis_commands_per_task: per_task(redis_commands),
            redis_commands_worst_task: redis_by_task.into_values().max().unwrap_or_default(),
            redis_claim_commands_per_task: per_task(|line| line.redis_idempotency),
            sql_statements_per_task: per_task(|line| line.sql_statements),
            cpu_ms_per_task: consumption.map(|used| used.cpu.as_secs_f64() * 1e3 / tasks.max(1) as f64),
            peak_mib: consumption.map(|used| used.peak_bytes as f64 / BYTES_PER_MIB),
        }
    }
}

fn redis_commands(line: &TaskLine) -> u64 {
    line.redis_idempotency + line.redis_rate_limit + line.redis_cache
}

#[expect(clippy::cast_precision_loss, reason = "counts of a local run are far below 2^52")]
fn ratio(sum: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { sum as f64 / of as f64 }
}

/// Redis commands that a task may cost, on average over its queue and over all queues.
const MAX_REDIS_COMMANDS: f64 = 6.0;
const MAX_AVERAGE_REDIS_COMMANDS: f64 = 5.0;

/// The nearest-rank percentile of ascending values; 0 of none.
fn percentile(ascending: &[f64], percent: usize) -> f64 {
    let rank = (ascending.len() * percent).div_ceil(100);
    ascending.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn known(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.1}"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24} {:>6} {:>6} {:>7} {:>9} {:>7} {:>5} {:>9} {:>9} {:>10} {:>9} {:>9} {:>11} {:>9}",
            "queue",
            "tasks",
            "done",
            "skipped",
            "postponed",
            "retried",
            "dead",
            "p50 ms",
            "p95 ms",
            "redis/task",
            "redis max",
            "sql/task",
            "cpu ms/task",
            "peak MiB",
        )?;
        for (queue, row) in &self.queues {
            writeln!(
                f,
                "{queue:<24} {:>6} {:>6} {:>7} {:>9} {:>7} {:>5} {:>9.1} {:>9.1} {:>10.2} {:>9} {:>9.1} {:>11} {:>9}",
                row.tasks,
                row.done,
                row.skipped,
                row.postponed,
                row.retried,
                row.dead,
                row.p50_ms,
                row.p95_ms,
                row.redis_commands_per_task,
                row.redis_commands_worst_task,
                row.sql_statements_per_task,
                known(row.cpu_ms_per_task),
                known(row.peak_mib),
            )?;
        }
        if !self.google_calls.is_empty() {
            let all: f64 = self.google_calls.values().sum();
            write!(f, "Google's calls per user and day: {all:.1}")?;
            for (call, count) in &self.google_calls {
                write!(f, ", {call} {count:.2}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(task: &str, outcome: &str, duration_ms: f64) -> TaskLine {
        TaskLine {
            queue: "q".to_owned(),
            task: task.to_owned(),
            outcome: outcome.to_owned(),
            attempt: 1,
            reason: None,
            duration_ms,
            redis_idempotency: 2,
            redis_rate_limit: 1,
            redis_cache: 0,
            sql_statements: 4,
        }
    }

    #[test]
    fn a_task_that_was_retried_counts_once_as_a_task_and_its_commands_add_up() {
        let lines = [line("a", "retry", 1.0), line("a", "done", 3.0), line("b", "dead", 2.0)];
        let used = Consumption { cpu: Duration::from_millis(5), peak_bytes: 3 << 20 };
        let report = Report::of(&lines, &BTreeMap::from([("q".to_owned(), used)]));
        let row = &report.queues["q"];
        assert_eq!((row.tasks, row.done, row.retried, row.dead), (2, 1, 1, 1));
        assert!((row.redis_commands_per_task - 4.5).abs() < f64::EPSILON);
        assert_eq!(row.redis_commands_worst_task, 6);
        assert_eq!((row.cpu_ms_per_task, row.peak_mib), (Some(2.5), Some(3.0)));
        assert_eq!(report.failures(), 1);
    }

    #[test]
    fn a_queue_that_asks_redis_too_often_is_named_and_so_is_the_average() {
        let of = |commands: u64| {
            let line = TaskLine { redis_cache: commands - 3, ..line("a", "done", 1.0) };
            Report::of(&[line], &BTreeMap::new()).over_redis_budget()
        };
        assert_eq!(of(5), [""; 0]);
        assert_eq!(of(6), ["a task costs 6.0 Redis commands on average"]);
        assert_eq!(of(7).first().unwrap(), "a task of q costs 7.0 Redis commands");
    }

    #[test]
    fn calls_to_google_are_shown_per_user_and_day() {
        let calls = CallCounts::from([(Call::EventsList, 30), (Call::Token, 6)]);
        let report = Report::of(&[], &BTreeMap::new()).with_google_calls(&calls, 4, 3);
        let line = report.to_string();
        let line = line.lines().last().unwrap();
        assert_eq!(line, "Google's calls per user and day: 3.0, events.list 2.50, token 0.50");
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let times: Vec<f64> = (1..=20).map(f64::from).collect();
        for (percent, expected) in [(50, 10.0), (95, 19.0), (100, 20.0), (0, 1.0)] {
            assert!((percentile(&times, percent) - expected).abs() < f64::EPSILON, "{percent}");
        }
        assert!(percentile(&[], 95) < f64::EPSILON);
    }
}
