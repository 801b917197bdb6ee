//! `ops release`: a task whose run is gone need not wait for the end of its lease.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::json;

use crate::FAILURE;
use crate::database::wait_for;
use crate::deploy::confirmed;
use crate::operations::Operations;
use crate::reason::Reason;
use crate::{explain, names};

/// Release the lease of a task, so that its next delivery runs it immediately instead of when the lease expires.
///
/// A run that is still alive continues, so the task may run twice at the same time; its effects are idempotent, and messages have
/// their ledger. A lease that is not renewed expires by itself within a minute.
#[derive(Args)]
pub(crate) struct Release {
    /// Key of the task.
    key: String,
    /// The queue, if tasks of several have the key.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    #[command(flatten)]
    reason: Reason,
    /// Do not ask for confirmation when the run may be alive.
    #[arg(long)]
    yes: bool,
    /// Only say what would be released.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: `queue`, `key`, and whether it `isReleased`.
    #[arg(long)]
    json: bool,
}

impl Release {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let queue = self.queue.as_deref().map(names::queue).transpose()?;
        wait_for(async {
            let operations = Operations::from_process();
            operations.leases()?;
            let tasks = operations.tasks_of_key(&self.key, queue).await?;
            let held: Vec<_> = tasks.tasks.iter().filter(|task| task.held_by.is_some()).collect();
            let task = match held[..] {
                [task] => task,
                [] if tasks.tasks.is_empty() => bail!(explain::unknown(&tasks, &self.key)),
                [] => {
                    let leases: Vec<_> = tasks
                        .tasks
                        .iter()
                        .map(|task| {
                            format!("{}: {}", task.queue, task.lease.as_deref().unwrap_or("not known"))
                        })
                        .collect();
                    bail!("there is no lease to release; {}", leases.join("; "));
                }
                _ => {
                    let queues: Vec<_> = held.iter().map(|task| task.queue).collect();
                    bail!("several tasks have this key; name one with --queue: {}", queues.join(", "));
                }
            };
            eprintln!("{}  {}: lease {}", task.queue, task.key, task.lease.as_deref().unwrap_or_default());
            let report = |is_released: bool| {
                if self.json {
                    let released = json!({ "queue": task.queue, "key": task.key, "isReleased": is_released });
                    println!("{released}");
                }
            };
            if self.dry_run {
                report(false);
                return Ok(ExitCode::SUCCESS);
            }
            if task.is_live && !self.yes {
                eprintln!("its run may be alive: then the task runs twice at the same time");
                if !confirmed()? {
                    return Ok(ExitCode::from(FAILURE));
                }
            }
            if operations.release(task, self.reason.request()).await? {
                eprintln!("released");
                report(true);
                return Ok(ExitCode::SUCCESS);
            }
            bail!("the run has ended or lost the lease meanwhile; nothing is released")
        })
    }
}
