//! `ops doctor`: what is wrong with the system or with this environment, and how it is fixed.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shared::config::Config;

use crate::FAILURE;
use crate::database::wait_for;
use crate::operations::Operations;
use crate::operations::doctor::{Checks, Status};
use crate::table::UNKNOWN;

/// Check the environment, the clock, Postgres, Redis, Google, the queues and their functions; each failure comes with its fix.
///
/// `?` is what is not configured here, or could not be asked. Nothing is changed, but for one lease in Redis, which is released.
#[derive(Args)]
pub(crate) struct Doctor {
    /// Print JSON: `isWell`, and each check with `subject`, `status`, `detail` and `fix`.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        wait_for(async {
            let checks = Operations::from_process().doctor(&mut Config::from_process()).await;
            if self.json {
                println!("{}", json!({ "isWell": checks.is_well(), "checks": checks }));
            } else {
                print(&checks);
            }
            Ok(if checks.is_well() { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) })
        })
    }
}

fn print(checks: &Checks) {
    let mut counts = [0; 3];
    for check in checks.each() {
        let status = match check.status {
            Status::Ok => "ok",
            Status::Failed => "FAILED",
            Status::Unknown => UNKNOWN,
        };
        println!("{status:<6}  {}: {}", check.subject, check.detail);
        if let Some(fix) = &check.fix {
            println!("        fix: {fix}");
        }
        counts[check.status as usize] += 1;
    }
    let [ok, failed, unknown] = counts;
    println!("{ok} ok, {failed} failed, {unknown} unknown");
}
