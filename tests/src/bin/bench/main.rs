//! Measures the functions as processes. `scripts/bench` builds what is measured and calls this.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod calendars;
mod cold_start;
mod load;
mod process;
mod task;

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
    Task(task::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    let missed = match Arguments::parse().what {
        What::Calendars(options) => calendars::run(&options)?,
        What::ColdStart(options) => cold_start::run(&options)?,
        What::Task(options) => task::run(&options)?,
    };
    Ok(ExitCode::from(u8::from(missed)))
}
