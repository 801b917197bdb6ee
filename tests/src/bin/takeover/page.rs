//! The table of infra/docs/takeover.md: what was seen, per queue.

use std::collections::BTreeMap;

use anyhow::Context as _;

use crate::round::{Proved, Round};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/docs/takeover.md");
const BEGIN: &str = "<!-- takeover: made by `scripts/prove takeover --write` -->\n";
const END: &str = "<!-- /takeover -->";
const HEAD: &str = "| queue | take over | give back | what to do first |\n|---|---|---|---|\n";
/// What was not tried yet.
const UNSEEN: &str = "|";
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

/// The queues, in the order in which to take them over.
pub(crate) fn order() -> impl Iterator<Item = &'static str> {
    ORDER.into_iter().map(|(queue, _)| queue)
}

/// The table of what was tried.
pub(crate) fn table(proved: &BTreeMap<&'static str, Proved>) -> String {
    let row =
        |(queue, first): (&'static str, _)| proved.get(queue).map(|result| row(queue, &seen(result), first));
    format!("{HEAD}{}", ORDER.into_iter().filter_map(row).collect::<String>())
}

/// The page with what was tried, and with what it says of the other queues.
fn renewed(page: &str, proved: &BTreeMap<&'static str, Proved>) -> anyhow::Result<String> {
    let (before, rest) = page.split_once(BEGIN).context("the page has no place for the table")?;
    let (old, after) = rest.split_once(END).context("the page's table has no end")?;
    let row = |(queue, first): (&'static str, &str)| {
        let start = format!("| `{queue}` | ");
        let kept =
            old.lines().find_map(|line| line.strip_prefix(&start)?.strip_suffix(&format!(" | {first} |")));
        let seen = proved.get(queue).map(seen);
        row(queue, seen.as_deref().or(kept).unwrap_or(UNSEEN), first)
    };
    let rows: String = ORDER.into_iter().map(row).collect();
    Ok(format!("{before}{BEGIN}{HEAD}{rows}{END}{after}"))
}

/// Writes the table, or compares it with the page's.
pub(crate) fn check(proved: &BTreeMap<&'static str, Proved>, write: bool) -> anyhow::Result<Option<String>> {
    let page = std::fs::read_to_string(PAGE).context("cannot read the page")?;
    let renewed = renewed(&page, proved)?;
    if write {
        std::fs::write(PAGE, renewed)?;
        return Ok(None);
    }
    Ok((page != renewed)
        .then(|| "infra/docs/takeover.md says something else: scripts/prove takeover --write".to_owned()))
}

fn row(queue: &str, seen: &str, first: &str) -> String {
    format!("| `{queue}` | {seen} | {first} |\n")
}

/// Both columns of a queue.
fn seen(result: &Proved) -> String {
    format!("{} | {}", words(&result.take_over), words(&result.give_back))
}

fn words(round: &Round) -> String {
    let tasks = if round.purged == 0 { "each task once" } else { "each task once, or purged" };
    match &round.refused {
        Some(refusal) => {
            let why = refusal.split_once("the old job ").map_or(refusal.as_str(), |(_, why)| why);
            let why = why.split(':').next().unwrap_or(why);
            format!("refused while something is open (the old job {why}); then {tasks}")
        }
        None => tasks.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use catchup::queues;
    use shared::queue::Queue;

    use super::*;

    #[test]
    fn the_order_has_queues_of_ours_each_once() {
        let declared: BTreeSet<_> = queues::all().map(Queue::name).collect();
        let ordered: BTreeSet<_> = order().collect();
        assert!(ordered.is_subset(&declared), "{ordered:?}");
        assert_eq!(ordered.len(), order().count());
    }

    #[test]
    fn a_queue_that_is_tried_alone_changes_no_other_row() {
        let page = std::fs::read_to_string(PAGE).unwrap();
        assert_eq!(renewed(&page, &BTreeMap::new()).unwrap(), page);
        let [first, second, ..] = ORDER.map(|(queue, _)| queue);
        let refused = Round {
            refused: Some("nothing was changed: the old job harms: 7 of them".to_owned()),
            ..Round::default()
        };
        let proved = |give_back| BTreeMap::from([(first, Proved { give_back, ..Proved::default() })]);
        let changed = renewed(&page, &proved(refused)).unwrap();
        let row = changed.lines().find(|line| line.contains(&format!("`{first}` |"))).unwrap();
        assert!(
            row.contains("| each task once | refused while something is open (the old job harms); then each task once |"),
            "{row}"
        );
        assert!(changed.contains(&format!("| `{second}` |")));
        assert_eq!(changed.lines().count(), page.lines().count());
        let others = |page: &str| -> Vec<_> {
            page.lines().filter(|line| !line.contains(&format!("`{first}` |"))).map(str::to_owned).collect()
        };
        assert_eq!(others(&changed), others(&page));
    }
}
