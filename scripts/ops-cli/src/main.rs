//! `scripts/ops`: what an operator and CI do with the functions, one subcommand per file.
//!
//! Exit codes: [`EXIT_CODES`].

mod actions;
mod affected;
mod cache;
mod canary;
mod completions;
mod console;
mod cost;
mod database;
mod dead_letters;
mod deploy;
mod deploys;
mod doctor;
mod enqueue;
mod errors;
mod explain;
#[cfg(test)]
mod fake_cloud;
mod gcloud;
mod giveback;
mod handover;
mod image;
mod messages;
mod moment;
mod names;
mod new_function;
mod operations;
mod pause;
mod program;
mod queue;
mod queues;
mod reason;
mod release;
mod repository;
mod rollback;
mod said;
mod schedule;
mod service;
mod settings;
mod suggestions;
mod sweeps;
mod table;
mod takeover;
mod task;
mod tasks;
mod top;
mod usage;
mod usage_error;
mod user;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::usage_error::UsageError;

/// The command failed, or found something that is wrong.
const FAILURE: u8 = 1;
/// The call cannot succeed; clap's own code.
const USAGE_ERROR: u8 = 2;
/// What every `--help` ends with, unless the command has more of them.
const EXIT_CODES: &str = "Exit codes: 0 success, 1 failure, 2 usage error.";

/// Ship and operate the functions.
#[derive(Parser)]
#[command(name = "ops", bin_name = "scripts/ops", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(after_help = EXIT_CODES)]
    Actions(actions::Actions),
    #[command(after_help = EXIT_CODES)]
    Affected(affected::Affected),
    #[command(after_help = EXIT_CODES)]
    Cache(cache::Cache),
    #[command(after_help = EXIT_CODES)]
    Completions(completions::Completions),
    #[command(after_help = EXIT_CODES)]
    Console(console::Console),
    #[command(after_help = EXIT_CODES)]
    Cost(cost::Cost),
    #[command(after_help = EXIT_CODES)]
    DeadLetters(dead_letters::DeadLetters),
    #[command(after_help = EXIT_CODES)]
    Delete(task::Delete),
    #[command(after_help = deploy::EXIT_CODES)]
    Deploy(deploy::Deploy),
    #[command(after_help = EXIT_CODES)]
    Deploys(deploys::Deploys),
    #[command(after_help = EXIT_CODES)]
    Doctor(doctor::Doctor),
    #[command(after_help = EXIT_CODES)]
    Enqueue(enqueue::Enqueue),
    #[command(after_help = EXIT_CODES)]
    Errors(errors::Errors),
    #[command(after_help = EXIT_CODES)]
    Explain(explain::Explain),
    #[command(after_help = EXIT_CODES)]
    Giveback(giveback::Giveback),
    #[command(after_help = EXIT_CODES)]
    Image(image::Image),
    #[command(after_help = EXIT_CODES)]
    Man(completions::Manual),
    #[command(after_help = EXIT_CODES)]
    Messages(messages::Messages),
    #[command(after_help = EXIT_CODES)]
    Migrate(database::Migrate),
    #[command(after_help = EXIT_CODES)]
    NewFunction(new_function::NewFunction),
    /// Pause queues: their tasks wait, and none is lost.
    ///
    /// `scripts/ops queues` shows why. Recording that needs `DATABASE_URL`; pausing does not.
    #[command(after_help = EXIT_CODES)]
    Pause(pause::Queues),
    #[command(after_help = EXIT_CODES)]
    Queues(queues::Queues),
    #[command(after_help = EXIT_CODES)]
    Release(release::Release),
    /// Resume queues that are paused.
    #[command(after_help = EXIT_CODES)]
    Resume(pause::Queues),
    #[command(after_help = EXIT_CODES)]
    Rollback(rollback::Rollback),
    #[command(after_help = EXIT_CODES)]
    Run(task::Run),
    #[command(after_help = EXIT_CODES)]
    Schedule(schedule::Schedule),
    #[command(after_help = EXIT_CODES)]
    Show(explain::Show),
    #[command(after_help = EXIT_CODES)]
    Suggestions(suggestions::Suggestions),
    #[command(after_help = EXIT_CODES)]
    Sweeps(sweeps::Sweeps),
    #[command(after_help = EXIT_CODES)]
    Takeover(takeover::Takeover),
    #[command(after_help = EXIT_CODES)]
    Tasks(tasks::Tasks),
    #[command(after_help = EXIT_CODES)]
    Top(top::Top),
    #[command(after_help = EXIT_CODES)]
    Usage(usage::Usage),
    #[command(after_help = EXIT_CODES)]
    User(user::User),
}

fn main() -> ExitCode {
    shared::stdout::end_with_its_reader();
    let result = match Arguments::parse().command {
        Command::Actions(actions) => actions.run(),
        Command::Affected(affected) => affected.run(),
        Command::Cache(cache) => cache.run(),
        Command::Completions(completions) => completions.print(Arguments::command()),
        Command::Console(console) => console.run(),
        Command::Cost(cost) => cost.run(),
        Command::DeadLetters(dead_letters) => dead_letters.run(),
        Command::Delete(delete) => delete.run(),
        Command::Deploy(deploy) => deploy.run(),
        Command::Deploys(deploys) => deploys.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Enqueue(enqueue) => enqueue.run(),
        Command::Errors(errors) => errors.run(),
        Command::Explain(explain) => explain.run(),
        Command::Giveback(giveback) => giveback.run(),
        Command::Image(image) => image.run(),
        Command::Man(manual) => manual.print(Arguments::command()),
        Command::Messages(messages) => messages.run(),
        Command::Migrate(migrate) => migrate.run(),
        Command::NewFunction(new_function) => new_function.run(),
        Command::Pause(queues) => queues.pause(),
        Command::Queues(queues) => queues.run(),
        Command::Release(release) => release.run(),
        Command::Resume(queues) => queues.resume(),
        Command::Rollback(rollback) => rollback.run(),
        Command::Run(run) => run.run(),
        Command::Schedule(schedule) => schedule.run(),
        Command::Show(show) => show.run(),
        Command::Suggestions(suggestions) => suggestions.run(),
        Command::Sweeps(sweeps) => sweeps.run(),
        Command::Takeover(takeover) => takeover.run(),
        Command::Tasks(tasks) => tasks.run(),
        Command::Top(top) => top.run(),
        Command::Usage(usage) => usage.run(),
        Command::User(user) => user.run(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("scripts/ops: {error:#}");
        ExitCode::from(if error.is::<UsageError>() { USAGE_ERROR } else { FAILURE })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_commands_help_says_how_it_is_called_and_its_exit_codes() {
        let command = Arguments::command();
        let names: Vec<_> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
        assert!(!names.is_empty());
        for name in names {
            let asked = Arguments::command().try_get_matches_from(["ops", &name, "--help"]);
            let help = asked.unwrap_err().to_string();
            assert!(help.contains(&format!("Usage: scripts/ops {name} ")), "{help}");
            assert!(help.contains("Exit codes: 0 "), "{help}");
        }
    }
}
