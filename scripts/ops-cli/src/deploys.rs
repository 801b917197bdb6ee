//! `ops deploys`: who runs the tasks of each queue.

use std::process::ExitCode;

use clap::Args;

use crate::database::wait_for;
use crate::operations::Operations;
use crate::operations::deploys::{Deployed, Deploys as Found, Owner};
use crate::said;
use crate::table::{Table, known};

/// Show who runs the tasks of each queue: whose it is, which revisions serve it with what share, and where its settings differ
/// from the declaration, with the commands that change it.
///
/// `?` is not known: its source is named below the table, and the exit code is 1.
#[derive(Args)]
pub(crate) struct Deploys {
    /// Print JSON: `sources`, `functions`, and whether they are processes on this machine (`isLocal`).
    #[arg(long)]
    json: bool,
}

impl Deploys {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        wait_for(async {
            let deploys = Box::pin(Operations::from_process().deploys()).await?;
            if self.json {
                println!("{}", serde_json::to_string(&deploys)?);
            } else {
                print(&deploys);
            }
            Ok(said::sources(&deploys.sources))
        })
    }
}

fn print(deploys: &Found) {
    let mut table = Table::new(&["queue", "whose", "serves", "differs", "change it with"]);
    for it in &deploys.functions {
        table.row([
            it.queue.to_owned(),
            known(it.owner),
            known(serves(it)),
            differs(it),
            it.commands.join("; "),
        ]);
    }
    table.print();
}

/// The revisions with their shares, or the address.
pub(crate) fn serves(it: &Deployed) -> Option<String> {
    let Some(revisions) = &it.revisions else { return it.address.clone() };
    let shares: Vec<_> = revisions.iter().map(|it| format!("{} {} %", it.revision, it.percent)).collect();
    Some(if shares.is_empty() { "none".to_owned() } else { shares.join(", ") })
}

/// The settings that are not as they are declared.
pub(crate) fn differs(it: &Deployed) -> String {
    if it.owner == Some(Owner::Public) {
        return "-".to_owned();
    }
    known(it.drift.as_ref().map(|drift| {
        let wrong: Vec<_> = drift.iter().map(|it| format!("{}: {}", it.setting, it.detail)).collect();
        if wrong.is_empty() { "nothing".to_owned() } else { wrong.join("; ") }
    }))
}
