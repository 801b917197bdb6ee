//! The health of a new revision, from the log lines of its tasks and Cloud Run's request log.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;
use shared::runtime::TURNED_AWAY;

use crate::gcloud::Gcloud;

/// Fewer failures prove nothing: any vendor fails for a moment.
const MIN_FAILURES: u64 = 3;
/// Log entries that are read.
const ENTRIES: &str = "--limit=10000";
/// The query begins a little earlier than the watch: clocks differ. Revision names are unique.
const MARGIN: Duration = Duration::from_mins(1);
/// Outcomes of `shared::telemetry::line` that count against the revision.
pub(crate) const FAILURES: [&str; 4] = ["retry", "unavailable", "dead", "refused"];

/// How long and how strictly a new revision is watched.
#[derive(Args, Clone)]
pub(crate) struct Watch {
    /// How long a new revision is watched, once with its share and once with all traffic. A function that got no task for as
    /// long is not watched: there is nothing to see.
    #[arg(long = "watch", default_value_t = 60, value_name = "SECONDS")]
    seconds: u64,
    /// Interval between two checks.
    #[arg(long = "check-every", default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Stop watching earlier once it is healthy after this many tasks.
    #[arg(long, default_value_t = 200, value_name = "TASKS", value_parser = clap::value_parser!(u64).range(1..))]
    enough: u64,
    /// Percentage of failed dispatches above which it is rolled back.
    #[arg(long, default_value_t = 5, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(0..100))]
    max_failures: u64,
}

/// The result of a watch; a worse one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    /// No more of its tasks failed than allowed. If none came, the harmless task of its deployment has run.
    Healthy,
    /// All of its tasks failed, but they are too few to tell.
    Inconclusive,
    /// Too many of its tasks failed.
    Unhealthy,
}

/// Dispatches of a revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) dispatches: u64,
    pub(crate) failures: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    json_payload: BTreeMap<String, serde_json::Value>,
}

impl Tally {
    fn of(entries: &[Entry]) -> Self {
        let outcome = |entry: &Entry| Some(entry.json_payload.get("task.outcome")?.as_str()?.to_owned());
        let outcomes: Vec<String> = entries.iter().filter_map(outcome).collect();
        let failures = outcomes.iter().filter(|outcome| FAILURES.contains(&outcome.as_str())).count() as u64;
        // A failed request has two lines, the function's and Cloud Run's, and either may be missing: a process that dies
        // writes none, and a dead letter is not a failed request.
        let dead = outcomes.iter().filter(|outcome| *outcome == "dead").count() as u64;
        let requests = (entries.len() - outcomes.len()) as u64;
        let unwritten = requests.saturating_sub(failures - dead);
        Self { dispatches: outcomes.len() as u64 + unwritten, failures: failures + unwritten }
    }

    fn since(self, before: Self) -> Self {
        Self {
            dispatches: self.dispatches.saturating_sub(before.dispatches),
            failures: self.failures.saturating_sub(before.failures),
        }
    }

    fn health(self, max_percent: u64) -> Health {
        if self.failures >= MIN_FAILURES && self.failures * 100 > self.dispatches * max_percent {
            Health::Unhealthy
        } else if self.failures > 0 && self.dispatches == self.failures {
            Health::Inconclusive
        } else {
            Health::Healthy
        }
    }
}

impl Watch {
    /// Whether a function had nothing to do for as long as it would be watched.
    pub(crate) fn finds_idle(&self, gcloud: &Gcloud, function: &str) -> anyhow::Result<bool> {
        let filter = format!(
            "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"{function}\" AND jsonPayload.\"task.outcome\":*"
        );
        let freshness = format!("--freshness={}s", self.seconds.max(1));
        let entries: Vec<Entry> = gcloud.read(&["logging", "read", &filter, &freshness, "--limit=1"])?;
        Ok(entries.is_empty())
    }

