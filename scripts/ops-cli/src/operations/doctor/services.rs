//! The services of a project, as Cloud Run lists them: who may call them, their secrets, and the addresses that they use.

use std::collections::{BTreeMap, BTreeSet};

use catchup::queues;
use catchup::variables::CALENDAR_WEBHOOK_URL;
use serde_json::Value;
use shared::config::Config;
use shared::queue::Queue;
use tokio::task::spawn_blocking;

use super::super::Operations;
use super::{Checks, configuration, endpoints};
use crate::deploy::in_parallel;
use crate::gcloud::{Gcloud, Place};
use crate::settings;
use crate::takeover::findings::Findings;
use crate::takeover::push_address;

/// Processes of gcloud that run at the same time.
const AT_A_TIME: usize = 6;

/// What there is in a project.
pub(super) struct Services {
    /// As they are described, by their names.
    by_name: BTreeMap<String, Value>,
    /// Who may call the service of a queue.
    policies: BTreeMap<String, Result<Value, String>>,
    /// Whether a secret that a service reads has white space at an end; none, if it may not be read.
    has_white_space: BTreeMap<String, Option<bool>>,
}

impl Services {
    pub(super) fn of(&self, function: &str) -> Option<&Value> {
        self.by_name.get(function)
    }

    pub(super) fn policy(&self, function: &str) -> Option<&Result<Value, String>> {
        self.policies.get(function)
    }

    /// Asks gcloud for the policies and the secrets of these.
    fn read(gcloud: &Gcloud, by_name: BTreeMap<String, Value>) -> Self {
        let region = format!("--region={}", gcloud.place().region);
        let functions: Vec<&str> =
            queues::all().map(Queue::name).filter(|name| by_name.contains_key(*name)).collect();
        let policy_of = |function: &&str| {
            let policy = gcloud.read(&["run", "services", "get-iam-policy", function, &region]);
            policy.map_err(|error| format!("{error:#}"))
        };
        let policies = functions.chunks(AT_A_TIME).flat_map(|some| in_parallel(some, policy_of));
        let secrets: BTreeSet<_> = by_name.values().flat_map(settings::secrets).collect();
        let secrets: Vec<_> = secrets.into_iter().collect();
        let is_dirty = |(secret, version): &(&str, &str)| {
            let value =
                gcloud.text(&["secrets", "versions", "access", version, &format!("--secret={secret}")]);
            // gcloud's own words could show what it read.
            value.ok().map(|value| value.trim().len() < value.len())
        };
        let values = secrets.chunks(AT_A_TIME).flat_map(|some| in_parallel(some, is_dirty));
        let names = secrets.iter().map(|(secret, version)| format!("{secret}, version {version}"));
        Self {
            policies: functions.iter().map(|it| (*it).to_owned()).zip(policies).collect(),
            has_white_space: names.zip(values).collect(),
            by_name,
        }
    }
}

/// What there is in the project; none on a machine without Cloud Run.
pub(super) async fn read(operations: &Operations) -> anyhow::Result<Option<Services>> {
    let Some(services) = operations.services().await? else { return Ok(None) };
    let by_name = services.into_iter().map(|(name, service)| (name, service.document)).collect();
    let tasks = operations.cloud_tasks()?;
    let place = Place { project: tasks.project.clone(), region: tasks.region.clone() };
    Ok(Some(spawn_blocking(move || Services::read(&Gcloud::new(place, false), by_name)).await?))
}

pub(super) async fn check(
    services: &anyhow::Result<Option<Services>>,
    config: &mut Config,
    checks: &mut Checks,
) {
    match services {
        Ok(None) => configuration::senders(config, None, checks),
        Ok(Some(services)) => {
            secrets(services, checks);
            for (name, service) in &services.by_name {
                addresses(name, service, checks).await;
            }
        }
        Err(error) => checks.unknown("services", format!("{error:#}")),
    }
}

/// Functions trim what they read; the application, which reads the same secrets, does not.
fn secrets(services: &Services, checks: &mut Checks) {
    let mut clean = 0;
    for (secret, has_white_space) in &services.has_white_space {
        let subject = format!("secret {secret}");
        match has_white_space {
            Some(false) => clean += 1,
            Some(true) => checks.failed(
                subject,
                "has white space or a line break at an end",
                "printf %s VALUE | gcloud secrets versions add NAME --data-file=-",
            ),
            None => checks.unknown(subject, "you may not read it: let someone check who may"),
        }
    }
    if clean > 0 {
        checks.ok("secrets", format!("{clean} have no white space at an end"));
    }
}

/// Where a service lets Google send notifications, and as whom it sends messages.
async fn addresses(name: &str, service: &Value, checks: &mut Checks) {
    if let Some(address) = settings::variable(service, CALENDAR_WEBHOOK_URL.name) {
        let mut findings = Findings::default();
        push_address::ask(address, &mut findings).await;
        checks.take(name, &findings, |_| endpoints::push_fix());
    }
    let mut config = Config::from_pairs(settings::variables(service));
    configuration::senders(&mut config, Some(name), checks);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_with_a_line_break_is_found_and_not_shown() {
        let service = json!({
            "spec": { "template": { "spec": { "containers": [{ "env": [
                { "name": "A", "valueFrom": { "secretKeyRef": { "name": "clean", "key": "1" } } },
                { "name": "B", "valueFrom": { "secretKeyRef": { "name": "broken", "key": "2" } } },
                { "name": "C", "valueFrom": { "secretKeyRef": { "name": "hidden", "key": "3" } } },
            ] }] } } },
        });
        let gcloud = Gcloud::fake(|arguments| match arguments {
            ["run", "services", "get-iam-policy", ..] => Ok(json!({})),
            [.., "--secret=clean"] => Ok(json!("hunter2")),
            [.., "--secret=broken"] => Ok(json!("hunter2\n")),
            _ => anyhow::bail!("not allowed: hunter2"),
        });
        let services = Services::read(&gcloud, BTreeMap::from([("token-refresh".to_owned(), service)]));
        let mut checks = Checks::default();
        secrets(&services, &mut checks);
        let text = serde_json::to_string(&checks).unwrap();
        let failed: Vec<_> =
            checks.each().filter(|check| check.fix.is_some()).map(|check| check.subject.as_str()).collect();
        assert_eq!(failed, ["secret broken, version 2"], "{text}");
        assert!(text.contains("secret hidden, version 3") && !text.contains("hunter2"), "{text}");
        assert!(services.policy("token-refresh").unwrap().is_ok());
    }
}
