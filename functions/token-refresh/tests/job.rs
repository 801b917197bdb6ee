//! The sweep and its tasks: over real servers and the stand-in for Google.

use google_stand_in::{Call, Fault, FaultKind, Integration, SeedOptions, Times};
use serde_json::{Value, json};
use shared::job::Job;
use shared::queue::Queue;
use tests::{Answer, Delivery, Google, Service, Stack};
use token_refresh::TokenRefresh;
use uuid::Uuid;

/// One more than a page of the sweep.
const MANY: i64 = 501;

struct Scene {
    stack: Stack,
    google: Google,
    service: Service,
}

impl Scene {
    /// As many users as the world is told to have, with both integrations each.
    async fn new(users: usize) -> Self {
        let stack = Stack::start().await;
        let google =
            Google::start(&stack, SeedOptions { users, max_contacts: 1, ..SeedOptions::default() }).await;
        let mut setup = stack.setup(google.environment());
        let job = TokenRefresh::new(&mut setup).unwrap();
        let service = stack.service_with(job, google.environment());
        Self { stack, google, service }
    }

    fn user(&self, place: usize) -> Uuid {
        self.google.world.users()[place].id
    }

    async fn deliver(&self, data: &Value) -> Answer {
        self.service.deliver(task(data)).await
    }

    async fn health(&self) -> Vec<(String, String)> {
        self.stack.rows("SELECT integration_type, status FROM token_health ORDER BY integration_type").await
    }
}

fn task(data: &Value) -> Delivery {
    Delivery::of(Queue::TokenRefresh, data)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_goes_through_all_users_in_pages_and_twice_creates_nothing_twice() {
    let scene = Scene::new(0).await;
    scene
        .stack.run(&format!(
            "INSERT INTO users (id, email, google_id)
             SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n || '@example.test', n::text
             FROM generate_series(1, {MANY}) n"
        ))
        .await;
    scene
        .stack.run("INSERT INTO oauth_tokens (user_id, provider, access_token) SELECT id, 'google_calendar', '' FROM users")
        .await;
    scene
        .deliver(&json!({}))
        .await
        .check_done(&json!({ "due": 500, "created": 500, "existing": 0, "continued": true }));
    let tasks = scene.stack.take_tasks(Queue::TokenRefresh).await;
    let (rest, users): (Vec<_>, Vec<_>) =
        tasks.into_iter().partition(|task| task.data().get("cursor").is_some());
    assert_eq!((rest.len(), users.len()), (1, 500));
    assert!(users.iter().all(|task| task.data().get("integrationType").is_none()));

    scene
        .service
        .deliver(rest[0].clone())
        .await
        .check_done(&json!({ "due": 1, "created": 1, "existing": 0, "continued": false }));
    assert_eq!(scene.stack.take_tasks(Queue::TokenRefresh).await.len(), 1);
    assert_eq!(scene.stack.sweep().await, (MANY, 0, 0, false));

    // The names of tasks that were there block others of the same name.
    scene
        .deliver(&json!({}))
        .await
        .check_done(&json!({ "due": 500, "created": 0, "existing": 500, "continued": true }));
    assert!(scene.stack.take_tasks(Queue::TokenRefresh).await.is_empty());
    assert_eq!(scene.stack.sweep().await, (MANY, 0, 0, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tasks_of_a_sweep_renew_what_is_due_and_count_what_failed() {
    let scene = Scene::new(2).await;
    scene.google.world.revoke_grant(scene.user(1), Integration::GoogleCalendar).unwrap();
    assert_eq!(scene.deliver(&json!({})).await.body["result"]["created"], 2);
    for task in scene.stack.take_tasks(Queue::TokenRefresh).await {
        assert_eq!(scene.service.deliver(task).await.outcome(), "done");
    }
    assert_eq!(scene.stack.sweep().await, (2, 3, 1, true));
    let health = scene.stack.rows::<(Uuid, String, String)>(
        "SELECT user_id, integration_type, status FROM token_health WHERE status <> 'valid'",
    );
    assert_eq!(health.await, [(scene.user(1), "google_calendar".to_owned(), "revoked".to_owned())]);

    // All were looked at, so that tomorrow's sweep finds nothing but their next expiry.
    scene.stack.run("UPDATE oauth_tokens SET expires_at = now() + interval '3 days'").await;
    scene.stack.advance(2);
    let answer = scene.deliver(&json!({ "sweepId": "another" })).await;
    answer.check_done(&json!({ "due": 0, "created": 0, "existing": 0, "continued": false }));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_may_be_asked_for() {
    let scene = Scene::new(1).await;
    let answer =
        scene.deliver(&json!({ "userId": scene.user(0), "integrationType": "google_contacts" })).await;
    answer.check_done(&json!({ "refreshed": 1, "failed": 0 }));
    assert_eq!(scene.health().await, [("google_contacts".to_owned(), "valid".to_owned())]);
    assert!(scene.stack.rows::<(String,)>("SELECT sweep_id FROM jobs.sweeps").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_token_is_skipped() {
    let scene = Scene::new(1).await;
    let answer = scene.deliver(&json!({ "userId": Uuid::new_v4() })).await;
    assert_eq!((answer.outcome(), answer.reason()), ("skipped", "unknown_user"));
    scene.stack.run("DELETE FROM oauth_tokens").await;
    for integration in [json!(null), json!("google_calendar")] {
        let answer = scene.deliver(&json!({ "userId": scene.user(0), "integrationType": integration })).await;
        assert_eq!((answer.outcome(), answer.reason()), ("skipped", "not_connected"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trouble_of_the_endpoint_is_tried_again_and_counted_when_given_up() {
    let scene = Scene::new(1).await;
    // Only the first of the two tokens meets it.
    let trouble = Fault::new(FaultKind::ServerError { status: 503 }).call(Call::Token).times(Times::Count(1));
    let last = Queue::TokenRefresh.policy().attempts - 1;
    let task = task(&json!({ "userId": scene.user(0), "sweepId": "today" }));
    for attempt in 0..last {
        scene.google.world.inject(trouble.clone());
        assert_eq!(scene.service.deliver(task.clone().again(attempt)).await.status, 500);
        assert!(scene.stack.rows::<(String,)>("SELECT sweep_id FROM jobs.sweeps").await.is_empty());
    }
    assert_eq!(scene.health().await, [("google_contacts".to_owned(), "valid".to_owned())]);

    scene.google.world.inject(trouble);
    let answer = scene.service.deliver(task.again(last)).await;
    assert_eq!((answer.status, answer.outcome()), (200, "dead"), "{answer:?}");
    assert_eq!(scene.stack.sweep().await, (0, 1, 1, false), "a sweep that is not over is not judged");
    assert_eq!(scene.stack.dead_letters().await.len(), 1);
}
