//! What is used of what is limited: Redis commands, which are billed, and calls of vendors, which have quotas.

use std::collections::BTreeMap;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::numbers::Numbers;
use super::overview::Overview;
use super::{Asked, Operations};
use crate::cost::counted::MONTH;
use crate::cost::free_redis_commands;
use crate::names::WEBHOOKS;

const ALERTS: &str = include_str!("../../../../infra/alerts.json");
/// A month's pace is read from a time that is not shorter.
pub(super) const SHORTEST: TimeDelta = TimeDelta::hours(1);

/// What is used.
#[derive(Debug, Serialize)]
pub(crate) struct Usage {
    pub(crate) sources: Vec<Asked>,
    pub(crate) queues: Vec<QueueUsage>,
    /// Of all queues that were counted for long enough, in thirty days at their present rate; none, if none were.
    #[serde(rename = "redisCommandsPerMonth")]
    pub(crate) per_month: Option<f64>,
    pub(crate) budget: Budget,
}

/// What the process that serves a queue has counted since it started; or the service that has none.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueUsage {
    pub(crate) queue: &'static str,
    /// None where the numbers are not known.
    pub(crate) counted: Option<Counted>,
}

/// Counts of one process.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counted {
    pub(crate) since: DateTime<Utc>,
    /// By purpose.
    pub(crate) redis_commands: BTreeMap<String, u64>,
    /// In thirty days at this rate; none before [`SHORTEST`] has passed, which says nothing about a month.
    pub(crate) redis_commands_per_month: Option<f64>,
    /// By method.
    pub(crate) vendor_calls: BTreeMap<String, u64>,
}

/// Redis commands per month.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Budget {
    /// Those that are not paid for.
    pub(crate) free: f64,
    /// The alert.
    pub(crate) warning: f64,
    pub(crate) critical: f64,
}

#[derive(Deserialize)]
struct Alerts {
    alerts: BTreeMap<String, Alert>,
}

#[derive(Deserialize)]
struct Alert {
    warning: Option<f64>,
    critical: Option<f64>,
}

impl Budget {
    /// As `infra/cost.json` and `infra/alerts.json` declare it.
    pub(super) fn declared() -> anyhow::Result<Self> {
        let alerts: Alerts = serde_json::from_str(ALERTS).context("infra/alerts.json is malformed")?;
        let alert = alerts.alerts.get("redis-commands").context("there is no alert redis-commands")?;
        Ok(Self {
            free: free_redis_commands()?,
            warning: alert.warning.context("redis-commands has no warning")?,
            critical: alert.critical.context("redis-commands is never critical")?,
        })
    }
}

impl Operations {
    /// What each queue uses, as far as its numbers are known.
    pub(crate) async fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(&self.overview().await, self.clock.now())
    }
}

impl Usage {
    /// By the numbers of an overview.
    pub(crate) fn of(overview: &Overview, now: DateTime<Utc>) -> anyhow::Result<Self> {
        let budget = Budget::declared()?;
        let functions = overview.queues.iter().map(|row| (row.queue, row.numbers.as_ref()));
        let all = functions.chain([(WEBHOOKS, overview.webhooks.numbers.as_ref())]);
        let usage = |(queue, numbers): (_, Option<&Numbers>)| QueueUsage {
            queue,
            counted: numbers.and_then(|numbers| Counted::of(numbers, now)),
        };
        let queues: Vec<_> = all.map(usage).collect();
        let per_month = queues.iter().filter_map(|queue| queue.counted.as_ref()?.redis_commands_per_month);
        let per_month = per_month.reduce(|one, other| one + other);
        Ok(Self { sources: overview.sources.clone(), queues, per_month, budget })
    }
}

impl Counted {
    /// None, if it is not known since when.
    fn of(numbers: &Numbers, now: DateTime<Utc>) -> Option<Self> {
        let since = numbers.since?;
        let commands: u64 = numbers.redis_commands.values().sum();
        let months = (now - since).as_seconds_f64() / MONTH.as_seconds_f64();
        Some(Self {
            since,
            redis_commands_per_month: (now - since >= SHORTEST).then(|| float(commands) / months),
            redis_commands: numbers.redis_commands.clone(),
            vendor_calls: numbers.vendor_calls.clone(),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "commands and seconds of one process are far below 2^52")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_what_is_declared() {
        let budget = Budget::declared().unwrap();
        assert!(0.0 < budget.warning && budget.warning < budget.critical && budget.critical < budget.free);
    }

    #[test]
    fn a_day_of_commands_is_a_thirtieth_of_a_month() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let numbers = Numbers {
            since: Some(now - TimeDelta::days(1)),
            redis_commands: BTreeMap::from([("idempotency".to_owned(), 20), ("cache".to_owned(), 10)]),
            ..Numbers::default()
        };
        let counted = Counted::of(&numbers, now).unwrap();
        assert!((counted.redis_commands_per_month.unwrap() - 900.0).abs() < 1e-6, "{counted:?}");
        let young = Numbers { since: Some(now - TimeDelta::minutes(59)), ..numbers };
        assert_eq!(Counted::of(&young, now).unwrap().redis_commands_per_month, None);
        assert_eq!(Counted::of(&Numbers::default(), now), None);
    }
}
