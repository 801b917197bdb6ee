//! `takeover` and `giveback`, killed after each of their steps and run again to the end.
//!
//! The stand-in of gcloud asks this test, which answers from the local Cloud Tasks, and kills the command once the call has taken
//! effect. A command changes nothing but by such calls: who kills it after each call has killed it after each step, whatever
//! the steps are, and in the middle of those with several.

use std::collections::BTreeMap;
use std::io::Seek as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use catchup::{payload, queues};
use local_cloud::tasks::Settings;
use local_cloud::{Background, CloudTasks};
use serde_json::{Value, json};
use shared::queue::Queue;
use tempfile::TempDir;
use tests::handover::Handover;
use tests::within;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(20);
const SCALING: &str = include_str!("../../../../infra/gcp/functions.json");
const PROJECT: &str = "local";
const REGION: &str = "loopback1";
/// Sends its arguments, one per line, then an empty line; receives its exit code and output.
const GCLOUD: &str = r#"#!/usr/bin/env bash
exec 3<>/dev/tcp/127.0.0.1/PORT
printf '%s\n' "$@" '' >&3
IFS= read -r code <&3 || exit 1
cat <&3
exit "$code"
"#;

/// Who does a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Application,
    Function,
}

/// Deliveries: who got which task, by its name and its key. Each is answered as done.
type Deliveries = Arc<Mutex<Vec<(Side, String, Option<String>)>>>;

fn serve(side: Side, deliveries: &Deliveries) -> Background {
    let take =
        async |State((side, deliveries)): State<(Side, Deliveries)>, headers: HeaderMap, body: String| {
            let name = headers["x-cloudtasks-taskname"].to_str().unwrap().to_owned();
            let envelope: Value = serde_json::from_str(&body).unwrap();
            let key = envelope["idempotencyKey"].as_str().map(str::to_owned);
            deliveries.lock().unwrap().push((side, name, key));
        };
    let router =
        Router::new().route("/api/jobs/{job}", post(take)).with_state((side, Arc::clone(deliveries)));
    Background::start("a service", async |listener| axum::serve(listener, router).await).unwrap()
}

/// One queue between the application's own service and its function.
struct Project {
    queue: Queue,
    tasks: CloudTasks,
    deliveries: Deliveries,
    application: Background,
    function: Background,
    /// States by name.
    schedules: Mutex<BTreeMap<String, &'static str>>,
    /// Keys of the tasks that were created.
    created: Mutex<Vec<String>>,
    gcloud: TcpListener,
    http: reqwest::Client,
    folder: TempDir,
}

/// A command that has ended, or was killed.
#[derive(Debug)]
struct Run {
    /// `None`: killed.
    code: Option<i32>,
    calls: Vec<String>,
    said: String,
}

impl Run {
    /// The steps that were begun, as the command numbers them.
    fn steps(&self) -> Vec<(usize, usize)> {
        let numbers = self.said.lines().filter_map(|line| line.split_once(' ')?.0.split_once('/'));
        numbers.filter_map(|(step, of)| Some((step.parse().ok()?, of.parse().ok()?))).collect()
    }
}

impl Project {
    async fn start(queue: Queue) -> Self {
        let settings =
            Settings { project: PROJECT.to_owned(), region: REGION.to_owned(), ..Settings::default() };
        let deliveries = Deliveries::default();
        let gcloud = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("gcloud");
        let port = gcloud.local_addr().unwrap().port();
        std::fs::write(&program, GCLOUD.replace("PORT", &port.to_string())).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let project = Self {
            queue,
            tasks: CloudTasks::start(settings).await.unwrap(),
            application: serve(Side::Application, &deliveries),
            function: serve(Side::Function, &deliveries),
            deliveries,
            schedules: Mutex::default(),
            created: Mutex::default(),
            gcloud,
            http: shared::http::client(LIMIT, LIMIT),
            folder,
        };
        let scaling: Value = serde_json::from_str(SCALING).unwrap();
        let scaling = &scaling["functions"][queue.name()];
        let held = scaling["concurrency"].as_u64().unwrap() * scaling["maxInstances"].as_u64().unwrap();
        let limits = json!({ "rateLimits": { "maxConcurrentDispatches": held } });
        project.handover().change("rateLimits.maxConcurrentDispatches", &limits).await.unwrap();
        project
    }

