//! `ops dead-letters`: tasks that ended without success; to be looked at, and sent again once their cause is mended.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shared::db::Db;
use shared::db::dead_letters::StoredLetter;
use shared::envelope::Envelope;

use crate::database::{open, wait_for};
use crate::gcloud::{Gcloud, Place};
use crate::queue::cloud_name;
use crate::settings;

/// Characters of a letter's id that make its task's name.
const HASH: usize = 32;

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
    /// Send some again: a new task each, with the same envelope and all its attempts.
    Replay(Replay),
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
    /// Show what would be created, and create nothing.
    #[arg(long)]
    dry_run: bool,
}

impl DeadLetters {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        wait_for(async {
            let db = open()?;
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
                    std::io::stdout().write_all(&letter.body)?;
                    println!();
                }
                Verb::Replay(replay) => replay.run(&db).await?,
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn find(db: &Db, id: &str) -> anyhow::Result<StoredLetter> {
    db.dead_letter(id).await?.with_context(|| format!("there is no dead letter {id}"))
}

fn summary(letter: &StoredLetter) -> Value {
    json!({
        "id": letter.id,
        "queue": letter.queue,
        "task": letter.task_name,
        "attempt": letter.attempt,
        "state": letter.state,
        "reason": letter.reason,
        "error": letter.error,
        "updatedAt": letter.updated_at.to_rfc3339(),
        "replayedAt": letter.replayed_at.map(|at| at.to_rfc3339()),
    })
}

fn print(letter: &StoredLetter) {
    let StoredLetter { id, queue, attempt, state, reason, error, updated_at, .. } = letter;
    println!("{id}  {}  {queue}  {state} attempt {attempt}  {reason}: {error}", updated_at.to_rfc3339());
}

impl Replay {
    async fn run(&self, db: &Db) -> anyhow::Result<()> {
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
        for letter in &letters {
            self.send(&gcloud, letter).with_context(|| format!("letter {}", letter.id))?;
            if !self.dry_run {
                db.dead_letter_replayed(letter).await?;
            }
        }
        eprintln!("{} tasks", letters.len());
        Ok(())
    }

    fn send(&self, gcloud: &Gcloud, letter: &StoredLetter) -> anyhow::Result<()> {
        let function = letter.queue.as_str();
        let (location, region) =
            (format!("--location={}", self.place.region), format!("--region={}", self.place.region));
        let service: Value = gcloud.read(&["run", "services", "describe", function, &region])?;
        let address = settings::target(&service, function).context("the service names no CLOUD_RUN_URL")?;
        let caller = settings::variable(&service, "SERVICE_ACCOUNT_EMAIL");
        let caller = caller.context("the service names no SERVICE_ACCOUNT_EMAIL")?;
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(&again(&letter.body))?;
        let name = task_name(letter);
        let created = gcloud.create(&[
            "tasks",
            "create-http-task",
            &name,
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

/// One name for each death of a task: replaying it twice creates nothing twice.
fn task_name(letter: &StoredLetter) -> String {
    let hash: String = letter.id.chars().filter(char::is_ascii_alphanumeric).take(HASH).collect();
    format!("{hash}-replay-{}", letter.updated_at.timestamp_micros())
}

/// The envelope with all its attempts; a body that is no envelope goes as it came.
fn again(body: &[u8]) -> Vec<u8> {
    let envelope = serde_json::from_slice::<Envelope>(body);
    let again = envelope.and_then(|envelope| serde_json::to_vec(&Envelope { prior_attempts: 0, ..envelope }));
    again.unwrap_or_else(|_no_envelope| body.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replayed_task_has_all_its_attempts_and_every_byte_of_its_payload() {
        #[track_caller]
        fn check(body: &str, expected: &str) {
            assert_eq!(String::from_utf8(again(body.as_bytes())).unwrap(), expected);
        }
        check(
            r#"{"data":{ "userId" : "u" },"idempotencyKey":"k","jobName":"token-refresh","priorAttempts":4}"#,
            r#"{"data":{ "userId" : "u" },"idempotencyKey":"k","jobName":"token-refresh","v":1,"priorAttempts":0}"#,
        );
        check("no envelope", "no envelope");
    }
}
