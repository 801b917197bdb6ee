//! Whose Terraform a change of `infra/gcp/functions.json` changes, entry by entry.

use std::collections::BTreeSet;

use serde_json::Value;

use super::NEEDS;
use super::comparison::Comparison;
use super::declaration::{entries, keys, without};

const FUNCTIONS: &str = "functions";
/// Those without a queue.
const SERVICES: &str = "services";
/// Queues that a function may fill: a right on each of them.
const ENQUEUES: &str = "enqueues";

/// The queues, and services without one; `None` are all.
pub(super) fn queues(comparison: &Comparison<'_>) -> anyhow::Result<Option<BTreeSet<String>>> {
    let value = |text: String| serde_json::from_str(&text).unwrap_or_default();
    Ok(compare(&value(comparison.before(NEEDS)?), &value(comparison.after(NEEDS)?)))
}

fn compare(before: &Value, now: &Value) -> Option<BTreeSet<String>> {
    // What features need concerns the functions that have them.
    let rest = |needs: &Value| {
        let mut rest = without(needs, FUNCTIONS);
        rest.remove(SERVICES);
        rest
    };
    if rest(before) != rest(now) {
        return None;
    }
    let all = |needs: &Value| {
        let mut all = entries(&needs[FUNCTIONS]);
        all.extend(entries(&needs[SERVICES]));
        all
    };
    let (old, new) = (all(before), all(now));
    let mut queues = BTreeSet::new();
    for name in keys(&old, &new).into_iter().filter(|name| old.get(*name) != new.get(*name)) {
        queues.insert(name.clone());
        let filled = |functions: &serde_json::Map<String, Value>| -> BTreeSet<String> {
            let names = functions.get(name).and_then(|function| function[ENQUEUES].as_array());
            names.into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
        };
        queues.extend(filled(&old).symmetric_difference(&filled(&new)).cloned());
    }
    Some(queues)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_concerns_its_queue_and_those_that_it_may_fill() {
        const REAL: &str = include_str!("../../../../infra/gcp/functions.json");
        #[track_caller]
        fn check(pointer: &str, value: Value, expected: Option<&[&str]>) {
            let before: Value = serde_json::from_str(REAL).unwrap();
            let mut now = before.clone();
            *now.pointer_mut(pointer).unwrap() = value;
            let expected = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            assert_eq!(compare(&before, &now), expected, "{pointer}");
        }
        let unchanged = serde_json::from_str::<Value>(REAL).unwrap()["every"].clone();
        check("/every", unchanged, Some(&[]));
        check("/functions/calendar-sync/maxInstances", 7.into(), Some(&["calendar-sync"]));
        check(
            "/functions/calendar-sync/enqueues",
            ["adaptive-sync"].as_slice().into(),
            Some(&["adaptive-sync", "calendar-sync", "suggestion-regeneration"]),
        );
        check("/services/webhooks/maxInstances", 7.into(), Some(&["webhooks"]));
        check(
            "/services/webhooks/enqueues",
            ["adaptive-sync"].as_slice().into(),
            Some(&["adaptive-sync", "calendar-sync", "webhooks"]),
        );
        check("/features/google/secrets", [""; 0].as_slice().into(), None);
    }
}
