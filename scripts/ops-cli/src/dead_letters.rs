//! `ops dead-letters`: tasks that failed for good. Once their cause is fixed, they can be replayed.

pub(crate) mod left_behind;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use catchup::queues;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::db::dead_letters::{self, StoredDeadLetter, StoredFailure};
use shared::queue::{JOBS_PATH, Queue};
use shared::replay;

use crate::database::{open, wait_for};
use crate::gcloud::{Gcloud, Place};
use crate::queue::cloud_name;
use crate::settings;

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
        /// Only those of one function.
        #[arg(long, value_name = "FUNCTION")]
        queue: Option<String>,
        /// Only those that died since then, such as 2026-11-27T03:00:00Z.
        #[arg(long, value_name = "TIME")]
        since: Option<DateTime<Utc>>,
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
    },
    /// Replay dead letters: each becomes a new task with the same payload and all attempts.
    Replay(Replay),
    /// Delete dead letters, with the recorded failures of their runs.
    Discard {
        /// Ids of dead letters.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

#[derive(Args)]
struct Replay {
    /// Ids of dead letters.
    #[arg(required_unless_present = "queue", value_name = "ID")]
    ids: Vec<String>,
    /// Replay all of one function.
    #[arg(long, conflicts_with = "ids", value_name = "FUNCTION")]
    queue: Option<String>,
    /// With --queue: only those that died since then, such as 2026-11-27T03:00:00Z.
    #[arg(long, requires = "queue", value_name = "TIME")]
    since: Option<DateTime<Utc>>,
    /// With --queue: maximum number of dead letters.
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u32,
    #[command(flatten)]
    place: Place,
    /// Replay also those that were replayed before and have not died since.
    #[arg(long)]
    again: bool,
    /// Print the tasks without creating them.
    #[arg(long)]
    dry_run: bool,
}

impl DeadLetters {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        wait_for(async {
            let db = dead_letters::DeadLetters::from(open()?);
            match self.verb {
                Verb::List { queue, since, limit, json } => {
                    let dead_letters = db.list_open(queue.as_deref(), since, limit).await?;
                    if json {
                        println!("{}", dead_letters.iter().map(summary).collect::<Value>());
                    } else {
                        dead_letters.iter().for_each(print);
                    }
                }
                Verb::Show { id } => {
                    let dead_letter = find(&db, &id).await?;
                    print(&dead_letter);
                    for run in db.failures_of(&dead_letter).await? {
                        let StoredFailure { life, kind, reason, error, revision, at } = run;
                        println!("  {}  life {life}  {kind}  {revision}  {reason}: {error}", at.to_rfc3339());
                    }
                    std::io::stdout().write_all(&dead_letter.body)?;
                    println!();
                }
                Verb::Replay(replay) => replay.run(&db).await?,
                Verb::Discard { ids } => {
                    for id in &ids {
                        ensure!(db.discard(id).await?, "there is no dead letter {id}");
                    }
                    eprintln!("{} discarded", ids.len());
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn find(db: &dead_letters::DeadLetters, id: &str) -> anyhow::Result<StoredDeadLetter> {
    db.get(id).await?.with_context(|| format!("there is no dead letter {id}"))
}

fn summary(dead_letter: &StoredDeadLetter) -> Value {
    json!({
        "id": dead_letter.id,
        "queue": dead_letter.function,
        "key": dead_letter.key,
        "task": dead_letter.task_name,
        "state": dead_letter.state,
        "deaths": dead_letter.deaths,
        "failures": dead_letter.failures,
        "reason": dead_letter.reason,
        "error": dead_letter.error,
        "updatedAt": dead_letter.updated_at.to_rfc3339(),
    })
}

fn print(dead_letter: &StoredDeadLetter) {
    let StoredDeadLetter { id, function, failures, state, reason, error, updated_at, .. } = dead_letter;
    println!(
        "{id}  {}  {function}  {state}, {failures} failures  {reason}: {error}",
        updated_at.to_rfc3339()
    );
}

impl Replay {
    async fn run(&self, db: &dead_letters::DeadLetters) -> anyhow::Result<()> {
        let dead_letters = if let Some(queue) = &self.queue {
            db.list_open(Some(queue), self.since, self.limit).await?
        } else {
            let mut found = Vec::new();
            for id in &self.ids {
                found.push(find(db, id).await?);
            }
            found
        };
        let gcloud = Gcloud::new(self.place.clone(), self.dry_run);
        let clock = Clock::system();
        let mut sent = 0;
        for dead_letter in &dead_letters {
            let queue = queues::all().find(|queue| queue.name() == dead_letter.function);
            let queue = queue.with_context(|| format!("there is no queue {}", dead_letter.function))?;
            if self.dry_run {
                let (name, body) = replay::task(queue, dead_letter);
                self.send(&gcloud, queue, &name, &body)?;
                continue;
            }
            let create = async |name: String, body: Vec<u8>| self.send(&gcloud, queue, &name, &body);
            let replayed = replay::replay(db, queue, dead_letter, self.again, clock.now(), create).await;
            if replayed.with_context(|| format!("dead letter {}", dead_letter.id))? {
                sent += 1;
            } else {
                eprintln!(
                    "dead letter {} was replayed before: pass --again to replay it once more",
                    dead_letter.id
                );
            }
        }
        eprintln!("{sent} replayed");
        Ok(())
    }

    fn send(&self, gcloud: &Gcloud, queue: Queue, name: &str, body: &[u8]) -> anyhow::Result<()> {
        let function = queue.name();
        let (location, region) =
            (format!("--location={}", self.place.region), format!("--region={}", self.place.region));
        let service: Value = gcloud.read(&["run", "services", "describe", function, &region])?;
        let address = settings::target(&service, function).context("the service has no CLOUD_RUN_URL")?;
        let caller = settings::variable(&service, "SERVICE_ACCOUNT_EMAIL");
        let caller = caller.context("the service has no SERVICE_ACCOUNT_EMAIL")?;
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(body)?;
        let created = gcloud.change(&[
            "tasks",
            "create-http-task",
            name,
            &format!("--queue={}", cloud_name(function)),
            &location,
            &format!("--url={address}{JOBS_PATH}{function}"),
            "--method=POST",
            "--header=Content-Type:application/json",
            &format!("--body-file={}", file.path().display()),
            &format!("--oidc-service-account-email={caller}"),
            &format!("--oidc-token-audience={address}"),
        ]);
        match created {
            // Created before, by a replay that could not record it.
            Err(error) if format!("{error:#}").contains("ALREADY_EXISTS") => Ok(()),
            other => other,
        }
    }
}
