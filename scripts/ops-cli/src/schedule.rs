//! `ops schedule`: the schedules, and what became of their last sweeps.

use std::collections::BTreeMap;
use std::process::ExitCode;

use catchup::queues;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::EXIT_CODES;
use crate::database::wait_for;
use crate::operations::schedules::{self, Changed, Scheduled, State};
use crate::operations::{Operations, Source};
use crate::reason::Reason;
use crate::sweeps::results;
use crate::table::{Table, UNKNOWN, known, present};
use crate::{moment, names, said};

/// List the schedules with what became of their last sweeps; run, pause and resume them.
#[derive(Args)]
pub(crate) struct Schedule {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List the schedules, with when each is due next and the last sweep of its queue. `missed` is one of which none has begun for one and a half periods.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let a schedule create its task now. What a sweep of the same period has created is not created again. On a machine without
    /// Cloud Scheduler, as with scripts/up, the command creates the task.
    #[command(after_help = EXIT_CODES)]
    Run(Change),
    /// Pause a schedule: no sweep begins, and what changes meanwhile is found by the first one after it is resumed.
    #[command(after_help = EXIT_CODES)]
    Pause(Change),
    /// Resume a schedule that is paused.
    #[command(after_help = EXIT_CODES)]
    Resume(Change),
}

/// A schedule to change.
#[derive(Args)]
struct Change {
    /// Name of the schedule in Cloud Scheduler, such as token-refresh-sweep, or of a queue that has one schedule.
    #[arg(value_name = "SCHEDULE")]
    name: String,
    #[command(flatten)]
    reason: Reason,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: `schedule`, whether it `isChanged`, and the `task` that was created, if it was created here.
    #[arg(long)]
    json: bool,
}

impl Schedule {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::List { json } => list(json),
            Verb::Run(change) => change.make(schedules::Verb::Run),
            Verb::Pause(change) => change.make(schedules::Verb::Pause),
            Verb::Resume(change) => change.make(schedules::Verb::Resume),
        }
    }
}

impl Change {
    fn make(&self, verb: schedules::Verb) -> anyhow::Result<ExitCode> {
        let (queue, schedule) = names::schedule(&self.name)?;
        let name = schedules::cloud_name(queue, schedule);
        wait_for(async {
            let operations = Operations::from_process();
            let region = operations.cloud_tasks()?.region.clone();
            let command =
                format!("+ gcloud scheduler jobs {} {name} --location={region}", <&str>::from(verb));
            let (mut is_changed, mut created) = (false, None);
            if self.dry_run {
                eprintln!("{command}");
            } else {
                match operations.change_schedule(queue, schedule, verb, self.reason.request()).await? {
                    Changed::Done => {
                        eprintln!("{command}");
                        is_changed = true;
                    }
                    Changed::Unchanged(state) => eprintln!("{name}: is {state} already"),
                    Changed::Created { task } => {
                        eprintln!("{name}: its task is {task}");
                        (is_changed, created) = (true, Some(task));
                    }
                }
            }
            if self.json {
                println!("{}", json!({ "schedule": name, "isChanged": is_changed, "task": created }));
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn list(as_json: bool) -> anyhow::Result<ExitCode> {
    wait_for(async {
        let operations = Operations::from_process();
        let (schedules, postgres) = operations.schedules(&queues::all().collect::<Vec<_>>()).await;
        let (states, asked) = operations.ask(Source::CloudScheduler, operations.schedule_states()).await;
        let states = states.flatten();
        if as_json {
            println!("{}", json!({ "schedules": schedules, "states": states }));
        } else {
            print(&schedules, states.as_ref(), operations.clock.now());
        }
        Ok(said::sources(&[postgres, asked]))
    })
}

fn print(schedules: &[Scheduled], states: Option<&BTreeMap<String, State>>, now: DateTime<Utc>) {
    let mut table = Table::new(&[
        "schedule",
        "state",
        "when, UTC",
        "next",
        "last began",
        "finished",
        "tasks",
        "results",
        "",
    ]);
    for it in schedules {
        let last = it.last.as_ref();
        table.row([
            it.cloud_name.clone(),
            present(states.map(|states| {
                states.get(&it.cloud_name).map_or_else(|| "missing".to_owned(), State::to_string)
            })),
            it.when().to_owned(),
            known(it.next.map(|next| moment::distance(next, now))),
            present(last.map(|sweep| moment::distance(sweep.started_at, now))),
            present(last.and_then(|sweep| sweep.finished_at).map(|at| moment::distance(at, now))),
            present(last.map(|sweep| sweep.tasks)),
            present(last.and_then(results)),
            match it.is_missed {
                Some(true) => "missed".to_owned(),
                Some(false) => String::new(),
                None => UNKNOWN.to_owned(),
            },
        ]);
    }
    table.print();
}
