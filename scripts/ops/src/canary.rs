//! What a new revision did with the tasks that it got, from the functions' own log lines and Cloud Run's.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;

use crate::gcloud::Gcloud;

/// Fewer failures are no pattern: any vendor has a bad second.
const PATTERN: u64 = 3;
/// Log entries that are looked at.
const ENTRIES: &str = "--limit=10000";
/// The query reaches back a little further than the watch: clocks differ. No other revision has this one's name.
const MARGIN: Duration = Duration::from_mins(1);
/// Outcomes of `shared::telemetry::line` that say something of the revision.
const FAILURES: [&str; 4] = ["retry", "unavailable", "dead", "refused"];

/// How long and how strictly a new revision is watched.
#[derive(Args, Clone)]
pub(crate) struct Watch {
    /// Seconds for which a new revision is watched, once with a share and once with all traffic.
    #[arg(long = "watch", default_value_t = 300, value_name = "SECONDS")]
    seconds: u64,
    /// Seconds between two looks.
    #[arg(long = "look-every", default_value_t = 15, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Go on earlier when it has done so many tasks.
    #[arg(long, default_value_t = 200, value_name = "TASKS", value_parser = clap::value_parser!(u64).range(1..))]
    enough: u64,
    /// Percentage of failed dispatches above which it is taken back.
    #[arg(long, default_value_t = 5, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(0..100))]
    max_failures: u64,
}

/// What a watch comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It did tasks, and failed no more than it may.
    Good,
    Bad,
    /// It failed all of its tasks, and they are too few to be called a pattern.
    Doubtful,
    /// No task came by.
    Unseen,
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
        // Of two lines about one failed request, the function's own and Cloud Run's, either may be missing: a process
        // that dies writes none, and a dead letter is no failed request.
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

    fn verdict(self, max_percent: u64) -> Verdict {
        if self.failures >= PATTERN && self.failures * 100 > self.dispatches * max_percent {
            Verdict::Bad
        } else if self.dispatches == 0 {
            Verdict::Unseen
        } else if self.dispatches == self.failures {
            Verdict::Doubtful
        } else {
            Verdict::Good
        }
    }
}

impl Watch {
    /// Looks at a revision until it is found bad, has done enough, or the time is over; or `still` errs, which is asked
    /// at each look whether there is anything left to watch.
    pub(crate) fn run(
        &self,
        gcloud: &Gcloud,
        function: &str,
        revision: &str,
        still: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Verdict> {
        let started = Instant::now();
        // With its share it did tasks already: each watch judges its own.
        let before = tally(gcloud, function, revision, Duration::ZERO)?;
        loop {
            let tally = tally(gcloud, function, revision, started.elapsed())?.since(before);
            eprintln!("  {revision}: {} dispatches, {} failed", tally.dispatches, tally.failures);
            let verdict = tally.verdict(self.max_failures);
            let rest = Duration::from_secs(self.seconds).saturating_sub(started.elapsed());
            let has_enough = verdict == Verdict::Good && tally.dispatches >= self.enough;
            if verdict == Verdict::Bad || has_enough || rest.is_zero() {
                return Ok(verdict);
            }
            sleep(rest.min(Duration::from_secs(self.every)));
            still()?;
        }
    }
}

fn tally(gcloud: &Gcloud, function: &str, revision: &str, since: Duration) -> anyhow::Result<Tally> {
    let filter = format!(
        "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"{function}\" AND \
         resource.labels.revision_name=\"{revision}\" AND (jsonPayload.\"task.outcome\":* OR httpRequest.status>=500)"
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
    fn a_pattern_of_failures_is_bad_and_a_single_one_is_not() {
        #[track_caller]
        fn check(failures: u64, dispatches: u64, expected: Verdict) {
            assert_eq!(Tally { dispatches, failures }.verdict(5), expected, "{failures} of {dispatches}");
        }
        check(0, 0, Verdict::Unseen);
        check(1, 1, Verdict::Doubtful);
        check(2, 2, Verdict::Doubtful);
        check(2, 3, Verdict::Good);
        check(3, 3, Verdict::Bad);
        check(3, 60, Verdict::Good);
        check(4, 60, Verdict::Bad);
    }

    #[test]
    fn every_outcome_is_known_to_be_a_failure_or_not() {
        use shared::telemetry::line::Outcome::{
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
