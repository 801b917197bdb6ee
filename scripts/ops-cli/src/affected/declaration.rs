//! What a change of `infra/queues.json` comes to, entry by entry and field by field.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::DECLARATION;
use super::comparison::Comparison;

/// Who reads a field. Every function embeds the file; what counts is whose behaviour a value decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Terraform: the queue, the scheduler, or the limits of the service.
    Terraform,
    /// The queue's own function.
    Function,
    /// Both.
    Both,
    /// Terraform, and every function that creates tasks for the queue.
    Producers,
}

/// The table. A field that is not in it is read by everybody.
const READERS: [(&str, Reader); 8] = [
    // The function ends its tasks by it, and Cloud Tasks those of a queue that is not taken over.
    ("attempts", Reader::Both),
    ("timeoutSeconds", Reader::Function),
    ("dispatchDeadlineSeconds", Reader::Producers),
    // The function schedules the next attempt, and Cloud Tasks what the function could not answer.
    ("minBackoffSeconds", Reader::Both),
    ("maxBackoffSeconds", Reader::Both),
    ("maxDoublings", Reader::Both),
    ("maxDispatchesPerSecond", Reader::Terraform),
    ("maxConcurrentDispatches", Reader::Terraform),
];
/// Looked into one level deeper: a sweep's tasks are named after the period.
const SCHEDULES: &str = "schedules";
const PERIOD: &str = "periodSeconds";

/// What changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Functions and the fields that touch them; `None` are all functions.
    pub(super) functions: BTreeMap<Option<String>, BTreeSet<String>>,
    /// Queues that Terraform will change.
    pub(super) queues: BTreeSet<String>,
}

impl Changes {
    fn touch(&mut self, function: Option<&str>, field: &str) {
        self.functions.entry(function.map(str::to_owned)).or_default().insert(field.to_owned());
    }

    fn apply(&mut self, queue: &str, field: &str, reader: Reader) {
        match reader {
            Reader::Terraform => {}
            Reader::Function | Reader::Both => self.touch(Some(queue), field),
            Reader::Producers => self.touch(None, field),
        }
        match reader {
            Reader::Function => {}
            Reader::Terraform | Reader::Both | Reader::Producers => {
                self.queues.insert(queue.to_owned());
            }
        }
    }
}

/// Compares the declaration with that before.
pub(super) fn changes(comparison: &Comparison<'_>) -> anyhow::Result<Changes> {
    let value = |text: String| serde_json::from_str(&text).unwrap_or_default();
    Ok(compare(&value(comparison.before(DECLARATION)?), &value(comparison.after(DECLARATION)?)))
}

fn compare(before: &Value, now: &Value) -> Changes {
    let mut changes = Changes::default();
    let (old, new) = (entries(&before["queues"]), entries(&now["queues"]));
    for name in keys(&old, &new) {
        match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) => compare_queues(&mut changes, name, &entries(old), &entries(new)),
            // A queue that comes or goes: producers must know it.
            _ => changes.apply(name, name, Reader::Producers),
        }
    }
    // Nothing is declared next to the queues. What is one day, or was, is read by everybody.
    let (old_rest, new_rest) = (without(before, "queues"), without(now, "queues"));
    for field in
        keys(&old_rest, &new_rest).into_iter().filter(|field| old_rest.get(*field) != new_rest.get(*field))
    {
        for queue in new.keys() {
            changes.apply(queue, field, Reader::Producers);
        }
    }
    changes
}

fn compare_queues(changes: &mut Changes, queue: &str, old: &Map<String, Value>, new: &Map<String, Value>) {
    for field in keys(old, new).into_iter().filter(|field| old.get(*field) != new.get(*field)) {
        if field == SCHEDULES {
            let reader = if periods(old) == periods(new) { Reader::Terraform } else { Reader::Both };
            changes.apply(queue, field, reader);
            continue;
        }
        let known = READERS.iter().find(|(name, _)| *name == field);
        changes.apply(queue, field, known.map_or(Reader::Producers, |(_, reader)| *reader));
    }
}

fn periods(queue: &Map<String, Value>) -> Vec<&Value> {
    let schedules = queue.get(SCHEDULES).and_then(Value::as_array);
    schedules.into_iter().flatten().map(|schedule| &schedule[PERIOD]).collect()
}

/// What an object holds without one of its fields.
pub(super) fn without(value: &Value, field: &str) -> Map<String, Value> {
    let mut rest = entries(value);
    rest.remove(field);
    rest
}

/// What an object holds; nothing if it is none.
pub(super) fn entries(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// What either has.
pub(super) fn keys<'a>(old: &'a Map<String, Value>, new: &'a Map<String, Value>) -> BTreeSet<&'a String> {
    old.keys().chain(new.keys()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = include_str!("../../../../infra/queues.json");

    #[track_caller]
    fn check(pointer: &str, value: Value, functions: &[Option<&str>], queues: &[&str]) {
        let before: Value = serde_json::from_str(REAL).unwrap();
        let mut now = before.clone();
        *now.pointer_mut(pointer).unwrap() = value;
        let changes = compare(&before, &now);
        assert_eq!(
            changes.functions.keys().map(Option::as_deref).collect::<Vec<_>>(),
            functions,
            "{pointer}"
        );
        assert_eq!(changes.queues.iter().map(String::as_str).collect::<Vec<_>>(), queues, "{pointer}");
    }

    #[test]
    fn a_field_reaches_who_reads_it() {
        let queue = "calendar-sync";
        check("/queues/calendar-sync/maxDispatchesPerSecond", 7.into(), &[], &[queue]);
        check("/queues/calendar-sync/minBackoffSeconds", 7.into(), &[Some(queue)], &[queue]);
        check("/queues/calendar-sync/attempts", 7.into(), &[Some(queue)], &[queue]);
        check("/queues/calendar-sync/timeoutSeconds", 7.into(), &[Some(queue)], &[]);
        check("/queues/calendar-sync/dispatchDeadlineSeconds", 700.into(), &[None], &[queue]);
        check("/queues/token-refresh/schedules/0/cron", "1 1 * * *".into(), &[], &["token-refresh"]);
        check(
            "/queues/token-refresh/schedules/0/periodSeconds",
            7.into(),
            &[Some("token-refresh")],
            &["token-refresh"],
        );
    }

    #[test]
    fn what_is_next_to_the_queues_reaches_everybody() {
        let before: Value = serde_json::from_str(REAL).unwrap();
        let mut now = before.clone();
        now["something"] = 50.into();
        let changes = compare(&before, &now);
        assert_eq!(changes.functions.keys().collect::<Vec<_>>(), [&None]);
        assert_eq!(changes.queues.len(), now["queues"].as_object().unwrap().len());
    }

    #[test]
    fn every_field_of_the_declaration_is_in_the_table() {
        let declaration: Value = serde_json::from_str(REAL).unwrap();
        for (queue, policy) in declaration["queues"].as_object().unwrap() {
            for field in policy.as_object().unwrap().keys() {
                let known = field == SCHEDULES || READERS.iter().any(|(name, _)| name == field);
                assert!(known, "{queue}: {field}");
            }
        }
    }

    #[test]
    fn a_new_queue_concerns_its_producers() {
        let before: Value = serde_json::from_str(r#"{"queues":{}}"#).unwrap();
        let now: Value = serde_json::from_str(r#"{"queues":{"new":{}}}"#).unwrap();
        let changes = compare(&before, &now);
        assert!(changes.functions.contains_key(&None));
        assert!(changes.queues.contains("new"));
    }
}
