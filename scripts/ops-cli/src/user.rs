//! `ops user`: what is known of one user, and how it is forgotten.

use std::collections::BTreeMap;
use std::process::ExitCode;

use catchup::db::user_overview::Overview;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

use crate::database::wait_for;
use crate::deploy::confirmed;
use crate::operations::Operations;
use crate::operations::user::User as Found;
use crate::reason::Reason;
use crate::table::{Table, present};
use crate::{EXIT_CODES, FAILURE, moment, said};

/// Show what is known of a user: connections to Google, the last syncs, what waits, what failed, and messages. Shows nothing that the user
/// or a contact wrote.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct User {
    /// The user.
    #[arg(required = true, value_name = "USER")]
    id: Option<Uuid>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Delete what is kept of a user whom the application has deleted: all rows of the schema `jobs`. Sweeps do so within a day.
    ///
    /// What stays: what operators did about the user, until a sweep deletes it within a day; in Redis, keys that expire within a
    /// day; tasks that wait, which find no user; logs, as long as the project keeps them; and the record of this command, with the
    /// user's id, for 400 days.
    #[command(after_help = EXIT_CODES)]
    Forget(Forget),
}

/// A user who is gone.
#[derive(Args)]
struct Forget {
    /// The user.
    user: Uuid,
    #[command(flatten)]
    reason: Reason,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
    /// Only say what would be deleted.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: the `rows` that are kept of the user, by table, and how many were `deleted`.
    #[arg(long)]
    json: bool,
}

impl User {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        wait_for(async {
            match (self.verb, self.id) {
                (Some(Verb::Forget(forget)), _) => forget.run().await,
                (None, id) => show(id.unwrap_or_default(), self.json).await,
            }
        })
    }
}

impl Forget {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let operations = Operations::from_process();
        let rows = operations.left_of(self.user).await?;
        if !self.json {
            for (table, count) in &rows {
                println!("{table}  {count}");
            }
        }
        if rows.is_empty() {
            eprintln!("no rows of the user {}", self.user);
        }
        let is_asked = !self.dry_run && !rows.is_empty() && !self.yes;
        if is_asked && !confirmed()? {
            return Ok(ExitCode::from(FAILURE));
        }
        let mut deleted = 0;
        if !self.dry_run && !rows.is_empty() {
            deleted = operations.forget(self.user, self.reason.request()).await?;
            eprintln!("{deleted} rows deleted");
        }
        if self.json {
            println!(
                "{}",
                json!({ "rows": rows.into_iter().collect::<BTreeMap<_, _>>(), "deleted": deleted })
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

pub(crate) async fn show(user: Uuid, json: bool) -> anyhow::Result<ExitCode> {
    let operations = Operations::from_process();
    let found = operations.user(user).await;
    if json {
        println!("{}", serde_json::to_string(&found)?);
    } else {
        print(&found, operations.clock.now());
    }
    if found.is_missing {
        eprintln!("there is no user {user}");
        return Ok(ExitCode::from(FAILURE));
    }
    Ok(said::sources(&found.sources))
}

fn print(found: &Found, now: DateTime<Utc>) {
    if let Some(overview) = &found.overview {
        print_overview(overview, now);
    }
    if let Some(waiting) = &found.waiting {
        println!("\ntasks that wait, in all queues");
        for task in &waiting.tasks.items {
            let due =
                if task.is_in_flight { "in flight".to_owned() } else { moment::distance(task.due_at, now) };
            let answer = task.last_answer.as_deref().unwrap_or("no answer yet");
            println!(
                "  {due}  {}  {} dispatches, {answer}  {}",
                task.queue,
                task.dispatches,
                task.key_or_name()
            );
        }
        extent(waiting.tasks.items.len(), waiting.tasks.is_cut);
        if let Some(unfinished) = waiting.unfinished() {
            println!("  {unfinished}");
        }
    }
    if let Some(failures) = &found.failures {
        println!("\nfailed runs");
        for failure in &failures.items {
            println!(
                "  {}  {}  {}  {}: {}  {}",
                moment::text(failure.at),
                failure.function,
                failure.kind,
                failure.reason,
                failure.error,
                failure.key
            );
        }
        extent(failures.items.len(), failures.is_cut);
    }
    if let Some(dead_letters) = &found.dead_letters {
        println!("\ndead letters that were not replayed");
        for it in &dead_letters.items {
            let text = |name: &str| it[name].as_str().unwrap_or_default().to_owned();
            println!(
                "  {}  {}  {}: {}  {}",
                text("updatedAt"),
                text("queue"),
                text("reason"),
                text("error"),
                text("id")
            );
        }
        extent(dead_letters.items.len(), dead_letters.is_cut);
    }
    if let Some(messages) = &found.messages {
        println!("\nmessages");
        for it in &messages.items {
            let code = it.code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
            println!(
                "  {}  {:<5}  {}{code}  {}  {}",
                moment::text(it.claimed_at),
                it.channel,
                it.state,
                it.subjects.join(" "),
                it.message_id
            );
        }
        extent(messages.items.len(), messages.is_cut);
    }
}

fn extent(shown: usize, is_cut: bool) {
    if shown == 0 {
        println!("  none");
    } else if is_cut {
        println!("  … and more");
    }
}

fn print_overview(overview: &Overview, now: DateTime<Utc>) {
    let time = |time: Option<DateTime<Utc>>| present(time.map(|time| moment::distance(time, now)));
    println!(
        "time zone {}, push channel {}",
        present(overview.time_zone.as_deref()),
        match overview.channel_until {
            Some(until) if until > now => format!("until {}", moment::text(until)),
            Some(until) => format!("ended {}", moment::text(until)),
            None => "none".to_owned(),
        }
    );
    println!();
    if overview.connections.is_empty() {
        println!("not connected to Google");
    } else {
        let heads = ["connection", "since", "token", "breaker", "last sync", "next sync", "waits for Google"];
        let mut table = Table::new(&heads);
        for it in &overview.connections {
            let error = it.health_error.as_deref().map(|error| format!(" ({error})")).unwrap_or_default();
            let retry = it.breaker_retry_at.map(|at| format!(", retries {}", moment::distance(at, now)));
            table.row([
                it.integration.clone(),
                time(it.connected_at),
                format!("{}{error}", it.health.as_deref().unwrap_or("not checked")),
                format!("{}{}", it.breaker.as_deref().unwrap_or("closed"), retry.unwrap_or_default()),
                time(it.last_sync_at),
                time(it.next_sync_at),
                match (&it.waits_for, it.waits_until) {
                    (Some(reason), Some(until)) if until > now => {
                        format!("{reason}, {}", moment::distance(until, now))
                    }
                    _ => "-".to_owned(),
                },
            ]);
        }
        table.print();
    }
    println!("\nlast syncs");
    for it in &overview.syncs {
        println!(
            "  {}  {}  {}  {}  {} ms  {} items",
            moment::text(it.at),
            it.integration,
            it.kind,
            it.skip_reason.as_deref().unwrap_or(&it.result),
            present(it.duration_ms),
            present(it.items)
        );
    }
    extent(overview.syncs.len(), false);
}