    fn handover(&self) -> Handover<'_> {
        Handover::new(&self.tasks, self.queue, self.application.url())
    }

    /// The queue is this side's, with the schedules as they are then, and without tasks.
    async fn belongs_to(&self, side: Side) {
        match side {
            Side::Application => self.handover().give_back().await.unwrap(),
            Side::Function => self.handover().take_over(self.function.address()).await.unwrap(),
        }
        self.call(reqwest::Method::POST, &format!("{}:purge", self.path()), &json!({})).await.unwrap();
        let schedules = self.queue.policy().schedules.iter();
        let names = schedules.map(|schedule| format!("{}-{}", self.queue.name(), schedule.name));
        *self.schedules.lock().unwrap() = names.map(|name| (name, state_with(side))).collect();
        self.deliveries.lock().unwrap().clear();
        self.created.lock().unwrap().clear();
    }

    fn path(&self) -> String {
        format!("{}/queues/{}", self.tasks.settings().parent(), self.queue.cloud_name())
    }

    async fn call(&self, method: reqwest::Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.request(method.clone(), format!("{}/v2/{path}", self.tasks.url()));
        let request = if method == reqwest::Method::GET { request } else { request.json(body) };
        let response = request.send().await?;
        let (status, text) = (response.status(), response.text().await?);
        ensure!(status.is_success(), "{status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    async fn found(&self) -> Value {
        self.call(reqwest::Method::GET, &self.path(), &json!({})).await.unwrap()
    }

    fn deliveries_of(&self, key: &str) -> Vec<Side> {
        let deliveries = self.deliveries.lock().unwrap();
        let of_key = deliveries.iter().filter(|(_, _, delivered)| delivered.as_deref() == Some(key));
        of_key.map(|(side, ..)| *side).collect()
    }

    /// The application creates a task, which is done unless the queue is paused.
    async fn create(&self) -> String {
        let key = Uuid::new_v4().to_string();
        let kind = payload::ALL.iter().find(|kind| kind.queue == self.queue).unwrap();
        let data = (kind.dry_run)().unwrap();
        self.handover().create(self.queue.name(), Some(&key), &data).await.unwrap();
        self.created.lock().unwrap().push(key.clone());
        let has_settled =
            async || !self.deliveries_of(&key).is_empty() || self.handover().is_paused().await.unwrap();
        within(LIMIT, "a task is done", has_settled).await;
        key
    }

    /// Runs a command, and creates a task after each of its changes. It is killed after so many of its calls.
    async fn ops(&self, arguments: &[&str], kill_after: Option<usize>) -> Run {
        let mut errors = tempfile::tempfile().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ops"))
            .args(arguments)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.folder.path().display()))
            .env("GCP_PROJECT_ID", PROJECT)
            .env("GCP_REGION", REGION)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors.try_clone().unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut calls = Vec::new();
        let code = loop {
            let mut gcloud = tokio::select! {
                status = child.wait() => break status.unwrap().code(),
                call = self.gcloud.accept() => call.unwrap().0,
            };
            let arguments = read(&mut gcloud).await;
            let answer = self.answer(&arguments).await;
            calls.push(arguments.join(" "));
            let is_killed = kill_after == Some(calls.len());
            if is_killed || is_change(&arguments) {
                self.create().await;
            }
            if is_killed {
                child.kill().await.unwrap();
                break None;
            }
            let said = match answer {
                Ok(answer) => format!("0\n{answer}\n"),
                Err(error) => format!("1\n{error:#}\n"),
            };
            gcloud.write_all(said.as_bytes()).await.unwrap();
        };
        errors.rewind().unwrap();
        Run { code, calls, said: std::io::read_to_string(errors).unwrap() }
    }

    /// What gcloud does.
    async fn answer(&self, arguments: &[String]) -> anyhow::Result<Value> {
        use reqwest::Method;

        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let given = |name: &str| arguments.iter().find_map(|it| it.strip_prefix(name));
        let (queue, nothing) = (self.path(), json!({}));
        match arguments[..] {
            ["tasks", "queues", "describe", ..] => Ok(self.found().await),
            ["tasks", "queues", verb @ ("pause" | "resume" | "purge"), ..] => {
                self.call(Method::POST, &format!("{queue}:{verb}"), &nothing).await
            }
            ["tasks", "queues", "update", ..] => {
                let attempts: i64 = given("--max-attempts=").context("attempts")?.parse()?;
                let target = given("--http-uri-override=").map(|target| {
                    let field = |name: &str| target.split(',').find_map(|it| it.strip_prefix(name));
                    json!({
                        "uriOverride": {
                            "scheme": field("scheme:").map(str::to_uppercase),
                            "host": field("host:"),
                            "port": field("port:"),
                            "pathOverride": { "path": field("path:") },
                            "uriOverrideEnforceMode": field("mode:"),
                        },
                        "oidcToken": {
                            "serviceAccountEmail": given("--http-oidc-service-account-email-override="),
                            "audience": given("--http-oidc-token-audience-override="),
                        },
                    })
                });
                ensure!(
                    target.is_some() || arguments.contains(&"--clear-http-uri-override"),
                    "{arguments:?}"
                );
                let mut fields = json!({ "retryConfig": { "maxAttempts": attempts } });
                fields["httpTarget"] = target.unwrap_or_default();
                let mask = "updateMask=httpTarget,retryConfig.maxAttempts";
                self.call(Method::PATCH, &format!("{queue}?{mask}"), &fields).await
            }
            ["tasks", "list", ..] => Ok(self.tasks.list(self.queue).await?.into()),
            ["tasks", "describe", task, ..] => {
                self.call(Method::GET, &format!("{task}?responseView=FULL"), &nothing).await
            }
            ["tasks", "create-http-task", ..] => {
                let body = given("--body-content=").context("a body")?;
                let task = json!({
                    "scheduleTime": given("--schedule-time="),
                    "httpRequest": {
                        "url": given("--url="),
                        "headers": { "Content-Type": "application/json" },
                        "body": BASE64_STANDARD.encode(body),
                        "oidcToken": {
                            "serviceAccountEmail": given("--oidc-service-account-email="),
                            "audience": given("--oidc-token-audience="),
                        },
                    },
                });
                self.call(Method::POST, &format!("{queue}/tasks"), &json!({ "task": task })).await
            }
            ["tasks", "run", task, ..] => self.call(Method::POST, &format!("{task}:run"), &nothing).await,
            ["tasks", "delete", task, ..] => self.call(Method::DELETE, task, &nothing).await,
            ["logging", "read", filter, ..] => {
                let (_, task) = filter.split_once("\"task.name\"=\"").context("a task")?;
                let task = task.trim_end_matches('"');
                let has_arrived = async || {
                    let deliveries = self.deliveries.lock().unwrap();
                    deliveries.iter().any(|(side, name, _)| *side == Side::Function && name == task)
                };
                within(LIMIT, "a harmless task reaches the function", has_arrived).await;
                Ok(json!([{ "jsonPayload": { "task.outcome": "skipped" } }]))
            }
            ["run", "services", "describe", ..] => {
                let env = json!([
                    { "name": "OIDC_CALLERS", "value": self.caller() },
                    { "name": "CLOUD_RUN_URL", "value": self.tasks.settings().functions_url },
                    { "name": "ENCRYPTION_KEY", "valueFrom": { "secretKeyRef": { "name": "K", "key": "1" } } },
                ]);
                Ok(json!({
                    "spec": { "template": { "spec": { "containers": [{ "env": env }] } } },
                    "status": { "url": self.function.url(), "conditions": [{ "type": "Ready", "status": "True" }] },
                }))
            }
            ["run", "services", "get-iam-policy", ..] => {
                let members = [format!("serviceAccount:{}", self.caller())];
                Ok(json!({ "bindings": [{ "role": "roles/run.invoker", "members": members }] }))
            }
            ["scheduler", "jobs", "describe", schedule, ..] => {
                let schedules = self.schedules.lock().unwrap();
                Ok(json!({ "state": schedules.get(schedule).context("no schedule")? }))
            }
            ["scheduler", "jobs", verb @ ("pause" | "resume"), schedule, ..] => {
                let state = if verb == "pause" { "PAUSED" } else { "ENABLED" };
                self.schedules.lock().unwrap().insert(schedule.to_owned(), state);
                Ok(nothing)
            }
            _ => bail!("gcloud has no {arguments:?}"),
        }
    }

    fn caller(&self) -> &str {
        &self.tasks.settings().caller
    }

    /// Every task was done once, the queue runs, and it and its schedules are this side's.
    async fn check(&self, side: Side, runs: &[&Run], what: &str) {
        let found = self.found().await;
        assert_eq!(found["state"], "RUNNING", "{what}: {runs:#?}");
        let schedules = self.schedules.lock().unwrap().clone();
        assert!(schedules.values().all(|state| *state == state_with(side)), "{what}: {schedules:?}");
        let last = self.create().await;
        assert_eq!(self.deliveries_of(&last), [side], "{what}: {found}");
        // Tasks that wait when a queue is purged are gone.
        let is_purged = runs.iter().any(|run| run.calls.iter().any(|call| call.contains("queues purge")));
        let created = self.created.lock().unwrap().clone();
        for key in created {
            if !is_purged {
                within(LIMIT, "a task is done", async || !self.deliveries_of(&key).is_empty()).await;
            }
            assert!(self.deliveries_of(&key).len() <= 1, "{what}: a task was done twice: {runs:#?}");
        }
    }
}

