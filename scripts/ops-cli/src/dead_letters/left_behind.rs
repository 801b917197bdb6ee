//! The dead letters that a revision leaves when it is taken away, as its log names them: who deploys need not reach the
//! database.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use shared::telemetry::line::OutcomeCode;

use crate::gcloud::Gcloud;
use crate::service::Service;

/// Dead letters that are named; of the others only the number is given.
const NAMED: usize = 10;
const ENTRIES: &str = "--limit=1000";
/// Dead letters are kept for as long.
const FRESHNESS: &str = "--freshness=90d";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    json_payload: BTreeMap<String, Value>,
}

/// Prints the dead letters of a revision, and the command that replays them. That they cannot be read stops nothing.
pub(crate) fn print(gcloud: &Gcloud, service: &Service, revision: &str) {
    let function = &service.function;
    let filter = format!(
        "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"{function}\" AND \
         resource.labels.revision_name=\"{revision}\" AND jsonPayload.\"task.outcome\"=\"{}\"",
        OutcomeCode::Dead.name()
    );
    match gcloud.read::<Vec<Entry>>(&["logging", "read", &filter, FRESHNESS, ENTRIES]) {
        Ok(entries) => {
            let dead: Vec<_> = entries.iter().map(Entry::task).collect();
            if let Some(text) = text(function, revision, &dead, service.created(revision)) {
                eprintln!("{text}");
            }
        }
        Err(error) => eprintln!("the dead letters of {revision} cannot be looked for: {error:#}"),
    }
}

impl Entry {
    /// Name and reason.
    fn task(&self) -> String {
        let field = |name| self.json_payload.get(name).and_then(Value::as_str).unwrap_or("unknown");
        format!("{} ({})", field("task.name"), field("task.reason"))
    }
}

fn text(function: &str, revision: &str, dead: &[String], created: &str) -> Option<String> {
    if dead.is_empty() {
        return None;
    }
    let more = if dead.len() > NAMED { ", …" } else { "" };
    let named = dead.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    Some(format!(
        "{revision} left {} dead letters: {named}{more}\n\
         when what serves can run them: scripts/ops dead-letters replay --queue {function} --since {created} --yes",
        dead.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_are_named_with_the_command_that_replays_them() {
        let text = |dead: usize| {
            let dead: Vec<_> = (0..dead).map(|number| format!("task-{number} (permanent)")).collect();
            text("f", "f-2", &dead, "2026-11-27T03:00:00Z")
        };
        assert_eq!(text(0), None);
        let two = text(2).unwrap();
        assert!(
            two.starts_with("f-2 left 2 dead letters: task-0 (permanent), task-1 (permanent)\n"),
            "{two}"
        );
        assert!(
            two.ends_with("scripts/ops dead-letters replay --queue f --since 2026-11-27T03:00:00Z --yes"),
            "{two}"
        );
        let many = text(11).unwrap();
        assert!(many.contains("left 11 ") && many.contains("task-9 (permanent), …\n"), "{many}");
    }
}
