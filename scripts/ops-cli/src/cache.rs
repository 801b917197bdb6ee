//! `ops cache`: what a user still sees although it has changed.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

use crate::EXIT_CODES;
use crate::database::wait_for;
use crate::operations::Operations;
use crate::operations::cached::Entry;
use crate::reason::Reason;
use crate::table::Table;

/// Show or drop what is cached of a user: what the application shows of contacts, suggestions and preferences.
#[derive(Args)]
pub(crate) struct Cache {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List what the application may have cached of a user, and until when. Shows no value.
    ///
    /// The time that a user's calendars leave free is not listed: its keys name days, and it is cached for an hour.
    #[command(after_help = EXIT_CODES)]
    Show(Show),
    /// Drop what is cached of a user, which is then read anew: the lists, the preferences, and the time that the calendars leave free.
    ///
    /// With `LEGACY_SLOT_CACHE=true`, as for a function, also the application's own slots, which takes up to 50 commands of Redis.
    #[command(after_help = EXIT_CODES)]
    Drop(Drop),
}

#[derive(Args)]
struct Show {
    #[command(flatten)]
    of: Of,
    /// Print JSON: `user` and what may be `cached`.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Drop {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    reason: Reason,
    /// Print JSON: `user` and what had been `cached`.
    #[arg(long)]
    json: bool,
}

/// Whose values.
#[derive(Args)]
struct Of {
    /// The user.
    user: Uuid,
    /// Also the profile of this contact; may be given several times.
    #[arg(long = "contact", value_name = "CONTACT")]
    contacts: Vec<Uuid>,
}

impl Cache {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        wait_for(async {
            match self.verb {
                Verb::Show(show) => show.run().await,
                Verb::Drop(drop) => drop.run().await,
            }
        })
    }
}

impl Show {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let cached = self.of.cached(&Operations::from_process()).await?;
        self.of.print(&cached, self.json);
        Ok(ExitCode::SUCCESS)
    }
}

impl Drop {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let operations = Operations::from_process();
        let cached = self.of.cached(&operations).await?;
        self.of.print(&cached, self.json);
        let count = cached.iter().filter(|it| it.is_cached).count();
        operations.drop_cached(self.of.user, &self.of.contacts, count, self.reason.request()).await?;
        eprintln!("{count} values dropped, and the free time of the calendars");
        Ok(ExitCode::SUCCESS)
    }
}

impl Of {
    async fn cached(&self, operations: &Operations) -> anyhow::Result<Vec<Entry>> {
        operations.cached(self.user, &self.contacts).await
    }

    fn print(&self, cached: &[Entry], json: bool) {
        if json {
            return println!("{}", json!({ "user": self.user, "cached": cached }));
        }
        let mut table = Table::new(&["key", "cached"]);
        for it in cached {
            let until = match it.expires_in_seconds {
                Some(seconds) => format!("for {seconds} s"),
                None if it.is_cached => "until it is dropped".to_owned(),
                None => "no".to_owned(),
            };
            table.row([it.key.clone(), until]);
        }
        table.print();
    }
}
