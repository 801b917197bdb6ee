//! `ops`: what an operator and CI do with the functions, one subcommand a file.
//!
//! Exit codes: [`EXIT_CODES`].

mod affected;
mod canary;
mod cost;
mod database;
mod dead_letters;
mod deliveries;
mod deploy;
mod gcloud;
mod image;
mod pause;
mod program;
mod queue;
mod repository;
mod rollback;
mod service;
mod settings;
mod takeover;
mod wrong_call;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::wrong_call::WrongCall;

/// Something is not right.
const NOT_RIGHT: u8 = 1;
/// The call itself is wrong; clap's own code.
const WRONG_CALL: u8 = 2;
/// What every `--help` ends with, unless the command has more of them.
const EXIT_CODES: &str = "Exit codes: 0 all is right, 1 something is not, 2 the call itself is wrong.";
/// Commands that have a script of their own; the others are called through `scripts/operate`.
const SCRIPTS: [&str; 5] = ["affected", "deploy", "image", "rollback", "takeover"];

/// The functions, from the side of those who ship and run them.
#[derive(Parser)]
#[command(name = "ops", bin_name = "scripts/operate", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Affected(affected::Affected),
    Cost(cost::Cost),
    DeadLetters(dead_letters::DeadLetters),
    Deliveries(deliveries::Deliveries),
    Deploy(deploy::Deploy),
    Image(image::Image),
    Migrate(database::Migrate),
    /// Make queues hold their tasks.
    Pause(pause::Queues),
    /// Let queues go on.
    Resume(pause::Queues),
    Rollback(rollback::Rollback),
    Takeover(takeover::Takeover),
}

/// The command line, in whose help each command has the name that a person calls it by.
fn command_line() -> clap::Command {
    let command = Arguments::command();
    let names: Vec<_> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(&name, |mut subcommand| {
            if SCRIPTS.contains(&name.as_str()) {
                let usage = subcommand.clone().bin_name(format!("scripts/{name}")).render_usage().to_string();
                subcommand = subcommand.override_usage(usage.trim_start_matches("Usage: ").to_owned());
            }
            let has_own = subcommand.get_after_help().is_some();
            if has_own { subcommand } else { subcommand.after_help(EXIT_CODES) }
        })
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::from_arg_matches(&command_line().get_matches());
    let result = match arguments.unwrap_or_else(|error| error.exit()).command {
        Command::Affected(affected) => affected.run(),
        Command::Cost(cost) => cost.run(),
        Command::DeadLetters(letters) => letters.run(),
        Command::Deliveries(deliveries) => deliveries.run(),
        Command::Deploy(deploy) => deploy.run(),
        Command::Image(image) => image.run(),
        Command::Migrate(migrate) => migrate.run(),
        Command::Pause(queues) => queues.pause(),
        Command::Resume(queues) => queues.resume(),
        Command::Rollback(rollback) => rollback.run(),
        Command::Takeover(takeover) => takeover.run(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("ops: {error:#}");
        ExitCode::from(if error.is::<WrongCall>() { WRONG_CALL } else { NOT_RIGHT })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_the_script_and_the_exit_codes() {
        let help = |name: &str| {
            let asked = command_line().try_get_matches_from(["ops", name, "--help"]);
            asked.unwrap_err().to_string()
        };
        for name in SCRIPTS {
            assert!(help(name).contains(&format!("Usage: scripts/{name} [OPTIONS]")), "{}", help(name));
            assert!(help(name).contains("Exit codes: 0 "), "{}", help(name));
        }
        assert!(help("pause").contains("Usage: scripts/operate pause [OPTIONS]"), "{}", help("pause"));
        assert!(help("pause").contains(EXIT_CODES), "{}", help("pause"));
    }
}
