//! What gcloud shows of one queue and its function, in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::{bail, ensure};
use serde_json::{Value, json};

use crate::gcloud::Gcloud;
use crate::queue::{Declaration, cloud_name, concurrent_dispatches};

const URL: &str = "https://x.run.app";

#[derive(Default)]
struct State {
    queue: Value,
    service: Value,
    policy: Value,
    schedules: BTreeMap<String, String>,
    /// Whether the last task was dispatched to the function.
    task: Option<String>,
    tasks: usize,
    changes: Vec<String>,
    /// Looks for which tasks are in flight.
    in_flight: usize,
    looks: usize,
}

pub(crate) struct FakeCloud(Arc<Mutex<State>>);

impl FakeCloud {
    /// A queue of the application, and a function that is ready for it.
    pub(crate) fn new(function: &str) -> Self {
        let declaration = Declaration::read().unwrap();
        let declared = &declaration.queues[function];
        let caller = format!("{}@p.iam.gserviceaccount.com", cloud_name(function));
        let env = json!([
            { "name": "OIDC_CALLERS", "value": caller },
            { "name": "CLOUD_RUN_URL", "value": URL },
            { "name": "ENCRYPTION_KEY", "valueFrom": { "secretKeyRef": { "name": "K", "key": "1" } } },
        ]);
        let state = State {
            queue: json!({
                "state": "RUNNING",
                "rateLimits": {
                    "maxDispatchesPerSecond": declared.max_dispatches_per_second,
                    "maxConcurrentDispatches": concurrent_dispatches(function).unwrap(),
                },
                "retryConfig": {
                    "maxAttempts": declared.attempts,
                    "minBackoff": format!("{}s", declared.min_backoff_seconds),
                    "maxBackoff": format!("{}s", declared.max_backoff_seconds),
                    "maxDoublings": declared.max_doublings,
                },
            }),
            service: json!({
                "spec": { "template": { "spec": { "containers": [{ "env": env }] } } },
                "status": { "url": URL, "conditions": [{ "type": "Ready", "status": "True" }] },
            }),
            policy: json!({
                "bindings": [{ "role": "roles/run.invoker", "members": [format!("serviceAccount:{caller}")] }],
            }),
            schedules: declared
                .schedules
                .iter()
                .map(|schedule| (format!("{function}-{}", schedule.name), "PAUSED".to_owned()))
                .collect(),
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn gcloud(&self) -> Gcloud {
        let state = Arc::clone(&self.0);
        Gcloud::fake(move |arguments| state.lock().unwrap().answer(arguments))
    }

    pub(crate) fn edit(&self, what: &str, pointer: &str, value: Value) {
        let mut state = self.0.lock().unwrap();
        let document = if what == "queue" { &mut state.queue } else { &mut state.service };
        *document.pointer_mut(pointer).unwrap() = value;
    }

    /// The queue as a take-over leaves it.
    pub(crate) fn take_over(&self) {
        let mut state = self.0.lock().unwrap();
        state.queue["httpTarget"] = json!({ "uriOverride": { "host": "x.run.app" } });
        state.queue["retryConfig"]["maxAttempts"] = json!(-1);
        state.schedules.values_mut().for_each(|schedule| "ENABLED".clone_into(schedule));
    }

    /// What gcloud leaves of a target that was cleared.
    pub(crate) fn leave_remains(&self) {
        self.0.lock().unwrap().queue["httpTarget"] = json!({ "oidcToken": {} });
    }

    /// Tasks that were created.
    pub(crate) fn tasks(&self) -> usize {
        self.0.lock().unwrap().tasks
    }

    /// So many looks find a task in flight.
    pub(crate) fn in_flight(&self, looks: usize) {
        self.0.lock().unwrap().in_flight = looks;
    }

    pub(crate) fn changes(&self) -> Vec<String> {
        self.0.lock().unwrap().changes.clone()
    }

    pub(crate) fn looks_at_flights(&self) -> usize {
        self.0.lock().unwrap().looks
    }

    pub(crate) fn is_ours(&self) -> bool {
        !self.0.lock().unwrap().queue["httpTarget"].is_null()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.0.lock().unwrap().queue["state"] == "RUNNING"
    }

    pub(crate) fn schedules_are(&self, wanted: &str) -> bool {
        self.0.lock().unwrap().schedules.values().all(|state| state == wanted)
    }
}

impl State {
    fn answer(&mut self, arguments: &[&str]) -> anyhow::Result<Value> {
        let given = |name: &str| arguments.iter().find_map(|it| it.strip_prefix(name));
        match arguments {
            ["tasks", "queues", "describe", ..] => Ok(self.queue.clone()),
            ["run", "services", "describe", ..] => Ok(self.service.clone()),
            ["run", "services", "get-iam-policy", ..] => Ok(self.policy.clone()),
            ["tasks", "list", ..] if given("--limit").is_none() => {
                ensure!(
                    self.queue["state"] == "PAUSED",
                    "what is in flight is looked at while the queue runs"
                );
                self.looks += 1;
                let is_in_flight = self.in_flight >= self.looks;
                let dispatched = shared::clock::Clock::system().now().to_rfc3339();
                Ok(if is_in_flight {
                    json!([{ "name": "t", "lastAttempt": { "dispatchTime": dispatched } }])
                } else {
                    json!([])
                })
            }
            ["tasks", "list", ..] => Ok(json!([])),
            ["tasks", "create-http-task", ..] => {
                let is_ours = !self.queue["httpTarget"].is_null();
                let reaches = is_ours || given("--url=").is_some_and(|url| url.starts_with(URL));
                self.tasks += 1;
                self.task = reaches.then(|| "skipped".to_owned());
                Ok(json!({ "name": "q/tasks/t" }))
            }
            ["tasks", "run" | "delete", ..] => Ok(json!({})),
            ["logging", "read", ..] => Ok(match &self.task {
                Some(outcome) => json!([{ "jsonPayload": { "task.outcome": outcome } }]),
                None => json!([]),
            }),
            ["scheduler", "jobs", "describe", job, ..] => Ok(json!({ "state": self.schedules[*job] })),
            ["secrets", ..] => bail!("not for everybody"),
            _ => self.change(arguments),
        }
    }

    fn change(&mut self, arguments: &[&str]) -> anyhow::Result<Value> {
        let given = |name: &str| arguments.iter().find_map(|it| it.strip_prefix(name));
        self.changes.push(arguments.join(" "));
        match arguments {
            ["tasks", "queues", "pause", ..] => self.queue["state"] = json!("PAUSED"),
            ["tasks", "queues", "resume", ..] => self.queue["state"] = json!("RUNNING"),
            ["tasks", "queues", "purge", ..] => {}
            ["tasks", "queues", "update", ..] => {
                ensure!(self.queue["state"] == "PAUSED", "the queue is switched while it runs");
                ensure!(self.looks > self.in_flight, "the queue is switched while a task is in flight");
                if let Some(attempts) = given("--max-attempts=") {
                    self.queue["retryConfig"]["maxAttempts"] = json!(attempts.parse::<i64>()?);
                }
                if let Some(target) = given("--http-uri-override=") {
                    let field = |name: &str| target.split(',').find_map(|it| it.strip_prefix(name));
                    self.queue["httpTarget"] = json!({
                        "uriOverride": {
                            "host": field("host:"),
                            "pathOverride": { "path": field("path:") },
                            "uriOverrideEnforceMode": field("mode:"),
                        },
                        "oidcToken": {
                            "serviceAccountEmail": given("--http-oidc-service-account-email-override="),
                            "audience": given("--http-oidc-token-audience-override="),
                        },
                    });
                }
                if arguments.contains(&"--clear-http-uri-override") {
                    self.queue["httpTarget"] = Value::Null;
                }
            }
            ["scheduler", "jobs", verb, job, ..] => {
                let state = if *verb == "pause" { "PAUSED" } else { "ENABLED" };
                self.schedules.insert((*job).to_owned(), state.to_owned());
            }
            _ => bail!("gcloud has no {arguments:?}"),
        }
        Ok(Value::Null)
    }
}
