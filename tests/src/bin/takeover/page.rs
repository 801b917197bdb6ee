//! The table of infra/docs/takeover.md: what was seen, per queue.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;

use crate::Proved;
use crate::round::Round;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/docs/takeover.md");
const BEGIN: &str = "<!-- takeover: made by `scripts/prove takeover --write` -->\n";
const END: &str = "<!-- /takeover -->";
/// The order in which to take over, with what to do first.
const ORDER: [(&str, &str); 11] = [
    ("token-refresh", "nothing: its tasks may run twice without harm"),
    ("adaptive-sync", "nothing"),
    ("calendar-sync", "nothing; later [push notifications](#push-notifications)"),
    (
        "google-contacts-sync",
        "nothing: the application's sync token is left to it, empty after a sync of ours",
    ),
    ("suggestion-regeneration", "nothing"),
    ("suggestion-generation", "nothing"),
    ("webhook-renewal", "[push notifications](#push-notifications): the check asks the address"),
    ("webhook-health-check", "`webhook-renewal`, which it fills"),
    ("batch-notifications", "[senders and addresses](messages.md)"),
    ("notification-reminder", "[senders and addresses](messages.md)"),
    ("token-health-reminder", "[senders and addresses](messages.md)"),
];

/// As the page has it.
pub(crate) fn table(proved: &BTreeMap<&'static str, Proved>) -> String {
    let mut table = "| queue | take over | give back | what to do first |\n|---|---|---|---|\n".to_owned();
    for (queue, first) in ORDER {
        let Some(result) = proved.get(queue) else { continue };
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "| `{queue}` | {} | {} | {first} |",
            words(&result.take_over),
            words(&result.give_back)
        );
    }
    table
}

fn words(round: &Round) -> String {
    match (&round.refused, round.purged) {
        (Some(refusal), _) => {
            let why = refusal.split_once("the old job ").map_or(refusal.as_str(), |(_, why)| why);
            let why = why.split(':').next().unwrap_or(why);
            format!("refused while something is open: the old job {why}")
        }
        (None, 0) => "each task once".to_owned(),
        (None, _) => "each task once or purged".to_owned(),
    }
}

/// Writes the table, or compares it with the page's.
pub(crate) fn check(proved: &BTreeMap<&'static str, Proved>, write: bool) -> anyhow::Result<Option<String>> {
    let page = std::fs::read_to_string(PAGE).context("cannot read the page")?;
    let (before, rest) = page.split_once(BEGIN).context("the page has no place for the table")?;
    let (old, after) = rest.split_once(END).context("the page's table has no end")?;
    let new = table(proved);
    if write {
        std::fs::write(PAGE, format!("{before}{BEGIN}{new}{END}{after}"))?;
        return Ok(None);
    }
    Ok((old != new)
        .then(|| "infra/docs/takeover.md says something else: scripts/prove takeover --write".to_owned()))
}
