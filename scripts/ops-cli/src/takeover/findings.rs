//! The results of the checks, one by one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use shared::queue::JOBS_PATH;

use super::Target;
use crate::queue::{Declared, Found, UriOverride};
use crate::settings::variable;

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FindingStatus {
    Right,
    Wrong,
    /// There was nothing to check.
    Unknown,
}

#[derive(Debug, Serialize)]
struct Finding {
    subject: &'static str,
    verdict: FindingStatus,
    detail: String,
}

/// All results, in the order of the checks.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    fn note(&mut self, subject: &'static str, verdict: FindingStatus, detail: impl Into<String>) {
        self.0.push(Finding { subject, verdict, detail: detail.into() });
    }

    /// A check, with what was expected and found.
    pub(super) fn expect(&mut self, subject: &'static str, is_right: bool, detail: impl Into<String>) {
        self.note(subject, if is_right { FindingStatus::Right } else { FindingStatus::Wrong }, detail);
    }

    pub(super) fn unknown(&mut self, subject: &'static str, detail: impl Into<String>) {
        self.note(subject, FindingStatus::Unknown, detail);
    }

    /// No check failed.
    pub(super) fn is_ready(&self) -> bool {
        self.0.iter().all(|finding| finding.verdict != FindingStatus::Wrong)
    }

    /// The queue dispatches and retries as declared.
    pub(super) fn settings(&mut self, declared: &Declared, found: &Found) {
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
            self.unknown("state", "paused: its tasks can be checked, but not whether they run");
        } else {
            self.expect("state", found.state == "RUNNING", found.state.clone());
        }
    }

    /// The queue dispatches as many tasks concurrently as the service can hold: more would be refused, and slow the queue.
    pub(super) fn concurrency(&mut self, declared: u32, found: &Found) {
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
    pub(super) fn service(&mut self, service: &Value, target: &Target) {
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
    pub(super) fn target(&mut self, found: &Found, target: &Target) {
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
    pub(super) fn invokers(&mut self, policy: &Value, target: &Target) {
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
    pub(super) fn envelopes(&mut self, tasks: &[Value], target: &Target) {
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
                .and_then(|envelope| unusable(&envelope, &target.function).map_or(Ok(()), Err));
            let name = task["name"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
            match problem {
                Ok(()) => self.note("envelope", FindingStatus::Right, name),
                Err(problem) => self.note("envelope", FindingStatus::Wrong, format!("{name}: {problem}")),
            }
        }
    }

    pub(super) fn print(&self, as_json: bool) -> anyhow::Result<()> {
        if as_json {
            let findings = serde_json::json!({ "ready": self.is_ready(), "findings": self.0 });
            println!("{}", serde_json::to_string(&findings)?);
            return Ok(());
        }
        for Finding { subject, verdict, detail } in &self.0 {
            let verdict = match verdict {
                FindingStatus::Right => "ok",
                FindingStatus::Wrong => "WRONG",
                FindingStatus::Unknown => "?",
            };
            println!("{verdict:<6} {subject:<17} {detail}");
        }
        println!("{}", if self.is_ready() { "ready to be taken over" } else { "NOT ready" });
        Ok(())
    }
}

/// Why an envelope cannot be run; `shared::envelope` reads it.
fn unusable(envelope: &Value, function: &str) -> Option<&'static str> {
    if envelope.get("data").is_none() {
        return Some("no data");
    }
    match envelope.get("jobName") {
        None => None,
        Some(name) if name == function => None,
        Some(_) => Some("names another job"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn target() -> Target {
        Target {
            function: "token-refresh".to_owned(),
            queue: "token-refresh-queue".to_owned(),
            caller: "q@p.iam.gserviceaccount.com".to_owned(),
            url: "https://x".to_owned(),
            audience: "https://x".to_owned(),
        }
    }

    #[track_caller]
    fn check(is_right: bool, look: impl FnOnce(&mut Findings)) {
        let mut findings = Findings::default();
        look(&mut findings);
        assert_eq!(findings.is_ready(), is_right, "{findings:?}");
    }

    #[test]
    fn a_setting_that_differs_is_found() {
        let declared = || Declared {
            attempts: 3,
            min_backoff_seconds: 60,
            max_backoff_seconds: 3600,
            max_doublings: 2,
            max_dispatches_per_second: 10,
        };
        let right = json!({
            "state": "RUNNING",
            "rateLimits": { "maxDispatchesPerSecond": 10 },
            "retryConfig": { "maxAttempts": 3, "minBackoff": "60s", "maxBackoff": "3600s", "maxDoublings": 2 },
        });
        let look = |queue: &Value| {
            let found = serde_json::from_value(queue.clone()).unwrap();
            move |findings: &mut Findings| findings.settings(&declared(), &found)
        };
        check(true, look(&right));
        for (pointer, value) in [
            ("/rateLimits/maxDispatchesPerSecond", json!(11)),
            ("/retryConfig/maxAttempts", json!(5)),
            ("/retryConfig/minBackoff", json!("1s")),
            ("/retryConfig/maxDoublings", json!(3)),
            ("/state", json!("DISABLED")),
        ] {
            let mut wrong = right.clone();
            *wrong.pointer_mut(pointer).unwrap() = value;
            check(false, look(&wrong));
        }
        let mut limited = right.clone();
        limited["retryConfig"]["maxRetryDuration"] = json!("60s");
        check(false, look(&limited));
        // As the page asks for, to see what the producer sends.
        let mut paused = right.clone();
        paused["state"] = json!("PAUSED");
        check(true, look(&paused));
    }

    #[test]
    fn a_queue_that_is_taken_over_ends_no_task_and_another_ends_them_as_before() {
        let check = |is_right, attempts: i64, http_target: Value| {
            let found: Found = serde_json::from_value(json!({
                "state": "RUNNING",
                "rateLimits": { "maxDispatchesPerSecond": 10 },
                "retryConfig": { "maxAttempts": attempts, "minBackoff": "60s", "maxBackoff": "3600s", "maxDoublings": 2 },
                "httpTarget": http_target,
            }))
            .unwrap();
            let declared = Declared {
                attempts: 3,
                min_backoff_seconds: 60,
                max_backoff_seconds: 3600,
                max_doublings: 2,
                max_dispatches_per_second: 10,
            };
            check(is_right, |findings| findings.settings(&declared, &found));
        };
        let ours = json!({ "uriOverride": { "host": "x" } });
        // What gcloud leaves of one that was given back.
        let given_back = json!({ "oidcToken": {} });
        check(true, -1, ours.clone());
        check(false, 3, ours);
        for not_ours in [given_back, json!(null)] {
            check(true, 3, not_ours.clone());
            check(false, -1, not_ours);
        }
    }

    #[test]
    fn the_queue_runs_what_the_service_can_hold() {
        let look = |limits: Value| {
            let found: Found =
                serde_json::from_value(json!({ "state": "RUNNING", "rateLimits": limits })).unwrap();
            move |findings: &mut Findings| findings.concurrency(32, &found)
        };
        check(true, look(json!({ "maxConcurrentDispatches": 32 })));
        check(false, look(json!({ "maxConcurrentDispatches": 1000 })));
        check(true, look(json!({})));
    }

    #[test]
    fn a_queue_that_is_taken_over_sends_its_tasks_to_the_function() {
        let right = json!({
            "state": "RUNNING",
            "httpTarget": {
                "uriOverride": {
                    "scheme": "HTTPS",
                    "host": "x",
                    "pathOverride": { "path": "/api/jobs/token-refresh" },
                    "uriOverrideEnforceMode": "ALWAYS",
                },
                "oidcToken": { "serviceAccountEmail": "q@p.iam.gserviceaccount.com", "audience": "https://x" },
            },
        });
        let look = |queue: &Value| {
            let found: Found = serde_json::from_value(queue.clone()).unwrap();
            move |findings: &mut Findings| findings.target(&found, &target())
        };
        check(true, look(&right));
        check(true, look(&json!({ "state": "RUNNING" })));
        // What gcloud leaves of one that was given back.
        check(true, look(&json!({ "state": "RUNNING", "httpTarget": { "oidcToken": {} } })));
        for (pointer, value) in [
            ("/httpTarget/uriOverride/host", json!("y")),
            ("/httpTarget/uriOverride/scheme", json!("HTTP")),
            ("/httpTarget/uriOverride/port", json!("8080")),
            ("/httpTarget/uriOverride/pathOverride/path", json!("/api/jobs/calendar-sync")),
            ("/httpTarget/uriOverride/uriOverrideEnforceMode", json!("IF_NOT_EXISTS")),
            ("/httpTarget/uriOverride", json!({})),
            ("/httpTarget/oidcToken/serviceAccountEmail", json!("other@p.iam.gserviceaccount.com")),
            ("/httpTarget/oidcToken/audience", json!("https://y")),
        ] {
            let mut wrong = right.clone();
            // A port is not there at first.
            wrong["httpTarget"]["uriOverride"]["port"] = json!(null);
            *wrong.pointer_mut(pointer).unwrap() = value;
            check(false, look(&wrong));
        }
    }

    #[test]
    fn only_the_caller_may_invoke() {
        let policy =
            |members: &[&str]| json!({ "bindings": [{ "role": "roles/run.invoker", "members": members }] });
        let caller = "serviceAccount:q@p.iam.gserviceaccount.com";
        check(true, |findings| findings.invokers(&policy(&[caller]), &target()));
        check(false, |findings| findings.invokers(&policy(&[caller, "allUsers"]), &target()));
        check(false, |findings| findings.invokers(&policy(&[]), &target()));
        check(false, |findings| findings.invokers(&json!({}), &target()));
    }

    #[test]
    fn envelopes_of_the_running_producer_are_usable() {
        let task = |body: &Value| json!({ "name": "q/tasks/t", "httpRequest": { "body": STANDARD.encode(body.to_string()) } });
        let looks_right =
            |is_right, body: Value| check(is_right, |it| it.envelopes(&[task(&body)], &target()));
        looks_right(true, json!({ "data": {}, "idempotencyKey": "k", "jobName": "token-refresh" }));
        looks_right(true, json!({ "data": {} }));
        looks_right(false, json!({ "data": {}, "jobName": "calendar-sync" }));
        looks_right(false, json!({ "userId": "u" }));
        // Nothing to check is no reason to stop.
        check(true, |findings| findings.envelopes(&[], &target()));
    }
}
