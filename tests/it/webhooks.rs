//! Push notifications: from a changed event to the task of a sync, and everything that only looks like one.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use catchup::limits::API_ADDRESS;
use catchup::queues;
use catchup::webhooks::{self, MAX_BODY_BYTES, PATH};
use chrono::TimeDelta;
use google_stand_in::{Event, SeedOptions};
use http_body_util::BodyExt;
use local_cloud::Background;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::{Google, Stack, within};
use tower::ServiceExt;
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(20);
const PEER: &str = "192.0.2.1";
const OTHER_PEER: &str = "192.0.2.2";

struct Fixture {
    stack: Stack,
    router: Router,
    user: Uuid,
}

/// Status, `Retry-After` and body of an answer.
type Answer = (u16, Option<String>, Vec<u8>);

impl Fixture {
    /// A user with a channel.
    async fn new() -> Self {
        Self::with([]).await
    }

    async fn with(other: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let stack = Stack::start().await;
        let router = webhooks::router(&mut stack.setup(other)).unwrap();
        let fixture = Self { stack, router, user: Uuid::new_v4() };
        let user = fixture.user;
        fixture
            .run(&format!(
                "INSERT INTO users (id, email, google_id) VALUES ('{user}', 'a@example.test', 'a')"
            ))
            .await;
        fixture
            .run(&format!(
                "INSERT INTO calendar_webhook_subscriptions
                    (user_id, channel_id, resource_id, resource_uri, expiration, token)
                 VALUES ('{user}', 'channel', 'resource', 'uri', '2100-01-01', 'secret')"
            ))
            .await;
        fixture
    }

    async fn run(&self, sql: &str) {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut self.stack.connect().await).await.unwrap();
    }

    async fn send(&self, push: Request<Body>) -> Answer {
        send(&self.router, push).await
    }

    /// What is recorded: state, result and error, in order of coming.
    async fn records(&self) -> Vec<(String, String, Option<String>)> {
        records(&self.stack).await
    }

    async fn tasks(&self) -> Vec<Value> {
        let tasks = self.stack.take_tasks(queues::CALENDAR_SYNC).await;
        tasks.iter().map(|task| serde_json::from_str::<Value>(&task.body).unwrap()["data"].clone()).collect()
    }
}

