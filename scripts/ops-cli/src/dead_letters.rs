//! `ops dead-letters`: tasks that failed for good. Once their cause is fixed, they can be replayed.

mod bulks;
pub(crate) mod left_behind;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shared::db::dead_letters::{StoredDeadLetter, StoredFailure};
use shared::db::operator_actions::{Action, Pace};
use uuid::Uuid;

use crate::FAILURE;
use crate::database::wait_for;
use crate::deploy::confirmed;
use crate::operations::Operations;
use crate::operations::bulks::{self as operations_bulks, DEFAULT_RATE, MAX_MEMBERS, MAX_RATE};
use crate::operations::dead_letters::{Selection, summary};
use crate::reason::Reason;
use crate::table::present;
use crate::usage_error::UsageError;
use crate::{moment, names, said};

/// Dead letters that a dry run shows.
const SAMPLE: u32 = 10;

/// List, show, replay and discard dead letters: tasks that failed for good.
#[derive(Args)]
pub(crate) struct DeadLetters {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List the dead letters that were not replayed, oldest first. Shows no personal data.
    List {
        #[command(flatten)]
        selecting: Selecting,
        /// Maximum number of dead letters.
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the whole envelope of a dead letter, which is personal data, and its failures.
    Show {
        /// Id of the dead letter.
        id: String,
        /// Print JSON: the dead letter, its `runs` and its `body`.
        #[arg(long)]
        json: bool,
    },
    /// Replay dead letters: each becomes a new task with the same payload and all attempts.
    Replay {
        #[command(flatten)]
        change: Change,
        /// Replay also those that were replayed before and have not died since.
        #[arg(long)]
        again: bool,
    },
    /// Delete dead letters, with the recorded failures of their runs.
    Discard {
        #[command(flatten)]
        change: Change,
    },
    /// List the replays and discards that have not ended, or show one of them and its dead letters.
    Bulks(bulks::Bulks),
    /// Continue a replay or discard that was cut off; while another process runs it, wait for its end.
    Resume(bulks::Resume),
    /// End a replay or discard between two dead letters: what is done stays.
    Cancel(bulks::Cancel),
}

/// Which dead letters, of those that were not replayed: each condition that is given must be true.
#[derive(Args)]
struct Selecting {
    /// Only those of one queue.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Only those with this code, such as `timeout`.
    #[arg(long)]
    reason: Option<String>,
    /// Only those that look the same: `scripts/ops errors --json` has the fingerprints.
    #[arg(long)]
    fingerprint: Option<String>,
    /// Only those about this user.
    #[arg(long)]
    user: Option<Uuid>,
    /// Only those that died from then on: 2026-11-27T03:00:00Z, or how long ago, such as 45m, 2h or 3d.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    since: Option<DateTime<Utc>>,
    /// Only those that died before then.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    until: Option<DateTime<Utc>>,
}

/// What is changed: dead letters by their ids, or all of a selection, about which the command asks first.
#[derive(Args)]
struct Change {
    /// Ids of dead letters.
    #[arg(value_name = "ID", required_unless_present_any = ["all", "queue", "reason", "fingerprint", "user", "since", "until"],
        conflicts_with_all = ["all", "queue", "reason", "fingerprint", "user", "since", "until"])]
    ids: Vec<String>,
    /// All that were not replayed.
    #[arg(long, conflicts_with_all = ["queue", "reason", "fingerprint", "user", "since", "until"])]
    all: bool,
    #[command(flatten)]
    selecting: Selecting,
    /// Maximum number of dead letters, oldest first.
    #[arg(long, default_value_t = MAX_MEMBERS, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_MEMBERS)))]
    limit: u32,
    /// Dead letters per second.
    #[arg(long, default_value_t = DEFAULT_RATE, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=i64::from(MAX_RATE)))]
    rate: i32,
    #[command(flatten)]
    reason: Reason,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
    /// Count them and show some, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl DeadLetters {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        wait_for(async {
            let operations = Operations::from_process();
            match self.verb {
                Verb::List { selecting, limit, json } => {
                    let selection = selecting.selection()?;
                    let dead_letters = operations.dead_letters(&selection, limit).await?;
                    if json {
                        println!("{}", dead_letters.items.iter().map(summary).collect::<Value>());
                    } else {
                        dead_letters.items.iter().for_each(print);
                    }
                    said::extent(&dead_letters, &format!("dead letters{}", selection.words()));
                    if !json && !dead_letters.items.is_empty() {
                        eprintln!(
                            "replay, once the cause is gone: scripts/ops {}",
                            selection.command("replay")
                        );
                    }
                    Ok(ExitCode::SUCCESS)
                }
                Verb::Show { id, json } => show(&operations, &id, json, true).await,
                Verb::Replay { change, again } => change.run(&operations, Action::Replay, again).await,
                Verb::Discard { change } => change.run(&operations, Action::Discard, false).await,
                Verb::Bulks(bulks) => bulks.run(&operations).await,
                Verb::Resume(resume) => resume.run(&operations).await,
                Verb::Cancel(cancel) => cancel.run(&operations).await,
            }
        })
    }
}

