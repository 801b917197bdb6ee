//! The numbers of a project, as Cloud Monitoring has them, and of the processes on this machine.

use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta, Utc};
use google_cloud_stand_in::{Containers, GoogleCloud};
use local_cloud::Background;
use serde_json::{Value, json};
use tests::within;

use crate::console::Console;
use crate::operator::{System, ops_with};

const LIMIT: Duration = Duration::from_secs(20);
const HOURS_PER_MONTH: f64 = 720.0;

/// Cloud Monitoring next to the system.
fn monitoring(system: &System) -> GoogleCloud {
    let nothing = std::env::temp_dir();
    let containers = Containers { images: nothing.clone(), environment: system.environment(), logs: nothing };
    let settings = system.stack.tasks.settings();
    let url = system.stack.tasks.url();
    GoogleCloud::start(containers, &settings.project, &settings.caller, &url).unwrap()
}

fn source<'a>(overview: &'a Value, name: &str) -> &'a Value {
    let found = overview["sources"].as_array().unwrap().iter().find(|it| it["source"] == name);
    found.unwrap_or_else(|| panic!("{overview}"))
}

fn numbers<'a>(overview: &'a Value, queue: &str) -> &'a Value {
    let found = overview["queues"].as_array().unwrap().iter().find(|it| it["queue"] == queue);
    &found.unwrap_or_else(|| panic!("{overview}"))["numbers"]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_of_a_project_are_those_of_the_last_hour_in_cloud_monitoring() {
    let system = System::start().await;
    let cloud = monitoring(&system);
    for n in 1..=20 {
        let outcome = if n <= 2 { "retry" } else { "done" };
        cloud.record_dispatch("token-refresh", outcome, f64::from(n * 10));
        cloud.record_dispatch("webhooks", if n <= 15 { "refused" } else { outcome }, f64::from(n));
    }
    let mut environment = system.environment();
    environment.insert("CLOUD_MONITORING_URL", cloud.url());
    let said = ops_with(&environment, &["queues", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let overview = said.json();
    assert_eq!(source(&overview, "Cloud Monitoring")["problem"], Value::Null);
    assert!(source(&overview, "Cloud Monitoring")["at"].is_string());
    let expected = json!({
        "dispatches": 20, "byOutcome": { "done": 18, "retry": 2 }, "successPercent": 90.0, "p50Ms": 100.0, "p95Ms": 190.0,
        "since": null, "redisCommands": {}, "vendorCalls": {}, "totalMs": null, "windowMinutes": 60,
    });
    assert_eq!(numbers(&overview, "token-refresh"), &expected);
    let public = &overview["webhooks"]["numbers"];
    assert_eq!(public["byOutcome"], json!({ "done": 5, "refused": 15 }));
    assert_eq!((&public["successPercent"], &public["p95Ms"]), (&json!(100.0), &json!(19.0)), "{public}");
    let none = numbers(&overview, "calendar-sync");
    assert_eq!((&none["dispatches"], &none["successPercent"]), (&json!(0), &Value::Null));

    let console = Console::start(&environment).await;
    let now = console.page("/").await;
    assert!(now.contains("Cloud Monitoring (last hour)") && now.contains("90.0 %"), "{now}");
    assert!(now.contains("20 requests, 15 refused"), "{now}");

    // Where it is not available, its numbers are not known, and the rest is.
    cloud.want_credentials();
    let said = ops_with(&environment, &["queues"]);
    assert_eq!(said.code, 1, "{said:?}");
    let refused = "not known from Cloud Monitoring (last hour): Cloud Monitoring responded 401 Unauthorized: Request is missing";
    assert!(said.err.contains(refused) && said.out.contains("token-refresh"), "{said:?}");
    assert!(console.page("/").await.contains("Not known from Cloud Monitoring (last hour)"));
    drop(cloud);
    let said = ops_with(&environment, &["queues"]);
    assert!(said.err.contains("Cloud Monitoring does not respond"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_refuses_what_it_does_not_understand_as_the_vendor_does() {
    let system = System::start().await;
    let cloud = monitoring(&system);
    let url = format!("{}/v1/projects/local/location/global/prometheus/api/v1/query", cloud.url());
    let http = shared::http::client(std::time::Duration::from_secs(5), std::time::Duration::from_secs(5));
    for query in ["", "sum(", "histogram_quantile(0.5, up)", "histogram_quantile(x, sum)"] {
        let refused = http.get(&url).query(&[("query", query)]).send().await.unwrap();
        assert_eq!(refused.status(), 400, "{query}");
        assert_eq!(refused.json::<Value>().await.unwrap()["errorType"], "bad_data", "{query}");
    }
    let increase = "sum by (queue) (increase(logging_googleapis_com:user_jobs_tasks_total{monitored_resource=\"cloud_run_revision\"}[5m]))";
    let range = format!("{url}_range");
    for (start, end, step, query, status) in [
        ("600", "900", "300s", increase, 200),
        ("900", "600", "300s", increase, 400),
        ("600", "900", "60s", increase, 400),
        ("0", "86400000", "300s", increase, 400),
        ("yesterday", "900", "300s", increase, 400),
        ("600", "900", "300s", "up", 400),
    ] {
        let parameters = [("query", query), ("start", start), ("end", end), ("step", step)];
        let answer = http.get(&range).query(&parameters).send().await.unwrap();
        assert_eq!(answer.status(), status, "{parameters:?}");
    }
    let alerts = format!("{}/v3/projects/local/alerts", cloud.url());
    for (filter, size, status) in [
        ("state=\"OPEN\"", "5", 200),
        ("state=OPEN,", "5", 400),
        ("", "5", 400),
        ("state=\"OPEN\"", "many", 400),
    ] {
        let parameters = [("filter", filter), ("pageSize", size)];
        let answer = http.get(&alerts).query(&parameters).send().await.unwrap();
        assert_eq!(answer.status(), status, "{parameters:?}");
    }
    cloud.want_credentials();
    for url in [url, range, alerts] {
        let refused = http.get(&url).query(&[("query", "up")]).send().await.unwrap();
        assert_eq!(refused.status(), 401, "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_that_fire_are_above_the_queues_and_an_empty_list_says_of_what() {
    let system = System::start().await;
    let local = ops_with(&system.environment(), &["queues", "--json"]).json();
    assert_eq!(local["alerts"], "not_evaluated", "{local}");
    let console = Console::start(&system.environment()).await;
    assert!(console.page("/").await.contains("No alerts are evaluated on this machine."));
    drop(console);

    let cloud = monitoring(&system);
    let mut environment = system.environment();
    environment.insert("CLOUD_MONITORING_URL", cloud.url());
    let console = Console::start(&environment).await;
    let now = console.page("/").await;
    assert!(now.contains("<p>No alert fires in Cloud Monitoring.</p>"), "{now}");
    assert!(now.contains("Cloud Monitoring (alerts) <time"), "its age: {now}");
    cloud.open_alert("Jobs: dead-letters-critical", "CRITICAL", "calendar-sync");
    let now = console.page("/").await;
    let line = "Alert fires (critical): Jobs: dead-letters-critical, calendar-sync, opened ";
    assert!(now.contains(&format!("<p class=\"banner\" role=\"alert\">{line}")), "{now}");
    assert!(now.find(line) < now.find("<table>"), "above the queues: {now}");
    let said = ops_with(&environment, &["queues"]);
    assert!(said.code == 0 && said.out.contains(line), "{said:?}");
    for _ in 0..20 {
        cloud.open_alert(&format!("Jobs: another{}", "<".repeat(500)), "WARNING", "token-refresh");
    }
    let overview = ops_with(&environment, &["queues", "--json"]).json();
    let firing = &overview["alerts"]["firing"];
    assert_eq!((firing["items"].as_array().unwrap().len(), &firing["isCut"]), (20, &json!(true)));
    let newest = firing["items"][0]["policy"].as_str().unwrap();
    assert!(newest.starts_with("Jobs: another<"), "the newest first: {firing}");
    assert!(console.page("/").await.contains("The newest 20 alerts are shown; there are more."));

    cloud.want_credentials();
    let now = console.page("/").await;
    assert!(now.contains("Not known from Cloud Monitoring (alerts): "), "{now}");
    assert!(!now.contains("No alert fires") && !now.contains("Alert fires"), "{now}");
    assert_eq!(console.json("/?json").await["alerts"], "unknown");
}

fn close(value: &Value, expected: f64) -> bool {
    (value.as_f64().unwrap() - expected).abs() < 1e-6
}

#[tokio::test(flavor = "multi_thread")]
async fn the_month_of_a_project_is_counted_by_the_hour_and_projected_from_its_last_day() {
    let system = System::start().await;
    let cloud = monitoring(&system);
    for n in 1..=20 {
        cloud.record_dispatch("token-refresh", "done", f64::from(n));
    }
    cloud.record_lease_commands("token-refresh", 60);
    let mut environment = system.environment();
    environment.insert("CLOUD_MONITORING_URL", cloud.url());
    let console = Console::start(&environment).await;
    let answer = console.json("/cost?json").await;
    let cost = &answer["cost"];
    let time = |name: &str| cost[name].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    let (since, until) = (time("since"), time("until"));
    assert!(since.to_rfc3339().contains("-01T00:00:00"), "{cost}");
    // The stand-in counts what was recorded in each hour; in the first hour of a month none has ended.
    let hours = f64::from(i32::try_from((until - since).num_hours()).unwrap());
    assert!(close(&cost["tasks"]["soFar"], 20.0 * hours), "{cost}");
    assert!(close(&cost["tasks"]["projected"], 20.0 * HOURS_PER_MONTH), "{cost}");
    assert!(close(&cost["redisCommands"]["projected"], 60.0 * HOURS_PER_MONTH), "{cost}");
    let sum =
        |name: &str| cost["parts"].as_array().unwrap().iter().filter_map(|it| it[name].as_f64()).sum::<f64>();
    assert!(
        close(&cost["total"]["soFar"], sum("soFar")) && close(&cost["total"]["projected"], sum("projected"))
    );

    let total = format!("{:.2}", sum("projected"));
    let said = ops_with(&environment, &["cost", "--counted", "--json"]);
    assert_eq!((said.code, &said.json()["cost"]["total"]), (0, &cost["total"]), "{said:?}");
    let said = ops_with(&environment, &["cost", "--counted"]);
    assert!(said.code == 0 && said.out.contains(&total), "{said:?}");
    assert!(said.out.contains("Network traffic to vendors is not included"), "{said:?}");
    let page = console.page("/cost").await;
    assert!(page.contains(&total) && page.contains("<td data-name=\"per month\">43,200</td>"), "{page}");
    let is_counted = async || console.page("/").await.contains("Cost of this month");
    within(LIMIT, "the month is counted", is_counted).await;
    let now = console.page("/").await;
    assert!(now.contains("43200 per month: 9 % of what is free") && now.contains("href=\"/cost\""), "{now}");
    assert!(now.contains(&format!("{total} USD per month")), "{now}");

    cloud.want_credentials();
    let said = ops_with(&environment, &["cost", "--counted"]);
    assert!(said.code == 1 && said.err.contains("not known from Cloud Monitoring (month)"), "{said:?}");
    assert!(console.page("/cost").await.contains("Not known from Cloud Monitoring (month)"));
    let console = Console::start(&environment).await;
    let is_said = async || console.page("/").await.contains("cost of this month are not known from");
    within(LIMIT, "it is said that the month is not known", is_said).await;
}

/// Cloud Run's lists: a service with one revision, made at that time.
fn cloud_run(services: &'static [&'static str], made: DateTime<Utc>) -> Background {
    let items = |items: Vec<Value>| json!({ "items": items });
    let list = services.iter().map(|name| {
        let traffic = json!([{ "revisionName": format!("{name}-00002"), "percent": 100 }]);
        json!({
            "metadata": { "name": name },
            "status": { "url": "https://x.run.app", "traffic": traffic, "latestCreatedRevisionName": format!("{name}-00002") },
        })
    });
    let list = items(list.collect());
    let revisions = services.iter().map(|name| {
        json!({
            "metadata": {
                "name": format!("{name}-00002"),
                "creationTimestamp": made.to_rfc3339(),
                "labels": { "serving.knative.dev/service": name, "serving.knative.dev/configurationGeneration": "2" },
            },
        })
    });
    let revisions = items(revisions.collect());
    let lists = "/apis/serving.knative.dev/v1/namespaces/{project}";
    let router = Router::new()
        .route(&format!("{lists}/services"), get(async move || Json(list)))
        .route(&format!("{lists}/revisions"), get(async move || Json(revisions)));
    Background::start("cloud-run", async |listener| axum::serve(listener, router).await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_hour_of_a_project_has_its_bars_with_a_mark_where_a_revision_was_made() {
    let system = System::start().await;
    let cloud = monitoring(&system);
    for outcome in ["done", "done", "retry"] {
        cloud.record_dispatch("token-refresh", outcome, 5.0);
    }
    let made = system.stack.now() - TimeDelta::minutes(20);
    let run = cloud_run(&["token-refresh", "webhooks"], made);
    let mut environment = system.environment();
    environment.insert("CLOUD_MONITORING_URL", cloud.url());
    environment.insert("CLOUD_RUN_ADMIN_URL", run.url());
    let console = Console::start(&environment).await;
    let is_read = async || console.json("/?json").await["lastHour"].is_object();
    within(LIMIT, "the last hour is read", is_read).await;
    let hour = &console.json("/?json").await["lastHour"];
    let bars = hour["bars"].as_array().unwrap();
    assert_eq!((bars.len(), &hour["barMinutes"]), (12, &json!(5)), "{hour}");
    for bar in bars {
        assert_eq!(bar["counted"], json!({ "token-refresh": { "done": 2, "retry": 1 } }));
    }
    let now = console.page("/").await;
    let at = made.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let label =
        format!("token-refresh, the last 60 minutes: 24 done, 12 retry; token-refresh-00002 made at {at}");
    assert!(now.contains(&label), "{label}: {now}");
    assert!(
        now.contains(&format!("webhooks, the last 60 minutes: nothing ended; webhooks-00002 made at {at}"))
    );
    assert_eq!(now.matches("<path class=\"mark\"").count(), 2, "{now}");
    assert!(now.contains("a line where a revision was made") && now.contains("</time>, last read "), "{now}");

    let deploys = console.json("/deploys?json").await;
    let public =
        deploys["functions"].as_array().unwrap().iter().find(|it| it["queue"] == "webhooks").unwrap();
    assert_eq!((&public["owner"], &public["revisions"][0]["percent"]), (&json!("public"), &json!(100)));
    let page = console.page("/deploys").await;
    assert!(page.contains("webhooks-00002 100 %") && !page.contains("/queues/webhooks"), "{page}");
    assert!(ops_with(&environment, &["deploys"]).out.contains("webhooks-00002 100 %"));

    // Bars without Cloud Run are bars, and that deploys are not known is said.
    drop(run);
    let console = Console::start(&environment).await;
    let is_read = async || console.page("/").await.contains("Deploys are not known");
    within(LIMIT, "the last hour is read", is_read).await;
    assert!(console.page("/").await.contains("token-refresh, the last 60 minutes: 24 done, 12 retry\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_service_has_its_row_with_what_it_counted_on_this_machine() {
    let system = System::start().await;
    let text = "tasks_total{queue=\"webhooks\",outcome=\"done\"} 30\n\
        tasks_total{queue=\"webhooks\",outcome=\"unavailable\"} 10\n\
        tasks_total{queue=\"webhooks\",outcome=\"refused\"} 60\n\
        task_duration_seconds_sum{queue=\"webhooks\"} 4.5\n\
        task_duration_seconds_bucket{le=\"0.02\",queue=\"webhooks\"} 96\n\
        task_duration_seconds_bucket{le=\"+Inf\",queue=\"webhooks\"} 100\n\
        redis_commands_total{purpose=\"cache\"} 7\n\
        process_start_time_seconds 1700000000\n# EOF\n";
    let router = Router::new().route("/metrics", get(async move || text));
    let webhooks =
        Background::start("webhooks", async |listener| axum::serve(listener, router).await).unwrap();
    let mut environment = system.environment();
    let unset = ops_with(&environment, &["queues"]);
    assert!(unset.code == 0 && unset.out.contains("? requests: WEBHOOKS_URL is not set"), "{unset:?}");
    environment.insert("WEBHOOKS_URL", webhooks.url());
    let said = ops_with(&environment, &["queues"]);
    assert_eq!(said.code, 0, "{said:?}");
    let row = said.out.lines().find(|line| line.starts_with("webhooks ")).unwrap();
    let cells: Vec<_> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let expected = ["webhooks", "public", "-", "-", "-", "-", "75.0 %", "≤ 20 ms", "≤ 20 ms", "-"];
    assert_eq!(cells, [&expected[..], &["100 requests, 60 refused"]].concat());
    let usage = ops_with(&environment, &["usage", "--json"]).json();
    let public = usage["queues"].as_array().unwrap().iter().find(|it| it["queue"] == "webhooks").unwrap();
    assert_eq!(public["counted"]["redisCommands"], json!({ "cache": 7 }));

    let console = Console::start(&environment).await;
    let now = console.page("/").await;
    let (_, row) = now.split_once(">webhooks</a>").unwrap();
    for cell in [
        "100 requests, 60 refused",
        "<td data-name=\"success\">75.0 %</td>",
        "<td data-name=\"p95\">≤ 20 ms</td>",
    ] {
        assert!(row.contains(cell), "{cell}: {row}");
    }
    assert!(console.page("/deploys").await.contains(&webhooks.url()));
    let is_counted = async || console.page("/").await.contains("Cost of this month");
    within(LIMIT, "the month is counted", is_counted).await;
    let cost = console.json("/cost?json").await;
    assert!(cost["cost"]["tasks"]["soFar"].as_f64().unwrap() >= 100.0, "{cost}");
    assert!(console.page("/cost").await.contains("This machine costs nothing"));

    drop(webhooks);
    let said = ops_with(&environment, &["queues"]);
    assert!(
        said.code == 1 && said.err.contains("not known from metrics: webhooks does not respond"),
        "{said:?}"
    );
}
