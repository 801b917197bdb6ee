//! `ops dead-letters bulks`, `resume` and `cancel`: replays and discards survive the terminal that began them.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shared::db::bulks::StoredBulk;
use uuid::Uuid;

use crate::operations::Operations;
use crate::operations::bulks::{MAX_RATE, has_failed, state, summary};
use crate::reason::Reason;
use crate::table::Table;
use crate::{FAILURE, moment, said};

/// Dead letters that failed and are named; of the others only the number is given.
const NAMED: u32 = 10;

#[derive(Args)]
pub(super) struct Bulks {
    /// Id of one of them, ended or not.
    id: Option<Uuid>,
    /// Maximum number of bulks, or of the dead letters of one.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Resume {
    /// Id of the bulk.
    id: Uuid,
    /// Dead letters per second from now on.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=i64::from(MAX_RATE)))]
    rate: Option<i32>,
    #[command(flatten)]
    reason: Reason,
}

#[derive(Args)]
pub(super) struct Cancel {
    /// Id of the bulk.
    id: Uuid,
    #[command(flatten)]
    reason: Reason,
}

impl Bulks {
    pub(super) async fn run(&self, operations: &Operations) -> anyhow::Result<ExitCode> {
        match self.id {
            Some(id) => self.show(operations, id).await,
            None => self.list(operations).await,
        }
    }

    async fn list(&self, operations: &Operations) -> anyhow::Result<ExitCode> {
        let bulks = operations.open_bulks(self.limit).await?;
        if self.json {
            println!("{}", json!({ "bulks": bulks.items, "isCut": bulks.is_cut }));
            return Ok(ExitCode::SUCCESS);
        }
        if !bulks.items.is_empty() {
            let mut table = Table::new(&["bulk", "at", "who", "action", "left", "state", "filter", "why"]);
            for it in &bulks.items {
                table.row([
                    it.id.to_string(),
                    moment::text(it.at),
                    it.who.clone(),
                    it.action.clone(),
                    format!("{} of {}", it.left(), it.count),
                    state(it).to_owned(),
                    it.filter.to_string(),
                    it.why.clone(),
                ]);
            }
            table.print();
        }
        said::extent(&bulks, "replays or discards that have not ended");
        Ok(ExitCode::SUCCESS)
    }

    async fn show(&self, operations: &Operations, id: Uuid) -> anyhow::Result<ExitCode> {
        let bulk = operations.bulk(id).await?;
        let members = operations.members(id, self.limit).await?;
        if self.json {
            println!("{}", json!({ "bulk": bulk, "members": members.items, "isCut": members.is_cut }));
            return Ok(ExitCode::SUCCESS);
        }
        println!(
            "{} of {} dead letters at {} per second, {} by {}: {}",
            bulk.action,
            bulk.count,
            bulk.rate,
            moment::text(bulk.at),
            bulk.who,
            bulk.filter
        );
        if !bulk.why.is_empty() {
            println!("why: {}", bulk.why);
        }
        println!("{}: {}", state(&bulk), summary(&bulk));
        if let Some(problem) = &bulk.problem {
            println!("its last run ended early: {problem}");
        }
        for it in &members.items {
            let error = it.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
            println!("{}  {}  {}{error}", it.dead_letter, moment::text(it.at), it.outcome);
        }
        said::extent(&members, "dead letters of the bulk");
        Ok(ExitCode::SUCCESS)
    }
}

impl Resume {
    pub(super) async fn run(&self, operations: &Operations) -> anyhow::Result<ExitCode> {
        let request = self.reason.request();
        if let Some(rate) = self.rate {
            operations.change_rate(self.id, rate, request).await?;
        }
        let action = operations.continue_bulk(self.id, request).await?;
        let code = run(operations, self.id).await?;
        if let Some(action) = action {
            operations.end(action, 1).await?;
        }
        Ok(code)
    }
}

impl Cancel {
    pub(super) async fn run(&self, operations: &Operations) -> anyhow::Result<ExitCode> {
        let bulk = operations.cancel_bulk(self.id, self.reason.request()).await?;
        eprintln!("{}: {}", state(&bulk), summary(&bulk));
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs a bulk to its end, and says how far it is, and what became of its dead letters. One that failed is a failure, and so is a
/// bulk that another cancels.
pub(super) async fn run(operations: &Operations, id: Uuid) -> anyhow::Result<ExitCode> {
    let progress = |bulk: &StoredBulk| eprintln!("  {} of {}", bulk.count - bulk.left(), bulk.count);
    let bulk = operations.run_bulk(id, progress).await?;
    let is_failure = has_failed(&bulk);
    if is_failure {
        for failed in operations.members(id, NAMED).await?.items {
            if let Some(error) = failed.error {
                eprintln!("dead letter {}: {error}", failed.dead_letter);
            }
        }
        eprintln!("scripts/ops dead-letters bulks {id} lists them");
    }
    if bulk.outcomes.contains_key("replayed_before") {
        eprintln!("what was replayed before: pass --again to replay it once more");
    }
    if bulk.cancelled_at.is_some() {
        eprintln!("it was cancelled");
    }
    eprintln!("{}", summary(&bulk));
    Ok(if is_failure || bulk.left() > 0 { ExitCode::from(FAILURE) } else { ExitCode::SUCCESS })
}
