//! The results of the checks, one by one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use shared::queue::JOBS_PATH;

use super::check::Target;
use crate::queue::{Declared, Found, UriOverride};
use crate::settings::variable;

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FindingStatus {
    Right,
    Wrong,
    /// There was nothing to check.
    Unknown,
    /// It could not be checked, and must be before a queue is taken over.
    Unchecked,
}

#[derive(Debug, Serialize)]
struct Finding {
    subject: &'static str,
    verdict: FindingStatus,
    detail: String,
}

/// All results, in the order of the checks.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    fn note(&mut self, subject: &'static str, verdict: FindingStatus, detail: impl Into<String>) {
        self.0.push(Finding { subject, verdict, detail: detail.into() });
    }

    /// A check, with what was expected and found.
    pub(crate) fn expect(&mut self, subject: &'static str, is_right: bool, detail: impl Into<String>) {
        self.note(subject, if is_right { FindingStatus::Right } else { FindingStatus::Wrong }, detail);
    }

    pub(crate) fn unknown(&mut self, subject: &'static str, detail: impl Into<String>) {
        self.note(subject, FindingStatus::Unknown, detail);
    }

    /// What has to be checked before a take-over, and could not be.
    pub(super) fn unchecked(&mut self, subject: &'static str, detail: impl Into<String>) {
        self.note(subject, FindingStatus::Unchecked, detail);
    }

    /// Each of them: subject, status, and what was expected and found.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&'static str, FindingStatus, &str)> {
        self.0.iter().map(|finding| (finding.subject, finding.verdict, finding.detail.as_str()))
    }

    /// Subjects that must still be checked.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let missing = self.0.iter().filter(|finding| finding.verdict == FindingStatus::Unchecked);
        missing.map(|finding| finding.subject).collect()
    }

    /// What failed: subject and detail.
    pub(crate) fn wrong(&self) -> impl Iterator<Item = (&str, &str)> {
        let wrong = self.0.iter().filter(|finding| finding.verdict == FindingStatus::Wrong);
        wrong.map(|finding| (finding.subject, finding.detail.as_str()))
    }

    /// No check failed.
    pub(crate) fn is_ready(&self) -> bool {
        self.0.iter().all(|finding| finding.verdict != FindingStatus::Wrong)
    }

    /// The queue dispatches and retries as declared.
    pub(crate) fn settings(&mut self, declared: &Declared, found: &Found) {
        let retry = &found.retry_config;
        let rate = f64::from(declared.max_dispatches_per_second);
        let found_rate = found.rate_limits.max_dispatches_per_second;
        self.expect(
            "rate",
            (found_rate - rate).abs() < f64::EPSILON,
            format!("{found_rate} dispatches per second, declared {rate}"),
        );
        let is_ours = found.overriding().is_some();
        let attempts = declared.max_attempts(is_ours);
        self.expect(
            "attempts",
            retry.max_attempts == attempts,
            if is_ours {
                format!(
                    "{}, must be {attempts} (unlimited): the function counts attempts",
                    retry.max_attempts
                )
            } else {
                format!(
                    "{}, declared {attempts}: nothing else ends a task of the old service",
                    retry.max_attempts
                )
            },
        );
        let backoff = |found: &str, declared: u32| found == format!("{declared}s");
        self.expect(
            "backoff",
            backoff(&retry.min_backoff, declared.min_backoff_seconds)
                && backoff(&retry.max_backoff, declared.max_backoff_seconds)
                && retry.max_doublings == declared.max_doublings,
            format!(
                "{} to {} with {} doublings, declared {}s to {}s with {}",
                retry.min_backoff,
                retry.max_backoff,
                retry.max_doublings,
                declared.min_backoff_seconds,
                declared.max_backoff_seconds,
                declared.max_doublings,
            ),
        );
        let limited = retry.max_retry_duration.as_deref().filter(|duration| *duration != "0s");
        self.expect(
            "retry duration",
            limited.is_none(),
            limited.map_or("unlimited".to_owned(), |limit| {
                format!("{limit}: tasks would be lost without a dead letter")
            }),
        );
        if found.is_paused() {
            self.unknown("state", "paused: its tasks wait");
        } else {
            self.expect("state", found.state == "RUNNING", found.state.clone());
        }
    }

    /// The queue dispatches as many tasks concurrently as the service can hold: more would be refused, and slow the queue.
    pub(crate) fn concurrency(&mut self, declared: u32, found: &Found) {
        match found.rate_limits.max_concurrent_dispatches {
            None => self.unknown("concurrency", format!("not shown, declared {declared} concurrent tasks")),
            Some(limit) => self.expect(
                "concurrency",
                limit == declared,
                format!("{limit} concurrent tasks, declared {declared}"),
            ),
        }
    }

    /// The service exists and accepts the caller's tokens.
    pub(crate) fn service(&mut self, service: &Value, target: &Target) {
        let conditions = service["status"]["conditions"].as_array();
        let is_ready = conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        self.expect(
            "service",
            is_ready && !target.url.is_empty(),
            format!("{} at {}", target.function, target.url),
        );
        let accepted: Vec<&str> = ["SERVICE_ACCOUNT_EMAIL", "OIDC_CALLERS"]
            .iter()
            .filter_map(|name| variable(service, name))
            .flat_map(|value| value.split(',').map(str::trim))
            .collect();
        self.expect(
            "accepted callers",
            accepted.contains(&target.caller.as_str()),
            format!("{} must be among {}", target.caller, accepted.join(", ")),
        );
        self.expect("audience", !target.audience.is_empty(), target.audience.clone());
    }

    /// A queue that is enabled already sends its tasks to the function, with the right token.
    pub(crate) fn target(&mut self, found: &Found, target: &Target) {
        let Some(http_target) = found.overriding() else {
            self.note(
                "target",
                FindingStatus::Right,
                "not taken over: tasks go to the address that their producer names",
            );
            return;
        };
        let address = http_target.uri_override.as_ref().and_then(UriOverride::address);
        // A service has several addresses; the one that Terraform uses is its audience.
        let goes_there = [&target.url, &target.audience]
            .iter()
            .any(|url| address == Some(format!("{url}{JOBS_PATH}{}", target.function)));
        let token = &http_target.oidc_token;
        let calls_right = token.service_account_email == target.caller
            && token.audience.as_deref().is_none_or(|audience| audience == target.audience);
        let address = address.unwrap_or_else(|| "the address of each task".to_owned());
        self.expect(
            "target",
            goes_there && calls_right,
            format!(
                "taken over: sends to {address}; must call {} as {} for {}",
                target.url, target.caller, target.audience
            ),
        );
    }

    /// Only the caller may invoke the service.
    pub(crate) fn invokers(&mut self, policy: &Value, target: &Target) {
        let bindings = policy["bindings"].as_array().into_iter().flatten();
        let members: Vec<&str> = bindings
            .filter(|binding| binding["role"] == "roles/run.invoker")
            .filter_map(|binding| binding["members"].as_array())
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let wanted = format!("serviceAccount:{}", target.caller);
        self.expect(
            "invokers",
            members == [wanted.as_str()],
            format!("{}; only {wanted} may", members.join(", ")),
        );
    }

    /// The waiting tasks match the schema. Only problems are shown: envelopes are personal data.
    pub(super) fn envelopes(&mut self, tasks: &[Value], others: &[&str]) {
        if tasks.is_empty() {
            self.unknown(
                "envelope",
                "no task is waiting: pause the queue, and check again when the producer has created some",
            );
            return;
        }
        for task in tasks {
            let body = task["httpRequest"]["body"].as_str().unwrap_or_default();
            let problem = STANDARD
                .decode(body)
                .map_err(|_| "the body is not base64")
                .and_then(|body| serde_json::from_slice(&body).map_err(|_| "the body is not JSON"))
                .and_then(|envelope| unusable(&envelope, others).map_or(Ok(()), Err));
            let name = task["name"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
            match problem {
                Ok(()) => self.note("envelope", FindingStatus::Right, name),
                Err(problem) => self.note("envelope", FindingStatus::Wrong, format!("{name}: {problem}")),
            }
        }
    }

    /// A line per finding, on standard error: between the steps of a hand-over.
    pub(crate) fn show(&self) {
        eprint!("{self}");
    }

    pub(crate) fn print(&self, as_json: bool) -> anyhow::Result<()> {
        if as_json {
            let findings = serde_json::json!({ "ready": self.is_ready(), "findings": self.0 });
            println!("{}", serde_json::to_string(&findings)?);
            return Ok(());
        }
        print!("{self}");
        let missing = self.missing();
        println!(
            "{}",
            match (self.is_ready(), missing.is_empty()) {
                (true, true) => "ready to be taken over".to_owned(),
                (true, false) => format!("ready, except for what was not checked: {}", missing.join(", ")),
                (false, _) => "NOT ready".to_owned(),
            }
        );
        Ok(())
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { subject, verdict, detail } in &self.0 {
            let verdict = match verdict {
                FindingStatus::Right => "ok",
                FindingStatus::Wrong => "WRONG",
                FindingStatus::Unknown | FindingStatus::Unchecked => "?",
            };
            writeln!(formatter, "{verdict:<6} {subject:<17} {detail}")?;
        }
        Ok(())
    }
}

/// Why an envelope cannot be run; `shared::envelope` reads it. The application's producers name their jobs freely: only the
/// exact name of another queue's function is one.
fn unusable(envelope: &Value, others: &[&str]) -> Option<&'static str> {
    if envelope.get("data").is_none() {
        return Some("no data");
    }
    let name = envelope["jobName"].as_str();
    name.is_some_and(|name| others.contains(&name)).then_some("names another job")
}

#[cfg(test)]
mod tests;
