//! How tasks end, and how fast: of functions on this machine what each process counts since it started, read from its `/metrics`.
//!
//! Those of a project are in Cloud Monitoring ([`super::cloud_monitoring`]).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::http;
use url::Url;

use crate::canary::FAILURES;

/// The outcome of a request that its service refused.
pub(crate) const REFUSED: &str = "refused";
const TIMEOUT: Duration = Duration::from_secs(2);
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// What a process has counted since it started, or all instances of a function in a time that ends now.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Numbers {
    pub(crate) dispatches: u64,
    pub(crate) by_outcome: BTreeMap<String, u64>,
    /// Of the dispatches; none, if there was none.
    pub(crate) success_percent: Option<f64>,
    /// Half of the dispatches took no longer, as far as the histogram tells.
    pub(crate) p50_ms: Option<f64>,
    /// Nor did 95 % of them.
    pub(crate) p95_ms: Option<f64>,
    /// Since when it counts; none, if the process does not say so.
    pub(crate) since: Option<DateTime<Utc>>,
    /// As they are billed, by purpose.
    pub(crate) redis_commands: BTreeMap<String, u64>,
    /// By method.
    pub(crate) vendor_calls: BTreeMap<String, u64>,
    /// Of all dispatches together; none of a project's last hour.
    pub(crate) total_ms: Option<f64>,
    /// The length of that time; none, since the process started.
    pub(crate) window_minutes: Option<u32>,
}

impl Numbers {
    pub(super) fn of(by_outcome: BTreeMap<String, u64>, p50_ms: Option<f64>, p95_ms: Option<f64>) -> Self {
        let dispatches = by_outcome.values().sum();
        let failed: u64 = FAILURES.iter().filter_map(|outcome| by_outcome.get(*outcome)).sum();
        let success_percent = percent(dispatches - failed, dispatches);
        Self { dispatches, by_outcome, success_percent, p50_ms, p95_ms, ..Self::default() }
    }

    /// The same of a service that anybody may call: what it refuses is no failure of its own.
    pub(super) fn of_public(self) -> Self {
        let served = Self::of(
            self.by_outcome
                .iter()
                .filter(|(outcome, _)| *outcome != REFUSED)
                .map(|(it, n)| (it.clone(), *n))
                .collect(),
            None,
            None,
        );
        Self { success_percent: served.success_percent, ..self }
    }

    /// Requests that were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.by_outcome.get(REFUSED).copied().unwrap_or_default()
    }
}

/// Where the process that serves `address` shows its numbers, if it is on this machine.
pub(crate) fn page_of(address: &str) -> Option<Url> {
    let url: Url = address.parse().ok()?;
    http::is_loopback(&url).then(|| url.join("/metrics").ok()).flatten()
}

/// Reads the numbers of the process.
pub(crate) async fn read(page: Url) -> anyhow::Result<Numbers> {
    let response = http::client(TIMEOUT, TIMEOUT).get(page).send().await.map_err(reqwest::Error::without_url);
    let response = response.context("does not respond")?;
    ensure!(response.status().is_success(), "responded {}", response.status());
    let text = http::read_limited(response, MAX_PAGE_BYTES).await?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

fn parse(text: &str) -> Numbers {
    let (mut by_outcome, mut redis_commands, mut vendor_calls) = Default::default();
    let (mut since, mut total_ms) = (None, None);
    // Upper bound in seconds, and how many dispatches took no longer.
    let mut buckets: Vec<(f64, u64)> = Vec::new();
    for line in text.lines() {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        if name.starts_with("tasks_total{") {
            count(&mut by_outcome, label(name, "outcome"), value);
        } else if name.starts_with("redis_commands_total{") {
            count(&mut redis_commands, label(name, "purpose"), value);
        } else if name.starts_with("vendor_calls_total{") {
            count(&mut vendor_calls, label(name, "method"), value);
        } else if name == "process_start_time_seconds" {
            since = value.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        } else if name.starts_with("task_duration_seconds_sum{") {
            total_ms = value.parse().ok().map(|seconds: f64| seconds * 1e3);
        } else if name.starts_with("task_duration_seconds_bucket{")
            && let (Some(Ok(bound)), Ok(count)) = (label(name, "le").map(bound), value.parse())
        {
            buckets.push((bound, count));
        }
    }
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (p50, p95) = (percentile(&buckets, 50), percentile(&buckets, 95));
    Numbers { since, redis_commands, vendor_calls, total_ms, ..Numbers::of(by_outcome, p50, p95) }
}

fn count(counts: &mut BTreeMap<String, u64>, label: Option<&str>, value: &str) {
    if let (Some(label), Ok(count)) = (label, value.parse::<u64>()) {
        *counts.entry(label.to_owned()).or_default() += count;
    }
}

fn label<'a>(name: &'a str, label: &str) -> Option<&'a str> {
    let (_, rest) = name.split_once(&format!("{label}=\""))?;
    Some(rest.split_once('"')?.0)
}

