//! `ops errors`: what fails, grouped by how it looks, and what is said of it.

use std::process::ExitCode;

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::json;
use shared::db::errors::ErrorGroup;
use uuid::Uuid;

use crate::database::wait_for;
use crate::operations::Operations;
use crate::operations::errors::{ErrorChange, Question, words};
use crate::reason::Reason;
use crate::table::Table;
use crate::usage_error::UsageError;
use crate::{moment, names, said};

/// As often an error is counted.
pub(crate) const MAX_COUNT: i64 = 10_000;

/// List what fails: failed runs and dead letters that look the same are one line, the newest first, with the ids of a few users.
/// Shows no personal data.
///
/// Of an error with very many runs not all are looked at: `1200+` is at least so many.
///
/// Errors that are fixed or ignored are counted, and listed with --all. One that is fixed and happens again in that revision or
/// a later one is listed as `regressed`, one that is ignored and has happened often enough as `reached`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Errors {
    #[command(subcommand)]
    what: Option<What>,
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
    /// Also those that are fixed or ignored.
    #[arg(long)]
    all: bool,
    /// Print JSON: `errors`, whether the list `isCut`, and how many are `hidden`.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Record that the cause of an error is gone; it is listed again when it happens again.
    Fixed {
        #[command(flatten)]
        error: Which,
        /// The first revision that has the fix; without it, each run that begins from now on counts.
        #[arg(long, value_name = "REVISION")]
        revision: Option<String>,
    },
    /// Do not list an error until it has happened so many times more.
    Ignore {
        #[command(flatten)]
        error: Which,
        /// Failed runs from now on.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=MAX_COUNT))]
        until_count: i32,
    },
    /// List an error again that is fixed or ignored.
    Reopen {
        #[command(flatten)]
        error: Which,
    },
}

/// Which error, and why.
#[derive(Args)]
struct Which {
    /// As `errors` lists it.
    fingerprint: String,
    /// Of which queue, if several have it.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    #[command(flatten)]
    reason: Reason,
}

impl Which {
    fn apply(&self, change: &ErrorChange) -> anyhow::Result<ExitCode> {
        let given = self.queue.as_deref().map(names::queue).transpose()?;
        wait_for(async {
            let operations = Operations::from_process();
            let queue = match (given, &operations.queues_of_error(&self.fingerprint).await?[..]) {
                (Some(queue), _) => queue,
                (None, [queue]) => *queue,
                (None, []) => bail!("there is no error with the fingerprint {}", self.fingerprint),
                (None, several) => {
                    let names: Vec<_> = several.iter().map(|queue| queue.name()).collect();
                    let said = format!("several queues have this error: {}; pass --queue", names.join(", "));
                    return Err(UsageError(said).into());
                }
            };
            operations.change_error(queue, &self.fingerprint, change, self.reason.request()).await?;
            eprintln!("recorded for {}", queue.name());
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Errors {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.what {
            None => self.list(),
            Some(What::Fixed { error, revision }) => error.apply(&ErrorChange::Fixed { revision }),
            Some(What::Ignore { error, until_count }) => error.apply(&ErrorChange::Ignored { until_count }),
            Some(What::Reopen { error }) => error.apply(&ErrorChange::Open),
        }
    }

    fn list(self) -> anyhow::Result<ExitCode> {
        let queue = self.queue.as_deref().map(names::queue).transpose()?;
        wait_for(async {
            let question = Question {
                queue,
                reason: self.reason,
                user: self.user,
                since: self.since,
                until: self.until,
                all: self.all,
            };
            let known = Operations::from_process().errors(&question, self.limit).await?;
            let errors = &known.errors;
            if self.json {
                let hidden = &known.hidden;
                println!("{}", json!({ "errors": errors.items, "isCut": errors.is_cut, "hidden": hidden }));
                return Ok(ExitCode::SUCCESS);
            }
            if !errors.items.is_empty() {
                let mut table = Table::new(&[
                    "queue",
                    "reason",
                    "runs",
                    "tasks",
                    "dead letters",
                    "first",
                    "last",
                    "revisions",
                    "state",
                    "fingerprint",
                    "users",
                    "error",
                ]);
                for it in &errors.items {
                    let group = &it.group;
                    table.row([
                        group.function.clone(),
                        group.reason.clone(),
                        at_least(group, group.failures),
                        at_least(group, group.tasks),
                        group.dead_letters.to_string(),
                        moment::text(group.first),
                        moment::text(group.last),
                        group.revisions.join(" "),
                        words(it.state.as_ref()),
                        group.fingerprint.clone(),
                        users(group),
                        group.error.clone(),
                    ]);
                }
                table.print();
            }
            said::extent(errors, &format!("errors since {}", moment::text(self.since)));
            if let Some(hidden) = known.hidden.words() {
                eprintln!("{hidden}; --all lists them");
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// How many users, the first few by name, and how many more.
fn users(group: &ErrorGroup) -> String {
    let count = at_least(group, group.users);
    let named: Vec<_> = group.first_users.iter().map(ToString::to_string).collect();
    let named = named.into_iter().chain(more_users(group)).collect::<Vec<_>>().join(" ");
    if named.is_empty() { count } else { format!("{count}: {named}") }
}

/// How many users are not named, if there are more.
pub(crate) fn more_users(group: &ErrorGroup) -> Option<String> {
    let more = group.users - i64::try_from(group.first_users.len()).unwrap_or(i64::MAX);
    (more > 0).then(|| format!("and {} more", at_least(group, more)))
}

/// As many, or as many of the runs that were looked at.
pub(crate) fn at_least(group: &ErrorGroup, count: i64) -> String {
    if group.is_cut { format!("{count}+") } else { count.to_string() }
}
