//! `ops deliveries`: messages whose delivery status is unknown. None is sent again automatically.

use std::process::ExitCode;

use anyhow::bail;
use catchup::db::deliveries;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shared::clock::Clock;
use uuid::Uuid;

use crate::database::{open, wait_for};

/// List messages whose delivery status is unknown, and record what the provider knows about them.
#[derive(Args)]
pub(crate) struct Deliveries {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List messages of unknown delivery status that are older than ten minutes, oldest first; a younger one may be in transit.
    List {
        /// Maximum number of messages.
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Record whether the provider has sent a message.
    Settle(Settle),
}

#[derive(Args)]
struct Settle {
    /// Id of the message, as listed.
    message: Uuid,
    /// The provider accepted it under this id.
    #[arg(long, value_name = "ID", requires = "provider", required_unless_present = "not_sent")]
    sent: Option<String>,
    /// The provider that accepted it.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// The provider does not know it: the next batch, or the next sweep of reminders, may send it.
    #[arg(long, conflicts_with = "sent")]
    not_sent: bool,
}

/// Longer than the timeout of any job.
const IN_TRANSIT: std::time::Duration = std::time::Duration::from_mins(10);

impl Deliveries {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let now = Clock::system().now();
        wait_for(async {
            let db = deliveries::Deliveries::from(open()?);
            match self.verb {
                Verb::List { limit, json } => {
                    let unknown = db.list_unknown(now - IN_TRANSIT, limit).await?;
                    if json {
                        let rows = unknown.iter().map(|it| {
                            json!({
                                "message": it.message_id,
                                "user": it.user_id,
                                "channel": it.channel,
                                "subjects": it.subjects,
                                "claimedAt": it.claimed_at.to_rfc3339(),
                            })
                        });
                        println!("{}", rows.collect::<Value>());
                    } else {
                        for it in &unknown {
                            println!(
                                "{}  {}  {}  {:<5}  {}",
                                it.claimed_at.to_rfc3339(),
                                it.message_id,
                                it.user_id,
                                it.channel,
                                it.subjects.join(" ")
                            );
                        }
                    }
                }
                Verb::Settle(settle) => {
                    let before = now - IN_TRANSIT;
                    let is_settled = match (settle.sent, settle.provider) {
                        (Some(id), Some(provider)) => {
                            db.settle_sent(settle.message, &provider, &id, before, now).await?
                        }
                        _ => db.settle_not_sent(settle.message, before).await?,
                    };
                    if !is_settled {
                        bail!(
                            "no message of unknown status has this id and is older than {} minutes; see scripts/ops deliveries list",
                            IN_TRANSIT.as_secs() / 60
                        );
                    }
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
