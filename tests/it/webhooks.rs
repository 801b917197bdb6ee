//! The webhook receiver: from a changed event to the task of a sync, and everything that only looks like one.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_LENGTH};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use catchup::queues;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use google_stand_in::{Event, SeedOptions};
use http_body_util::BodyExt;
use local_cloud::functions::{built_programs, program};
use local_cloud::{Background, ServiceProcess};
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::config::Config;
use shared::job::Setup;
use shared::runtime::{TURNED_AWAY, service_router};
use sqlx::PgConnection;
use tests::{Google, Messaging, Stack, within};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower::ServiceExt;
use uuid::Uuid;
use webhooks::google_calendar::{MAX_BODY_BYTES, MAX_IN_PROGRESS, PATHS};
use webhooks::{MAX_REQUESTS, SERVICE};

const TIMEOUT: Duration = Duration::from_secs(30);
const ADDRESS: &str = "192.0.2.1";
const OTHER_ADDRESS: &str = "192.0.2.2";
const GUESTS: usize = 200;

struct Fixture {
    stack: Stack,
    router: Router,
    user: Uuid,
}

/// Status, headers and body.
type Answer = (StatusCode, HeaderMap, Vec<u8>);

impl Fixture {
    /// A user with a channel.
    async fn new() -> Self {
        Self::with([]).await
    }

    async fn with(other: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let stack = Stack::start().await;
        let mut environment = stack.environment();
        environment.extend(Messaging::start().environment());
        environment.extend(other);
        let mut setup = Setup::new(Config::from_pairs(environment));
        let (router, _) = service_router(&SERVICE, &mut setup)
            .unwrap_or_else(|_| panic!("the environment cannot be used: {:?}", setup.config().problems()));
        let fixture = Self { stack, router, user: Uuid::new_v4() };
        let user = fixture.user;
        fixture
            .stack
            .run(&format!(
                "INSERT INTO users (id, email, google_id) VALUES ('{user}', 'a@example.test', 'a')"
            ))
            .await;
        fixture.stack.run(&subscription(user, "channel", "resource", "secret")).await;
        fixture
    }

    async fn send(&self, push: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(push).await.unwrap();
        let (head, body) = response.into_parts();
        (head.status, head.headers, body.collect().await.unwrap().to_bytes().to_vec())
    }

