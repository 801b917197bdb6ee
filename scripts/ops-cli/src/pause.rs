//! `ops pause` and `ops resume`: queues hold their tasks, or dispatch them again. No task is lost either way.

use std::process::ExitCode;

use anyhow::ensure;
use catchup::queues;
use clap::Args;
use serde_json::{Value, json};
use shared::db::operator_actions::Action;
use shared::queue::Queue;

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
    /// Print JSON: of each queue `changed`, `unchanged`, `left` or `failed`, and why.
    #[arg(long)]
    json: bool,
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
        let (mut failed, mut outcomes) = (Vec::new(), Vec::new());
        wait_for(async {
            let operations = Operations::from_process();
            let region = operations.cloud_tasks()?.region.clone();
            let report = |queue: Queue, outcome| {
                let name = queue.cloud_name();
                outcomes.push(as_json(queue, &outcome));
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
        if self.json {
            println!("{}", json!({ "queues": outcomes }));
        }
        ensure!(failed.is_empty(), "cannot {verb} {}", failed.join(", "));
        Ok(ExitCode::SUCCESS)
    }
}

fn as_json(queue: Queue, outcome: &Outcome) -> Value {
    let (word, why) = match outcome {
        Outcome::Changed { unrecorded } => ("changed", unrecorded.clone()),
        Outcome::Unchanged => ("unchanged", None),
        Outcome::Left { why } => ("left", Some(why.clone())),
        Outcome::Failed(error) => ("failed", Some(format!("{error:#}"))),
    };
    json!({ "queue": queue.name(), "outcome": word, "why": why })
}
