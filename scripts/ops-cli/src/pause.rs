//! `ops pause` and `ops resume`: queues hold their tasks, or dispatch them again. No task is lost either way.

use std::process::ExitCode;

use anyhow::ensure;
use catchup::queues;
use clap::Args;
use shared::db::operator_actions::Action;

use crate::database::wait_for;
use crate::names;
use crate::operations::Operations;
use crate::operations::holds::{Change, Outcome};
use crate::reason::Reason;

/// Queues to pause or resume.
#[derive(Args)]
pub(crate) struct Queues {
    /// Names of queues or functions.
    #[arg(required_unless_present = "all", value_name = "QUEUE")]
    names: Vec<String>,
    /// All queues. Resumed are those that were paused with `--all` or without a record; what was paused by name, for a reason of its
    /// own, stays.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    #[command(flatten)]
    reason: Reason,
    /// Print the changes without making them.
    #[arg(long)]
    dry_run: bool,
}

impl Queues {
    pub(crate) fn pause(self) -> anyhow::Result<ExitCode> {
        self.change(Action::Pause)
    }

    pub(crate) fn resume(self) -> anyhow::Result<ExitCode> {
        self.change(Action::Resume)
    }

    fn change(self, action: Action) -> anyhow::Result<ExitCode> {
        let named: Result<Vec<_>, _> = self.names.iter().map(|name| names::queue(name)).collect();
        let queues = if self.all { queues::all().collect() } else { named? };
        let change = Change { queues: &queues, is_of_all: self.all, action, dry_run: self.dry_run };
        let (verb, state) = match action {
            Action::Pause => ("pause", "paused"),
            _ => ("resume", "running"),
        };
        let mut failed = Vec::new();
        wait_for(async {
            let operations = Operations::from_process();
            let region = operations.cloud_tasks()?.region.clone();
            let report = |queue: shared::queue::Queue, outcome| {
                let name = queue.cloud_name();
                match outcome {
                    Outcome::Changed { unrecorded } => {
                        eprintln!("+ gcloud tasks queues {verb} {name} --location={region}");
                        if let Some(problem) = unrecorded {
                            eprintln!("  {problem}");
                        }
                    }
                    Outcome::Unchanged => eprintln!("{name}: is {state} already"),
                    Outcome::Left { why } => {
                        eprintln!(
                            "{name}: stays paused: {why}; scripts/ops resume {} resumes it",
                            queue.name()
                        );
                    }
                    Outcome::Failed(error) => {
                        eprintln!("{name}: {error:#}");
                        failed.push(name);
                    }
                }
            };
            operations.change_holds(&change, self.reason.request(), report).await
        })?;
        ensure!(failed.is_empty(), "cannot {verb} {}", failed.join(", "));
        Ok(ExitCode::SUCCESS)
    }
}
