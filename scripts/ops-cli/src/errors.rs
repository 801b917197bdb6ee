//! `ops errors`: what fails, grouped by how it looks.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::json;
use uuid::Uuid;

use crate::database::wait_for;
use crate::operations::Operations;
use crate::operations::errors::Question;
use crate::table::Table;
use crate::{moment, names, said};

/// List what fails: failed runs and dead letters that look the same are one line, the newest first. Shows no personal data.
#[derive(Args)]
pub(crate) struct Errors {
    /// Only of one queue.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Only with this code, such as `timeout`.
    #[arg(long)]
    reason: Option<String>,
    /// Only of tasks about this user.
    #[arg(long)]
    user: Option<Uuid>,
    /// From then on: 2026-11-27T03:00:00Z, or how long ago, such as 45m, 2h or 3d.
    #[arg(long, value_name = "TIME", value_parser = moment::parse, default_value = "1d")]
    since: DateTime<Utc>,
    /// Before then.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    until: Option<DateTime<Utc>>,
    /// Maximum number of lines.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
    /// Print JSON: `errors` and whether the list `isCut`.
    #[arg(long)]
    json: bool,
}

impl Errors {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let queue = self.queue.as_deref().map(names::queue).transpose()?;
        wait_for(async {
            let question = Question {
                queue,
                reason: self.reason,
                user: self.user,
                since: Some(self.since),
                until: self.until,
            };
            let errors = Operations::from_process().errors(&question, self.limit).await?;
            if self.json {
                println!("{}", json!({ "errors": errors.items, "isCut": errors.is_cut }));
                return Ok(ExitCode::SUCCESS);
            }
            if !errors.items.is_empty() {
                let mut table = Table::new(&[
                    "queue",
                    "reason",
                    "runs",
                    "tasks",
                    "users",
                    "dead letters",
                    "first",
                    "last",
                    "revisions",
                    "error",
                ]);
                for group in &errors.items {
                    table.row([
                        group.function.clone(),
                        group.reason.clone(),
                        group.failures.to_string(),
                        group.tasks.to_string(),
                        group.users.to_string(),
                        group.dead_letters.to_string(),
                        moment::text(group.first),
                        moment::text(group.last),
                        group.revisions.join(" "),
                        group.error.clone(),
                    ]);
                }
                table.print();
            }
            said::extent(&errors, &format!("errors since {}", moment::text(self.since)));
            Ok(ExitCode::SUCCESS)
        })
    }
}
