//! Measures the functions as processes. `scripts/bench` builds what is measured and calls this.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::stdout;

mod calendars;
mod cold_start;
mod console;
mod contacts;
mod load;
mod options;
mod process;
mod sweeps;
mod task;
mod webhooks;

/// Measures the functions.
///
/// Exit code 0: every aim is met; 1: one is missed, or nothing could be measured; 2: usage error.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Calendars(calendars::Options),
    ColdStart(cold_start::Options),
    Console(console::Options),
    Task(task::Options),
    Contacts(contacts::Options),
    Sweeps(sweeps::Options),
    Webhooks(webhooks::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    stdout::end_with_its_reader();
    let missed = match Arguments::parse().what {
        What::Calendars(options) => calendars::run(&options),
        What::ColdStart(options) => cold_start::run(&options),
        What::Console(options) => console::run(&options),
        What::Task(options) => task::run(&options),
        What::Contacts(options) => contacts::run(&options),
        What::Sweeps(options) => sweeps::run(&options),
        What::Webhooks(options) => webhooks::run(&options),
    };
    match missed {
        Ok(missed) => Ok(ExitCode::from(u8::from(missed))),
        Err(error) if stdout::has_no_reader(&error) => Ok(ExitCode::from(stdout::EXIT_WITHOUT_READER)),
        Err(error) => Err(error),
    }
}