async fn send(router: &Router, push: Request<Body>) -> Answer {
    let response = router.clone().oneshot(push).await.unwrap();
    let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    (status, retry_after, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

async fn records(stack: &Stack) -> Vec<(String, String, Option<String>)> {
    sqlx::query_as(
        "SELECT resource_state, result, error_message FROM webhook_notifications ORDER BY created_at",
    )
    .fetch_all(&mut stack.connect().await)
    .await
    .unwrap()
}

/// A notification as Google sends it, with other values for some headers; an empty one leaves it out.
fn push(state: &str, other: &[(&'static str, &str)]) -> Request<Body> {
    let peer: SocketAddr = format!("{PEER}:1").parse().unwrap();
    let mut request = Request::post(PATH).extension(ConnectInfo(peer)).body(Body::empty()).unwrap();
    let honest = [
        ("x-goog-channel-id", "channel"),
        ("x-goog-channel-token", "secret"),
        ("x-goog-resource-id", "resource"),
        ("x-goog-resource-state", state),
        ("x-goog-message-number", "2"),
    ];
    for &(name, value) in honest.iter().chain(other) {
        request.headers_mut().insert(name, value.parse().unwrap());
        if value.is_empty() {
            request.headers_mut().remove(name);
        }
    }
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn debounced_changes_lead_to_one_sync_after_their_window() {
    let fixture = Fixture::new().await;
    for state in ["exists", "not_exists", "exists"] {
        assert_eq!(fixture.send(push(state, &[])).await, (204, None, vec![]));
    }
    let success = |state: &str| (state.to_owned(), "success".to_owned(), None);
    assert_eq!(fixture.records().await, ["exists", "not_exists", "exists"].map(success));
    let tasks = fixture.tasks().await;
    // Three may lie on both sides of the end of a window.
    assert!((1..=2).contains(&tasks.len()), "{tasks:?}");
    assert_eq!(tasks[0], json!({ "userId": fixture.user, "trigger": "webhook" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_is_recorded_and_calls_for_nothing() {
    let fixture = Fixture::new().await;
    for state in ["sync", "a state of the future"] {
        assert_eq!(fixture.send(push(state, &[])).await.0, 204);
    }
    let ignored = |state: &str| (state.to_owned(), "ignored".to_owned(), None);
    assert_eq!(fixture.records().await, ["sync", "a state of the future"].map(ignored));
    assert!(fixture.tasks().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_from_google_learns_nothing_and_leaves_nothing() {
    let fixture = Fixture::new().await;
    for other in [
        [("x-goog-channel-id", "unknown")],
        [("x-goog-channel-token", "secreT")],
        [("x-goog-channel-token", "secret2")],
        [("x-goog-resource-id", "another")],
        [("x-goog-channel-id", "")],
        [("x-goog-channel-token", "")],
        [("x-goog-resource-id", "")],
        [("x-goog-resource-state", "")],
    ] {
        assert_eq!(fixture.send(push("exists", &other)).await, (404, None, vec![]), "{other:?}");
    }
    assert_eq!(fixture.records().await, []);
    assert!(fixture.tasks().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_gets_its_limit_and_no_header_makes_another_of_it() {
    let fixture = Fixture::new().await;
    let forged = |number: u32| {
        push("exists", &[("x-goog-channel-id", "unknown"), ("x-forwarded-for", &format!("10.0.0.{number}"))])
    };
    for number in 0..API_ADDRESS.max {
        assert_eq!(fixture.send(forged(number)).await.0, 404);
    }
    let (status, retry_after, body) = fixture.send(push("exists", &[])).await;
    assert_eq!((status, body), (503, vec![]), "which Google sends again");
    assert!((1..=60).contains(&retry_after.unwrap().parse::<u64>().unwrap()));
    let mut from_elsewhere = push("exists", &[]);
    let peer: SocketAddr = format!("{OTHER_PEER}:1").parse().unwrap();
    from_elsewhere.extensions_mut().insert(ConnectInfo(peer));
    assert_eq!(fixture.send(from_elsewhere).await.0, 204);
    fixture.stack.advance(61);
    assert_eq!(fixture.send(push("exists", &[])).await.0, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_its_callers_have_limits_of_their_own() {
    let fixture = Fixture::with([("TRUSTED_PROXY_HOPS", "1".to_owned())]).await;
    let from = |address: &str| push("exists", &[("x-forwarded-for", &format!("10.0.0.9, {address}"))]);
    for _ in 0..API_ADDRESS.max {
        assert_eq!(fixture.send(from("192.0.2.7")).await.0, 204);
    }
    assert_eq!(fixture.send(from("192.0.2.7")).await.0, 503);
    assert_eq!(fixture.send(from("192.0.2.8")).await.0, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_request_is_cut_off() {
    let fixture = Fixture::new().await;
    let mut long = push("exists", &[]);
    *long.body_mut() = Body::from(vec![b' '; MAX_BODY_BYTES + 1]);
    assert_eq!(fixture.send(long).await.0, 413);
    let get = Request::get(PATH).body(Body::empty()).unwrap();
    assert_eq!(fixture.send(get).await.0, 405);
    assert_eq!(fixture.records().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_cannot_be_enqueued_is_recorded_and_google_retries() {
    let nowhere = "http://127.0.0.1:9".to_owned();
    let fixture = Fixture::with([("CLOUD_TASKS_URL", nowhere)]).await;
    let (status, retry_after, body) = fixture.send(push("exists", &[])).await;
    assert_eq!((status, retry_after.as_deref(), body), (503, Some("30"), vec![]));
    let failure = Some("task could not be sent".to_owned());
    assert_eq!(fixture.records().await, [("exists".to_owned(), "failure".to_owned(), failure)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_event_leads_to_the_task_of_a_sync() {
    let stack = Stack::start().await;
    let google =
        Google::start(&stack, SeedOptions { users: 1, max_contacts: 1, ..SeedOptions::default() }).await;
    let user = google.world.users()[0].id;
    let mut setup = stack.setup(google.environment());
    let router = webhooks::router(&mut setup).unwrap().into_make_service_with_connect_info::<SocketAddr>();
    let receiver =
        Background::start("webhooks", |listener| async move { axum::serve(listener, router).await });
    let address = format!("{}{PATH}", receiver.as_ref().unwrap().url());
    let ends_at = google.world.now() + TimeDelta::days(7);
    let channel = google.world.open_channel(user, "channel", &address, "secret", ends_at).unwrap();
    let resource = channel.resource_id;
    sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO calendar_webhook_subscriptions
            (user_id, channel_id, resource_id, resource_uri, expiration, token)
         VALUES ('{user}', 'channel', '{resource}', 'uri', '2100-01-01', 'secret')"
    )))
    .execute(&mut stack.connect().await)
    .await
    .unwrap();

    let event = Event::timed("Tea", google.world.now() + TimeDelta::days(1), TimeDelta::hours(1));
    google.world.add_event(user, "primary", event).unwrap();
    within(TIMEOUT, "the notification is recorded", async || !records(&stack).await.is_empty()).await;
    assert_eq!(records(&stack).await, [("exists".to_owned(), "success".to_owned(), None)]);
    let tasks = stack.take_tasks(queues::CALENDAR_SYNC).await;
    assert_eq!(tasks.len(), 1);
    assert!(tasks[0].body.contains(&user.to_string()));
}
