//! What is charged whether a task runs or not, counted in the declarations.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde_json::Value;

use super::{SECONDS_PER_DAY, number, periods};

/// The rules of Cloud Monitoring: each is one condition of an alert policy.
const RULES: &str = include_str!("../../../../infra/gcp/tests/alerts/rules.yaml");
const ALERTS: &str = include_str!("../../../../infra/alerts.json");
const NEEDS: &str = include_str!("../../../../infra/gcp/functions.json");
const METRICS: &str = include_str!("../../../../infra/gcp/metrics.json");
const USUAL_INTERVAL_SECONDS: f64 = 60.0;
/// Where a query is cut into the parts whose points are billed.
/// Source: <https://docs.cloud.google.com/monitoring/alerts/cost-control>.
const OPERATORS: [&str; 7] = [" and ", " or ", " unless ", " > ", " < ", " >= ", " <= "];

/// Amounts of a month.
pub(super) struct AtRest {
    /// Cloud Scheduler's jobs.
    pub(super) schedules: f64,
    /// Conditions of alert policies.
    pub(super) conditions: f64,
    /// Points that their queries return when every queue has work all the time.
    pub(super) points: f64,
    /// Secrets, with one active version each.
    pub(super) secrets: f64,
    /// Distributions among the log-based metrics of a dispatch.
    pub(super) distributions: f64,
    /// Services, each with an image.
    pub(super) services: f64,
    /// Instances of all of them at most.
    pub(super) instances: f64,
}

impl AtRest {
    /// As the project is declared, next to `infra/queues.json`.
    pub(super) fn declared(declaration: &Value) -> anyhow::Result<Self> {
        let json = |text| serde_json::from_str::<Value>(text).context("a declaration is malformed");
        let (alerts, needs, metrics) = (json(ALERTS)?, json(NEEDS)?, json(METRICS)?);
        let size = |value: &Value| count(value.as_object().map_or(0, serde_json::Map::len));
        let queues = declaration["queues"].as_object().into_iter().flat_map(serde_json::Map::keys);
        let secrets: BTreeSet<&str> = [&needs["every"]]
            .into_iter()
            .chain(needs["features"].as_object().into_iter().flat_map(serde_json::Map::values))
            .chain(needs["services"].as_object().into_iter().flat_map(serde_json::Map::values))
            .filter_map(|part| part["secrets"].as_array())
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let services = size(&needs["functions"]) + size(&needs["services"]);
        let rules: Vec<_> = rules().collect();
        Ok(Self {
            schedules: count(queues.map(|name| periods(declaration, name).count()).sum()),
            conditions: count(rules.len()),
            points: rules
                .iter()
                .map(|(name, query)| {
                    let evaluations = super::DAYS_PER_MONTH * SECONDS_PER_DAY / interval(&alerts, name);
                    evaluations * series(query, services)
                })
                .sum(),
            secrets: count(secrets.len()),
            distributions: size(&metrics["durations"]) + size(&metrics["sums"]),
            services,
            instances: ["functions", "services"]
                .iter()
                .flat_map(|part| needs[part].as_object().into_iter().flat_map(serde_json::Map::values))
                .filter_map(|service| service["maxInstances"].as_f64())
                .sum(),
        })
    }
}

/// Each rule's name and query.
fn rules() -> impl Iterator<Item = (&'static str, &'static str)> {
    RULES.split("      - alert: ").skip(1).filter_map(|rule| {
        let mut lines = rule.lines();
        let name = lines.next()?;
        Some((name, lines.nth(1)?.trim()))
    })
}

/// Seconds between two evaluations of a rule.
fn interval(alerts: &Value, rule: &str) -> f64 {
    let all = alerts["alerts"].as_object().into_iter().flatten();
    let every =
        all.filter(|(id, _)| rule.starts_with(id.as_str())).find_map(|(_, alert)| alert["every"].as_str());
    every.and_then(|every| every.strip_suffix('s')?.parse().ok()).unwrap_or(USUAL_INTERVAL_SECONDS)
}

/// Series that a query returns at most: of each part one, or one per service.
fn series(query: &str, services: f64) -> f64 {
    let mut parts = vec![query];
    for operator in OPERATORS {
        parts = parts.into_iter().flat_map(|part| part.split(operator)).collect();
    }
    let read = parts.into_iter().filter(|part| part.contains('{'));
    read.map(|part| if part.contains(" by (") { services } else { 1.0 }).sum()
}

fn count(n: usize) -> f64 {
    number(n as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_billed_by_its_parts() {
        assert!((series("(sum(increase(a{}[1h]))) > 0", 12.0) - 1.0).abs() < f64::EPSILON);
        let two = "sum by (queue) (a{}) / sum by (queue) (b{}) and on (queue) sum by (queue) (a{}) >= 3";
        assert!((series(two, 12.0) - 24.0).abs() < f64::EPSILON);
    }

    #[test]
    fn rules_have_their_names_queries_and_intervals() {
        let alerts: Value = serde_json::from_str(ALERTS).unwrap();
        assert!(rules().count() > 20);
        assert!(
            rules().all(|(name, query)| (name.ends_with("critical") || name.ends_with("warning"))
                && query.contains('{'))
        );
        assert!((interval(&alerts, "redis-commands-warning") - 600.0).abs() < f64::EPSILON);
        assert!((interval(&alerts, "redis-errors-critical") - 60.0).abs() < f64::EPSILON);
    }
}
