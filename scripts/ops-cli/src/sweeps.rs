//! `ops sweeps`: what the schedules did.

use std::process::ExitCode;

use catchup::queues;
use clap::Args;
use serde_json::json;
use shared::db::sweeps::PastSweep;
use shared::queue::Queue;

use crate::database::wait_for;
use crate::operations::Operations;
use crate::table::{Table, present};
use crate::{moment, names, said};

/// List the sweeps, newest first: when each began and finished, the tasks that it created, and their results. A task may have several, such as
/// one for each token of a user, and most queues count none.
#[derive(Args)]
pub(crate) struct Sweeps {
    /// Only of one queue.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Maximum number of sweeps.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
    /// Print JSON: `sweeps` and whether the list `isCut`.
    #[arg(long)]
    json: bool,
}

impl Sweeps {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let queue = self.queue.as_deref().map(names::queue).transpose()?;
        let of = queue.map_or_else(|| queues::all().collect(), |queue| vec![queue]);
        wait_for(async {
            let operations = Operations::from_process();
            let sweeps = operations.sweeps(&of, self.limit).await?;
            if self.json {
                println!("{}", json!({ "sweeps": sweeps.items, "isCut": sweeps.is_cut }));
                return Ok(ExitCode::SUCCESS);
            }
            if !sweeps.items.is_empty() {
                let now = operations.clock.now();
                let mut table = Table::new(&["queue", "began", "finished", "tasks", "results", "sweep"]);
                for it in &sweeps.items {
                    table.row([
                        it.queue.clone(),
                        moment::text(it.started_at),
                        present(it.finished_at.map(|at| moment::distance(at, now))),
                        it.tasks.to_string(),
                        present(results(it)),
                        it.id.clone(),
                    ]);
                }
                table.print();
            }
            let what = queue.map(Queue::name).map_or_else(String::new, |queue| format!(" of {queue}"));
            said::extent(&sweeps, &format!("sweeps{what}"));
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// How many results of its tasks were good and bad; none where none were counted.
pub(crate) fn results(sweep: &PastSweep) -> Option<String> {
    let PastSweep { succeeded, failed, .. } = sweep;
    (succeeded + failed > 0).then(|| format!("{succeeded} succeeded, {failed} failed"))
}
