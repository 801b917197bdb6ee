//! Checks of quiet channels, the sweep over them, and what becomes of broken ones: over real servers and the stand-in
//! for Google.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use axum::extract::Query;
use axum::routing::get;
use axum::{Json, Router};
use catchup::limits::GOOGLE_CALENDAR;
use catchup::queues;
use chrono::TimeDelta;
use google_stand_in::{Call, Clock, Event, Recurrence, SeedOptions, World};
use serde_json::{Value, json};
use shared::job::Job;
use shared::rate_limit::{Decision, Limiter};
use tests::{Answer, Delivery, Google, Service, Stack};
use uuid::Uuid;
use webhook_health_check::WebhookHealthCheck;
use webhook_renewal::WebhookRenewal;

const ADDRESS: &str = "https://app.example.test/google-calendar";
/// When the channels of the tests were opened, and when they were last heard of, in hours before now.
const OPENED_AT: i64 = 72;
const HEARD_AT: i64 = 50;

struct Fixture {
    stack: Stack,
    google: Google,
    service: Service,
    renewal: Service,
    limiter: Limiter,
}

impl Fixture {
    /// The first of `users` have a channel that was last heard of two days ago, and calendars that never changed since.
    async fn new(users: usize) -> Self {
        let stack = Stack::start().await;
        let (hours_ago, machine) = (Arc::new(AtomicI64::new(100)), shared::clock::Clock::system());
        let clock = {
            let hours_ago = Arc::clone(&hours_ago);
            Clock::new(move || machine.now() - TimeDelta::hours(hours_ago.load(Ordering::SeqCst)))
        };
        let options = SeedOptions { users, max_contacts: 1, clock, ..SeedOptions::default() };
        let google = Google::start(&stack, options).await;
        hours_ago.store(0, Ordering::SeqCst);
        let environment = google.environment();
        let mut setup = stack.setup(environment.clone());
        let limiter = setup.limiter().unwrap();
        let job = WebhookHealthCheck::new(&mut setup).unwrap();
        let service = stack.service_with(job, environment.clone());
        let renewal = WebhookRenewal::new(&mut setup).unwrap();
        let renewal = stack.service_with(renewal, environment);
        let fixture = Self { stack, google, service, renewal, limiter };
        for user in fixture.world().users() {
            if user.calendar_grant.is_some() && !fixture.world().calendars(user.id).unwrap().is_empty() {
                fixture.give_channel(user.id).await;
            }
        }
        fixture
    }

    fn world(&self) -> &World {
        &self.google.world
    }

    fn user(&self, place: usize) -> Uuid {
        self.world().users()[place].id
    }

    async fn give_channel(&self, user: Uuid) {
        let ends_at = self.world().now() + TimeDelta::days(4);
        let channel = self.world().open_channel(user, &user.to_string(), ADDRESS, "token", ends_at).unwrap();
        let (resource, uri) = (&channel.resource_id, &channel.resource_uri);
        self.stack
            .run(&format!(
                "INSERT INTO calendar_webhook_subscriptions
                (user_id, channel_id, resource_id, resource_uri, expiration, token, created_at)
             VALUES ('{user}', '{user}', '{resource}', '{uri}', '{}', 'token',
                     timezone('UTC', now()) - interval '{OPENED_AT} hours')",
                ends_at.naive_utc(),
            ))
            .await;
        self.hear(user, HEARD_AT).await;
    }

    /// A notification came through the user's channel so many hours ago.
    async fn hear(&self, user: Uuid, hours_ago: i64) {
        self.stack
            .run(&format!(
                "INSERT INTO webhook_notifications
                (user_id, channel_id, resource_id, resource_state, result, created_at)
             VALUES ('{user}', '{user}', 'r', 'exists', 'success',
                     timezone('UTC', now()) - interval '{hours_ago} hours')"
            ))
            .await;
    }

