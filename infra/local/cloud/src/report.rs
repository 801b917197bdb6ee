//! What the queues did, from the functions' canonical log lines.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::Serialize;

use crate::functions::TaskLine;

/// One row a queue.
#[derive(Debug, Serialize)]
pub struct Report {
    /// In the order of their names.
    pub queues: BTreeMap<String, Row>,
}

/// What one queue did.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Tasks by name; one that came back under another name counts again.
    pub tasks: usize,
    /// Ran to their end.
    pub done: usize,
    /// Had nothing to do, or had been done before.
    pub skipped: usize,
    /// Came back as another task: a limit, a lease, a shutdown.
    pub postponed: usize,
    /// Attempts that failed.
    pub retried: usize,
    /// Became dead letters.
    pub dead: usize,
    /// Dispatches that were refused: none, unless somebody forges.
    pub refused: usize,
    /// Time from arrival to answer.
    pub p50_ms: f64,
    /// Likewise.
    pub p95_ms: f64,
    /// Billed Redis commands, all purposes.
    pub redis_commands_per_task: f64,
    /// Of these, for the claim.
    pub redis_claim_commands_per_task: f64,
    /// SQL statements.
    pub sql_statements_per_task: f64,
}

impl Report {
    /// Sums up.
    #[must_use]
    pub fn of(lines: &[TaskLine]) -> Self {
        let mut by_queue: BTreeMap<String, Vec<&TaskLine>> = BTreeMap::new();
        for line in lines {
            by_queue.entry(line.queue.clone()).or_default().push(line);
        }
        let queues = by_queue.into_iter().map(|(queue, lines)| (queue, Row::of(&lines))).collect();
        Self { queues }
    }

    /// What no run without faults may have: dead letters and refused dispatches.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.queues.values().map(|row| row.dead + row.refused).sum()
    }
}

impl Row {
    fn of(lines: &[&TaskLine]) -> Self {
        let tasks = lines.iter().map(|line| &line.task).collect::<HashSet<_>>().len();
        let count =
            |outcomes: &[&str]| lines.iter().filter(|line| outcomes.contains(&line.outcome.as_str())).count();
        let per_task = |number: fn(&TaskLine) -> u64| {
            let sum: u64 = lines.iter().map(|line| number(line)).sum();
            ratio(sum, tasks as u64)
        };
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
            redis_commands_per_task: per_task(|line| {
                line.redis_idempotency + line.redis_rate_limit + line.redis_cache
            }),
            redis_claim_commands_per_task: per_task(|line| line.redis_idempotency),
            sql_statements_per_task: per_task(|line| line.sql_statements),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a local run are far below 2^52")]
fn ratio(sum: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { sum as f64 / of as f64 }
}

/// The nearest-rank percentile of ascending values; 0 of none.
fn percentile(ascending: &[f64], percent: usize) -> f64 {
    let rank = (ascending.len() * percent).div_ceil(100);
    ascending.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24} {:>6} {:>6} {:>7} {:>9} {:>7} {:>5} {:>9} {:>9} {:>10} {:>9}",
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
            "sql/task",
        )?;
        for (queue, row) in &self.queues {
            writeln!(
                f,
                "{queue:<24} {:>6} {:>6} {:>7} {:>9} {:>7} {:>5} {:>9.1} {:>9.1} {:>10.2} {:>9.1}",
                row.tasks,
                row.done,
                row.skipped,
                row.postponed,
                row.retried,
                row.dead,
                row.p50_ms,
                row.p95_ms,
                row.redis_commands_per_task,
                row.sql_statements_per_task,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        let report = Report::of(&[line("a", "retry", 1.0), line("a", "done", 3.0), line("b", "dead", 2.0)]);
        let row = &report.queues["q"];
        assert_eq!((row.tasks, row.done, row.retried, row.dead), (2, 1, 1, 1));
        assert!((row.redis_commands_per_task - 4.5).abs() < f64::EPSILON);
        assert_eq!(report.failures(), 1);
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
