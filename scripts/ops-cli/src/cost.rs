//! `ops cost`: the cost of a month, from the measurements of a run of the whole system and from `infra/cost.json`.
//!
//! An instance is billed while it has a task. The upper bound assumes that no two tasks ever share an instance, each at its
//! measured 95th percentile; the lower bound assumes that instances are always as busy as their CPU can be. Not included:
//! Postgres, which the application pays for, the network inside a region, which is free, and messages.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::program;
use crate::repository::Repository;

const MODEL: &str = include_str!("../../../infra/cost.json");
const DECLARATION: &str = include_str!("../../../infra/queues.json");
const DAYS_PER_MONTH: f64 = 30.0;
const SECONDS_PER_DAY: f64 = 86_400.0;
const MIB_PER_GIB: f64 = 1024.0;

/// Estimate the cost of a month.
#[derive(Args)]
pub(crate) struct Cost {
    /// Number of users; several numbers give several columns.
    #[arg(long, value_delimiter = ',', default_values_t = [50, 10_000, 1_000_000], value_name = "N")]
    users: Vec<u64>,
    /// Output of `scripts/up --once --json`; by default, it is run now.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// `infra/cost.json`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Model {
    prices: Prices,
    instance: Instance,
    vendor_call_ms: f64,
    log_bytes_per_task: f64,
    /// Cloud Tasks bills creating and dispatching.
    operations_per_task: f64,
    users_per_sweep_page: f64,
    /// Services without a queue.
    services: BTreeMap<String, Requests>,
    functions: BTreeMap<String, Load>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Prices {
    cloud_tasks_per_million: Price,
    requests_per_million: Price,
    vcpu_seconds: Price,
    gib_seconds: Price,
    #[serde(rename = "redisCommandsPer100k")]
    redis_commands_per_100k: Price,
    log_gib: Price,
    scheduler_jobs: Price,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Price {
    price: f64,
    free_per_month: f64,
}

impl Price {
    fn of(&self, amount: f64) -> f64 {
        (amount - self.free_per_month).max(0.0) * self.price
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Instance {
    vcpu: f64,
    gib: f64,
    billed_step_ms: f64,
}

/// Load per user.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Load {
    per_user_day: f64,
    vendor_calls: f64,
}

/// Requests per user to a service without a queue, with the CPU that `scripts/bench webhooks` measures. None takes longer than
/// the smallest step that is billed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Requests {
    per_user_day: f64,
    cpu_ms: f64,
}

/// Measurements of one queue in a run.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    p95_ms: f64,
    redis_commands_per_task: f64,
    redis_claim_commands_per_task: f64,
    /// Absent in a report of a system that does not measure it.
    #[serde(default)]
    cpu_ms_per_task: f64,
    #[serde(default)]
    peak_mib: f64,
}

/// Amounts of a month.
#[derive(Default)]
struct Month {
    tasks: f64,
    /// Requests to services without a queue.
    requests: f64,
    /// Billed seconds of instances that are never shared.
    seconds: f64,
    /// Busy seconds of CPUs.
    cpu_seconds: f64,
    redis_commands: f64,
}

/// What is printed of a month, as the table of `infra/docs/runbook.md` has it; the number is that of Cloud Scheduler's jobs.
const ROWS: [(&str, Amount); 14] = [
    ("tasks (thousands)", |_, month, _| month.tasks / 1e3),
    ("notifications (thousands)", |_, month, _| month.requests / 1e3),
    ("Redis commands (thousands)", |_, month, _| month.redis_commands / 1e3),
    ("CPU hours", |_, month, _| month.cpu_seconds / 3600.0),
    ("instance hours, at most", |_, month, _| month.seconds / 3600.0),
    ("USD Cloud Tasks", |model, month, _| {
        model.prices.cloud_tasks_per_million.of(month.tasks * model.operations_per_task / 1e6)
    }),
    ("USD Cloud Run, requests", |model, month, _| {
        model.prices.requests_per_million.of((month.tasks + month.requests) / 1e6)
    }),
    ("USD Cloud Run, at least", |model, month, _| model.instances(month.cpu_seconds)),
    ("USD Cloud Run, at most", |model, month, _| model.instances(month.seconds)),
    ("USD Redis", |model, month, _| model.prices.redis_commands_per_100k.of(month.redis_commands / 1e5)),
    ("USD logs", |model, month, _| model.prices.log_gib.of(model.log_gib(month))),
    ("USD Cloud Scheduler", |model, _, schedules| model.prices.scheduler_jobs.of(schedules)),
    ("USD total, at least", |model, month, schedules| model.price(month, month.cpu_seconds, schedules)),
    ("USD total, at most", |model, month, schedules| model.price(month, month.seconds, schedules)),
];

type Amount = fn(&Model, &Month, f64) -> f64;

impl Cost {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let model: Model = serde_json::from_str(MODEL).context("infra/cost.json is malformed")?;
        let declaration: Value =
            serde_json::from_str(DECLARATION).context("infra/queues.json is malformed")?;
        let report = if let Some(file) = &self.report {
            std::fs::read_to_string(file).context("cannot read the report")?
        } else {
            let up = Repository::here()?.root().join("scripts/up");
            program::output(Command::new(up).args(["--once", "--json"]))?
        };
        let report: Value = serde_json::from_str(&report).context("the report is not JSON")?;
        let measured: BTreeMap<String, Measured> =
            serde_json::from_value(report["queues"].clone()).context("the report has no queues")?;
        let months: Vec<Month> =
            self.users.iter().map(|users| model.month(&declaration, &measured, *users)).collect();
        for name in model.functions.keys().filter(|name| !measured.contains_key(*name)) {
            println!("{name} was not measured: calculated as the slowest of the others");
        }
        let schedules = schedules(&declaration);
        print!("{:<28}", "per month, users");
        self.users.iter().for_each(|users| print!("{users:>14}"));
        println!();
        for (what, amount) in ROWS {
            print!("{what:<28}");
            for month in &months {
                print!("{:>14.2}", amount(&model, month, schedules));
            }
            println!();
        }
        let most = measured.iter().max_by(|(_, one), (_, other)| one.peak_mib.total_cmp(&other.peak_mib));
        if let Some((name, most)) = most {
            let given = model.instance.gib * MIB_PER_GIB;
            println!("peak memory: {name}, {:.1} MiB of {given:.0}", most.peak_mib);
        }
        for users in &self.users {
            for (name, needed, allowed) in model.too_slow(&declaration, *users) {
                println!(
                    "{users} users: {name} gets {needed:.1} tasks per second, and its queue dispatches at most {allowed}"
                );
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Model {
    /// Queues that cannot keep up with that many users: tasks per second that arrive, and that may be dispatched.
    fn too_slow<'a>(
        &'a self,
        declaration: &'a Value,
        users: u64,
    ) -> impl Iterator<Item = (&'a str, f64, f64)> {
        self.functions.iter().filter_map(move |(name, load)| {
            let needed = number(users) * load.per_user_day / SECONDS_PER_DAY;
            let allowed = declaration["queues"][name]["maxDispatchesPerSecond"].as_f64()?;
            (needed > allowed).then_some((name.as_str(), needed, allowed))
        })
    }

    fn month(&self, declaration: &Value, measured: &BTreeMap<String, Measured>, users: u64) -> Month {
        let users = number(users);
        let slowest = measured.values().max_by(|one, other| one.p95_ms.total_cmp(&other.p95_ms));
        let mut month = Month::default();
        for service in self.services.values() {
            let requests = DAYS_PER_MONTH * users * service.per_user_day;
            month.requests += requests;
            month.seconds += requests * self.instance.billed_step_ms / 1e3;
            month.cpu_seconds += requests * service.cpu_ms / 1e3;
        }
        for (name, load) in &self.functions {
            let sweeps_per_day: f64 = periods(declaration, name).map(|period| SECONDS_PER_DAY / period).sum();
            // Each page of a sweep is a task of its own.
            let pages = sweeps_per_day * (1.0 + users / self.users_per_sweep_page);
            let (sweeps, others) = (DAYS_PER_MONTH * pages, DAYS_PER_MONTH * users * load.per_user_day);
            let tasks = sweeps + others;
            let Some(one) = measured.get(name).or(slowest) else { continue };
            let step = self.instance.billed_step_ms;
            let billed_ms = ((one.p95_ms + load.vendor_calls * self.vendor_call_ms) / step).ceil() * step;
            month.tasks += tasks;
            month.seconds += tasks * billed_ms / 1e3;
            month.cpu_seconds += tasks * one.cpu_ms_per_task / 1e3;
            // A sweep uses Redis only for its lease.
            month.redis_commands +=
                sweeps * one.redis_claim_commands_per_task + others * one.redis_commands_per_task;
        }
        month
    }

    fn log_gib(&self, month: &Month) -> f64 {
        (month.tasks + month.requests) * self.log_bytes_per_task / f64::from(1 << 30)
    }

    /// Price of instances that have tasks for `seconds`.
    fn instances(&self, seconds: f64) -> f64 {
        let Prices { vcpu_seconds, gib_seconds, .. } = &self.prices;
        vcpu_seconds.of(seconds * self.instance.vcpu) + gib_seconds.of(seconds * self.instance.gib)
    }

    /// Price of a month in which instances have tasks for `seconds`.
    fn price(&self, month: &Month, seconds: f64, schedules: f64) -> f64 {
        let prices = &self.prices;
        prices.cloud_tasks_per_million.of(month.tasks * self.operations_per_task / 1e6)
            + prices.requests_per_million.of((month.tasks + month.requests) / 1e6)
            + self.instances(seconds)
            + prices.redis_commands_per_100k.of(month.redis_commands / 1e5)
            + prices.log_gib.of(self.log_gib(month))
            + prices.scheduler_jobs.of(schedules)
    }
}

#[expect(clippy::cast_precision_loss, reason = "the number of users is far below 2^52")]
fn number(users: u64) -> f64 {
    users as f64
}

fn periods<'a>(declaration: &'a Value, function: &str) -> impl Iterator<Item = f64> + 'a {
    let schedules = declaration["queues"][function]["schedules"].as_array();
    schedules.into_iter().flatten().filter_map(|schedule| schedule["periodSeconds"].as_f64())
}

/// Number of Cloud Scheduler jobs.
fn schedules(declaration: &Value) -> f64 {
    let queues = declaration["queues"].as_object().into_iter().flat_map(serde_json::Map::keys);
    let all: usize = queues.map(|name| periods(declaration, name).count()).sum();
    f64::from(u32::try_from(all).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_queue_has_a_load() {
        let model: Model = serde_json::from_str(MODEL).unwrap();
        let declaration: Value = serde_json::from_str(DECLARATION).unwrap();
        let queues = declaration["queues"].as_object().unwrap();
        assert!(model.functions.keys().eq(queues.keys().collect::<std::collections::BTreeSet<_>>()));
    }

    #[test]
    fn free_tier_costs_nothing_and_the_rest_grows_with_the_users() {
        let model: Model = serde_json::from_str(MODEL).unwrap();
        let declaration: Value = serde_json::from_str(DECLARATION).unwrap();
        let measured = BTreeMap::from([(
            "token-refresh".to_owned(),
            Measured {
                p95_ms: 20.0,
                redis_commands_per_task: 3.0,
                redis_claim_commands_per_task: 2.0,
                cpu_ms_per_task: 5.0,
                peak_mib: 8.0,
            },
        )]);
        let price = |users| {
            let month = model.month(&declaration, &measured, users);
            assert!(month.cpu_seconds < month.seconds);
            model.price(&month, month.seconds, 0.0)
        };
        assert!(price(50) < 0.01, "{}", price(50));
        // Notifications alone.
        let month = model.month(&declaration, &BTreeMap::new(), 1_000);
        assert!(month.cpu_seconds > 0.0 && month.cpu_seconds < month.seconds);
        assert!(price(1_000_000) > 50.0 * price(10_000));
    }

    #[test]
    fn the_runbook_has_the_rows_that_are_printed() {
        let page = include_str!("../../../infra/docs/runbook.md");
        let (_, table) = page.split_once("| per month | ").unwrap();
        let named = |line: &str| Some(line.strip_prefix("| ")?.split_once(" |")?.0.replace("**", ""));
        let rows: Vec<_> = table.lines().skip(2).map_while(named).collect();
        assert_eq!(rows, ROWS.map(|(what, _)| what));
    }

    #[test]
    fn a_queue_that_cannot_keep_up_is_named() {
        let model: Model = serde_json::from_str(MODEL).unwrap();
        let declaration =
            |rate: f64| json!({ "queues": { "token-refresh": { "maxDispatchesPerSecond": rate } } });
        let slow = declaration(0.5);
        let found: Vec<_> = model.too_slow(&slow, 86_400).map(|(name, _, allowed)| (name, allowed)).collect();
        assert_eq!(found, [("token-refresh", 0.5)]);
        assert_eq!(model.too_slow(&declaration(2.0), 86_400).count(), 0);
    }
}
