//! What a change of the declarations comes to, entry by entry. What is next to the entries concerns all.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::comparison::Comparison;
use super::{DECLARATION, NEEDS};

const QUEUES: &str = "queues";
/// Those with a queue, and those without.
const FUNCTIONS: [&str; 2] = ["functions", "services"];
/// Queues that a function may fill.
const ENQUEUES: &str = "enqueues";

/// What changed in `infra/queues.json`; `None` are all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changes {
    /// Functions: those whose entries changed, and who creates tasks for them.
    pub(super) programs: Option<BTreeSet<String>>,
    /// Queues that Terraform will change.
    pub(super) queues: Option<BTreeSet<String>>,
}

/// Compares `infra/queues.json`.
pub(super) fn of_queues(comparison: &Comparison<'_>) -> anyhow::Result<Changes> {
    let needs = parsed(&comparison.after(NEEDS)?);
    Ok(queues(&parsed(&comparison.before(DECLARATION)?), &parsed(&comparison.after(DECLARATION)?), &needs))
}

/// Compares `infra/gcp/functions.json`: the queues, and services without one, that Terraform will change; `None` are all.
pub(super) fn of_functions(comparison: &Comparison<'_>) -> anyhow::Result<Option<BTreeSet<String>>> {
    Ok(functions(&parsed(&comparison.before(NEEDS)?), &parsed(&comparison.after(NEEDS)?)))
}

fn queues(before: &Value, after: &Value, needs: &Value) -> Changes {
    let queues = differing(before, after, &[QUEUES]);
    let programs = queues.clone().map(|mut names| {
        let all = entries(needs, &FUNCTIONS);
        let fills = |entry: &Value| filled(entry).any(|queue| names.contains(queue));
        let producers: Vec<_> =
            all.iter().filter(|(_, entry)| fills(entry)).map(|(name, _)| name.clone()).collect();
        names.extend(producers);
        names
    });
    Changes { programs, queues }
}

fn functions(before: &Value, after: &Value) -> Option<BTreeSet<String>> {
    let mut names = differing(before, after, &FUNCTIONS)?;
    let (old, new) = (entries(before, &FUNCTIONS), entries(after, &FUNCTIONS));
    let entries = names.iter().flat_map(|name| [old.get(name), new.get(name)]).flatten();
    // The right to create tasks is the queue's.
    let queues: Vec<_> = entries.flat_map(filled).map(str::to_owned).collect();
    names.extend(queues);
    Some(names)
}

/// A file that is missing or broken says nothing.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Names of entries that differ; `None` if something next to them does.
fn differing(before: &Value, after: &Value, fields: &[&str]) -> Option<BTreeSet<String>> {
    let rest = |value: &Value| {
        let mut rest = value.as_object().cloned().unwrap_or_default();
        rest.retain(|field, _| !fields.contains(&field.as_str()));
        rest
    };
    if rest(before) != rest(after) {
        return None;
    }
    let (old, new) = (entries(before, fields), entries(after, fields));
    let names = old.keys().chain(new.keys());
    Some(names.filter(|name| old.get(*name) != new.get(*name)).cloned().collect())
}

fn entries(value: &Value, fields: &[&str]) -> Map<String, Value> {
    let maps = fields.iter().filter_map(|field| value[*field].as_object());
    maps.flatten().map(|(name, entry)| (name.clone(), entry.clone())).collect()
}

fn filled(entry: &Value) -> impl Iterator<Item = &str> {
    entry[ENQUEUES].as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn real(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_queue_concerns_its_function_and_those_that_fill_it() {
        let needs = real(include_str!("../../../../infra/gcp/functions.json"));
        let before = real(include_str!("../../../../infra/queues.json"));
        let mut after = before.clone();
        after["queues"]["webhook-renewal"]["attempts"] = 7.into();
        let changes = queues(&before, &after, &needs);
        assert_eq!(changes.queues, Some(set(&["webhook-renewal"])));
        assert_eq!(changes.programs, Some(set(&["webhook-health-check", "webhook-renewal"])));
        after["something"] = 50.into();
        assert_eq!(queues(&before, &after, &needs), Changes { programs: None, queues: None });
        assert_eq!(queues(&before, &before, &needs).programs, Some(set(&[])));
    }

    #[test]
    fn what_a_function_needs_concerns_its_queue_and_those_that_it_may_fill() {
        #[track_caller]
        fn check(pointer: &str, value: Value, expected: Option<&[&str]>) {
            let before = real(include_str!("../../../../infra/gcp/functions.json"));
            let mut after = before.clone();
            *after.pointer_mut(pointer).unwrap() = value;
            assert_eq!(functions(&before, &after), expected.map(set), "{pointer}");
        }
        check("/functions/token-refresh/maxInstances", 7.into(), Some(&["token-refresh"]));
        check(
            "/functions/webhook-renewal/enqueues",
            ["adaptive-sync"].as_slice().into(),
            Some(&["adaptive-sync", "calendar-sync", "webhook-renewal"]),
        );
        check("/services/webhooks/maxInstances", 7.into(), Some(&["calendar-sync", "webhooks"]));
        check("/features/google/secrets", [""; 0].as_slice().into(), None);
    }
}
