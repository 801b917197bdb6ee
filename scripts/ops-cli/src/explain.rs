//! `ops show` and `ops explain`: one task, dead letter or user, by what an operator has of it.

use std::process::ExitCode;

use clap::Args;
use shared::db::failures::RecordedRun;
use uuid::Uuid;

use crate::database::wait_for;
use crate::operations::Operations;
use crate::operations::task::{Task, Tasks};
use crate::{FAILURE, dead_letters, moment, names, said, user};

/// Length of a dead letter's id.
const ID_CHARS: usize = 64;

/// Show what is known of a task, a dead letter or a user: give a task's key or name, a dead letter's id, or a user's id.
#[derive(Args)]
pub(crate) struct Show {
    /// Key or name of a task, id of a dead letter, or id of a user.
    what: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        wait_for(async {
            if let Ok(user) = self.what.parse::<Uuid>() {
                return user::show(user, self.json).await;
            }
            if is_dead_letter_id(&self.what) {
                return dead_letters::show(&Operations::from_process(), &self.what, self.json, false).await;
            }
            explain(&self.what, None, self.json).await
        })
    }
}

/// Explain a task: who has its lease, which failures count, and what its next delivery would do. Changes nothing.
#[derive(Args)]
pub(crate) struct Explain {
    /// Key of the task: `task.key` of its log line, `key` of its dead letter, or its name.
    key: String,
    /// Only of this queue; otherwise of every queue that knows the key.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Print JSON: `sources` and `tasks`.
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        wait_for(explain(&self.key, self.queue.as_deref(), self.json))
    }
}

async fn explain(key: &str, queue: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let queue = queue.map(names::queue).transpose()?;
    let tasks = Operations::from_process().tasks_of_key(key, queue).await?;
    if json {
        println!("{}", serde_json::to_string(&tasks)?);
    } else {
        tasks.tasks.iter().for_each(print);
    }
    if tasks.tasks.is_empty() {
        eprintln!("{}", unknown(&tasks, key));
        said::sources(&tasks.sources);
        return Ok(ExitCode::from(FAILURE));
    }
    Ok(said::sources(&tasks.sources))
}

/// Whether the text can be the id of a dead letter.
pub(crate) fn is_dead_letter_id(text: &str) -> bool {
    text.len() == ID_CHARS && text.bytes().all(|it| it.is_ascii_hexdigit())
}

/// What is said of a key of which no source knows anything.
pub(crate) fn unknown(tasks: &Tasks, key: &str) -> String {
    let unasked =
        if tasks.sources.iter().any(|it| it.problem.is_some()) { " as far as could be asked" } else { "" };
    format!(
        "no failure, dead letter or lease of a task with the key {key}{unasked}: it has not run within a day, or has succeeded \
         long ago, or there is none; --queue QUEUE explains it all the same"
    )
}

fn print(task: &Task) {
    println!("{}  {}", task.queue, task.key);
    println!("  lease     {}", task.lease.as_deref().unwrap_or("not known"));
    println!(
        "  failures  {} of {}{}",
        task.failures,
        task.attempts,
        match task.life {
            0 => String::new(),
            life => format!(" in life {life}, after {life} replays"),
        }
    );
    for run in &task.runs {
        println!("            {}", line(run));
    }
    if let Some(dead_letter) = &task.dead_letter {
        let text = |name: &str| dead_letter[name].as_str().unwrap_or_default().to_owned();
        println!("  letter    {}, {}: {}  {}", text("state"), text("reason"), text("error"), text("id"));
    }
    if let Some(user) = task.user {
        println!("  user      {user}");
    }
    if let Some(waiting) = &task.waiting {
        println!("  task      {waiting}");
    }
    println!("  next      {}", task.next);
}

/// A run on one line.
fn line(run: &RecordedRun) -> String {
    let RecordedRun { life, kind, reason, error, revision, began_at, at, .. } = run;
    let error = if error.is_empty() { String::new() } else { format!(": {error}") };
    format!(
        "{}  life {life}  {kind} after {}  {revision}  {reason}{error}",
        moment::text(*at),
        moment::length(*at - *began_at)
    )
}
