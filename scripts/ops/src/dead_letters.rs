//! `ops dead-letters`: tasks that ended without success; to be looked at, and sent again once their cause is mended.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use catchup::queues;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::db::dead_letters::{self, StoredFailure, StoredLetter};
use shared::queue::Queue;
use shared::replay;

use crate::database::{open, wait_for};
use crate::gcloud::{Gcloud, Place};
use crate::queue::cloud_name;
use crate::settings;

/// List, show and replay tasks that ended without success.
#[derive(Args)]
pub(crate) struct DeadLetters {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Those that were not replayed, oldest first. Shows nothing personal.
    List {
        /// Of one function.
        #[arg(long, value_name = "FUNCTION")]
        queue: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// The whole envelope of one, which is personal.
    Show {
        /// Id of the letter.
        id: String,
    },
    /// Begin a new life of some: a new task each, with the same payload and all its attempts.
    Replay(Replay),
    /// Remove some for good, with what is recorded of their runs.
    Discard {
        /// Ids of letters.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

#[derive(Args)]
struct Replay {
    /// Ids of letters.
    #[arg(required_unless_present = "queue", value_name = "ID")]
    ids: Vec<String>,
    /// All of one function.
    #[arg(long, conflicts_with = "ids", value_name = "FUNCTION")]
    queue: Option<String>,
    /// With --queue: at most so many.
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u32,
    #[command(flatten)]
    place: Place,
    /// Also those that were sent before and did not die since.
    #[arg(long)]
    again: bool,
    /// Show what would be created, and create nothing.
    #[arg(long)]
    dry_run: bool,
}

impl DeadLetters {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        wait_for(async {
            let db = dead_letters::DeadLetters::from(open()?);
            match self.verb {
                Verb::List { queue, limit, json } => {
                    let letters = db.open_dead_letters(queue.as_deref(), limit).await?;
                    if json {
                        println!("{}", letters.iter().map(summary).collect::<Value>());
                    } else {
                        letters.iter().for_each(print);
                    }
                }
                Verb::Show { id } => {
                    let letter = find(&db, &id).await?;
                    print(&letter);
                    for run in db.failures_of_letter(&letter).await? {
                        let StoredFailure { life, kind, reason, error, revision, at } = run;
                        println!("  {}  life {life}  {kind}  {revision}  {reason}: {error}", at.to_rfc3339());
                    }
                    std::io::stdout().write_all(&letter.body)?;
                    println!();
                }
                Verb::Replay(replay) => replay.run(&db).await?,
                Verb::Discard { ids } => {
                    for id in &ids {
                        ensure!(db.discard_dead_letter(id).await?, "there is no dead letter {id}");
                    }
                    eprintln!("{} discarded", ids.len());
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn find(db: &dead_letters::DeadLetters, id: &str) -> anyhow::Result<StoredLetter> {
    db.dead_letter(id).await?.with_context(|| format!("there is no dead letter {id}"))
}

fn summary(letter: &StoredLetter) -> Value {
    json!({
        "id": letter.id,
        "queue": letter.function,
        "key": letter.key,
        "task": letter.task_name,
        "state": letter.state,
        "deaths": letter.deaths,
        "failures": letter.failures,
        "reason": letter.reason,
        "error": letter.error,
        "updatedAt": letter.updated_at.to_rfc3339(),
    })
}

fn print(letter: &StoredLetter) {
    let StoredLetter { id, function, failures, state, reason, error, updated_at, .. } = letter;
    println!(
        "{id}  {}  {function}  {state}, {failures} failures  {reason}: {error}",
        updated_at.to_rfc3339()
    );
}

impl Replay {
    async fn run(&self, db: &dead_letters::DeadLetters) -> anyhow::Result<()> {
        let letters = if let Some(queue) = &self.queue {
            db.open_dead_letters(Some(queue), self.limit).await?
        } else {
            let mut letters = Vec::new();
            for id in &self.ids {
                letters.push(find(db, id).await?);
            }
            letters
        };
        let gcloud = Gcloud::new(self.place.clone(), self.dry_run);
        let clock = Clock::system();
        let mut sent = 0;
        for letter in &letters {
            let queue = queues::all().find(|queue| queue.name() == letter.function);
            let queue = queue.with_context(|| format!("there is no queue {}", letter.function))?;
            if self.dry_run {
                let (name, body) = replay::task(queue, letter);
                self.send(&gcloud, queue, &name, &body)?;
                continue;
            }
            let create = async |name: String, body: Vec<u8>| self.send(&gcloud, queue, &name, &body);
            let replayed = replay::replay(db, queue, letter, self.again, clock.now(), create).await;
            if replayed.with_context(|| format!("letter {}", letter.id))? {
                sent += 1;
            } else {
                eprintln!("letter {} was sent before: --again sends it once more", letter.id);
            }
        }
        eprintln!("{sent} tasks");
        Ok(())
    }

    fn send(&self, gcloud: &Gcloud, queue: Queue, name: &str, body: &[u8]) -> anyhow::Result<()> {
        let function = queue.name();
        let (location, region) =
            (format!("--location={}", self.place.region), format!("--region={}", self.place.region));
        let service: Value = gcloud.read(&["run", "services", "describe", function, &region])?;
        let address = settings::target(&service, function).context("the service names no CLOUD_RUN_URL")?;
        let caller = settings::variable(&service, "SERVICE_ACCOUNT_EMAIL");
        let caller = caller.context("the service names no SERVICE_ACCOUNT_EMAIL")?;
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(body)?;
        let created = gcloud.create(&[
            "tasks",
            "create-http-task",
            name,
            &format!("--queue={}", cloud_name(function)),
            &location,
            &format!("--url={address}/api/jobs/{function}"),
            "--method=POST",
            "--header=Content-Type:application/json",
            &format!("--body-file={}", file.path().display()),
            &format!("--oidc-service-account-email={caller}"),
            &format!("--oidc-token-audience={address}"),
        ]);
        match created {
            // Sent before, by somebody who could not write it down.
            Err(error) if format!("{error:#}").contains("ALREADY_EXISTS") => Ok(()),
            other => other,
        }
    }
}
