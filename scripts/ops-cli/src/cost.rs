//! `ops cost`: the cost of a month, from the measurements of a run of the whole system and from `infra/cost.json`; or of this
//! month, from what was counted.
//!
//! An instance is billed while it has a task. The upper bound assumes that no two tasks ever share an instance, each at its
//! measured 95th percentile; the lower bound assumes that instances are always as busy as their CPU can be. What is charged
//! at rest is counted in the declarations. Not included: Postgres, which the application pays for, the network inside a
//! region, dashboards, service levels and budgets, which are free, and messages.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::at_rest::AtRest;
use crate::database::wait_for;
use crate::operations::Operations;
use crate::operations::cost::Estimate;
use crate::repository::Repository;
use crate::table::{Table, known};
use crate::{moment, program, said};

mod at_rest;
pub(crate) mod counted;

const MODEL: &str = include_str!("../../../infra/cost.json");
const DECLARATION: &str = include_str!("../../../infra/queues.json");
const DAYS_PER_MONTH: f64 = 30.0;
const SECONDS_PER_DAY: f64 = 86_400.0;
const MINUTES_PER_MONTH: f64 = DAYS_PER_MONTH * SECONDS_PER_DAY / 60.0;
const MIB_PER_GIB: f64 = 1024.0;
const BYTES_PER_MIB: f64 = 1024.0 * 1024.0;
/// The price of Redis commands is that of so many.
const REDIS_COMMANDS: f64 = 1e5;

/// Estimate the cost of a month. Without --report, that of a local cloud, which is built and run for minutes.
#[derive(Args)]
pub(crate) struct Cost {
    /// Number of users; several numbers give several columns.
    #[arg(long, value_delimiter = ',', default_values_t = [50, 1_000, 10_000, 100_000, 1_000_000, 10_000_000], value_name = "N")]
    users: Vec<u64>,
    /// Output of `scripts/up --once --json`; by default, it is run now.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// This month by what was counted: of a project in Cloud Monitoring, or by the processes on this machine since they started.
    #[arg(long, conflicts_with_all = ["users", "report"])]
    counted: bool,
    /// Print JSON: `users`, `rows` with an amount for each, the queues that were `notMeasured`, and those that are `tooSlow`; with
    /// --counted, `sources` and `cost`.
    #[arg(long)]
    json: bool,
}

/// `infra/cost.json`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Model {
    prices: Prices,
    instance: Instance,
    vendor_call_ms: f64,
    log_bytes: LogBytes,
    log_operations_per_task: f64,
    metric_point_bytes: PointBytes,
    egress_bytes: EgressBytes,
    /// Cloud Run ends an instance that had no request for so long.
    idle_minutes: f64,
    secrets_per_start: f64,
    image_mib: f64,
    images_kept: f64,
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
    metric_mib: Price,
    alert_conditions: Price,
    alert_million_points: Price,
    scheduler_jobs: Price,
    secret_versions: Price,
    #[serde(rename = "secretReadsPer10k")]
    secret_reads_per_10k: Price,
    registry_gib: Price,
    egress_gib: Price,
}

/// Sizes of log entries.
#[derive(Deserialize)]
struct LogBytes {
    line: Size,
    request: Size,
    operation: Size,
}

#[derive(Deserialize)]
struct Size {
    bytes: f64,
}

/// Sizes of one point of a metric.
#[derive(Deserialize)]
struct PointBytes {
    number: f64,
    distribution: f64,
}

/// What leaves Google for each of these.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EgressBytes {
    redis_command: f64,
    vendor_call: f64,
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
    vendor_calls: f64,
    /// Minutes in which a queue or a service writes its metrics, of all of them together.
    active_minutes: f64,
}

/// What is printed of a month, as the table of `infra/docs/runbook.md` has it.
const ROWS: [(&str, Amount); 20] = [
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
    ("USD Redis", |model, month, _| {
        model.prices.redis_commands_per_100k.of(month.redis_commands / REDIS_COMMANDS)
    }),
    ("USD logs", |model, month, _| model.prices.log_gib.of(model.log_gib(month))),
    ("USD metrics", |model, month, rest| model.prices.metric_mib.of(model.metric_mib(month, rest))),
    ("USD alert conditions", |model, _, rest| model.prices.alert_conditions.of(rest.conditions)),
    ("USD alert queries, at most", |model, _, rest| model.prices.alert_million_points.of(rest.points / 1e6)),
    ("USD Cloud Scheduler", |model, _, rest| model.prices.scheduler_jobs.of(rest.schedules)),
    ("USD secrets", |model, month, rest| model.secrets(month, rest)),
    ("USD images", |model, _, rest| {
        model.prices.registry_gib.of(rest.services * model.images_kept * model.image_mib / MIB_PER_GIB)
    }),
    ("USD network", |model, month, _| model.prices.egress_gib.of(model.egress_gib(month))),
    ("USD total, at least", |model, month, rest| model.total(month, rest, "USD Cloud Run, at most")),
    ("USD total, at most", |model, month, rest| model.total(month, rest, "USD Cloud Run, at least")),
];

