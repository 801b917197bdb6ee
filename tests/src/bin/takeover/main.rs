//! `scripts/prove takeover`: each queue is taken over and given back by `scripts/ops` with the real gcloud, with tasks that wait
//! and tasks that run, functions that are killed in the middle, and a stand-in of the application on the other side.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use catchup::queues;
use clap::Parser;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

mod flips;
mod page;
mod people;
mod project;
mod round;
mod tasks;

use project::Project;
use round::Load;

/// Takes queues over and gives them back, and counts what became of each task.
///
/// Exit code 0: every task was done once, and nothing was harmed; 1: not so, or it could not be tried; 2: usage error.
#[derive(Parser)]
struct Options {
    /// Only these queues; the page keeps what it says of the others.
    #[arg(long = "queue", value_name = "NAME", value_parser = PossibleValuesParser::new(page::order()))]
    queues: Vec<String>,
    /// Tasks that wait, per queue and direction.
    #[arg(long, default_value_t = 200, value_name = "N")]
    waiting: usize,
    /// Tasks that run when the queue changes hands, where so many are dispatched at a time.
    #[arg(long, default_value_t = 20, value_name = "N")]
    running: usize,
    /// Let all queues change hands so often at random instead, under load, with both releases mixed.
    #[arg(long, value_name = "N", requires = "last_release", conflicts_with_all = ["queues", "write", "waiting", "running"])]
    flips: Option<usize>,
    /// Folder of the last release's programs.
    #[arg(long, value_name = "FOLDER", requires = "flips")]
    last_release: Option<PathBuf>,
    /// The same seed chooses the same queues.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// The figures as JSON.
    #[arg(long)]
    json: bool,
    /// Write the table of infra/docs/takeover.md if there are no problems; otherwise a table that differs is a failure.
    #[arg(long)]
    write: bool,
    /// Folder of the programs.
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    shared::stdout::end_with_its_reader();
    let options = Options::parse();
    let wanted = |name: &str| options.queues.is_empty() || options.queues.iter().any(|it| it == name);
    let load = Load { waiting: options.waiting, running: options.running };
    let project = Project::start(&options.folder).await.context("the local cloud does not start")?;
    if let (Some(count), Some(last_release)) = (options.flips, &options.last_release) {
        let (result, problems) = flips::flip(&project, count, last_release, options.seed).await?;
        return Ok(report(options.json, json!({ "flips": result }), &format!("{result:?}\n"), &problems));
    }
    let mut proved = BTreeMap::new();
    for name in page::order().filter(|name| wanted(name)) {
        let queue =
            queues::all().find(|queue| queue.name() == name).context("a queue of the table is gone")?;
        eprintln!("{name}");
        let result = round::both(&project, queue, load).await;
        for problem in &result.problems {
            eprintln!("  FAILED: {problem}");
        }
        proved.insert(name, result);
    }
    let mut problems: Vec<_> = proved
        .iter()
        .flat_map(|(queue, result)| result.problems.iter().map(move |it| format!("{queue}: {it}")))
        .collect();
    if problems.is_empty() {
        problems.extend(page::check(&proved, options.write)?);
    }
    Ok(report(options.json, json!({ "queues": proved }), &page::table(&proved), &problems))
}

/// Says what was seen, as JSON or as text, and what is wrong.
fn report(as_json: bool, mut figures: Value, text: &str, problems: &[String]) -> ExitCode {
    if as_json {
        figures["success"] = problems.is_empty().into();
        figures["problems"] = problems.into();
        println!("{figures}");
    } else {
        print!("{text}");
        for problem in problems {
            println!("FAILED: {problem}");
        }
        println!("{}", if problems.is_empty() { "success" } else { "FAILED" });
    }
    ExitCode::from(u8::from(!problems.is_empty()))
}
