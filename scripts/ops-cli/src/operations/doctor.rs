//! What is wrong with the system, or with the environment from which it is operated, and how each of it is fixed.

mod configuration;
mod endpoints;
mod queues;
mod services;
mod stores;

use serde::Serialize;
use shared::config::Config;

use super::Operations;
use crate::takeover::findings::{FindingStatus, Findings};

/// What a check has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Status {
    Ok,
    Failed,
    /// It is not configured here, or could not be asked.
    Unknown,
}

/// One check.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) subject: String,
    pub(crate) status: Status,
    pub(crate) detail: String,
    /// Of a check that failed: a sentence, or a command as it can be pasted.
    pub(crate) fix: Option<String>,
}

/// All of them, in their order.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Checks(Vec<Check>);

impl Checks {
    fn note(
        &mut self,
        subject: impl Into<String>,
        status: Status,
        detail: impl Into<String>,
        fix: Option<String>,
    ) {
        self.0.push(Check { subject: subject.into(), status, detail: detail.into(), fix });
    }

    fn ok(&mut self, subject: impl Into<String>, detail: impl Into<String>) {
        self.note(subject, Status::Ok, detail, None);
    }

    fn failed(&mut self, subject: impl Into<String>, detail: impl Into<String>, fix: impl Into<String>) {
        self.note(subject, Status::Failed, detail, Some(fix.into()));
    }

    fn unknown(&mut self, subject: impl Into<String>, detail: impl Into<String>) {
        self.note(subject, Status::Unknown, detail, None);
    }

    /// What the checks of a take-over found: what is right in one line, and a line for each of the others.
    fn take(&mut self, about: &str, findings: &Findings, fix: impl Fn(&str) -> String) {
        let mut right = Vec::new();
        for (subject, status, detail) in findings.each() {
            let named = format!("{about}: {subject}");
            match status {
                FindingStatus::Right => right.push(subject),
                FindingStatus::Wrong => self.failed(named, detail, fix(subject)),
                FindingStatus::Unknown | FindingStatus::Unchecked => self.unknown(named, detail),
            }
        }
        if !right.is_empty() {
            self.ok(about, right.join(", "));
        }
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = &Check> {
        self.0.iter()
    }

    /// None failed.
    pub(crate) fn is_well(&self) -> bool {
        self.0.iter().all(|check| check.status != Status::Failed)
    }
}

impl Operations {
    /// Checks everything that this environment lets be checked. Changes nothing, but for one lease in Redis, which is released.
    pub(crate) async fn doctor(&self, config: &mut Config) -> Checks {
        let mut checks = Checks::default();
        configuration::check(config, &mut checks);
        endpoints::check(config, self, &mut checks).await;
        stores::postgres(self, &mut checks).await;
        stores::redis(self, &mut checks).await;
        let services = services::read(self).await;
        let found = services.as_ref().ok().and_then(Option::as_ref);
        queues::check(self, found, &mut checks).await;
        services::check(&services, config, &mut checks).await;
        checks
    }

    /// Queues, functions and everything else are programs on this machine.
    fn is_local(&self) -> bool {
        matches!(self.cloud_run(), Ok(None))
    }
}
