//! `ops deliveries`: messages whose delivery status is unknown. None is sent again automatically.

use std::process::ExitCode;

use catchup::db::deliveries::{self, Channel, DeliveryKey};
use clap::{Args, Subcommand, ValueEnum};
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
    /// User to whom the message is addressed.
    user: Uuid,
    /// Channel of the message.
    channel: ChannelName,
    /// Subject of the message, as listed.
    subject: String,
    /// The provider accepted it under this id.
    #[arg(long, value_name = "ID", requires = "provider", required_unless_present = "not_sent")]
    sent: Option<String>,
    /// The provider that accepted it.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// The provider does not know it: the next batch may send it.
    #[arg(long, conflicts_with = "sent")]
    not_sent: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ChannelName {
    Sms,
    Email,
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
                        ChannelName::Sms => Channel::Sms,
                        ChannelName::Email => Channel::Email,
                    };
                    let key =
                        DeliveryKey { user_id: settle.user, channel, notifications: vec![settle.subject] };
                    match (settle.sent, settle.provider) {
                        (Some(id), Some(provider)) => {
                            db.mark_sent(&key, &provider, &id, now).await?;
                        }
                        _ => db.release(&key).await?,
                    }
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
