//! `ops`: what an operator and CI do with the functions, one subcommand a file.
//!
//! Exit codes: 0 all is right, 1 something is not, 2 the call itself is wrong.

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

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Something is not right.
const NOT_RIGHT: u8 = 1;

/// The functions, from the side of those who ship and run them.
#[derive(Parser)]
#[command(name = "ops", version)]
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

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
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
        ExitCode::from(NOT_RIGHT)
    })
}
