//! Schedules are run, paused and resumed: with Cloud Scheduler, and where there is none.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use google_cloud_stand_in::{Containers, GoogleCloud};
use serde_json::{Value, json};

use crate::operator::{Said, System, ops_with};

const SCHEDULE: &str = "token-refresh-sweep";

/// A project with one schedule.
struct Project {
    system: System,
    environment: BTreeMap<&'static str, String>,
    _scheduler: GoogleCloud,
    _folder: tempfile::TempDir,
}

impl Project {
    async fn start() -> Self {
        let system = System::start().await;
        system.stack.tasks.pause(System::QUEUE).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let nothing = folder.path().to_owned();
        let containers =
            Containers { images: nothing.clone(), environment: system.environment(), logs: nothing };
        let settings = system.stack.tasks.settings().clone();
        let url = system.stack.tasks.url();
        let scheduler = GoogleCloud::start(containers, &settings.project, &settings.caller, &url).unwrap();
        let parent = settings.parent();
        let queue = System::QUEUE.cloud_name();
        let body = BASE64_STANDARD.encode(json!({ "data": {}, "jobName": "token-refresh" }).to_string());
        let request = json!({ "url": "http://function.localhost/api/jobs/token-refresh", "body": body });
        let job = json!({
            "name": format!("{parent}/jobs/{SCHEDULE}"),
            "httpTarget": {
                "uri": format!("https://cloudtasks.googleapis.com/v2/{parent}/queues/{queue}/tasks"),
                "body": BASE64_STANDARD.encode(json!({ "task": { "httpRequest": request } }).to_string()),
            },
        });
        let jobs = format!("{}/v1/{parent}/jobs", scheduler.url());
        let created =
            reqwest::Client::builder().no_proxy().build().unwrap().post(jobs).json(&job).send().await;
        assert!(created.unwrap().status().is_success());
        let mut environment = system.environment();
        environment.insert("CLOUD_SCHEDULER_URL", scheduler.url());
        Self { system, environment, _scheduler: scheduler, _folder: folder }
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> Said {
        let said = ops_with(&self.environment, arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said
    }

    fn state(&self) -> Value {
        self.succeeds(&["schedule", "list", "--json"]).json()["states"][SCHEDULE].clone()
    }
}

async fn actions(system: &System) -> Vec<(String, Option<i64>)> {
    system.stack.rows("SELECT action, changed FROM jobs.operator_actions ORDER BY at").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_paused_resumed_and_run() {
    let project = Project::start().await;
    assert_eq!(project.state(), "enabled");
    let said = project.succeeds(&["schedule", "pause", "token-refresh", "--why", "Google is slow"]).err;
    assert!(said.starts_with(&format!("+ gcloud scheduler jobs pause {SCHEDULE} ")), "{said}");
    assert_eq!(project.state(), "paused");
    let listed = project.succeeds(&["schedule", "list"]).out;
    assert!(listed.contains("token-refresh-sweep          paused"), "{listed}");
    let said = project.succeeds(&["schedule", "pause", SCHEDULE]).err;
    assert_eq!(said, format!("{SCHEDULE}: is paused already\n"));
    let resumed = project.succeeds(&["schedule", "resume", SCHEDULE, "--json"]).json();
    assert_eq!(resumed, json!({ "schedule": SCHEDULE, "isChanged": true, "task": null }));
    assert_eq!(project.state(), "enabled");
    project.succeeds(&["schedule", "run", SCHEDULE, "--dry-run"]);
    assert_eq!(project.system.stack.tasks.count(System::QUEUE).await.unwrap(), 0);
    project.succeeds(&["schedule", "run", SCHEDULE]);
    assert_eq!(project.system.stack.tasks.payloads(System::QUEUE).await.unwrap(), [json!({})]);
    let recorded = actions(&project.system).await;
    let names: Vec<_> = recorded.iter().map(|(action, _)| action.as_str()).collect();
    assert_eq!(names, ["pause_schedule", "resume_schedule", "run_schedule"]);
    assert!(recorded.iter().all(|(_, changed)| *changed == Some(1)), "{recorded:?}");
    // One that Terraform has not created yet.
    let missing = ops_with(&project.environment, &["schedule", "run", "webhook-renewal-sweep"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("Cloud Scheduler has no schedule webhook-renewal-sweep"), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_cloud_scheduler_the_command_creates_the_task_and_nothing_can_be_paused() {
    let system = System::start().await;
    system.stack.tasks.pause(System::QUEUE).await.unwrap();
    let said = system.succeeds(&["schedule", "run", "token-refresh"]).err;
    assert!(said.starts_with(&format!("{SCHEDULE}: its task is ")), "{said}");
    assert_eq!(system.stack.tasks.payloads(System::QUEUE).await.unwrap(), [json!({})]);
    let refused = system.ops(&["schedule", "pause", "token-refresh"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("this machine has no Cloud Scheduler"), "{refused:?}");
    assert_eq!(actions(&system).await, [("run_schedule".to_owned(), Some(1))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_runs_the_tasks_of_a_queue_is_asked_of_cloud_run_and_cloud_tasks() {
    let project = Project::start().await;
    let local = project.succeeds(&["deploys", "--json"]).json();
    assert_eq!(local["isLocal"], true);
    let mut environment = project.environment.clone();
    environment.insert("CLOUD_RUN_ADMIN_URL", environment["CLOUD_SCHEDULER_URL"].clone());
    let said = ops_with(&environment, &["deploys", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let deploys = said.json();
    let row = deploys["functions"].as_array().unwrap().iter().find(|it| it["queue"] == "token-refresh");
    let row = row.unwrap();
    assert_eq!((&deploys["isLocal"], &row["owner"]), (&json!(false), &json!("ours")), "{deploys}");
    // The project has no services, and its queue has the settings of the local cloud.
    assert_eq!(row["revisions"], Value::Null);
    assert_eq!(row["commands"], json!(["scripts/ops giveback token-refresh", "terraform apply"]), "{row}");
    environment.insert("CLOUD_RUN_ADMIN_URL", "http://127.0.0.1:1".to_owned());
    let said = ops_with(&environment, &["deploys"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("not known from Cloud Run: Cloud Run does not respond"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_local_cloud_are_compared_with_backoffs_as_they_are_divided_there() {
    let system = System::start().await;
    system.route_all().await;
    let mut environment = system.environment();
    let differing = |environment: &BTreeMap<&'static str, String>| -> Vec<(Value, Value)> {
        let said = ops_with(environment, &["deploys", "--json"]);
        assert_eq!(said.code, 0, "{said:?}");
        let deploys = said.json();
        let settings = |row: &Value| -> Vec<_> {
            let drift = row["drift"].as_array().unwrap_or_else(|| panic!("{row}")).iter();
            drift.map(|it| (row["queue"].clone(), it["setting"].clone())).collect()
        };
        let functions = deploys["functions"].as_array().unwrap().iter();
        functions.filter(|row| row["owner"] != "public").flat_map(settings).collect()
    };
    assert_eq!(differing(&environment), []);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let policy = System::QUEUE.policy();
    let name = format!("{}/queues/{}", system.stack.tasks.settings().parent(), System::QUEUE.cloud_name());
    let mask = "rateLimits.maxDispatchesPerSecond,retryConfig.minBackoff,retryConfig.maxBackoff";
    let half = |backoff: std::time::Duration| format!("{}s", backoff.as_secs_f64() / 2.0);
    let changed = http
        .patch(format!("{}/v2/{name}?updateMask={mask}", system.stack.tasks.url()))
        .json(&json!({
            "rateLimits": { "maxDispatchesPerSecond": policy.max_dispatches_per_second + 1 },
            "retryConfig": { "minBackoff": half(policy.min_backoff()), "maxBackoff": half(policy.max_backoff()) },
        }))
        .send()
        .await;
    assert!(changed.unwrap().status().is_success());
    let its = |setting: &str| (json!(System::QUEUE.name()), json!(setting));
    assert_eq!(differing(&environment), [its("rate"), its("backoff")]);
    environment.insert("RETRY_BACKOFF_DIVISOR", "2".to_owned());
    let found = differing(&environment);
    assert!(found.contains(&its("rate")) && !found.contains(&its("backoff")), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sweeps_are_listed_newest_first() {
    let system = System::start().await;
    let none = system.succeeds(&["sweeps", "--queue", "token-refresh"]);
    assert_eq!(none.all(), "no sweeps of token-refresh\n");
    system
        .stack
        .run(
            "INSERT INTO jobs.sweeps (queue, sweep_id, started_at, finished_at, tasks, succeeded, failed)
             SELECT queue, queue || n, now() - n * interval '1 hour', now(), n, n - 1, 1
             FROM unnest('{token-refresh,adaptive-sync}'::text[]) AS queue, generate_series(1, 3) AS n",
        )
        .await;
    let listed = system.succeeds(&["sweeps", "--queue", "token-refresh-queue", "--json"]).json();
    let ids: Vec<_> = listed["sweeps"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
    assert_eq!(ids, ["token-refresh1", "token-refresh2", "token-refresh3"]);
    assert_eq!((&listed["isCut"], &listed["sweeps"][1]["succeeded"]), (&json!(false), &json!(1)), "{listed}");
    let cut = system.succeeds(&["sweeps", "--limit", "4"]);
    assert_eq!(cut.out.lines().count(), 5, "{cut:?}");
    assert!(cut.err.contains("the first 4 sweeps; there are more"), "{cut:?}");
}
