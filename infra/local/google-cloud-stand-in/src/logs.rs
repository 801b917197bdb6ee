//! Cloud Logging: what the revisions of the services wrote, and the requests that failed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, FixedOffset};
use local_cloud::ServiceProcess;
use serde_json::{Value, json};

use crate::rest::Answer;
use crate::run::Run;
use crate::service::{Revision, Service};

/// Marks a canonical line.
const OUTCOME: &str = "task.outcome";

/// The first time of a filter, which gcloud adds.
const SINCE: &str = "timestamp>=";

/// Canonical lines and failed requests. Of a filter it understands a service's, a revision's and a task's name, an outcome, a
/// time, and a status that a request must not have, joined by AND; what else is named there (kinds of entries) is not looked at.
pub(crate) async fn list(State(run): State<Arc<Run>>, Json(query): Json<Value>) -> Answer {
    let filter = query["filter"].as_str().unwrap_or_default();
    let wanted = |name: &str, value: &str| quoted(filter, name).is_none_or(|wanted| wanted == value);
    let services = run.services.lock().await;
    let mut entries = Vec::new();
    for (name, service) in services.iter().filter(|(name, _)| wanted("resource.labels.service_name=", name)) {
        for revision in &service.revisions {
            if wanted("resource.labels.revision_name=", &revision.name) {
                entries.extend(of_revision(name, service, revision));
            }
        }
    }
    if let Some((_, other)) = filter.split_once("httpRequest.status!=") {
        let digits: String = other.chars().take_while(char::is_ascii_digit).collect();
        let status: Option<u64> = digits.parse().ok();
        entries.retain(|entry| status.is_none() || entry["httpRequest"]["status"].as_u64() != status);
    }
    entries.retain(|entry| match entry["jsonPayload"]["task.name"].as_str() {
        Some(task) => wanted("jsonPayload.\"task.name\"=", task),
        None => quoted(filter, "jsonPayload.\"task.name\"=").is_none(),
    });
    if let Some(outcome) = quoted(filter, "jsonPayload.\"task.outcome\"=") {
        entries.retain(|entry| entry["jsonPayload"][OUTCOME] == outcome);
    }
    if let Some(since) = quoted(filter, SINCE).and_then(time) {
        entries.retain(|entry| entry["timestamp"].as_str().and_then(time).is_none_or(|at| at >= since));
    }
    for (number, entry) in entries.iter_mut().enumerate() {
        entry["insertId"] = number.to_string().into();
    }
    Ok(Json(json!({ "entries": entries })))
}

fn of_revision(name: &str, service: &Service, revision: &Revision) -> Vec<Value> {
    let log = revision.process().map(ServiceProcess::log).unwrap_or_default();
    let failed = service.front.failed().into_iter().filter(|request| request.revision == revision.name);
    let mut entries: Vec<Value> = log.lines().filter_map(line).collect();
    entries.extend(failed.map(|request| {
        json!({ "timestamp": request.at.to_rfc3339(), "httpRequest": { "status": request.status } })
    }));
    for entry in &mut entries {
        entry["logName"] = "projects/local/logs/run.googleapis.com".into();
        entry["resource"] = json!({
            "type": "cloud_run_revision",
            "labels": { "service_name": name, "revision_name": revision.name },
        });
    }
    entries
}

fn line(line: &str) -> Option<Value> {
    let payload: Value = serde_json::from_str(line).ok()?;
    payload.get(OUTCOME)?;
    Some(json!({ "timestamp": payload["time"], "severity": payload["severity"], "jsonPayload": payload }))
}

fn time(text: &str) -> Option<DateTime<FixedOffset>> {
    DateTime::parse_from_rfc3339(text).ok()
}

fn quoted<'a>(filter: &'a str, name: &str) -> Option<&'a str> {
    filter.split_once(name)?.1.strip_prefix('"')?.split_once('"').map(|(value, _)| value)
}
