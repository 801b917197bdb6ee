//! `scripts/prove takeover`: each queue is taken over and given back by `scripts/ops` with the real gcloud, with tasks that wait
//! and tasks that run, functions that are killed in the middle, and a stand-in of the application on the other side.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use catchup::queues;
use clap::Parser;
use serde::Serialize;
use shared::queue::Queue;

mod page;
mod project;
mod round;

use project::Project;
use round::Round;

/// Takes queues over and gives them back, and counts what became of each task.
///
/// Exit code 0: every task was done once, and nothing was harmed; 1: not so, or it could not be tried; 2: usage error.
#[derive(Parser)]
struct Options {
    /// Only these queues.
    #[arg(long = "queue", value_name = "NAME")]
    queues: Vec<String>,
    /// Tasks that wait, per queue and direction.
    #[arg(long, default_value_t = 200, value_name = "N")]
    waiting: usize,
    /// Tasks that run when the queue changes hands.
    #[arg(long, default_value_t = 20, value_name = "N")]
    running: usize,
    /// The figures as JSON.
    #[arg(long)]
    json: bool,
    /// Write the table of infra/docs/takeover.md; otherwise a table that differs is a failure.
    #[arg(long, conflicts_with = "queues")]
    write: bool,
    /// Folder of the programs.
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,
}

/// What became of a queue.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Proved {
    take_over: Round,
    give_back: Round,
    problems: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    shared::stdout::end_with_its_reader();
    let options = Options::parse();
    let known: Vec<_> = queues::all().map(Queue::name).collect();
    for name in &options.queues {
        ensure!(known.contains(&name.as_str()), "there is no queue {name}");
    }
    let wanted = |name: &str| options.queues.is_empty() || options.queues.iter().any(|it| it == name);
    let project = Project::start(&options.folder).await.context("the local cloud does not start")?;
    let mut proved = BTreeMap::new();
    for queue in queues::all().filter(|queue| wanted(queue.name())) {
        eprintln!("{}", queue.name());
        let result = round::both(&project, queue, options.waiting, options.running).await?;
        for problem in &result.problems {
            eprintln!("  FAILED: {problem}");
        }
        proved.insert(queue.name(), result);
    }
    let mut problems: Vec<_> = proved
        .iter()
        .flat_map(|(queue, result)| result.problems.iter().map(move |it| format!("{queue}: {it}")))
        .collect();
    problems.extend(project.harmed().await?);
    if options.queues.is_empty() {
        problems.extend(page::check(&proved, options.write)?);
    }
    if options.json {
        println!(
            "{}",
            serde_json::json!({ "success": problems.is_empty(), "queues": proved, "problems": problems })
        );
    } else {
        print!("{}", page::table(&proved));
        for problem in &problems {
            println!("FAILED: {problem}");
        }
        println!("{}", if problems.is_empty() { "success" } else { "FAILED" });
    }
    Ok(ExitCode::from(u8::from(!problems.is_empty())))
}
