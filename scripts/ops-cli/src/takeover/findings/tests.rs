//! Each check, with what is right and what is not.

use serde_json::json;

use super::*;

fn target() -> Target {
    Target {
        function: "token-refresh".to_owned(),
        queue: "token-refresh-queue".to_owned(),
        caller: "q@p.iam.gserviceaccount.com".to_owned(),
        url: "https://x".to_owned(),
        audience: "https://x".to_owned(),
        has_remains: false,
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
        schedules: Vec::new(),
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
            schedules: Vec::new(),
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
        |is_right, body: Value| check(is_right, |it| it.envelopes(&[task(&body)], &["calendar-sync"]));
    looks_right(true, json!({ "data": {}, "idempotencyKey": "k", "jobName": "token-refresh" }));
    looks_right(true, json!({ "data": {} }));
    looks_right(true, json!({ "data": {}, "jobName": "google-contacts-sync-00000000-1700000000000" }));
    looks_right(false, json!({ "data": {}, "jobName": "calendar-sync" }));
    looks_right(false, json!({ "userId": "u" }));
    // Nothing to check is no reason to stop.
    check(true, |findings| findings.envelopes(&[], &[]));
}