/// The state of our schedules while a queue is this side's.
fn state_with(side: Side) -> &'static str {
    match side {
        Side::Application => "PAUSED",
        Side::Function => "ENABLED",
    }
}

/// Whether a call changes the queue or its schedules.
fn is_change(arguments: &[String]) -> bool {
    let verb = arguments.get(2).map(String::as_str);
    verb.is_some_and(|verb| ["pause", "purge", "update", "resume"].contains(&verb))
}

/// The arguments of a call.
async fn read(gcloud: &mut TcpStream) -> Vec<String> {
    let mut lines = BufReader::new(gcloud).lines();
    let mut arguments = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap().filter(|line| !line.is_empty()) {
        arguments.push(line);
    }
    arguments
}

/// Kills the command after each of its calls, and runs it again to the end.
async fn check(queue: Queue, from: Side, command: &[&str], to: Side) {
    let project = Project::start(queue).await;
    let caller = format!("--caller={}", project.caller());
    let mut arguments = vec![command[0], queue.name(), "--quiet=0", "--settle=0"];
    arguments.extend(&command[1..]);
    if command[0] == "takeover" {
        arguments.extend([caller.as_str(), "--unchecked"]);
    }
    project.belongs_to(from).await;
    let whole = project.ops(&arguments, None).await;
    assert_eq!(whole.code, Some(0), "{whole:#?}");
    project.check(to, &[&whole], "not killed").await;
    let steps = whole.steps();
    assert!(
        !steps.is_empty() && steps.iter().zip(1..).all(|(step, n)| *step == (n, steps.len())),
        "{steps:?}"
    );

    // A run may look more often than another for what is in flight: the last one is that which ends before it is killed.
    for kill_after in 1.. {
        project.belongs_to(from).await;
        let killed = project.ops(&arguments, Some(kill_after)).await;
        if killed.code == Some(0) {
            assert_eq!(killed.calls.len() + 1, kill_after, "{killed:#?}");
            break;
        }
        let what = format!("killed after {:?}", killed.calls.last());
        assert_eq!((killed.code, killed.calls.len()), (None, kill_after), "{killed:#?}");
        let again = project.ops(&arguments, None).await;
        assert_eq!(again.code, Some(0), "{what}: {again:#?}");
        project.check(to, &[&killed, &again], &what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_take_over_is_completed_by_the_next_run_and_no_task_is_lost_or_done_twice() {
    check(queues::TOKEN_REFRESH, Side::Application, &["takeover"], Side::Function).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_give_back_is_completed_by_the_next_run_and_no_task_is_lost_or_done_twice() {
    check(queues::CALENDAR_SYNC, Side::Function, &["giveback"], Side::Application).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_give_back_that_is_forced_and_purges_is_completed_by_the_next_run() {
    check(queues::TOKEN_REFRESH, Side::Function, &["giveback", "--force"], Side::Application).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_dry_run_leaves_everything_as_it_is() {
    check(queues::TOKEN_REFRESH, Side::Application, &["takeover", "--dry-run"], Side::Application).await;
    check(queues::TOKEN_REFRESH, Side::Function, &["giveback", "--dry-run", "--force"], Side::Function).await;
}