fn bound(text: &str) -> Result<f64, std::num::ParseFloatError> {
    if text == "+Inf" { Ok(f64::INFINITY) } else { text.parse() }
}

#[expect(clippy::cast_precision_loss, reason = "dispatches of one process are far below 2^52")]
fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 * 100.0 / whole as f64)
}

/// Upper bound of the bucket in which the percentile lies; nothing above the last bound.
fn percentile(buckets: &[(f64, u64)], percent: u64) -> Option<f64> {
    let all = buckets.last()?.1;
    let rank = (all * percent).div_ceil(100);
    let (bound, _) = buckets.iter().find(|(_, count)| *count >= rank && rank > 0)?;
    bound.is_finite().then_some(bound * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_what_a_function_serves() {
        let text = "# TYPE tasks counter\n\
            tasks_total{queue=\"q\",outcome=\"done\"} 17\n\
            tasks_total{queue=\"q\",outcome=\"skipped\"} 1\n\
            tasks_total{queue=\"q\",outcome=\"retry\"} 2\n\
            task_duration_seconds_bucket{le=\"0.1\",queue=\"q\"} 10\n\
            task_duration_seconds_bucket{le=\"2.5\",queue=\"q\"} 19\n\
            task_duration_seconds_bucket{le=\"+Inf\",queue=\"q\"} 20\n\
            task_duration_seconds_sum{queue=\"q\"} 12.5\n\
            redis_commands_total{purpose=\"cache\"} 3\n\
            vendor_calls_total{method=\"calendar.events.list\"} 4\n\
            process_start_time_seconds 1700000000\n\
            # EOF\n";
        let numbers = parse(text);
        assert_eq!(numbers.since.map(|since| since.timestamp()), Some(1_700_000_000));
        assert_eq!((numbers.redis_commands["cache"], numbers.vendor_calls["calendar.events.list"]), (3, 4));
        assert_eq!((numbers.dispatches, numbers.success_percent), (20, Some(90.0)));
        assert_eq!((numbers.p50_ms, numbers.p95_ms), (Some(100.0), Some(2500.0)));
        assert_eq!(numbers.total_ms, Some(12_500.0));
        assert_eq!(parse("# EOF\n"), Numbers::default());
    }

    #[test]
    fn what_a_public_service_refuses_is_no_failure_of_its_own() {
        let outcomes = [("done", 6), ("retry", 2), ("refused", 92)];
        let outcomes = outcomes.map(|(outcome, count)| (outcome.to_owned(), count));
        let numbers = Numbers::of(outcomes.into(), None, Some(5.0)).of_public();
        assert_eq!((numbers.dispatches, numbers.refused(), numbers.success_percent), (100, 92, Some(75.0)));
        assert_eq!(numbers.p95_ms, Some(5.0));
    }

    #[test]
    fn what_took_longer_than_the_last_bound_is_not_given_a_number() {
        let slow = "task_duration_seconds_bucket{le=\"1\",queue=\"q\"} 1\ntask_duration_seconds_bucket{le=\"+Inf\",queue=\"q\"} 9\n";
        assert_eq!(parse(slow).p95_ms, None);
    }

    #[test]
    fn only_processes_on_this_machine_are_asked() {
        assert_eq!(
            page_of("http://127.0.0.1:4000/api/jobs/x").unwrap().as_str(),
            "http://127.0.0.1:4000/metrics"
        );
        assert_eq!(page_of("https://x-1.run.app/api/jobs/x"), None);
    }
}
