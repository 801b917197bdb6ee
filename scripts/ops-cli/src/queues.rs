//! `ops queues`: the state of the system, one row per queue.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;

use crate::database::wait_for;
use crate::moment;
use crate::names::WEBHOOKS;
use crate::operations::Operations;
use crate::operations::numbers::Numbers;
use crate::operations::overview::{Overview, PublicService};
use crate::said;
use crate::table::{Table, UNKNOWN, known};

/// Show the queues: what each does and why, what waits in it, how its tasks end, and its dead letters; the alerts that fire; and
/// the service `webhooks`, which has no queue: what it refuses is no failure of its own.
///
/// `?` is not known: its source is named below the table, and the exit code is 1. The API of Cloud Tasks shows the first 1,000 tasks of a
/// queue; success and times are those of a function's process on this machine since it started, or, in a project, of all its instances in the
/// last hour, as Cloud Monitoring has them.
#[derive(Args)]
pub(crate) struct Queues {
    /// Print JSON: `sources`, the `alerts` that fire, `queues`, and the service `webhooks`.
    #[arg(long)]
    json: bool,
}

impl Queues {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        wait_for(async {
            let operations = Operations::from_process();
            let overview = operations.overview().await;
            if self.json {
                println!("{}", serde_json::to_string(&overview)?);
            } else {
                let now = operations.clock.now();
                overview.alerts.lines(now).iter().for_each(|line| println!("{line}"));
                table(&overview, now).print();
            }
            Ok(said::sources(&overview.sources))
        })
    }
}

/// One row per queue, and one of the service without a queue.
pub(crate) fn table(overview: &Overview, now: DateTime<Utc>) -> Table {
    let mut table = Table::new(&[
        "queue",
        "state",
        "tasks",
        "oldest due",
        "in flight",
        "max/s",
        "success",
        "p50",
        "p95",
        "dead letters",
        "why",
    ]);
    for row in &overview.queues {
        let numbers = row.numbers.as_ref();
        let rounded = |number: Option<f64>| known(number.map(|number| format!("{number:.0}")));
        let oldest = match (row.tasks, row.oldest_due) {
            (None, _) => None,
            (Some(_), None) => Some("-".to_owned()),
            (Some(_), Some(due)) => Some(moment::length(now - due)),
        };
        table.row([
            row.queue.to_owned(),
            known(row.state.as_deref()),
            known(row.tasks.map(|tasks| format!("{tasks}{}", if row.is_cut { "+" } else { "" }))),
            known(oldest),
            known(row.in_flight),
            rounded(row.max_per_second),
            known(success(numbers)),
            known(at_most(numbers.and_then(|numbers| numbers.p50_ms))),
            known(at_most(numbers.and_then(|numbers| numbers.p95_ms))),
            known(row.dead_letters),
            row.why.clone().unwrap_or_default(),
        ]);
    }
    let numbers = overview.webhooks.numbers.as_ref();
    let none = || "-".to_owned();
    table.row([
        WEBHOOKS.to_owned(),
        "public".to_owned(),
        none(),
        none(),
        none(),
        none(),
        known(success(numbers)),
        known(at_most(numbers.and_then(|numbers| numbers.p50_ms))),
        known(at_most(numbers.and_then(|numbers| numbers.p95_ms))),
        none(),
        requests(&overview.webhooks),
    ]);
    table
}

/// What came to the service that anybody may call, in words.
pub(crate) fn requests(webhooks: &PublicService) -> String {
    match (&webhooks.numbers, &webhooks.served_by) {
        (Some(numbers), _) => format!("{} requests, {} refused", numbers.dispatches, numbers.refused()),
        (None, Some(address)) => format!("{UNKNOWN} requests to {address}"),
        (None, None) => format!("{UNKNOWN} requests: WEBHOOKS_URL is not set"),
    }
}

/// A percentile of a histogram, of which only the bound of its bucket is known.
pub(crate) fn at_most(ms: Option<f64>) -> Option<String> {
    ms.map(|ms| format!("≤ {ms:.0} ms"))
}

/// Share of the dispatches that did not fail; `-` when there was none.
pub(crate) fn success(numbers: Option<&Numbers>) -> Option<String> {
    Some(numbers?.success_percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.1} %")))
}
