//! The environment of a Cloud Run service, as gcloud shows it.

use serde_json::Value;

fn entries(service: &Value) -> impl Iterator<Item = &Value> {
    service["spec"]["template"]["spec"]["containers"][0]["env"].as_array().into_iter().flatten()
}

fn entry<'a>(service: &'a Value, name: &str) -> Option<&'a Value> {
    entries(service).find(|variable| variable["name"] == name)
}

fn reference(entry: &Value) -> Option<(&str, &str)> {
    let secret = &entry["valueFrom"]["secretKeyRef"];
    Some((secret["name"].as_str()?, secret["key"].as_str()?))
}

/// Whether the service has the variable, plain or from a secret.
pub(crate) fn is_set(service: &Value, name: &str) -> bool {
    entry(service, name).is_some()
}

/// A plain variable; secrets have no value here.
pub(crate) fn variable<'a>(service: &'a Value, name: &str) -> Option<&'a str> {
    entry(service, name)?["value"].as_str()
}

/// The secret and the version from which a variable comes.
pub(crate) fn secret<'a>(service: &'a Value, name: &str) -> Option<(&'a str, &'a str)> {
    reference(entry(service, name)?)
}

/// The plain variables, by their names.
pub(crate) fn variables(service: &Value) -> impl Iterator<Item = (&str, &str)> {
    entries(service).filter_map(|entry| Some((entry["name"].as_str()?, entry["value"].as_str()?)))
}

/// The secrets and their versions from which variables come.
pub(crate) fn secrets(service: &Value) -> impl Iterator<Item = (&str, &str)> {
    entries(service).filter_map(reference)
}

/// Where producers send the tasks of a function: the address is also the audience of their tokens.
pub(crate) fn target(service: &Value, function: &str) -> Option<String> {
    Some(variable(service, "CLOUD_RUN_URL")?.replace("{function}", function))
}

/// The identity with which its queue calls a service. With a predecessor, tasks name the other one's.
pub(crate) fn caller(service: &Value) -> Option<&str> {
    let callers = variable(service, "OIDC_CALLERS").and_then(|callers| callers.split(',').next());
    callers.or_else(|| variable(service, "SERVICE_ACCOUNT_EMAIL")).map(str::trim)
}

/// Audience that the tokens of a service's callers must have.
pub(crate) fn audience(service: &Value, function: &str) -> Option<String> {
    let given = variable(service, "OIDC_AUDIENCES").and_then(|audiences| audiences.split(',').next());
    given.map(|audience| audience.trim().to_owned()).or_else(|| target(service, function))
}
