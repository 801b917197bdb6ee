//! `ops enqueue`: a task by hand.

use std::process::ExitCode;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use serde_json::json;
use shared::clock::Clock;
use uuid::Uuid;

use crate::database::wait_for;
use crate::operations::Operations;
use crate::operations::tasks::data_for_user;
use crate::reason::Reason;
use crate::usage_error::UsageError;
use crate::{moment, names};

/// Further ahead, Cloud Tasks takes no task: <https://cloud.google.com/tasks/docs/quotas>.
const FURTHEST: TimeDelta = TimeDelta::days(30);

/// Create a task about one user, as the functions create theirs and with the payload of a person's request.
#[derive(Args)]
pub(crate) struct Enqueue {
    /// The queue.
    queue: String,
    /// The user whom the task is about.
    #[arg(long)]
    user: Uuid,
    /// When it runs: 2026-11-27T03:00:00Z. Without it, as soon as its queue allows.
    #[arg(long, value_name = "TIME", conflicts_with = "within")]
    at: Option<DateTime<Utc>>,
    /// How long until it runs, such as 45m, 2h or 3d.
    #[arg(long = "in", id = "within", value_name = "DURATION", value_parser = moment::parse_length)]
    within: Option<TimeDelta>,
    #[command(flatten)]
    reason: Reason,
    /// Only say what would be created.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: the `queue` and the `task`, if it was created.
    #[arg(long)]
    json: bool,
}

impl Enqueue {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let queue = names::queue(&self.queue)?;
        let now = Clock::system().now();
        let at = self.within.map_or(self.at, |within| Some(now + within));
        if at.is_some_and(|at| at > now + FURTHEST) {
            let days = FURTHEST.num_days();
            return Err(
                UsageError(format!("Cloud Tasks takes no task of more than {days} days ahead")).into()
            );
        }
        if data_for_user(queue).is_none() {
            return Err(UsageError(format!(
                "{} has no task about one user: all its tasks are sweeps; see scripts/ops schedule run",
                queue.name()
            ))
            .into());
        }
        let due = at.map_or_else(|| "immediately".to_owned(), |at| format!("at {}", moment::text(at)));
        eprintln!("{}: a task about the user {}, due {due}", queue.cloud_name(), self.user);
        if self.dry_run {
            eprintln!("none is created: this is a dry run");
            if self.json {
                println!("{}", json!({ "queue": queue.name(), "task": null }));
            }
            return Ok(ExitCode::SUCCESS);
        }
        wait_for(async {
            let name =
                Operations::from_process().enqueue(queue, self.user, at, self.reason.request()).await?;
            if self.json {
                println!("{}", json!({ "queue": queue.name(), "task": name }));
            } else {
                println!("{name}");
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
