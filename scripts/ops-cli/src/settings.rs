//! The environment of a Cloud Run service, as gcloud shows it.

use serde_json::Value;

/// A plain variable; secrets have no value here.
pub(crate) fn variable<'a>(service: &'a Value, name: &str) -> Option<&'a str> {
    let environment = service["spec"]["template"]["spec"]["containers"][0]["env"].as_array()?;
    environment.iter().find(|variable| variable["name"] == name)?["value"].as_str()
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
