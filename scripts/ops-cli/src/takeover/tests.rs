//! Take-overs and give-backs against a cloud in memory. tests/ops/kills.rs kills them after each of their calls.

use serde_json::json;

use super::*;
use crate::fake_cloud::FakeCloud;

/// A queue with a schedule.
const FUNCTION: &str = "token-refresh";

fn options() -> CheckOptions {
    CheckOptions { caller: None, no_task: false, timeout_seconds: 0, unchecked: true, database: None }
}

fn run(cloud: &FakeCloud) -> anyhow::Result<bool> {
    let declaration = Declaration::read()?;
    let gcloud = cloud.gcloud();
    let handover = Handover::new(&gcloud, FUNCTION, &declaration.queues[FUNCTION], Times::none(), STEPS);
    Ok(take_over(&handover, &declaration, FUNCTION, &options())?.is_ready())
}

#[test]
fn a_take_over_pauses_waits_switches_and_resumes_in_this_order() {
    let cloud = FakeCloud::new(FUNCTION);
    assert!(cloud.schedules_are("PAUSED"));
    assert!(run(&cloud).unwrap());
    assert!(cloud.is_ours() && cloud.schedules_are("ENABLED"));
    let changes = cloud.changes();
    let order = ["queues pause", "queues update", "scheduler jobs resume", "queues resume"];
    let places: Vec<_> = order
        .iter()
        .map(|call| changes.iter().position(|change| change.contains(call)).expect(call))
        .collect();
    assert!(places.is_sorted(), "{changes:?}");
    assert!(changes[places[1]].contains("--max-attempts=-1"), "{changes:?}");
}

#[test]
fn a_queue_is_not_switched_while_a_task_is_in_flight() {
    let cloud = FakeCloud::new(FUNCTION);
    cloud.in_flight(3);
    assert!(run(&cloud).unwrap());
    assert_eq!(cloud.looks_at_flights(), 4);
}

#[test]
fn what_is_wrong_leaves_the_queue_as_it_is() {
    let cloud = FakeCloud::new(FUNCTION);
    cloud.edit("queue", "/retryConfig/minBackoff", json!("1s"));
    assert!(!run(&cloud).unwrap());
    assert!(!cloud.is_ours() && cloud.is_running());
    assert!(cloud.changes().is_empty(), "{:?}", cloud.changes());
}

#[test]
fn what_could_not_be_checked_keeps_a_queue_from_being_taken_over() {
    let cloud = FakeCloud::new(FUNCTION);
    let declaration = Declaration::read().unwrap();
    let gcloud = cloud.gcloud();
    let handover = Handover::new(&gcloud, FUNCTION, &declaration.queues[FUNCTION], Times::none(), STEPS);
    let options = CheckOptions { unchecked: false, ..options() };
    let error = take_over(&handover, &declaration, FUNCTION, &options).unwrap_err().to_string();
    assert!(error.contains("schema and encryption key"), "{error}");
    assert!(!cloud.is_ours() && cloud.is_running());
}

#[test]
fn what_gcloud_leaves_of_a_give_back_keeps_no_queue_from_being_taken_over() {
    let cloud = FakeCloud::new(FUNCTION);
    cloud.leave_remains();
    assert!(run(&cloud).unwrap());
    assert!(cloud.is_ours() && cloud.is_running());
    assert_eq!(cloud.tasks(), 1, "only the last look sends one");
}
