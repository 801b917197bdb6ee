//! The numbers of a project, as Cloud Monitoring has them.

use google_cloud_stand_in::{Containers, GoogleCloud};
use serde_json::{Value, json};

use crate::console::Console;
use crate::operator::{System, ops_with};

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
        "since": null, "redisCommands": {}, "vendorCalls": {}, "windowMinutes": 60,
    });
    assert_eq!(numbers(&overview, "token-refresh"), &expected);
    let none = numbers(&overview, "calendar-sync");
    assert_eq!((&none["dispatches"], &none["successPercent"]), (&json!(0), &Value::Null));

    let console = Console::start(&environment).await;
    let now = console.page("/").await;
    assert!(now.contains("Cloud Monitoring (last hour)") && now.contains("90.0 %"), "{now}");

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
    cloud.want_credentials();
    let refused = http.get(&url).query(&[("query", "up")]).send().await.unwrap();
    assert_eq!(refused.status(), 401);
}