    /// Watches a revision until it is unhealthy, has run enough tasks, or the time has passed; or until `still`, which is
    /// called at each check, fails because there is nothing left to watch.
    pub(crate) fn run(
        &self,
        gcloud: &Gcloud,
        function: &str,
        revision: &str,
        still: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Health> {
        let started = Instant::now();
        // It already ran tasks with its share: each watch counts its own.
        let before = tally(gcloud, function, revision, Duration::ZERO)?;
        loop {
            let tally = tally(gcloud, function, revision, started.elapsed())?.since(before);
            eprintln!("  {revision}: {} dispatches, {} failed", tally.dispatches, tally.failures);
            let health = tally.health(self.max_failures);
            let remaining = Duration::from_secs(self.seconds).saturating_sub(started.elapsed());
            let has_enough = health == Health::Healthy && tally.dispatches >= self.enough;
            if health == Health::Unhealthy || has_enough || remaining.is_zero() {
                return Ok(health);
            }
            sleep(remaining.min(Duration::from_secs(self.every)));
            still()?;
        }
    }
}

fn tally(gcloud: &Gcloud, function: &str, revision: &str, since: Duration) -> anyhow::Result<Tally> {
    // What is turned away because of its own caller, the revision has not failed.
    let turned_away = TURNED_AWAY.as_u16();
    let filter = format!(
        "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"{function}\" AND \
         resource.labels.revision_name=\"{revision}\" AND (jsonPayload.\"task.outcome\":* OR \
         (httpRequest.status>=500 AND httpRequest.status!={turned_away}))"
    );
    let freshness = format!("--freshness={}s", (since + MARGIN).as_secs());
    let entries: Vec<Entry> = gcloud.read(&["logging", "read", &filter, &freshness, ENTRIES])?;
    Ok(Tally::of(&entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(outcomes: &[&str], failed_requests: usize) -> Vec<Entry> {
        let line = |outcome: &&str| format!(r#"{{"jsonPayload":{{"task.outcome":"{outcome}"}}}}"#);
        let request = || r#"{"httpRequest":{"status":500}}"#.to_owned();
        let all = outcomes.iter().map(line).chain(std::iter::repeat_with(request).take(failed_requests));
        all.map(|entry| serde_json::from_str(&entry).unwrap()).collect()
    }

    #[test]
    fn each_dispatch_counts_once() {
        #[track_caller]
        fn check(outcomes: &[&str], failed_requests: usize, dispatches: u64, failures: u64) {
            let expected = Tally { dispatches, failures };
            assert_eq!(
                Tally::of(&entries(outcomes, failed_requests)),
                expected,
                "{outcomes:?} {failed_requests}"
            );
        }
        check(&[], 0, 0, 0);
        check(&["done", "skipped", "duplicate", "snoozed", "deferred", "requeued"], 0, 6, 0);
        check(&["retry", "done"], 1, 2, 1);
        check(&["retry", "done"], 0, 2, 1);
        check(&["dead"], 0, 1, 1);
        check(&["dead"], 1, 2, 2);
        check(&["unavailable", "refused"], 2, 2, 2);
        check(&["done"], 3, 4, 3);
    }

    #[test]
    fn several_failures_are_unhealthy_and_a_single_one_is_not() {
        #[track_caller]
        fn check(failures: u64, dispatches: u64, expected: Health) {
            assert_eq!(Tally { dispatches, failures }.health(5), expected, "{failures} of {dispatches}");
        }
        check(0, 0, Health::Healthy);
        check(1, 1, Health::Inconclusive);
        check(2, 2, Health::Inconclusive);
        check(2, 3, Health::Healthy);
        check(3, 3, Health::Unhealthy);
        check(3, 60, Health::Healthy);
        check(4, 60, Health::Unhealthy);
    }

    #[test]
    fn every_outcome_is_known_to_be_a_failure_or_not() {
        use shared::telemetry::line::OutcomeCode::{
            Dead, Deferred, Done, Duplicate, Refused, Requeued, Retry, Skipped, Snoozed, Unavailable,
        };
        for outcome in
            [Done, Duplicate, Skipped, Snoozed, Deferred, Requeued, Retry, Unavailable, Dead, Refused]
        {
            let is_failure = match outcome {
                Retry | Unavailable | Dead | Refused => true,
                Done | Duplicate | Skipped | Snoozed | Deferred | Requeued => false,
            };
            assert_eq!(FAILURES.contains(&outcome.name()), is_failure, "{outcome:?}");
        }
    }
}