    /// The last notifications came so many seconds ago.
    async fn hear_seconds_ago(&self, seconds: u32) {
        self.stack.run(&format!(
            "UPDATE webhook_notifications SET created_at = timezone('UTC', now()) - interval '{seconds} seconds'"
        ))
        .await;
    }

    fn change_calendar(&self, user: Uuid) -> Event {
        let event = Event::timed("Tea", self.world().now() + TimeDelta::days(3), TimeDelta::hours(1));
        self.world().add_event(user, "primary", event).unwrap()
    }

    /// What happens on the user's calendar is not announced any more; something does.
    fn break_channel(&self, user: Uuid) {
        assert_eq!(self.world().silence_channels(user).unwrap(), 1);
        self.change_calendar(user);
    }

    async fn deliver(&self, data: &Value) -> Answer {
        self.service.deliver(task(data)).await
    }

    fn calls(&self, call: Call) -> u64 {
        self.world().total_calls().get(&call).copied().unwrap_or_default()
    }
}

fn task(data: &Value) -> Delivery {
    Delivery::of(queues::WEBHOOK_HEALTH_CHECK, data)
}

#[track_caller]
fn check_looked(answer: &Answer, broken: bool) {
    assert_eq!((answer.status, answer.outcome()), (200, "done"), "{answer:?}");
    assert_eq!(answer.body["result"], json!({ "broken": broken }));
}

