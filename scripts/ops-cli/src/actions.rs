//! `ops actions`: what operators did.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::database::wait_for;
use crate::operations::Operations;
use crate::table::Table;
use crate::{moment, said};

/// List what operators did, newest first: who, what, on how many, and why.
#[derive(Args)]
pub(crate) struct Actions {
    /// Maximum number of actions.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
    /// Print JSON: `actions` and whether the list `isCut`.
    #[arg(long)]
    json: bool,
}

impl Actions {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        wait_for(async {
            let actions = Operations::from_process().actions(self.limit).await?;
            if self.json {
                println!("{}", json!({ "actions": actions.items, "isCut": actions.is_cut }));
                return Ok(ExitCode::SUCCESS);
            }
            if !actions.items.is_empty() {
                let mut table = Table::new(&["at", "who", "from", "action", "changed", "filter", "why"]);
                for it in &actions.items {
                    let unknown = if it.is_bulk { "open" } else { "cut off" };
                    let changed = it.changed.map_or_else(|| unknown.to_owned(), |it| it.to_string());
                    table.row([
                        moment::text(it.at),
                        it.who.clone(),
                        it.via.clone(),
                        it.action.clone(),
                        format!("{changed} of {}", it.count),
                        it.filter.to_string(),
                        it.why.clone(),
                    ]);
                }
                table.print();
            }
            said::extent(&actions, "actions of operators");
            Ok(ExitCode::SUCCESS)
        })
    }
}
