//! `ops run` and `ops delete`: one task that waits.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::json;
use shared::queue::Queue;

use crate::FAILURE;
use crate::database::wait_for;
use crate::deploy::confirmed;
use crate::operations::Operations;
use crate::operations::actions::Request;
use crate::operations::tasks::WaitingTask;
use crate::reason::Reason;
use crate::{moment, names};

/// A task that waits.
#[derive(Args)]
struct Waiting {
    /// Name of the task, as `scripts/ops tasks` lists it, or its key if that has the name in it.
    task: String,
    /// The queue, if the name does not say it.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    #[command(flatten)]
    reason: Reason,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: `queue`, `task`, and whether it `isDone`.
    #[arg(long)]
    json: bool,
}

/// Dispatch a task immediately, whatever its time, the rate of its queue, and whether that is paused.
///
/// A lease that another run has is respected: then the task waits again.
#[derive(Args)]
pub(crate) struct Run {
    #[command(flatten)]
    waiting: Waiting,
}

/// Delete a task that waits: its work is not done, and it is no dead letter.
///
/// A user whose task a sweep created gets the next one from a later sweep, after two days. Cloud Tasks may refuse the name of a
/// deleted task for a day, so what is deleted is not created again by the same cause.
#[derive(Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    waiting: Waiting,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
}

impl Run {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        self.waiting.change(
            "run",
            || Ok(true),
            async |operations, queue, task, request| operations.run_task(queue, task, request).await,
        )
    }
}

impl Delete {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let is_agreed = || {
            eprintln!("its work is not done then, and it is no dead letter");
            Ok(self.yes || confirmed()?)
        };
        self.waiting.change("delete", is_agreed, async |operations, queue, task, request| {
            operations.delete_task(queue, task, request).await
        })
    }
}

impl Waiting {
    /// Does what `verb` says, if that is agreed to.
    fn change(
        &self,
        verb: &str,
        is_agreed: impl FnOnce() -> anyhow::Result<bool>,
        change: impl AsyncFnOnce(&Operations, Queue, &WaitingTask, Request<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<ExitCode> {
        let (queue, name) = names::task(&self.task, self.queue.as_deref())?;
        wait_for(async {
            let operations = Operations::from_process();
            let task = operations.waiting_task(queue, &name).await?;
            print(queue, &task, operations.clock.now());
            if self.dry_run {
                self.report(queue, &name, false);
                return Ok(ExitCode::SUCCESS);
            }
            if !is_agreed()? {
                return Ok(ExitCode::from(FAILURE));
            }
            let region = &operations.cloud_tasks()?.region;
            eprintln!("+ gcloud tasks {verb} {name} --queue={} --location={region}", queue.cloud_name());
            change(&operations, queue, &task, self.reason.request()).await?;
            self.report(queue, &name, true);
            Ok(ExitCode::SUCCESS)
        })
    }

    fn report(&self, queue: Queue, name: &str, is_done: bool) {
        if self.json {
            println!("{}", json!({ "queue": queue.name(), "task": name, "isDone": is_done }));
        }
    }
}

fn print(queue: Queue, task: &WaitingTask, now: DateTime<Utc>) {
    let due = if task.is_in_flight {
        "in flight".to_owned()
    } else {
        format!("due {}", moment::distance(task.due_at, now))
    };
    let about = task.user.map(|user| format!(", about the user {user}")).unwrap_or_default();
    eprintln!(
        "{}  {}: created {}, {due}, {} dispatches so far{about}",
        queue.name(),
        task.name,
        moment::distance(task.created_at, now),
        task.dispatches
    );
}
