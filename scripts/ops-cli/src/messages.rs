//! `ops messages`: what people are sent, and what became of it.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::EXIT_CODES;
use crate::database::wait_for;
use crate::operations::Operations;

mod ledger;
mod preview;
mod sample;

/// List, show and settle the messages that people were sent, and preview what they are sent.
#[derive(Args)]
pub(crate) struct Messages {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List messages: those of unknown status first, the oldest of them first, and then the newest. Shows no body and no address.
    #[command(after_help = EXIT_CODES)]
    List(ledger::List),
    /// Show a message.
    #[command(after_help = EXIT_CODES)]
    Show(ledger::Show),
    /// Record what the provider knows of a message of unknown status: none is sent again automatically.
    #[command(after_help = EXIT_CODES)]
    Settle(ledger::Settle),
    /// Print a message of sample data, as the templates make it.
    Preview(preview::Preview),
}

impl Messages {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::List(list) => wait_for(list.run(&Operations::from_process())),
            Verb::Show(show) => wait_for(show.run(&Operations::from_process())),
            Verb::Settle(settle) => wait_for(settle.run(&Operations::from_process())),
            Verb::Preview(preview) => {
                preview.print();
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
