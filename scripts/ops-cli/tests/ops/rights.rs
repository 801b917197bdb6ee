//! What an operator's database user may: the role `jobs_operators` and nothing else.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::operator::{Said, System, ops_with, user};

const DECLARATION: &str = include_str!("../../../../infra/queues.json");
const SCALING: &str = include_str!("../../../../infra/gcp/functions.json");
/// A function that reads tokens, and whose queue is not given back while something is open.
const FUNCTION: &str = "token-refresh";
const QUEUE: &str = "token-refresh-queue";
const CALLER: &str = "token-refresh-queue@p.iam.gserviceaccount.com";
const URL: &str = "https://x.run.app";
/// Answers with the file that has the name of what it is asked.
const GCLOUD: &str = "#!/bin/sh\nexec cat \"${0%/*}/$1 $2 $3\"\n";

/// gcloud in front of one queue of the application and its function.
struct Gcloud(TempDir);

impl Gcloud {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("gcloud");
        std::fs::write(&program, GCLOUD).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let gcloud = Self(folder);
        let env = json!([
            { "name": "OIDC_CALLERS", "value": CALLER },
            { "name": "CLOUD_RUN_URL", "value": URL },
            { "name": "ENCRYPTION_KEY", "valueFrom": { "secretKeyRef": { "name": "K", "key": "1" } } },
        ]);
        let service = json!({
            "spec": { "template": { "spec": { "containers": [{ "env": env }] } } },
            "status": { "url": URL, "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        let invokers =
            json!({ "role": "roles/run.invoker", "members": [format!("serviceAccount:{CALLER}")] });
        gcloud.answer("run services describe", &service);
        gcloud.answer("run services get-iam-policy", &json!({ "bindings": [invokers] }));
        gcloud.answer(&format!("tasks list --queue={QUEUE}"), &json!([]));
        gcloud.answer("scheduler jobs describe", &json!({ "state": "PAUSED" }));
        gcloud.has_queue(None);
        gcloud
    }

    fn answer(&self, asked: &str, answer: &Value) {
        std::fs::write(self.0.path().join(asked), answer.to_string()).unwrap();
    }

    /// The queue as it is declared, with this target.
    fn has_queue(&self, target: Option<&Value>) {
        let declared = &serde_json::from_str::<Value>(DECLARATION).unwrap()["queues"][FUNCTION];
        let scaling = &serde_json::from_str::<Value>(SCALING).unwrap()["functions"][FUNCTION];
        let held = |name: &str| scaling[name].as_u64().unwrap();
        let seconds = |name: &str| format!("{}s", declared[name]);
        let attempts = if target.is_some() { json!(-1) } else { declared["attempts"].clone() };
        self.answer(
            "tasks queues describe",
            &json!({
                "state": "RUNNING",
                "rateLimits": {
                    "maxDispatchesPerSecond": declared["maxDispatchesPerSecond"],
                    "maxConcurrentDispatches": held("concurrency") * held("maxInstances"),
                },
                "retryConfig": {
                    "maxAttempts": attempts,
                    "minBackoff": seconds("minBackoffSeconds"),
                    "maxBackoff": seconds("maxBackoffSeconds"),
                    "maxDoublings": declared["maxDoublings"],
                },
                "httpTarget": target,
            }),
        );
    }
}

/// What the shell of an operator has whose database user has no more than the role.
async fn environment(system: &System, gcloud: &Gcloud) -> BTreeMap<&'static str, String> {
    let (mut environment, _) = system.environment_of_operator().await;
    environment.insert("GCP_PROJECT_ID", "p".to_owned());
    environment.insert("PATH", format!("{}:/usr/bin:/bin", gcloud.0.path().display()));
    environment
}

#[track_caller]
fn check(said: &Said, code: i32, expected: &[&str]) {
    assert_eq!(said.code, code, "{said:?}");
    for expected in expected {
        assert!(said.all().contains(expected), "{expected}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_checks_a_take_over_gives_back_and_asks_about_a_user_without_reading_a_token() {
    let system = System::start().await;
    let id = user(1);
    system
        .stack
        .run(&format!("INSERT INTO users (id, email, google_id, timezone) VALUES ('{id}', 'a@example.test', 'a', 'Europe/Rome')"))
        .await;
    let columns = "user_id, provider, access_token, refresh_token, expires_at, scope";
    let values = format!("'{id}', 'google_calendar', 'a', 'b', now(), ''");
    system.stack.run(&format!("INSERT INTO oauth_tokens ({columns}) VALUES ({values})")).await;
    let gcloud = Gcloud::new();
    let mut environment = environment(&system, &gcloud).await;

    let said = ops_with(&environment, &["takeover", FUNCTION, "--check", "--no-task"]);
    let unread = "your database user may not read tokens: let someone check who may";
    check(
        &said,
        0,
        &["statements can be run", unread, "ready, except for what was not checked: encryption key"],
    );

    let said = ops_with(&environment, &["user", &id.to_string(), "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let overview = &said.json()["overview"];
    assert_eq!(
        (&overview["timeZone"], &overview["connections"][0]["integration"]),
        (&json!("Europe/Rome"), &json!("google_calendar"))
    );

    let path = format!("/api/jobs/{FUNCTION}");
    gcloud.has_queue(Some(
        &json!({ "uriOverride": { "host": "x.run.app", "pathOverride": { "path": path } } }),
    ));
    let dry = ["giveback", FUNCTION, "--dry-run"];
    let forced = ["giveback", FUNCTION, "--dry-run", "--force"];
    check(&ops_with(&environment, &dry), 1, &["1 calendar tokens", "--force gives it back all the same"]);
    check(
        &ops_with(&environment, &forced),
        0,
        &["forced: ", "1 calendar tokens", "--clear-http-uri-override"],
    );

    // When it is needed most, Postgres may be down.
    environment.insert("DATABASE_URL", "postgres://unknown@127.0.0.1:1/none".to_owned());
    let unknown = "how many are open is not known";
    check(&ops_with(&environment, &dry), 1, &[unknown, "--force gives it back all the same"]);
    check(&ops_with(&environment, &forced), 0, &["forced: ", unknown, "--clear-http-uri-override"]);
}
