//! What is wrong is named with its fix, and what is not wrong is not.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::operator::{System, ops_with};

/// The checks of the system, seen from this environment, and the exit code.
fn checks(environment: &BTreeMap<&'static str, String>) -> (i32, Vec<Value>) {
    let said = ops_with(environment, &["doctor", "--json"]);
    let mut found = said.json();
    assert_eq!(found["isWell"], said.code == 0, "{said:?}");
    let Value::Array(checks) = found["checks"].take() else { panic!("{said:?}") };
    (said.code, checks)
}

/// Subjects and fixes of those that failed.
fn failed(checks: &[Value]) -> Vec<(&str, &str)> {
    let failed = checks.iter().filter(|check| check["status"] == "failed");
    failed.map(|check| (check["subject"].as_str().unwrap(), check["fix"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_well_passes_every_check() {
    let system = System::start().await;
    system.route_all().await;
    let (code, checks) = checks(&system.environment());
    assert_eq!((code, failed(&checks)), (0, Vec::new()), "{checks:#?}");
    let ok = |subject: &str| checks.iter().any(|it| it["subject"] == subject && it["status"] == "ok");
    for subject in
        ["configuration", "white space", "clock", "Cloud Tasks", "Postgres", "migrations", "rights", "Redis"]
    {
        assert!(ok(subject), "{subject}: {checks:#?}");
    }
    assert!(catchup::queues::all().all(|queue| ok(queue.name())), "{checks:#?}");
    // Google's endpoints are not configured here.
    assert!(checks.iter().any(|it| it["subject"] == "Calendar" && it["status"] == "unknown"), "{checks:#?}");
    // The lease that was written is gone.
    let keys = system.stack.redis(&["KEYS", "*doctor*"]).await;
    assert!(!format!("{keys:?}").contains("doctor"), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_is_wrong_is_named_with_its_fix() {
    let mut system = System::start().await;
    system.route_all().await;
    let mut environment = system.environment();

    // A secret that was stored with a line break.
    let token = environment["UPSTASH_REDIS_REST_TOKEN"].clone();
    environment.insert("UPSTASH_REDIS_REST_TOKEN", format!("{token}\n"));
    let said = ops_with(&environment, &["doctor"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.contains("FAILED  UPSTASH_REDIS_REST_TOKEN: its value has white space or a line break"),
        "{said:?}"
    );
    assert!(said.out.contains("fix: export UPSTASH_REDIS_REST_TOKEN="), "{said:?}");
    assert!(!said.all().contains(&token), "{said:?}");

    // A queue whose rate was changed by hand.
    environment = system.environment();
    let name = format!("{}/queues/token-refresh-queue", system.stack.tasks.settings().parent());
    let url = format!("{}/v2/{name}?updateMask=rateLimits.maxDispatchesPerSecond", system.stack.tasks.url());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let changed =
        http.patch(url).json(&json!({ "rateLimits": { "maxDispatchesPerSecond": 1 } })).send().await;
    assert!(changed.unwrap().status().is_success());
    let (code, found) = checks(&environment);
    let failures = failed(&found);
    assert_eq!((code, failures.len()), (1, 1), "{failures:?}");
    assert_eq!(failures[0].0, "token-refresh: rate");
    let start =
        "gcloud tasks queues update token-refresh-queue --location=loopback1 --max-dispatches-per-second=";
    assert!(failures[0].1.starts_with(start), "{failures:?}");

    // Redis has ended.
    system.stack.redis.kill().unwrap();
    let (code, found) = checks(&environment);
    let failures = failed(&found);
    assert_eq!(code, 1);
    assert!(
        failures.iter().any(|(subject, fix)| *subject == "Redis" && fix.contains("start Redis")),
        "{found:#?}"
    );
    assert!(found.iter().any(|it| it["subject"] == "Postgres" && it["status"] == "ok"), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_lacks_rights_and_a_schema_that_is_old_are_named() {
    let system = System::start().await;
    system.stack.run("CREATE ROLE doctor_reader LOGIN").await;
    system.stack.run("GRANT USAGE ON SCHEMA jobs TO doctor_reader").await;
    system
        .stack
        .run("DELETE FROM jobs.migrations WHERE version = (SELECT max(version) FROM jobs.migrations)")
        .await;
    let (_, of_owner) = checks(&system.environment());
    let mut url = system.stack.database.clone();
    url.set_username("doctor_reader").unwrap();
    let mut environment = system.environment();
    environment.insert("DATABASE_URL", url.to_string());
    let (code, of_reader) = checks(&environment);
    system.stack.run("DROP OWNED BY doctor_reader; DROP ROLE doctor_reader").await;

    assert!(failed(&of_owner).iter().any(|(subject, _)| *subject == "migrations"), "{of_owner:#?}");
    let failures = failed(&of_reader);
    assert_eq!(code, 1);
    let (_, fix) = failures.iter().find(|(subject, _)| *subject == "rights").expect("rights are missing");
    assert!(fix.starts_with("scripts/ops migrate --operator NAME"), "{fix}");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_those_that_cloud_run_lists() {
    let system = System::start().await;
    let mut environment = system.environment();
    environment.insert("CLOUD_RUN_ADMIN_URL", "http://127.0.0.1:1".to_owned());
    let (_, checks) = checks(&environment);
    let services = checks.iter().find(|check| check["subject"] == "services").unwrap();
    assert_eq!(services["status"], "unknown");
    assert!(services["detail"].as_str().unwrap().contains("Cloud Run does not respond"), "{services}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_commands_are_counted_by_purpose_and_minutes_say_nothing_about_a_month() {
    let system = System::start().await;
    system.fix();
    system.run_task(&json!({ "n": 1 })).await;
    let used = system.succeeds(&["usage", "--json"]).json();
    let queues = used["queues"].as_array().unwrap();
    let counted = |queue: &str| queues.iter().find(|it| it["queue"] == queue).unwrap()["counted"].clone();
    let idempotency = counted("token-refresh")["redisCommands"]["idempotency"].as_u64();
    assert!(idempotency.is_some_and(|commands| commands >= 2), "a lease and its end: {used}");
    assert_eq!(counted("calendar-sync"), Value::Null, "no function serves it");
    assert_eq!(used["redisCommandsPerMonth"], Value::Null, "{used}");
    let said = system.succeeds(&["usage"]).out;
    assert!(said.contains("that are free; alerts at ") && said.contains("limit google-calendar: "), "{said}");
}
