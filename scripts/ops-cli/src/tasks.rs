//! `ops tasks`: what waits in a queue, or what of a user waits in any.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::json;
use shared::queue::Queue;
use uuid::Uuid;

use crate::database::wait_for;
use crate::operations::Operations;
use crate::operations::tasks::{LOOKED_AT, TaskFilter, WaitingTask};
use crate::table::{Table, present};
use crate::{moment, names, said};

/// List the tasks that wait in a queue, those in flight included, the next due first; of a user (--user), also in all queues.
/// Shows no body.
///
/// The API of Cloud Tasks shows tasks in any order: without a condition the first 1,000 are looked at, with one the first 10,000; of all
/// queues the first 1,000 of each.
#[derive(Args)]
pub(crate) struct Tasks {
    /// The queue; all of them, if a user is given.
    #[arg(required_unless_present = "user")]
    queue: Option<String>,
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
    /// Print JSON: `tasks`, whether the list `isCut`, and the queues that have more tasks than were looked at (`unfinished`).
    #[arg(long)]
    json: bool,
}

impl Tasks {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let queue = self.queue.as_deref().map(names::queue).transpose()?;
        wait_for(async {
            let operations = Operations::from_process();
            let (key, since, until) = (self.key.as_deref(), self.since, self.until);
            let filter = TaskFilter { user: self.user, key, since, until };
            let found = operations.waiting_tasks(queue, filter, self.limit).await?;
            let tasks = &found.tasks;
            if self.json {
                let (cut, unfinished) = (tasks.is_cut, &found.unfinished);
                println!("{}", json!({ "tasks": tasks.items, "isCut": cut, "unfinished": unfinished }));
                return Ok(ExitCode::SUCCESS);
            }
            if !tasks.items.is_empty() {
                print(&tasks.items, operations.clock.now());
            }
            let place = queue.map_or_else(|| "any queue".to_owned(), Queue::cloud_name);
            said::extent(tasks, &format!("tasks in {place}{}", filter.words()));
            if let Some(unfinished) = found.unfinished() {
                let more = match queue {
                    Some(_) if found.looked_at < LOOKED_AT => "; --since 30d looks at more",
                    Some(_) => "",
                    None => "; name a QUEUE to look at more",
                };
                eprintln!("{unfinished}{more}");
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn print(tasks: &[WaitingTask], now: DateTime<Utc>) {
    let mut table = Table::new(&[
        "queue",
        "task",
        "created",
        "due",
        "dispatches",
        "last answer",
        "user",
        "key, if not the name",
    ]);
    for task in tasks {
        let key = task.key.as_deref().filter(|key| *key != task.name);
        table.row([
            task.queue.to_owned(),
            task.name.clone(),
            moment::distance(task.created_at, now),
            if task.is_in_flight { "in flight".to_owned() } else { moment::distance(task.due_at, now) },
            task.dispatches.to_string(),
            present(task.last_answer.as_deref()),
            present(task.user),
            present(key),
        ]);
    }
    table.print();
}
