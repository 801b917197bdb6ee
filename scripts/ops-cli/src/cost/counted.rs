//! The price of what was counted, instead of what a number of users is expected to cause.

use anyhow::Context as _;
use chrono::TimeDelta;
use serde_json::Value;

use super::{AtRest, DECLARATION, Model, Month, ROWS};
use crate::names::WEBHOOKS;

/// A month, as the model has it.
pub(crate) const MONTH: TimeDelta = TimeDelta::days(30);
/// Rows that are not paid, or whose CPU time nothing counts.
const NOT_COUNTED: [&str; 3] = ["USD Cloud Run, at least", "USD total, at least", "USD total, at most"];
const PAID: &str = "USD ";

/// What a function used, or a service without a queue.
#[derive(Debug, Default, Clone)]
pub(crate) struct Used {
    pub(crate) name: String,
    /// Or requests.
    pub(crate) dispatches: f64,
    /// Of all of them together.
    pub(crate) total_ms: f64,
    pub(crate) redis_commands: f64,
    pub(crate) vendor_calls: f64,
}

impl Used {
    /// So many times as much.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self {
            dispatches: self.dispatches * factor,
            total_ms: self.total_ms * factor,
            redis_commands: self.redis_commands * factor,
            vendor_calls: self.vendor_calls * factor,
            ..self
        }
    }
}

/// What is paid for it in a month in which no more is used, by its parts: at most, and with all that is charged at rest.
pub(crate) fn priced(used: &[Used], within: TimeDelta) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let model = Model::declared()?;
    let declaration: Value = serde_json::from_str(DECLARATION).context("infra/queues.json is malformed")?;
    let (month, rest) = (model.counted(used, within), AtRest::declared(&declaration)?);
    let paid = ROWS.iter().filter(|(what, _)| what.starts_with(PAID) && !NOT_COUNTED.contains(what));
    Ok(paid.map(|(what, amount)| (&what[PAID.len()..], amount(&model, &month, &rest))).collect())
}

impl Model {
    fn counted(&self, used: &[Used], within: TimeDelta) -> Month {
        let minutes = within.as_seconds_f64() / 60.0;
        let mut month = Month::default();
        for one in used {
            let count = if one.name == WEBHOOKS { &mut month.requests } else { &mut month.tasks };
            *count += one.dispatches;
            // Each is rounded up to the next step, and by no more than one.
            month.seconds += (one.total_ms + one.dispatches * self.instance.billed_step_ms) / 1e3;
            month.redis_commands += one.redis_commands;
            month.vendor_calls += one.vendor_calls;
            month.active_minutes += one.dispatches.min(minutes);
        }
        month
    }
}

#[cfg(test)]
mod tests {
    use super::super::MODEL;
    use super::*;

    #[test]
    fn the_parts_are_the_amounts_at_their_prices() {
        let busy = |name: &str| Used {
            name: name.to_owned(),
            dispatches: 10e6,
            total_ms: 10e9,
            redis_commands: 2e6,
            vendor_calls: 0.0,
        };
        let parts = priced(&[busy("token-refresh"), busy(WEBHOOKS)], MONTH).unwrap();
        let price = |what: &str| parts.iter().find(|(part, _)| *part == what).unwrap().1;
        // 20 million operations and requests, of which one and two million are free; 20 + 2 million seconds, or more.
        assert!(
            (price("Cloud Tasks") - 0.4 * (10.0 * operations_per_task() - 1.0)).abs() < 1e-6,
            "{parts:?}"
        );
        assert!((price("Cloud Run, requests") - 0.4 * 18.0).abs() < 1e-6, "{parts:?}");
        let seconds = 22e6;
        let instances = (seconds - 180e3) * 0.000_024 + (seconds * 0.5 - 360e3) * 0.000_002_5;
        assert!((price("Cloud Run, at most") - instances).abs() < 1e-6, "{parts:?}");
        assert!((price("Redis") - 0.2 * 35.0).abs() < 1e-6, "{parts:?}");
        assert!(parts.iter().all(|(what, _)| !what.contains("at least") && !what.contains("total")));
        // At rest something is charged, and no more than without a task.
        let nothing = priced(&[], MONTH).unwrap();
        assert!(nothing.iter().map(|(_, usd)| usd).sum::<f64>() > 1.0);
        assert!(nothing.iter().all(|(what, usd)| *usd <= parts.iter().find(|(it, _)| it == what).unwrap().1));
    }

    fn operations_per_task() -> f64 {
        serde_json::from_str::<Value>(MODEL).unwrap()["operationsPerTask"].as_f64().unwrap()
    }
}
