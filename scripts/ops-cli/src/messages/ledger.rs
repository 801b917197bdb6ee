//! `ops messages list`, `show` and `settle`: messages that were sent, or may have been.

use std::process::ExitCode;

use catchup::db::deliveries::{CHANNELS, LedgerFilter, LedgerMessage, STATES};
use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use serde_json::json;
use uuid::Uuid;

use crate::operations::Operations;
use crate::operations::messages::{Known, is_in_transit};
use crate::reason::Reason;
use crate::table::{Table, present};
use crate::{moment, said};

/// Which messages.
#[derive(Args)]
pub(super) struct List {
    /// Only in this state.
    #[arg(long, value_parser = STATES)]
    state: Option<String>,
    /// Only to this user.
    #[arg(long)]
    user: Option<Uuid>,
    /// Only by this channel.
    #[arg(long, value_parser = CHANNELS)]
    channel: Option<String>,
    /// Only from then on: 2026-11-27T03:00:00Z, or how long ago, such as 45m, 2h or 3d.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    since: Option<DateTime<Utc>>,
    /// Maximum number of messages.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
    /// Print JSON: `messages` and whether the list `isCut`.
    #[arg(long)]
    json: bool,
}

/// One message.
#[derive(Args)]
pub(super) struct Show {
    /// Id of the message, as listed.
    message: Uuid,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is known of one message.
#[derive(Args)]
pub(super) struct Settle {
    /// Id of the message, as listed.
    message: Uuid,
    /// What the provider knows.
    #[arg(long = "as", value_enum, id = "known", value_name = "STATUS")]
    known: Status,
    /// The provider that took it.
    #[arg(long, value_name = "NAME", required_if_eq("known", "sent"))]
    provider: Option<String>,
    /// The provider's id of it.
    #[arg(long, value_name = "ID", required_if_eq("known", "sent"))]
    provider_id: Option<String>,
    #[command(flatten)]
    reason: Reason,
    /// Print JSON: the `message`, and that it `isSettled`.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Status {
    /// The provider took it, under an id.
    Sent,
    /// The provider does not know it: the next batch, or the next sweep of reminders, may send it.
    NotSent,
}

impl List {
    pub(super) async fn run(self, operations: &Operations) -> anyhow::Result<ExitCode> {
        let filter = LedgerFilter {
            message_id: None,
            user_id: self.user,
            state: self.state.as_deref(),
            channel: self.channel.as_deref(),
            since: self.since,
        };
        let messages = operations.messages(&filter, self.limit).await?;
        if self.json {
            println!("{}", json!({ "messages": messages.items, "isCut": messages.is_cut }));
            return Ok(ExitCode::SUCCESS);
        }
        if !messages.items.is_empty() {
            let mut table =
                Table::new(&["claimed", "message", "user", "channel", "state", "provider", "about"]);
            let now = operations.clock.now();
            for it in &messages.items {
                table.row([
                    moment::text(it.claimed_at),
                    it.message_id.to_string(),
                    it.user_id.to_string(),
                    it.channel.clone(),
                    state(it, now),
                    present(it.provider.as_deref()),
                    it.subjects.join(" "),
                ]);
            }
            table.print();
        }
        said::extent(&messages, &self.what());
        Ok(ExitCode::SUCCESS)
    }

    /// Of what the list is.
    fn what(&self) -> String {
        let conditions = [
            self.state.as_ref().map(|state| format!("state {state}")),
            self.user.map(|user| format!("user {user}")),
            self.channel.as_ref().map(|channel| format!("channel {channel}")),
            self.since.map(|since| format!("since {}", moment::text(since))),
        ];
        let words: Vec<_> = conditions.into_iter().flatten().collect();
        if words.is_empty() { "messages".to_owned() } else { format!("messages with {}", words.join(", ")) }
    }
}

impl Show {
    pub(super) async fn run(self, operations: &Operations) -> anyhow::Result<ExitCode> {
        let message = operations.message(self.message).await?;
        if self.json {
            println!("{}", serde_json::to_string(&message)?);
            return Ok(ExitCode::SUCCESS);
        }
        let now = operations.clock.now();
        println!("message   {}", message.message_id);
        println!("user      {}", message.user_id);
        println!("channel   {}", message.channel);
        println!("state     {}", state(&message, now));
        println!("claimed   {}", moment::text(message.claimed_at));
        println!("settled   {}", present(message.settled_at.map(moment::text)));
        println!("provider  {}", present(message.provider.as_deref()));
        println!("its id    {}", present(message.provider_id.as_deref()));
        for subject in &message.subjects {
            println!("about     {subject}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Settle {
    pub(super) async fn run(self, operations: &Operations) -> anyhow::Result<ExitCode> {
        let known = match self.known {
            Status::Sent => Known::Sent {
                provider: self.provider.unwrap_or_default(),
                id: self.provider_id.unwrap_or_default(),
            },
            Status::NotSent => Known::NotSent,
        };
        operations.settle(self.message, &known, self.reason.request()).await?;
        eprintln!("settled");
        if self.json {
            println!("{}", json!({ "message": self.message, "isSettled": true }));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The state of a message, in words.
fn state(message: &LedgerMessage, now: DateTime<Utc>) -> String {
    let code = message.code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
    let transit = if is_in_transit(message, now) { ", may be in transit" } else { "" };
    format!("{}{code}{transit}", message.state)
}
