//! `ops schedule`: the schedules, and what became of their last sweeps.

use std::process::ExitCode;

use chrono::TimeDelta;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::database::wait_for;
use crate::moment;
use crate::operations::Operations;
use crate::table::{Table, present};

/// List the schedules, and what became of their last sweeps.
#[derive(Args)]
pub(crate) struct Schedule {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List the schedules with the last sweep of each queue. `missed` is one of which none has begun for one and a half periods.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Schedule {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let Verb::List { json } = self.verb;
        wait_for(async {
            let operations = Operations::from_process();
            let schedules = operations.schedules().await?;
            if json {
                println!("{}", json!({ "schedules": schedules }));
                return Ok(ExitCode::SUCCESS);
            }
            let now = operations.clock.now();
            let mut table = Table::new(&[
                "queue",
                "schedule",
                "cron, UTC",
                "every",
                "last began",
                "finished",
                "tasks",
                "succeeded",
                "failed",
                "",
            ]);
            for it in &schedules {
                let last = it.last.as_ref();
                table.row([
                    it.queue.to_owned(),
                    it.name.to_owned(),
                    it.cron.to_owned(),
                    moment::length(TimeDelta::seconds(it.period_seconds.into())),
                    present(last.map(|sweep| moment::distance(sweep.started_at, now))),
                    present(last.and_then(|sweep| sweep.finished_at).map(|at| moment::distance(at, now))),
                    present(last.map(|sweep| sweep.tasks)),
                    present(last.map(|sweep| sweep.succeeded)),
                    present(last.map(|sweep| sweep.failed)),
                    if it.is_missed { "missed".to_owned() } else { String::new() },
                ]);
            }
            table.print();
            Ok(ExitCode::SUCCESS)
        })
    }
}