impl Selecting {
    fn selection(&self) -> Result<Selection, UsageError> {
        Ok(Selection {
            queue: self.queue.as_deref().map(names::queue).transpose()?,
            reason: self.reason.clone(),
            fingerprint: self.fingerprint.clone(),
            user: self.user,
            since: self.since,
            until: self.until,
        })
    }
}

/// What a command is about to change.
struct Found {
    ids: Vec<String>,
    /// As it is recorded.
    filter: Value,
}

impl Change {
    async fn run(&self, operations: &Operations, action: Action, again: bool) -> anyhow::Result<ExitCode> {
        let verb = if action == Action::Replay { "replayed" } else { "discarded" };
        let Some(Found { ids, filter }) = self.found(operations, verb).await? else {
            return Ok(self.untouched());
        };
        let (id, pace) = (Uuid::new_v4(), Pace { rate: self.rate, again });
        let change = operations_bulks::Change { action, ids, filter, pace };
        operations.begin_bulk(id, change, self.reason.request()).await?;
        eprintln!("should this be cut off, scripts/ops dead-letters resume {id} continues it");
        bulks::run(operations, id).await
    }

    /// What is to be changed; none if there is nothing, or it must not be.
    async fn found(&self, operations: &Operations, verb: &str) -> anyhow::Result<Option<Found>> {
        if !self.ids.is_empty() {
            let mut dead_letters = Vec::new();
            for id in &self.ids {
                dead_letters.push(operations.dead_letter(id).await?);
            }
            dead_letters.truncate(SAMPLE as usize);
            self.sample(&dead_letters, self.ids.len(), verb);
            let found = Found { ids: self.ids.clone(), filter: json!({ "ids": self.ids }) };
            return Ok((!self.dry_run).then_some(found));
        }
        let selection = self.selecting.selection()?;
        let ids = operations.dead_letter_ids(&selection, self.limit).await?;
        if ids.is_empty() {
            eprintln!("no dead letters{}", selection.words());
            return Ok(None);
        }
        let all = operations.count_dead_letters(&selection).await?;
        let is_cut = usize::try_from(all).is_ok_and(|all| all > ids.len());
        let shown = if is_cut { format!("the oldest {} of {all}", ids.len()) } else { ids.len().to_string() };
        eprintln!("{shown} dead letters{} would be {verb}", selection.words());
        let sample = operations.dead_letters(&selection, SAMPLE.min(self.limit)).await?;
        self.sample(&sample.items, ids.len(), verb);
        if self.dry_run || (!self.yes && !confirmed()?) {
            return Ok(None);
        }
        Ok(Some(Found { ids, filter: selection.as_json() }))
    }

    fn sample(&self, shown: &[StoredDeadLetter], all: usize, verb: &str) {
        if !self.dry_run {
            return;
        }
        shown.iter().for_each(print);
        if let more @ 1.. = all.saturating_sub(shown.len()) {
            println!("… and {more} more");
        }
        if verb == "replayed" {
            eprintln!(
                "the same payload is sent: one that could not be read fails again, unless its function has changed"
            );
        }
        eprintln!("none is {verb}: this is a dry run");
    }

    /// Nothing was changed: as it was asked for, or because there was nothing to do.
    fn untouched(&self) -> ExitCode {
        // Who was asked and did not agree has not got what the command is for.
        let is_refused = !self.dry_run && !self.yes && self.ids.is_empty() && std::io::stdin().is_terminal();
        if is_refused { ExitCode::from(FAILURE) } else { ExitCode::SUCCESS }
    }
}

/// Shows one dead letter, its failures, and its body if that is asked for.
pub(crate) async fn show(
    operations: &Operations,
    id: &str,
    as_json: bool,
    with_body: bool,
) -> anyhow::Result<ExitCode> {
    let dead_letter = operations.dead_letter(id).await?;
    let runs = operations.failures_of(&dead_letter).await?;
    if as_json {
        let mut value = summary(&dead_letter);
        value["runs"] = runs.iter().map(run_as_json).collect();
        if with_body {
            value["body"] = String::from_utf8_lossy(&dead_letter.body).into();
        }
        println!("{value}");
        return Ok(ExitCode::SUCCESS);
    }
    print(&dead_letter);
    for run in runs {
        let StoredFailure { life, kind, reason, error, revision, at } = run;
        println!("  {}  life {life}  {kind}  {revision}  {reason}: {error}", at.to_rfc3339());
    }
    if with_body {
        std::io::stdout().write_all(&dead_letter.body)?;
        println!();
    } else {
        println!("  the body is personal data: scripts/ops dead-letters show {id}");
    }
    Ok(ExitCode::SUCCESS)
}

/// A failed run of a dead letter.
pub(crate) fn run_as_json(run: &StoredFailure) -> Value {
    json!({
        "life": run.life,
        "kind": run.kind,
        "reason": run.reason,
        "error": run.error,
        "revision": run.revision,
        "at": run.at.to_rfc3339(),
    })
}

fn print(dead_letter: &StoredDeadLetter) {
    let StoredDeadLetter { id, function, user_id, failures, state, reason, error, updated_at, .. } =
        dead_letter;
    let (died, user) = (updated_at.to_rfc3339(), present(*user_id));
    println!("{id}  {died}  {function}  user {user}  {state}, {failures} failures  {reason}: {error}");
}
