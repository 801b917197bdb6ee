//! Pages stay small, whatever the texts on them.

use serde_json::json;
use tests::{Delivery, Incident};

use crate::console::Console;
use crate::operator::{System, user};

/// Of a key that a producer chose, in bytes: a longer one is not recorded as it is.
const LONGEST_KEY: usize = 256;

#[tokio::test(flavor = "multi_thread")]
async fn every_view_is_within_its_budget_with_the_longest_texts() {
    let system = System::start().await;
    let incident = Incident { failures: 6_000, dead_letters: 600, deliveries: 6_000, error_chars: 1_000 };
    for statement in incident.statements() {
        system.stack.run(&statement).await;
    }
    let console = Console::start(&system.environment()).await;
    for view in incident.views() {
        console.page(&view).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_tasks_with_the_longest_keys_are_within_their_budget() {
    let system = System::start().await;
    system.stack.tasks.pause(System::QUEUE).await.unwrap();
    for n in 10..60 {
        let task = Delivery::of(System::QUEUE, &json!({ "userId": user(1) }));
        let mut envelope: serde_json::Value = serde_json::from_slice(task.body.as_bytes()).unwrap();
        // Each character is written as five in a page, and as three in an address.
        let key = format!("{n}{}", "<".repeat(LONGEST_KEY - 2));
        envelope["idempotencyKey"] = json!(key);
        system.stack.tasks.create(System::QUEUE, envelope.to_string().as_bytes()).await.unwrap();
    }
    let found = system.succeeds(&["tasks", "token-refresh", "--json"]).json();
    let length = |task: &serde_json::Value| task["key"].as_str().unwrap().len();
    assert!(found["tasks"].as_array().unwrap().iter().all(|task| length(task) >= LONGEST_KEY), "{found}");
    let console = Console::start(&system.environment()).await;
    let id = user(1);
    let all = [format!("/tasks?user={id}"), format!("/users/{id}"), "/tasks?queue=token-refresh".to_owned()];
    for view in all {
        let page = console.page(&view).await;
        assert!(page.contains("more"), "{view} is as long as it gets: {page}");
    }
}