    async fn status(&self, push: Request<Body>) -> u16 {
        self.send(push).await.0.as_u16()
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

fn subscription(user: Uuid, channel: &str, resource: &str, token: &str) -> String {
    format!(
        "INSERT INTO calendar_webhook_subscriptions
            (user_id, channel_id, resource_id, resource_uri, expiration, token)
         VALUES ('{user}', '{channel}', '{resource}', 'uri', '2100-01-01', '{token}')"
    )
}

async fn records(stack: &Stack) -> Vec<(String, String, Option<String>)> {
    stack
        .rows("SELECT resource_state, result, error_message FROM webhook_notifications ORDER BY created_at")
        .await
}

/// A notification as Google sends it, with other values for some headers; an empty one leaves it out.
fn push(state: &str, other: &[(&'static str, &str)]) -> Request<Body> {
    push_to(PATHS[0], state, other)
}

fn push_to(path: &str, state: &str, other: &[(&'static str, &str)]) -> Request<Body> {
    let mut request = Request::post(path).body(Body::empty()).unwrap();
    let honest = [
        ("x-forwarded-for", ADDRESS),
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

fn unknown_caller(forwarded: &str) -> Request<Body> {
    push("exists", &[("x-goog-channel-id", "unknown"), ("x-forwarded-for", forwarded)])
}

/// An answer of which nothing can be learned but its status.
fn nothing(status: StatusCode) -> Answer {
    (status, HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0"))]), vec![])
}

fn success(state: &str) -> (String, String, Option<String>) {
    (state.to_owned(), "success".to_owned(), None)
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_within_a_window_cost_one_record_and_one_task() {
    let fixture = Fixture::new().await;
    for state in ["exists", "not_exists", "exists", "exists", "exists"] {
        let (status, headers, body) = fixture.send(push(state, &[])).await;
        assert_eq!((status, headers, body), nothing(StatusCode::NO_CONTENT));
    }
    let records = fixture.records().await;
    let tasks = fixture.tasks().await;
    // They may lie on both sides of the end of a window.
    assert!((1..=2).contains(&tasks.len()) && records.len() <= 2, "{tasks:?} {records:?}");
    assert_eq!(records[0], success("exists"));
    assert_eq!(tasks[0], json!({ "userId": fixture.user, "trigger": "webhook" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_that_the_application_gave_to_google_is_served_too() {
    for path in PATHS {
        let fixture = Fixture::new().await;
        assert_eq!(fixture.status(push_to(path, "exists", &[])).await, 204, "{path}");
        assert_eq!(fixture.records().await, [success("exists")], "{path}");
        assert_eq!(fixture.tasks().await.len(), 1, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_new_channel_and_unknown_states_are_recorded_and_call_for_nothing() {
    let fixture = Fixture::new().await;
    for state in ["sync", "a state of the future"] {
        assert_eq!(fixture.status(push(state, &[])).await, 204);
    }
    let ignored = |state: &str| (state.to_owned(), "ignored".to_owned(), None);
    assert_eq!(fixture.records().await, ["sync", "a state of the future"].map(ignored));
    assert!(fixture.tasks().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_caller_cannot_tell_an_unknown_channel_from_a_wrong_token() {
    let fixture = Fixture::new().await;
    // Also once the channel is one that was just seen.
    for tasks in [0, 1] {
        for other in [
            [("x-goog-channel-id", "unknown")],
            [("x-goog-channel-token", "secreT")],
            [("x-goog-channel-token", "secret2")],
            [("x-goog-resource-id", "another")],
            [("x-goog-channel-id", "")],
            [("x-goog-channel-token", "")],
            [("x-goog-resource-id", "")],
            [("x-goog-resource-state", "")],
            [("x-goog-channel-token", &"s".repeat(10_000))],
        ] {
            for path in PATHS {
                assert_eq!(
                    fixture.send(push_to(path, "exists", &other)).await,
                    nothing(StatusCode::NOT_FOUND),
                    "{other:?}"
                );
            }
        }
        assert_eq!(fixture.records().await.len(), tasks);
        assert_eq!(fixture.stack.tasks.count(queues::CALENDAR_SYNC).await.unwrap(), tasks);
        assert_eq!(fixture.status(push("exists", &[])).await, 204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_and_methods_look_alike() {
    let fixture = Fixture::new().await;
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    for request in [
        get(PATHS[0]),
        get("/google-calendars"),
        push_to("/webhooks/google-calendar", "exists", &[]),
        push_to("/api/jobs/calendar-sync", "exists", &[]),
    ] {
        let (status, headers, body) = fixture.send(request).await;
        assert_eq!((status.as_u16(), body), (404, vec![]));
        assert!(!headers.contains_key(ALLOW), "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_google_does_not_send_is_refused() {
    let fixture = Fixture::new().await;
    let long = || {
        let mut long = push("exists", &[]);
        *long.body_mut() = Body::from(vec![b' '; usize::try_from(MAX_BODY_BYTES).unwrap() + 1]);
        long
    };
    for _ in 0..MAX_REQUESTS {
        assert_eq!(fixture.status(long()).await, 413);
    }
    assert_eq!(fixture.records().await, []);
    assert_eq!(two_at_a_time(&fixture, || unknown_caller(ADDRESS)).await, [502, 404], "these were counted");
}

/// Keeps statements about channels waiting until it is dropped.
async fn locked(stack: &Stack) -> PgConnection {
    let mut lock = stack.connect().await;
    sqlx::query("BEGIN").execute(&mut lock).await.unwrap();
    sqlx::query("LOCK TABLE calendar_webhook_subscriptions").execute(&mut lock).await.unwrap();
    lock
}

/// Two requests at the same time while statements wait: what is answered immediately, and then the others.
async fn two_at_a_time(fixture: &Fixture, request: impl Fn() -> Request<Body>) -> Vec<u16> {
    let lock = locked(&fixture.stack).await;
    let mut requests: FuturesUnordered<_> = (0..2).map(|_| fixture.status(request())).collect();
    let mut statuses = Vec::new();
    while let Some(Some(status)) = requests.next().now_or_never() {
        statuses.push(status);
    }
    drop(lock);
    statuses.extend(requests.collect::<Vec<_>>().await);
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_notifications_are_not_counted_and_unknown_callers_from_its_address_cost_them_nothing() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.status(push("exists", &[])).await, 204);
    for _ in 0..2 * MAX_REQUESTS {
        assert_eq!(fixture.status(push("sync", &[])).await, 204);
    }
    assert_eq!(two_at_a_time(&fixture, || unknown_caller(ADDRESS)).await, [404, 404], "nothing was counted");
    for _ in 0..MAX_REQUESTS {
        assert_eq!(fixture.status(unknown_caller(ADDRESS)).await, 404);
    }
    assert_eq!(two_at_a_time(&fixture, || unknown_caller(ADDRESS)).await, [502, 404], "these were counted");
    // Only the last address counts: the ones before it may be invented.
    let elsewhere = || unknown_caller(&format!("{ADDRESS}, {OTHER_ADDRESS}"));
    assert_eq!(two_at_a_time(&fixture, elsewhere).await, [404, 404]);
    let limited = || unknown_caller(&format!("{OTHER_ADDRESS}, {ADDRESS}"));
    assert_eq!(two_at_a_time(&fixture, limited).await, [502, 404]);
    assert_eq!(two_at_a_time(&fixture, || push("sync", &[])).await, [204, 204]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_over_its_limit_is_answered_one_request_at_a_time() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.status(push("exists", &[])).await, 204);
    for _ in 0..MAX_REQUESTS {
        assert_eq!(fixture.status(unknown_caller(ADDRESS)).await, 404);
    }
    // The statement of the first one waits.
    let lock = locked(&fixture.stack).await;
    let (first, second) = (fixture.send(unknown_caller(ADDRESS)), fixture.send(unknown_caller(ADDRESS)));
    tokio::pin!(first, second);
    let (status, headers, _) = tokio::select! {
        biased;
        answer = &mut first => answer,
        answer = &mut second => answer,
    };
    // Google repeats it, and no deployment is blamed for it.
    assert_eq!((status, headers["retry-after"].to_str().unwrap()), (TURNED_AWAY, "1"));
    // A channel that was checked before does not wait for its turn, but for the table only.
    let known = fixture.send(push("sync", &[]));
    tokio::pin!(known);
    assert!(known.as_mut().now_or_never().is_none());
    drop(lock);
    assert_eq!(known.await.0, 204);
    assert_eq!(first.await.0, 404);
    assert_eq!(fixture.status(unknown_caller(ADDRESS)).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exceeds_the_requests_in_progress_is_answered_with_what_google_repeats() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.status(push("exists", &[])).await, 204);
    let lock = locked(&fixture.stack).await;
    let mut waiting: FuturesUnordered<_> =
        (0..MAX_IN_PROGRESS).map(|_| fixture.status(push("sync", &[]))).collect();
    assert_eq!(waiting.next().now_or_never(), None);
    let (status, headers, _) = fixture.send(push("sync", &[])).await;
    assert_eq!((status.as_u16(), headers["retry-after"].to_str().unwrap()), (503, "1"));
    assert_eq!(fixture.status(unknown_caller(ADDRESS)).await, 502);
    drop(lock);
    assert!(waiting.all(async |status| status == 204).await);
    assert_eq!(fixture.status(push("sync", &[])).await, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_cannot_be_enqueued_is_recorded_and_google_retries() {
    let nowhere = "http://127.0.0.1:9".to_owned();
    let fixture = Fixture::with([("CLOUD_TASKS_URL", nowhere)]).await;
    for _ in 0..2 {
        let (status, headers, body) = fixture.send(push("exists", &[])).await;
        assert_eq!((status.as_u16(), headers["retry-after"].to_str().unwrap()), (503, "30"));
        assert!(body.is_empty());
    }
    let failure = Some("task could not be sent".to_owned());
    let failed = ("exists".to_owned(), "failure".to_owned(), failure);
    assert_eq!(fixture.records().await, [failed.clone(), failed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_google_retries() {
    let fixture = Fixture::with([("DATABASE_URL", "postgres://none@127.0.0.1:9/none".to_owned())]).await;
    let (status, headers, body) = fixture.send(push("exists", &[])).await;
    assert_eq!((status.as_u16(), headers["retry-after"].to_str().unwrap()), (503, "30"));
    assert!(body.is_empty());
    assert!(fixture.tasks().await.is_empty());
    let ready = Request::get("/health/ready").body(Body::empty()).unwrap();
    assert_eq!(fixture.status(ready).await, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_not_for_who_comes_through_a_proxy() {
    let fixture = Fixture::new().await;
    let metrics = || Request::get("/metrics");
    assert_eq!(fixture.status(metrics().body(Body::empty()).unwrap()).await, 200);
    let public = metrics().header("x-forwarded-for", "192.0.2.7").body(Body::empty()).unwrap();
    assert_eq!(fixture.status(public).await, 404);
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(fixture.status(Request::get(path).body(Body::empty()).unwrap()).await, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_whose_clock_is_behind_enqueues_the_sync_of_a_window_that_is_open_for_cloud_tasks() {
    let stack = Stack::start().await;
    let behind = Clock::from_fn(|| Clock::system().now() - TimeDelta::minutes(5));
    let setup = Setup::with_clock(Config::from_pairs(stack.environment()), behind);
    let tasks = setup.tasks().unwrap();
    for _ in 0..2 {
        let coverage = catchup::webhooks::enqueue_sync(&tasks, Uuid::nil()).await.unwrap();
        assert!(coverage.includes(Clock::system().now() - TimeDelta::minutes(5)));
    }
    let listed = stack.tasks.list(queues::CALENDAR_SYNC).await.unwrap();
    let begins = |task: &Value| task["scheduleTime"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    assert!(listed.iter().map(begins).max() > Some(Clock::system().now()), "{listed:?}");
}

/// Users of Google's stand-in with open channels to `address`.
async fn channels(stack: &Stack, google: &Google, address: &str) -> Vec<Uuid> {
    let ends_at = google.world.now() + TimeDelta::days(7);
    let mut users = Vec::new();
    for user in google.world.users() {
        // Some have no calendar.
        let id = user.id.to_string();
        let opened = google.world.open_channel(user.id, &id, address, "secret", ends_at);
        let Ok(channel) = opened else { continue };
        stack.run(&subscription(user.id, &id, &channel.resource_id, "secret")).await;
        users.push(user.id);
    }
    users
}

async fn google(stack: &Stack, users: usize) -> Google {
    Google::start(stack, SeedOptions { users, max_contacts: 1, ..SeedOptions::default() }).await
}

fn tea(google: &Google) -> Event {
    Event::timed("Tea", google.world.now() + TimeDelta::days(1), TimeDelta::hours(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_meeting_with_many_guests_leads_to_a_sync_for_each_of_them() {
    let stack = Stack::start().await;
    let google = google(&stack, GUESTS).await;
    let mut setup = stack.setup(Messaging::start().environment());
    let (router, _) = service_router(&SERVICE, &mut setup).unwrap();
    let served = Background::start("webhooks", |listener| async move { axum::serve(listener, router).await });
    let address = format!("{}{}", served.as_ref().unwrap().url(), PATHS[1]);
    let users = channels(&stack, &google, &address).await;
    assert!(users.len() > GUESTS / 2, "{} users have a calendar", users.len());

    google.world.add_meeting(&users, &tea(&google)).unwrap();
    let told = "SELECT DISTINCT user_id FROM webhook_notifications WHERE result = 'success'";
    let all = async || stack.rows::<(Uuid,)>(told).await.len() == users.len();
    within(TIMEOUT, "everybody's notification is recorded", all).await;
    let enqueued =
        async || stack.tasks.count(queues::CALENDAR_SYNC).await.is_ok_and(|count| count >= users.len());
    within(TIMEOUT, "everybody has a sync", enqueued).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_whose_receiver_is_killed_before_its_task_exists_is_not_lost() {
    let stack = Stack::start().await;
    let google = google(&stack, 1).await;
    let gate = Gate::start(&stack.tasks.url().parse().unwrap());
    let mut environment = stack.environment();
    environment.extend(Messaging::start().environment());
    environment.insert("CLOUD_TASKS_URL", gate.server.url());
    let program = program(&built_programs().unwrap(), SERVICE.name)
        .expect("the service is not built: run cargo build --workspace first");
    let log = std::env::temp_dir().join(format!("{}.log", Uuid::new_v4()));
    let mut process = ServiceProcess::spawn(SERVICE.name, &program, &environment, &log).unwrap();
    process.ready().await.unwrap();
    let address = format!("http://{}{}", process.address(), PATHS[0]);
    let users = channels(&stack, &google, &address).await;

    google.world.add_meeting(&users, &tea(&google)).unwrap();
    within(TIMEOUT, "the notification is recorded", async || !records(&stack).await.is_empty()).await;
    process.kill().unwrap();
    assert_eq!(stack.tasks.count(queues::CALENDAR_SYNC).await.unwrap(), 0);

    gate.open();
    process.respawn().unwrap();
    let enqueued = async || stack.tasks.count(queues::CALENDAR_SYNC).await.is_ok_and(|count| count > 0);
    within(TIMEOUT, "the repeated notification has a sync", enqueued).await;
    drop(process);
    let _removed = std::fs::remove_file(log);
}

/// A way to a server that answers nothing until it is opened; what it was asked before then is lost.
struct Gate {
    server: Background,
    is_open: watch::Sender<bool>,
}

impl Gate {
    fn start(target: &url::Url) -> Self {
        let (is_open, state) = watch::channel(false);
        let target = (target.host_str().unwrap().to_owned(), target.port().unwrap());
        let server = Background::start("gate", move |listener| async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                let (mut state, target) = (state.clone(), target.clone());
                tokio::spawn(async move {
                    if *state.borrow() {
                        let mut server = TcpStream::connect(target).await.unwrap();
                        let _ended = copy_bidirectional(&mut caller, &mut server).await;
                    } else {
                        let _opened = state.wait_for(|is_open| *is_open).await;
                    }
                });
            }
            Ok::<_, std::io::Error>(())
        });
        Self { server: server.unwrap(), is_open }
    }

    fn open(&self) {
        self.is_open.send_replace(true);
    }
}
