//! `ops tasks`: what waits in a queue.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::json;
use uuid::Uuid;

use crate::database::wait_for;
use crate::operations::Operations;
use crate::operations::tasks::{LOOKED_AT, TaskFilter, WaitingTask};
use crate::table::{Table, present};
use crate::{moment, names, said};

/// List the tasks that wait in a queue, those under way included, the next due first. Shows no body.
///
/// The API of Cloud Tasks shows tasks in any order: without a condition the first 1,000 are looked at, with one the first 10,000.
#[derive(Args)]
pub(crate) struct Tasks {
    /// The queue.
    queue: String,
    /// Only tasks about this user.
    #[arg(long)]
    user: Option<Uuid>,
    /// Only tasks with this key or name.
    #[arg(long)]
    key: Option<String>,
    /// Only tasks that were created from then on: 2026-11-27T03:00:00Z, or how long ago, such as 45m, 2h or 3d.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    since: Option<DateTime<Utc>>,
    /// Only tasks that were created until then.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    until: Option<DateTime<Utc>>,
    /// Maximum number of tasks.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
    /// Print JSON: `tasks`, whether the list `isCut`, and whether the queue has more tasks than were looked at (`isUnfinished`).
    #[arg(long)]
    json: bool,
}

impl Tasks {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let queue = names::queue(&self.queue)?;
        wait_for(async {
            let operations = Operations::from_process();
            let (key, since, until) = (self.key.as_deref(), self.since, self.until);
            let filter = TaskFilter { user: self.user, key, since, until };
            let found = operations.waiting_tasks(queue, filter, self.limit).await?;
            let tasks = &found.tasks;
            if self.json {
                let (cut, unfinished) = (tasks.is_cut, found.is_unfinished);
                println!("{}", json!({ "tasks": tasks.items, "isCut": cut, "isUnfinished": unfinished }));
                return Ok(ExitCode::SUCCESS);
            }
            if !tasks.items.is_empty() {
                print(&tasks.items, operations.clock.now());
            }
            said::extent(tasks, &format!("tasks in {}{}", queue.cloud_name(), filter.words()));
            if found.is_unfinished {
                let more = if found.looked_at < LOOKED_AT { "; --since 30d looks at more" } else { "" };
                eprintln!("only the first {} tasks of the queue were looked at{more}", found.looked_at);
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn print(tasks: &[WaitingTask], now: DateTime<Utc>) {
    let mut table =
        Table::new(&["task", "created", "due", "dispatches", "last answer", "user", "key, if not the name"]);
    for task in tasks {
        let key = task.key.as_deref().filter(|key| *key != task.name);
        table.row([
            task.name.clone(),
            moment::distance(task.created_at, now),
            if task.is_in_flight { "under way".to_owned() } else { moment::distance(task.due_at, now) },
            task.dispatches.to_string(),
            present(task.last_answer.as_deref()),
            present(task.user),
            present(key),
        ]);
    }
    table.print();
}
