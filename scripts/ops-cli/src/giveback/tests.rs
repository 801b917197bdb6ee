//! Give-backs against a cloud in memory. tests/ops/kills.rs kills them after each of their calls.

use super::*;
use crate::fake_cloud::FakeCloud;

fn run(cloud: &FakeCloud, function: &str) -> anyhow::Result<bool> {
    let declaration = Declaration::read()?;
    let declared = &declaration.queues[function];
    let gcloud = cloud.gcloud();
    let handover = Handover::new(&gcloud, function, declared, Times::none(), STEPS);
    give_back(&handover, declared, function, || Ok(()))
}

fn ours(function: &str) -> FakeCloud {
    let cloud = FakeCloud::new(function);
    cloud.take_over();
    cloud
}

#[test]
fn a_queue_gets_its_attempts_back_in_the_call_that_takes_the_target_away() {
    let cloud = ours("calendar-sync");
    assert!(run(&cloud, "calendar-sync").unwrap());
    assert!(!cloud.is_ours() && cloud.is_running());
    let changes = cloud.changes();
    let updates: Vec<_> = changes.iter().filter(|change| change.contains("queues update")).collect();
    assert_eq!(updates.len(), 1, "{changes:?}");
    assert!(updates[0].contains("--max-attempts=5") && updates[0].contains("--clear-http-uri-override"));
    assert!(!changes.iter().any(|change| change.contains("purge")), "{changes:?}");
}

#[test]
fn schedules_are_paused_and_what_would_be_a_sweep_is_purged_before_the_switch() {
    let cloud = ours("suggestion-generation");
    assert!(run(&cloud, "suggestion-generation").unwrap());
    let changes = cloud.changes();
    let order = ["scheduler jobs pause", "queues pause", "queues purge", "queues update", "queues resume"];
    let places: Vec<_> = order
        .iter()
        .map(|call| changes.iter().position(|change| change.contains(call)).expect(call))
        .collect();
    assert!(places.is_sorted(), "{changes:?}");
}

#[test]
fn tasks_of_the_application_in_a_queue_that_it_has_back_are_not_purged() {
    let cloud = FakeCloud::new("suggestion-generation");
    cloud.edit("queue", "/state", "PAUSED".into());
    assert!(run(&cloud, "suggestion-generation").unwrap());
    let changes = cloud.changes();
    assert!(cloud.is_running() && !changes.iter().any(|change| change.contains("purge")), "{changes:?}");
}

#[test]
fn a_refusal_changes_nothing() {
    let cloud = ours("batch-notifications");
    let declaration = Declaration::read().unwrap();
    let declared = &declaration.queues["batch-notifications"];
    let gcloud = cloud.gcloud();
    let handover = Handover::new(&gcloud, "batch-notifications", declared, Times::none(), STEPS);
    let refusal = || anyhow::bail!("harm");
    give_back(&handover, declared, "batch-notifications", refusal).unwrap_err();
    assert!(cloud.is_ours() && cloud.is_running() && cloud.changes().is_empty());
}
