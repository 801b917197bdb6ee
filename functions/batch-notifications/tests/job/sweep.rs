//! The sweep's pages, windows and names.

use serde_json::json;
use shared::queue::Queue;
use tests::Delivery;

use crate::scene::{Scene, task};

/// One more than a page of the sweep.
const MANY: u32 = 501;
/// The first of users by id.
const FIRST: &str = "00000000-0000-4000-8000-000000000001";

/// The sweep of a moment, wherever the clock is.
fn sweep_at(moment: &str) -> Delivery {
    Delivery::new(json!({ "data": {}, "jobName": "batch-notifications", "enqueuedAt": moment }).to_string())
}

async fn many(scene: &Scene) {
    scene
        .stack.run(&format!(
            "INSERT INTO users (id, email, google_id, timezone)
             SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n || '@example.test', n::text,
                (ARRAY['Europe/Berlin', NULL, 'Nowhere/Atall'])[1 + n % 3]
             FROM generate_series(1, {MANY}) n;
             INSERT INTO notification_preferences (user_id, batch_day, batch_time, timezone)
             SELECT id, CASE WHEN timezone IS NULL THEN NULL ELSE 0 END,
                CASE timezone WHEN 'Europe/Berlin' THEN '10:00' WHEN 'Nowhere/Atall' THEN 'nine' END, NULL
             FROM users"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_goes_through_all_users_in_pages_of_one_window_and_twice_creates_nothing_twice() {
    let scene = Scene::new().await;
    many(&scene).await;
    // A Sunday in winter, 09:00 UTC: by the defaults, and by each zone's name, everybody's time.
    let answer = scene.service.deliver(sweep_at("2026-01-11T09:05:00Z")).await;
    answer.check_done(&json!({ "due": 500, "created": 500, "existing": 0, "continued": true }));
    let tasks = scene.stack.take_tasks(Queue::BatchNotifications).await;
    let (rest, users): (Vec<_>, Vec<_>) =
        tasks.into_iter().partition(|task| task.data().get("cursor").is_some());
    assert_eq!((rest.len(), users.len()), (1, 500));
    let first = users.iter().map(Delivery::data).find(|data| data["userId"] == FIRST).unwrap();
    assert_eq!(first, json!({ "userId": FIRST, "dayOfWeek": 0, "time": "09:00" }));
    assert_eq!(rest[0].data()["sweepId"], "2026-01-11T08:45:00Z/2026-01-11T09:00:00Z");

    // Another sweep in between, which answers for the unfinished one too, changes nothing for the rest of that.
    let answer = scene.service.deliver(sweep_at("2026-01-11T09:15:00Z")).await;
    answer.check_done(&json!({ "due": 500, "created": 0, "existing": 500, "continued": true }));
    let answer = scene.service.deliver(rest[0].clone()).await;
    answer.check_done(&json!({ "due": 1, "created": 1, "existing": 0, "continued": false }));
    let answer = scene.service.deliver(rest[0].clone()).await;
    assert_eq!(answer.body["duplicate"], true);

    let answer = scene.service.deliver(sweep_at("2026-01-11T09:05:00Z")).await;
    assert_eq!((answer.outcome(), answer.reason()), ("skipped", "swept_already"));
    // Even one whose window was forgotten finds the names taken.
    scene.stack.run("DELETE FROM jobs.sweeps").await;
    let answer = scene.service.deliver(sweep_at("2026-01-11T09:05:00Z")).await;
    answer.check_done(&json!({ "due": 500, "created": 0, "existing": 500, "continued": true }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_after_others_failed_finds_what_they_would_have_found() {
    let scene = Scene::new().await;
    many(&scene).await;
    scene.stack.run(&format!("DELETE FROM users WHERE id <> '{FIRST}'")).await;
    let answer = scene.service.deliver(sweep_at("2026-01-11T08:30:00Z")).await;
    answer.check_done(&json!({ "due": 0, "created": 0, "existing": 0, "continued": false }));
    let answer = scene.service.deliver(sweep_at("2026-01-11T11:30:00Z")).await;
    answer.check_done(&json!({ "due": 1, "created": 1, "existing": 0, "continued": false }));
    // An outage may last for days.
    for (moment, due) in
        [("2026-01-11T11:45:00Z", 0), ("2026-01-17T11:45:00Z", 0), ("2026-01-23T11:30:00Z", 1)]
    {
        let answer = scene.service.deliver(sweep_at(moment)).await;
        answer.check_done(&json!({ "due": due, "created": due, "existing": 0, "continued": false }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_comes_from_the_future_covers_no_more_than_the_present() {
    let scene = Scene::new().await;
    let answer = scene.service.deliver(sweep_at("2126-01-11T09:00:00Z")).await;
    assert_eq!(answer.outcome(), "done");
    let sweeps = scene.stack.rows::<(bool,)>(
        "SELECT split_part(sweep_id, '/', 2)::timestamptz <= now() + interval '1 minute' FROM jobs.sweeps",
    );
    assert_eq!(sweeps.await, [(true,)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_of_no_window_is_a_dead_letter() {
    let scene = Scene::new().await;
    let answer = scene.service.deliver(task(&json!({ "sweepId": "another" }))).await;
    assert_eq!((answer.status, answer.outcome()), (200, "dead"));
}
