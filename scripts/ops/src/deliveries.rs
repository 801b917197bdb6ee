//! `ops deliveries`: messages of which nobody knows whether they were sent. None is sent again by itself.

use std::process::ExitCode;

use catchup::db::deliveries::{self, Channel, Telling};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use shared::clock::Clock;
use uuid::Uuid;

use crate::database::{open, wait_for};

/// List messages of unknown fate, and settle them once the provider was asked.
#[derive(Args)]
pub(crate) struct Deliveries {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Those of unknown fate, oldest first; younger ones than ten minutes may be under way.
    List {
        /// At most so many.
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write down what the provider knows of one.
    Settle(Settle),
}

#[derive(Args)]
struct Settle {
    /// User whom it was for.
    user: Uuid,
    /// How it was sent.
    channel: Way,
    /// What it told of, as listed.
    subject: String,
    /// The provider took it, under this id.
    #[arg(long, value_name = "ID", requires = "provider", required_unless_present = "not_sent")]
    sent: Option<String>,
    /// The provider that took it.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// The provider knows nothing of it: the next batch may send it.
    #[arg(long, conflicts_with = "sent")]
    not_sent: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Way {
    Sms,
    Email,
}

/// Longer than a job may take.
const UNDER_WAY: std::time::Duration = std::time::Duration::from_mins(10);

impl Deliveries {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let now = Clock::system().now();
        wait_for(async {
            let db = deliveries::Deliveries::from(open()?);
            match self.verb {
                Verb::List { limit, json } => {
                    let unknown = db.unknown_deliveries(now - UNDER_WAY, limit).await?;
                    if json {
                        let rows = unknown.iter().map(|it| {
                            json!({
                                "user": it.user_id,
                                "channel": it.channel,
                                "subject": it.subject,
                                "claimedAt": it.claimed_at.to_rfc3339(),
                            })
                        });
                        println!("{}", rows.collect::<Value>());
                    } else {
                        for it in &unknown {
                            println!(
                                "{}  {}  {:<5}  {}",
                                it.claimed_at.to_rfc3339(),
                                it.user_id,
                                it.channel,
                                it.subject
                            );
                        }
                    }
                }
                Verb::Settle(settle) => {
                    let channel = match settle.channel {
                        Way::Sms => Channel::Sms,
                        Way::Email => Channel::Email,
                    };
                    let telling = Telling { user_id: settle.user, channel, subjects: vec![settle.subject] };
                    match (settle.sent, settle.provider) {
                        (Some(id), Some(provider)) => {
                            db.deliveries_sent(&telling, &provider, &id, now).await?;
                        }
                        _ => db.release_deliveries(&telling).await?,
                    }
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