type Amount = fn(&Model, &Month, &AtRest) -> f64;

/// Redis commands per month that are not paid for.
pub(crate) fn free_redis_commands() -> anyhow::Result<f64> {
    Ok(Model::declared()?.prices.redis_commands_per_100k.free_per_month * REDIS_COMMANDS)
}

impl Cost {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        if self.counted {
            return wait_for(counted(self.json));
        }
        let model = Model::declared()?;
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
        let not_measured: Vec<_> =
            model.functions.keys().filter(|name| !measured.contains_key(*name)).collect();
        let rest = AtRest::declared(&declaration)?;
        let too_slow: Vec<_> =
            self.users.iter().flat_map(|users| model.too_slow(&declaration, *users)).collect();
        if self.json {
            let row = |(what, amount): (&str, Amount)| {
                let amounts: Vec<_> = months.iter().map(|month| amount(&model, month, &rest)).collect();
                json!({ "what": what, "amounts": amounts })
            };
            let rows: Vec<_> = ROWS.into_iter().map(row).collect();
            println!(
                "{}",
                json!({ "users": self.users, "rows": rows, "notMeasured": not_measured, "tooSlow": too_slow })
            );
            return Ok(ExitCode::SUCCESS);
        }
        for name in not_measured {
            println!("{name} was not measured: calculated as the slowest of the others");
        }
        print!("{:<27}", "per month, users");
        self.users.iter().for_each(|users| print!("{users:>15}"));
        println!();
        for (what, amount) in ROWS {
            print!("{what:<27}");
            for month in &months {
                print!("{:>15}", figure(amount(&model, month, &rest)));
            }
            println!();
        }
        let most = measured.iter().max_by(|(_, one), (_, other)| one.peak_mib.total_cmp(&other.peak_mib));
        if let Some((name, most)) = most {
            let given = model.instance.gib * MIB_PER_GIB;
            println!("peak memory: {name}, {:.1} MiB of {given:.0}", most.peak_mib);
        }
        for TooSlow { users, queue, needed, allowed } in too_slow {
            println!(
                "{users} users: {queue} gets {needed:.1} tasks per second, and its queue dispatches at most {allowed}"
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Two digits of what is less than a hundred; the rest in whole numbers, by thousands.
pub(crate) fn figure(amount: f64) -> String {
    let cents = format!("{amount:.2}");
    if amount < 100.0 && cents != "100.00" {
        return if cents == "0.00" { "0".to_owned() } else { cents };
    }
    let whole = format!("{amount:.0}");
    let head = whole.len() % 3;
    let groups = whole.as_bytes()[head..].chunks(3).map(String::from_utf8_lossy);
    let head = (head > 0).then(|| whole[..head].into());
    head.into_iter().chain(groups).collect::<Vec<_>>().join(",")
}

/// A queue that cannot keep up with its tasks.
#[derive(Serialize)]
struct TooSlow<'a> {
    users: u64,
    queue: &'a str,
    /// Tasks per second that arrive.
    needed: f64,
    /// Tasks per second that may be dispatched.
    allowed: f64,
}

async fn counted(is_json: bool) -> anyhow::Result<ExitCode> {
    let (cost, asked) = Operations::from_process().cost_of_month().await;
    if is_json {
        println!("{}", json!({ "sources": [&asked], "cost": cost }));
    } else if let Some(cost) = cost {
        let mut table = Table::new(&["", "so far", "per month"]);
        let mut row = |what: &str, it: Estimate| {
            table.row([what.to_owned(), figure(it.so_far), known(it.projected.map(figure))]);
        };
        row("tasks and requests", cost.tasks);
        row("Redis commands", cost.redis_commands);
        cost.parts.iter().for_each(|part| row(&format!("USD {}", part.what), part.usd));
        row("USD total, at most", cost.total);
        table.print();
        println!("counted from {} until {}", moment::text(cost.since), moment::text(cost.until));
        cost.notes.iter().for_each(|note| println!("{note}"));
    }
    Ok(said::sources(&[asked]))
}

impl Model {
    fn declared() -> anyhow::Result<Self> {
        serde_json::from_str(MODEL).context("infra/cost.json is malformed")
    }

    /// Queues that cannot keep up with that many users.
    fn too_slow<'a>(&'a self, declaration: &'a Value, users: u64) -> impl Iterator<Item = TooSlow<'a>> {
        self.functions.iter().filter_map(move |(name, load)| {
            let needed = number(users) * load.per_user_day / SECONDS_PER_DAY;
            let allowed = declaration["queues"][name]["maxDispatchesPerSecond"].as_f64()?;
            (needed > allowed).then_some(TooSlow { users, queue: name, needed, allowed })
        })
    }

    fn month(&self, declaration: &Value, measured: &BTreeMap<String, Measured>, users: u64) -> Month {
        let users = number(users);
        let slowest = measured.values().max_by(|one, other| one.p95_ms.total_cmp(&other.p95_ms));
        let mut month = Month::default();
        for service in self.services.values() {
            let requests = DAYS_PER_MONTH * users * service.per_user_day;
            month.requests += requests;
            month.active_minutes += requests.min(MINUTES_PER_MONTH);
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
            month.vendor_calls += others * load.vendor_calls;
            month.active_minutes += tasks.min(MINUTES_PER_MONTH);
            month.seconds += tasks * billed_ms / 1e3;
            month.cpu_seconds += tasks * one.cpu_ms_per_task / 1e3;
            // A sweep uses Redis only for its lease.
            month.redis_commands +=
                sweeps * one.redis_claim_commands_per_task + others * one.redis_commands_per_task;
        }
        month
    }

    fn log_gib(&self, month: &Month) -> f64 {
        let LogBytes { line, request, operation } = &self.log_bytes;
        let of_requests = (month.tasks + month.requests) * (line.bytes + request.bytes);
        let of_queues = month.tasks * self.log_operations_per_task * operation.bytes;
        (of_requests + of_queues) / BYTES_PER_MIB / MIB_PER_GIB
    }

    /// A metric has a point for each minute in which something was counted. One outcome is usual in a minute.
    fn metric_mib(&self, month: &Month, rest: &AtRest) -> f64 {
        let PointBytes { number, distribution } = &self.metric_point_bytes;
        month.active_minutes * (number + rest.distributions * distribution) / BYTES_PER_MIB
    }

    fn secrets(&self, month: &Month, rest: &AtRest) -> f64 {
        let starts =
            (month.tasks + month.requests).min(rest.instances * MINUTES_PER_MONTH / self.idle_minutes);
        let reads = starts * self.secrets_per_start;
        self.prices.secret_versions.of(rest.secrets) + self.prices.secret_reads_per_10k.of(reads / 1e4)
    }

    fn egress_gib(&self, month: &Month) -> f64 {
        let bytes = month.redis_commands * self.egress_bytes.redis_command
            + month.vendor_calls * self.egress_bytes.vendor_call;
        bytes / BYTES_PER_MIB / MIB_PER_GIB
    }

    /// Price of instances that have tasks for `seconds`.
    fn instances(&self, seconds: f64) -> f64 {
        let Prices { vcpu_seconds, gib_seconds, .. } = &self.prices;
        vcpu_seconds.of(seconds * self.instance.vcpu) + gib_seconds.of(seconds * self.instance.gib)
    }

    /// All that is paid, with the other of the two bounds left out.
    fn total(&self, month: &Month, rest: &AtRest, other: &str) -> f64 {
        let paid = ROWS.iter().filter(|(what, _)| what.starts_with("USD ") && !what.starts_with("USD total"));
        paid.filter(|(what, _)| *what != other).map(|(_, amount)| amount(self, month, rest)).sum()
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
        let rest = AtRest::declared(&declaration).unwrap();
        let price = |users| {
            let month = model.month(&declaration, &measured, users);
            assert!(month.cpu_seconds < month.seconds);
            model.total(&month, &rest, "USD Cloud Run, at least")
        };
        let at_rest = price(0);
        assert!(at_rest > 1.0 && price(50) - at_rest < 1.0, "{at_rest}, {}", price(50));
        // Notifications alone.
        let month = model.month(&declaration, &BTreeMap::new(), 1_000);
        assert!(month.cpu_seconds > 0.0 && month.cpu_seconds < month.seconds);
        assert!(price(1_000_000) > 20.0 * (price(10_000) - at_rest));
        let month = model.month(&declaration, &measured, 50);
        assert!(model.total(&month, &rest, "USD Cloud Run, at most") <= price(50));
    }

    #[test]
    fn figures_have_no_more_digits_than_mean_something() {
        let check = |amount: f64, expected: &str| assert_eq!(figure(amount), expected);
        check(0.0, "0");
        check(0.004, "0");
        check(0.067, "0.07");
        check(99.99, "99.99");
        check(99.999, "100");
        check(999.6, "1,000");
        check(2_533.4, "2,533");
        check(133_985.0, "133,985");
        check(3_000_000.0, "3,000,000");
    }

    #[test]
    fn every_price_has_the_vendors_page_as_its_source() {
        let model: Value = serde_json::from_str(MODEL).unwrap();
        let prices = model["prices"].as_object().unwrap();
        let prices: Vec<_> = prices.values().filter(|price| price.is_object()).collect();
        assert!(prices.len() > 10);
        for price in prices {
            assert!(price["source"].as_str().is_some_and(|page| page.starts_with("https://")), "{price}");
        }
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
        let found: Vec<_> = model.too_slow(&slow, 86_400).map(|it| (it.queue, it.allowed)).collect();
        assert_eq!(found, [("token-refresh", 0.5)]);
        assert_eq!(model.too_slow(&declaration(2.0), 86_400).count(), 0);
    }
}