#[track_caller]
fn check(answer: &Answer, outcome: &str, reason: &str) {
    assert_eq!((answer.status, answer.outcome(), answer.reason()), (200, outcome, reason), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_but_healthy_channel_is_left_alone() {
    let fixture = Fixture::new(1).await;
    check_looked(&fixture.deliver(&json!({ "userId": fixture.user(0) })).await, false);
    assert_eq!(fixture.calls(Call::EventsList), 1);
    assert!(fixture.stack.take_tasks(queues::WEBHOOK_RENEWAL).await.is_empty());
    assert_eq!(fixture.world().channels(fixture.user(0)).unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_channel_is_replaced() {
    let fixture = Fixture::new(1).await;
    let user = fixture.user(0);
    fixture.break_channel(user);
    let task = task(&json!({ "userId": user, "sweepId": "today" }));
    check_looked(&fixture.service.deliver(task.clone()).await, true);
    // Delivered twice, in a cloud that has forgotten the first time.
    fixture.stack.redis(&["FLUSHALL"]).await;
    check_looked(&fixture.service.deliver(task).await, true);
    let mut renewals = fixture.stack.take_tasks(queues::WEBHOOK_RENEWAL).await;
    assert_eq!(renewals.len(), 1);
    let renewal = renewals.remove(0);
    assert_eq!(renewal.data(), json!({ "userId": user, "reason": "stale" }));

    let answer = fixture.renewal.deliver(renewal).await;
    assert_eq!(answer.body["result"], json!({ "opened": true, "stopped": 1 }), "{answer:?}");
    let channels = fixture.world().channels(user).unwrap();
    assert_eq!((channels.len(), channels[0].silent), (1, false));
    check(&fixture.deliver(&json!({ "userId": user })).await, "skipped", "no_suspect");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_event_without_notification_makes_a_channel_broken() {
    let fixture = Fixture::new(1).await;
    let user = fixture.user(0);
    fixture.hear_seconds_ago(120).await;
    check(&fixture.deliver(&json!({ "userId": user })).await, "skipped", "no_suspect");
    fixture.stack.advance(49 * 3600);
    check_looked(&fixture.deliver(&json!({ "userId": user })).await, false);
    fixture.stack.advance(61);
    let mut events = fixture.world().events(user, "primary").unwrap().into_iter();
    let event = events.find(|event| event.recurrence == Recurrence::None).unwrap();
    fixture.world().delete_event(user, "primary", &event.id).unwrap();
    check_looked(&fixture.deliver(&json!({ "userId": user })).await, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn change_dated_right_after_a_notification_is_covered_by_it() {
    let fixture = Fixture::new(1).await;
    fixture.change_calendar(fixture.user(0));
    fixture.hear_seconds_ago(30).await;
    fixture.stack.advance(49 * 3600);
    check_looked(&fixture.deliver(&json!({ "userId": fixture.user(0) })).await, false);
}

/// Lets a candidate's changes come in pages of so many events, and returns how many of these were read.
async fn check_pages(pages: &'static [usize], broken: bool) -> usize {
    let fixture = Fixture::new(1).await;
    let read = Arc::new(AtomicUsize::new(0));
    let list = {
        let read = Arc::clone(&read);
        async move |Query(query): Query<HashMap<String, String>>| {
            read.fetch_add(1, Ordering::SeqCst);
            let page: usize = query.get("pageToken").map_or(0, |token| token.parse().unwrap());
            let items = vec![json!({ "id": "event" }); pages[page]];
            let next = (page + 1 < pages.len()).then(|| (page + 1).to_string());
            Json(json!({ "items": items, "nextPageToken": next }))
        }
    };
    let router = Router::new().route("/calendar/v3/calendars/primary/events", get(list));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut environment = fixture.google.environment().to_vec();
    environment.push(("GOOGLE_API_URL", url));
    let job = WebhookHealthCheck::new(&mut fixture.stack.setup(environment)).unwrap();
    let service = fixture.stack.service_with(job, fixture.google.environment());
    check_looked(&service.deliver(task(&json!({ "userId": fixture.user(0) }))).await, broken);
    read.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_page_is_not_taken_for_the_last_one_and_pages_without_end_for_a_change() {
    assert_eq!(check_pages(&[0, 0], false).await, 2);
    assert_eq!(check_pages(&[0, 1, 1], true).await, 2);
    assert_eq!(check_pages(&[0; 100], true).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broken_channel_of_ten_is_no_alert() {
    let fixture = Fixture::new(1).await;
    fixture.break_channel(fixture.user(0));
    fixture
        .stack
        .run(
            "INSERT INTO jobs.sweeps (queue, sweep_id, started_at, tasks, finished_at)
             VALUES ('webhook-health-check', 'today', now(), 10, now())",
        )
        .await;
    check_looked(&fixture.deliver(&json!({ "userId": fixture.user(0), "sweepId": "today" })).await, true);
    assert_eq!(fixture.stack.sweep().await, (10, 0, 1, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_lost_its_calendar_is_skipped() {
    let fixture = Fixture::new(5).await;
    // The last one never had any.
    let (user, without) = (fixture.user(0), fixture.user(4));
    fixture
        .stack
        .run(&format!(
            "UPDATE calendar_webhook_subscriptions SET user_id = '{without}' WHERE user_id = '{user}'"
        ))
        .await;
    check(&fixture.deliver(&json!({ "userId": without })).await, "skipped", "no_calendar");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_channels_cost_one_call_per_candidate_and_two_per_renewal() {
    const SPEAKING: i64 = 989;
    let fixture = Fixture::new(12).await;
    // Of twelve users three have no calendar to watch, and one is known to be revoked.
    let candidates: Vec<Uuid> = fixture
        .stack
        .rows::<(Uuid,)>("SELECT user_id FROM calendar_webhook_subscriptions ORDER BY user_id")
        .await
        .into_iter()
        .map(|row| row.0)
        .filter(|&user| user != fixture.user(2))
        .collect();
    assert_eq!(candidates.len(), 8);
    fixture
        .stack
        .run(&format!(
            "INSERT INTO token_health (user_id, integration_type, status)
             VALUES ('{}', 'google_calendar', 'revoked')",
            fixture.user(2)
        ))
        .await;
    fixture
        .stack.run(&format!(
            "INSERT INTO users (id, email, google_id)
             SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n || '@example.test', n::text
             FROM generate_series(1, {SPEAKING} + 2) n"
        ))
        .await;
    fixture
        .stack
        .run(
            "INSERT INTO oauth_tokens (user_id, provider, access_token)
             SELECT id, 'google_calendar', '' FROM users WHERE id::text LIKE '00000000-%'",
        )
        .await;
    // Two are too young to be candidates, or over.
    fixture
        .stack.run(&format!(
            "INSERT INTO calendar_webhook_subscriptions
                (user_id, channel_id, resource_id, resource_uri, expiration, token, created_at)
             SELECT id, id, 'r', 'u', timezone('UTC', now()) + CASE email
                        WHEN '{SPEAKING}@example.test' THEN interval '-1 hour' ELSE interval '20 hours' END, 't',
                    timezone('UTC', now()) - CASE email
                        WHEN '1@example.test' THEN interval '47 hours' ELSE interval '100 hours' END
             FROM users WHERE id::text LIKE '00000000-%'"
        ))
        .await;
    fixture
        .stack
        .run(&format!(
            "INSERT INTO webhook_notifications
                (user_id, channel_id, resource_id, resource_state, result, created_at)
             SELECT id, id, 'r', 'exists', 'ignored', timezone('UTC', now()) - interval '47 hours'
             FROM users WHERE id::text LIKE '00000000-%'
               AND email NOT IN ('1@example.test', '{SPEAKING}@example.test')"
        ))
        .await;

    let answer = fixture.deliver(&json!({})).await;
    assert_eq!(answer.body["result"], json!({ "due": 8, "created": 8, "existing": 0, "continued": false }));
    assert!(fixture.world().total_calls().is_empty(), "a sweep asks Google nothing");
    assert_eq!(fixture.deliver(&json!({})).await.body["result"]["existing"], 8);

    for place in [0, 1] {
        fixture.break_channel(fixture.user(place));
    }
    let mut answers = Vec::new();
    for task in fixture.stack.take_tasks(queues::WEBHOOK_HEALTH_CHECK).await {
        answers.push(fixture.service.deliver(task).await);
    }
    let gone = answers.iter().filter(|answer| answer.reason() == "token_revoked").count() as u64;
    assert_eq!(fixture.calls(Call::EventsList), candidates.len() as u64 - gone, "one call per candidate");
    let renewals = fixture.stack.take_tasks(queues::WEBHOOK_RENEWAL).await;
    assert_eq!(renewals.len(), 2);
    for renewal in renewals {
        assert_eq!(fixture.renewal.deliver(renewal).await.outcome(), "done");
    }
    assert_eq!(
        (fixture.calls(Call::EventsWatch), fixture.calls(Call::ChannelsStop)),
        (2, 2),
        "two a renewal"
    );
    assert_eq!(fixture.calls(Call::CalendarListList) + fixture.calls(Call::CalendarsGet), 0);
    let looked = i64::try_from(answers.len()).unwrap() - gone.cast_signed();
    assert_eq!(fixture.stack.sweep().await, (8, looked - 2, 2, true), "more than a fifth of those looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_waited_for_and_an_open_breaker_respected() {
    let fixture = Fixture::new(1).await;
    let user = fixture.user(0);
    let all = fixture.limiter.acquire_many(&GOOGLE_CALENDAR, user, GOOGLE_CALENDAR.max).await;
    assert_eq!(all, Decision::Allowed);
    check(&fixture.deliver(&json!({ "userId": user })).await, "snoozed", "");
    assert_eq!(fixture.calls(Call::EventsList), 0);
    fixture.stack.advance(61);
    let task = fixture.stack.take_tasks(queues::WEBHOOK_HEALTH_CHECK).await.remove(0);
    check_looked(&fixture.service.deliver(task).await, false);
    fixture
        .stack.run(&format!(
            "INSERT INTO circuit_breaker_state (user_id, integration_type, state, failure_count, next_retry_at)
             VALUES ('{user}', 'google_calendar', 'open', 3, timezone('UTC', now()) + interval '30 minutes')"
        ))
        .await;
    check(&fixture.deliver(&json!({ "userId": user })).await, "skipped", "circuit_breaker_open");
    check(&fixture.deliver(&json!({ "userId": Uuid::new_v4() })).await, "skipped", "no_suspect");
}
