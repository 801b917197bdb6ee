//! What creates tasks on behalf of operators, as the functions create theirs.

use anyhow::Context as _;
use catchup::variables::WEBHOOKS_URL;
use serde_json::Value;
use shared::config::{Config, Variable, variables};
use shared::queue::Queue;
use shared::tasks::Tasks;

use super::Operations;
use crate::gcloud::{Gcloud, Place};
use crate::settings;

/// Where the functions are and who calls them, if the environment says so. A project's services know it themselves.
#[derive(Debug, Clone)]
pub(crate) struct Functions {
    url: Option<String>,
    caller: Option<String>,
    cloud_tasks: Option<String>,
    /// Of the service that anybody may call.
    pub(super) webhooks: Option<String>,
}

impl Functions {
    pub(crate) fn from_config(config: &mut Config) -> Self {
        let mut value = |variable: &Variable| config.optional::<String>(variable).ok().flatten();
        Self {
            url: value(&variables::CLOUD_RUN_URL),
            caller: value(&variables::SERVICE_ACCOUNT_EMAIL),
            cloud_tasks: value(&variables::CLOUD_TASKS_URL),
            webhooks: value(&WEBHOOKS_URL),
        }
    }
}

impl Functions {
    /// Address of the function of a queue, and as whom the queue calls it.
    pub(super) fn of(&self, queue: Queue) -> Option<(String, String)> {
        Some((self.url.as_ref()?.replace("{function}", queue.name()), self.caller.clone()?))
    }
}

impl Operations {
    /// What creates tasks of a queue. In a project one call of gcloud, which knows the service.
    pub(crate) async fn producer(&self, queue: Queue) -> anyhow::Result<Tasks> {
        let cloud_tasks = self.cloud_tasks()?;
        let (project, region) = (cloud_tasks.project.clone(), cloud_tasks.region.clone());
        let functions = &self.functions;
        let (url, caller) = if let (Some(url), Some(caller)) = (&functions.url, &functions.caller) {
            (url.clone(), caller.clone())
        } else {
            let place = Place { project: project.clone(), region: region.clone() };
            tokio::task::spawn_blocking(move || of_service(place, queue)).await??
        };
        let mut pairs = vec![
            (variables::GCP_PROJECT_ID.name, project),
            (variables::GCP_REGION.name, region),
            (variables::CLOUD_RUN_URL.name, url),
            (variables::SERVICE_ACCOUNT_EMAIL.name, caller),
        ];
        pairs.extend(functions.cloud_tasks.clone().map(|url| (variables::CLOUD_TASKS_URL.name, url)));
        let mut config = Config::from_pairs(pairs);
        Tasks::from_config(&mut config, self.clock.clone()).map_err(|_invalid| {
            let problems: Vec<_> = config.problems().iter().map(ToString::to_string).collect();
            anyhow::Error::msg(problems.join("\n"))
        })
    }
}

/// Address and caller, from the variables of the queue's service.
fn of_service(place: Place, queue: Queue) -> anyhow::Result<(String, String)> {
    let region = format!("--region={}", place.region);
    let gcloud = Gcloud::new(place, false);
    let service: Value = gcloud.read(&["run", "services", "describe", queue.name(), &region])?;
    let url = settings::variable(&service, variables::CLOUD_RUN_URL.name);
    let caller = settings::variable(&service, variables::SERVICE_ACCOUNT_EMAIL.name);
    Ok((
        url.context("the service has no CLOUD_RUN_URL")?.to_owned(),
        caller.context("the service has no SERVICE_ACCOUNT_EMAIL")?.to_owned(),
    ))
}
