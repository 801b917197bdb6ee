//! `ops suggestions`: whom a user would be suggested to meet now, and why not the others.

use std::collections::HashMap;
use std::process::ExitCode;

use anyhow::bail;
use catchup::db::suggestions::Contact;
use catchup::suggestions::{Decision, Plan, explain};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shared::clock::Clock;
use uuid::Uuid;

use crate::database::{open, wait_for};

/// Explain whom a user would be suggested to meet now, and why not the others. Changes nothing.
#[derive(Args)]
pub(crate) struct Suggestions {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List a user's contacts by what keeps them from being suggested, those that would be suggested first.
    Explain {
        /// The user.
        user: Uuid,
        /// Show names of contacts, which are personal data; otherwise their ids only.
        #[arg(long)]
        names: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Suggestions {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let Verb::Explain { user, names, json } = self.verb;
        wait_for(async {
            let Some((contacts, plan)) = explain(&open()?, user, Clock::system().now()).await? else {
                bail!("there is no user {user}");
            };
            if json {
                println!("{}", as_json(&contacts, &plan, names));
            } else {
                print(&contacts, &plan, names);
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn as_json(contacts: &[Contact], plan: &Plan, with_names: bool) -> Value {
    let names = names(contacts);
    let contacts = plan.decisions.iter().map(|(id, decision)| {
        let name = with_names.then(|| names.get(id));
        json!({ "contact": id, "name": name, "decision": <&str>::from(decision), "detail": detail(decision) })
    });
    let moved = plan.moved.iter().map(|moved| json!({ "suggestion": moved.id, "start": moved.slot.start }));
    let dismissed = plan
        .dismissed
        .iter()
        .map(|dismissal| json!({ "suggestion": dismissal.id, "reason": <&str>::from(dismissal.reason) }));
    json!({
        "contacts": contacts.collect::<Value>(),
        "moved": moved.collect::<Value>(),
        "dismissed": dismissed.collect::<Value>(),
    })
}

fn print(contacts: &[Contact], plan: &Plan, with_names: bool) {
    let names = names(contacts);
    for dismissal in &plan.dismissed {
        println!("suggestion {} would be dismissed: {}", dismissal.id, <&str>::from(dismissal.reason));
    }
    for moved in &plan.moved {
        println!("suggestion {} would get another time: {}", moved.id, moved.slot.start.to_rfc3339());
    }
    let (suggested, others): (Vec<_>, Vec<_>) =
        plan.decisions.iter().copied().partition(|(_, decision)| matches!(decision, Decision::Suggested(_)));
    for (id, decision) in suggested.into_iter().chain(others) {
        let name = names.get(&id).filter(|_| with_names).copied().unwrap_or_default();
        let line = format!(
            "{id}  {:<13} {:<26}{name}",
            <&str>::from(decision),
            detail(&decision).unwrap_or_default()
        );
        println!("{}", line.trim_end());
    }
    if plan.decisions.is_empty() {
        println!("The user has no contacts.");
    }
}

fn names(contacts: &[Contact]) -> HashMap<Uuid, &str> {
    contacts.iter().map(|contact| (contact.id, contact.name.as_str())).collect()
}

/// For when, or until when.
fn detail(decision: &Decision) -> Option<String> {
    let time = match decision {
        Decision::Suggested(slot) => slot.start,
        Decision::NotDue(time) | Decision::CoolingDown(time) | Decision::MeetsAnyway(time) => *time,
        Decision::Open
        | Decision::Paused
        | Decision::Accepted
        | Decision::Excluded
        | Decision::Archived
        | Decision::NoPerson
        | Decision::SamePerson
        | Decision::LimitReached
        | Decision::NoTime => return None,
    };
    Some(time.to_rfc3339())
}
