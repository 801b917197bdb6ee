//! `ops usage`: what is used of what is billed by the command or limited by a quota.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use catchup::limits::{GOOGLE_CALENDAR, GOOGLE_PEOPLE};
use clap::Args;
use shared::rate_limit::Limit;

use crate::database::wait_for;
use crate::operations::Operations;
use crate::operations::usage::Usage as Used;
use crate::table::{Table, UNKNOWN, known};
use crate::{moment, said};

/// The limits that keep the calls of one user below Google's own.
const LIMITS: [&Limit; 2] = [&GOOGLE_CALENDAR, &GOOGLE_PEOPLE];

/// Show the Redis commands of each queue by purpose, projected to a month, with the budget, and the calls of vendors.
///
/// They are those of a function's process on this machine since it started; after an hour they are projected to a month. Commands
/// of the application are not among them.
#[derive(Args)]
pub(crate) struct Usage {
    /// Print JSON: `sources`, `queues`, `redisCommandsPerMonth` and `budget`.
    #[arg(long)]
    json: bool,
}

impl Usage {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        wait_for(async {
            let operations = Operations::from_process();
            let used = operations.usage().await?;
            if self.json {
                println!("{}", serde_json::to_string(&used)?);
            } else {
                redis_commands(&used, &operations);
                vendor_calls(&used);
            }
            Ok(said::sources(&used.sources))
        })
    }
}

fn redis_commands(used: &Used, operations: &Operations) {
    let now = operations.clock.now();
    let counted = || used.queues.iter().filter_map(|queue| queue.counted.as_ref());
    let purposes: BTreeSet<&String> = counted().flat_map(|it| it.redis_commands.keys()).collect();
    let mut table = Table::new(&["queue", "counted for", "Redis commands", "per month", "by purpose"]);
    for queue in &used.queues {
        let counted = queue.counted.as_ref();
        let by_purpose = counted.map(|it| {
            let purposes =
                purposes.iter().filter_map(|purpose| Some((purpose, it.redis_commands.get(*purpose)?)));
            purposes.map(|(purpose, count)| format!("{purpose} {count}")).collect::<Vec<_>>().join(", ")
        });
        table.row([
            queue.queue.to_owned(),
            known(counted.map(|it| moment::length(now - it.since))),
            known(counted.map(|it| it.redis_commands.values().sum::<u64>())),
            known(
                counted.and_then(|it| it.redis_commands_per_month).map(|commands| format!("{commands:.0}")),
            ),
            known(by_purpose),
        ]);
    }
    table.print();
    let budget = used.budget;
    println!(
        "\nRedis commands per month, known after an hour: {}, {} % of the {:.0} that are free; alerts at {:.0} and {:.0}",
        known(used.per_month.map(|commands| format!("{commands:.0}"))),
        known(used.per_month.map(|commands| format!("{:.0}", commands * 100.0 / budget.free))),
        budget.free,
        budget.warning,
        budget.critical
    );
}

fn vendor_calls(used: &Used) {
    let mut calls: BTreeMap<&str, u64> = BTreeMap::new();
    for (method, count) in
        used.queues.iter().filter_map(|it| it.counted.as_ref()).flat_map(|it| &it.vendor_calls)
    {
        *calls.entry(method).or_default() += count;
    }
    println!();
    if calls.is_empty() {
        let is_known = used.queues.iter().any(|queue| queue.counted.is_some());
        println!("calls of vendors: {}", if is_known { "none" } else { UNKNOWN });
    } else {
        let mut table = Table::new(&["calls of vendors", "count"]);
        for (method, count) in calls {
            table.row([method.to_owned(), count.to_string()]);
        }
        table.print();
    }
    for Limit { name, max, window, .. } in LIMITS {
        println!("limit {name}: {max} calls per user in {} s; a task that meets it waits", window.as_secs());
    }
}
