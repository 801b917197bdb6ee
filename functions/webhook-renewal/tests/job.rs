//! Renewals and the sweep over them: over real servers and the stand-in for Google.

use calendar_sync::CalendarSync;
use catchup::limits::GOOGLE_CALENDAR;
use catchup::queues;
use chrono::{DateTime, TimeDelta, Utc};
use google_stand_in::{Call, Channel, Event, Fault, FaultKind, Integration, SeedOptions, Times, World};
use serde_json::{Value, json};
use shared::job::Job;
use shared::rate_limit::{Decision, Limiter};
use tests::{Answer, Delivery, Google, Process, Service, Stack, eventually};
use uuid::Uuid;
use webhook_renewal::WebhookRenewal;

const ADDRESS: &str = "https://webhooks.example.test/google-calendar";
const DAY_SECONDS: i64 = 86_400;

struct Fixture {
    stack: Stack,
    google: Google,
    service: Service,
    limiter: Limiter,
}

impl Fixture {
    async fn new(users: usize) -> Self {
        let stack = Stack::start().await;
        let google =
            Google::start(&stack, SeedOptions { users, max_contacts: 1, ..SeedOptions::default() }).await;
        let mut setup = stack.setup(google.environment());
        let limiter = setup.limiter().unwrap();
        let job = WebhookRenewal::new(&mut setup).unwrap();
        let service = stack.service_with(job, google.environment());
        Self { stack, google, service, limiter }
    }

    /// One usual user, who had a channel until now that ends in `hours`.
    async fn with_channel(hours: i64) -> (Self, Uuid) {
        let fixture = Self::new(1).await;
        let user = fixture.user(0);
        fixture.give_channel(user, "old", TimeDelta::hours(hours)).await;
        (fixture, user)
    }

    fn world(&self) -> &World {
        &self.google.world
    }

    fn user(&self, place: usize) -> Uuid {
        self.world().users()[place].id
    }

    /// A channel that the running application opened five days ago.
    async fn give_channel(&self, user: Uuid, id: &str, ends_in: TimeDelta) {
        let ends_at = self.world().now() + ends_in;
        let channel = self.world().open_channel(user, id, ADDRESS, "token", ends_at).unwrap();
        sqlx::query(
            "INSERT INTO calendar_webhook_subscriptions
                (user_id, channel_id, resource_id, resource_uri, expiration, token, created_at)
             VALUES ($1, $2, $3, $4, $5, 'token', $5 - interval '7 days')",
        )
        .bind(user)
        .bind(&channel.id)
        .bind(&channel.resource_id)
        .bind(&channel.resource_uri)
        .bind(ends_at.naive_utc())
        .execute(&mut self.stack.connect().await)
        .await
        .unwrap();
    }

    async fn deliver(&self, data: &Value) -> Answer {
        self.service.deliver(task(data)).await
    }

    fn fail(&self, call: Call, kind: FaultKind, times: Times) {
        self.world().inject(Fault::new(kind).call(call).times(times));
    }

    fn calls(&self, call: Call) -> u64 {
        self.world().total_calls().get(&call).copied().unwrap_or_default()
    }

    /// The calls that a renewal is about, in their order.
    fn order(&self, user: Uuid) -> Vec<Call> {
        let calls = self.world().recent_calls(user);
        calls.into_iter().filter(|call| matches!(call, Call::EventsWatch | Call::ChannelsStop)).collect()
    }

    /// What is open at Google is what Postgres says, and nothing is left to be stopped.
    async fn check_settled(&self, user: Uuid) -> Channel {
        let open = self.world().channels(user).unwrap();
        assert_eq!(open.len(), 1, "{open:?}");
        let known: Vec<(String, String, String, DateTime<Utc>)> = self
            .stack
            .rows(&format!(
                "SELECT channel_id, resource_id, token, expiration AT TIME ZONE 'UTC'
                 FROM calendar_webhook_subscriptions WHERE user_id = '{user}'"
            ))
            .await;
        let channel = open.into_iter().next().unwrap();
        let token = channel.token.clone().unwrap();
        assert_eq!(known, [(channel.id.clone(), channel.resource_id.clone(), token, channel.expiration)]);
        let states: Vec<(String, String)> = self
            .stack
            .rows(&format!("SELECT channel_id, state FROM jobs.push_channels WHERE user_id = '{user}'"))
            .await;
        assert_eq!(states, [(channel.id.clone(), "open".to_owned())]);
        channel
    }

    /// The interval of the calendar's schedule, and the time until the next sync, in whole hours.
    async fn polling(&self, user: Uuid) -> (i64, i64) {
        self.stack
            .rows::<(i64, i64)>(&format!(
                "SELECT current_frequency_ms / 3600000,
                    ceil(extract(epoch FROM next_sync_at - timezone('UTC', now())) / 3600)::bigint
             FROM sync_schedule WHERE user_id = '{user}' AND integration_type = 'google_calendar'"
            ))
            .await[0]
    }

    /// Lets the next calendar sync be due in two days.
    async fn sync_later(&self) {
        self.stack
            .run("UPDATE sync_schedule SET next_sync_at = timezone('UTC', now()) + interval '2 days'")
            .await;
    }
}

/// Attempts before the last one.
fn last() -> u32 {
    queues::WEBHOOK_RENEWAL.policy().attempts - 1
}

fn task(data: &Value) -> Delivery {
    Delivery::of(queues::WEBHOOK_RENEWAL, data)
}

#[track_caller]
fn check_renewed(answer: &Answer, opened: bool, stopped: u32) {
    assert_eq!((answer.status, answer.outcome()), (200, "done"), "{answer:?}");
    assert_eq!(answer.body["result"], json!({ "opened": opened, "stopped": stopped }));
}

#[track_caller]
fn check(answer: &Answer, status: u16, outcome: &str, reason: &str) {
    assert_eq!((answer.status, answer.outcome(), answer.reason()), (status, outcome, reason), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_channel_is_open_before_the_old_one_is_stopped() {
    let (fixture, user) = Fixture::with_channel(20).await;
    // Until the new one is open the old one must not be touched.
    fixture.fail(Call::EventsWatch, FaultKind::ServerError { status: 503 }, Times::Count(1));
    let task = task(&json!({ "userId": user }));
    assert_eq!(fixture.service.deliver(task.clone()).await.outcome(), "retry");
    assert_eq!(fixture.order(user), [Call::EventsWatch]);
    assert_eq!(fixture.world().channels(user).unwrap()[0].id, "old");

    check_renewed(&fixture.service.deliver(task.again(1)).await, true, 2);
    assert_eq!(
        fixture.order(user)[1..],
        [Call::EventsWatch, Call::ChannelsStop, Call::ChannelsStop],
        "the old one, and the one of the failed call, which might have been opened"
    );
    let channel = fixture.check_settled(user).await;
    assert_eq!((channel.address.as_str(), channel.id.len()), (ADDRESS, 36));
    assert_eq!(channel.token.unwrap().len(), 43, "32 bytes");
    assert_eq!((channel.expiration - fixture.world().now()).num_hours(), 7 * 24 - 1);
    assert_eq!(channel.calendar_id, fixture.world().calendars(user).unwrap()[0].id, "the primary one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_makes_polling_rare_and_its_lack_rarer_but_no_sync_late() {
    let (fixture, user) = Fixture::with_channel(20).await;
    fixture.sync_later().await;
    check_renewed(&fixture.deliver(&json!({ "userId": user })).await, true, 1);
    assert_eq!(fixture.polling(user).await, (12, 12));

    fixture.sync_later().await;
    // One of them is more than a twentieth.
    fixture
        .stack
        .run(
            "INSERT INTO jobs.sweeps (queue, sweep_id, started_at, tasks, finished_at)
             VALUES ('webhook-renewal', 'today', now(), 19, now())",
        )
        .await;
    fixture.fail(Call::EventsWatch, FaultKind::ServerError { status: 503 }, Times::Forever);
    let task = task(&json!({ "userId": user, "sweepId": "today", "reason": "asked" }));
    for attempt in 0..last() {
        assert_eq!(fixture.service.deliver(task.clone().again(attempt)).await.outcome(), "retry");
        assert_eq!(fixture.polling(user).await, (12, 48));
    }
    check(&fixture.service.deliver(task.again(last())).await, 200, "dead", "transient");
    assert_eq!(fixture.polling(user).await, (24, 24));
    assert_eq!(fixture.stack.sweep().await, (19, 0, 1, true));

    fixture.world().clear_faults();
    fixture
        .stack
        .run("UPDATE sync_schedule SET next_sync_at = timezone('UTC', now()) - interval '1 hour'")
        .await;
    fixture.deliver(&json!({ "userId": user })).await;
    assert_eq!(fixture.polling(user).await, (12, -1), "what is due stays due");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_finds_channels_that_end_soon_and_users_without_one() {
    let fixture = Fixture::new(12).await;
    let ends_in = |place: usize| TimeDelta::hours(if place == 0 { 47 } else { 49 });
    for place in [0, 1] {
        fixture.give_channel(fixture.user(place), &format!("old-{place}"), ends_in(place)).await;
    }
    // 2: revoked, as an earlier sync found; 5 and 7: no calendar connected.
    let revoked = fixture.user(2);
    fixture
        .stack
        .run(&format!(
            "INSERT INTO token_health (user_id, integration_type, status)
             VALUES ('{revoked}', 'google_calendar', 'revoked')"
        ))
        .await;
    let answer = fixture.deliver(&json!({})).await;
    assert_eq!(answer.body["result"]["created"], 8, "{answer:?}");
    assert_eq!(fixture.deliver(&json!({})).await.body["result"]["existing"], 8);
    let tasks = fixture.stack.take_tasks(queues::WEBHOOK_RENEWAL).await;
    let mut swept: Vec<Uuid> =
        tasks.iter().map(|task| task.data()["userId"].as_str().unwrap().parse().unwrap()).collect();
    let mut expected = [0, 3, 4, 6, 8, 9, 10, 11].map(|place| fixture.user(place)).to_vec();
    swept.sort();
    expected.sort();
    assert_eq!(swept, expected);

    fixture.stack.run("UPDATE sync_schedule SET current_frequency_ms = max_frequency_ms").await;
    for task in tasks {
        let (user, answer) = (task.data()["userId"].clone(), fixture.service.deliver(task).await);
        let place = expected.iter().find(|id| json!(id) == user).copied();
        let reason = match place {
            id if id == Some(fixture.user(3)) => "token_revoked",
            // Has no calendar at all.
            id if id == Some(fixture.user(4)) => "no_calendar",
            _ => "",
        };
        assert_eq!((answer.status, answer.reason()), (200, reason), "{answer:?}");
    }
    assert_eq!(fixture.stack.sweep().await, (8, 6, 0, false));
    assert_eq!(fixture.polling(fixture.user(4)).await.0, 24, "as one without a channel");
    for place in [0, 6, 8, 9, 10, 11] {
        fixture.check_settled(fixture.user(place)).await;
    }
    assert_eq!(fixture.world().channels(fixture.user(1)).unwrap()[0].id, "old-1");
    // Opened for five, replaced for one.
    assert_eq!((fixture.calls(Call::EventsWatch), fixture.calls(Call::ChannelsStop)), (7, 1));
    fixture.stack.advance(DAY_SECONDS);
    fixture.stack.run("DELETE FROM sync_schedule").await;
    let tomorrow = fixture.deliver(&json!({ "sweepId": "tomorrow" })).await;
    assert_eq!(tomorrow.body["result"]["created"], 2, "the one that ends, and the one without a calendar");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swept_user_who_has_a_new_channel_by_then_is_left_alone() {
    let (fixture, user) = Fixture::with_channel(50).await;
    check(&fixture.deliver(&json!({ "userId": user, "sweepId": "s" })).await, 200, "skipped", "not_due");
    assert_eq!(fixture.calls(Call::EventsWatch) + fixture.calls(Call::Token), 0);
    // So is a stale channel that was replaced since.
    check_renewed(&fixture.deliver(&json!({ "userId": user, "reason": "stale" })).await, true, 1);
    check(&fixture.deliver(&json!({ "userId": user, "reason": "stale" })).await, 200, "skipped", "not_due");
    // A task without a reason gets a new one.
    check_renewed(&fixture.deliver(&json!({ "userId": user })).await, true, 1);
    fixture.check_settled(user).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_cannot_be_stopped_now_is_stopped_later() {
    let (fixture, user) = Fixture::with_channel(20).await;
    fixture.fail(Call::ChannelsStop, FaultKind::ServerError { status: 500 }, Times::Forever);
    let task = task(&json!({ "userId": user, "sweepId": "today" }));
    for attempt in 0..last() {
        assert_eq!(fixture.service.deliver(task.clone().again(attempt)).await.outcome(), "retry");
    }
    // The user has a channel: that is what the task was for.
    check_renewed(&fixture.service.deliver(task.again(last())).await, false, 0);
    assert_eq!(fixture.calls(Call::EventsWatch), 1, "a task opens one channel, however often it runs");
    assert_eq!(fixture.stack.sweep().await, (0, 1, 0, false));
    assert_eq!(fixture.polling(user).await.0, 12);
    assert_eq!(fixture.world().channels(user).unwrap().len(), 2);

    fixture.world().clear_faults();
    fixture.stack.advance(61);
    assert_eq!(fixture.deliver(&json!({ "sweepId": "tomorrow" })).await.body["result"]["created"], 1);
    // Next to the successors of the runs before.
    let tasks = fixture.stack.take_tasks(queues::WEBHOOK_RENEWAL).await;
    let rest = tasks.into_iter().find(|task| task.data()["sweepId"] == "tomorrow").unwrap();
    check_renewed(&fixture.service.deliver(rest).await, false, 1);
    fixture.check_settled(user).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_has_ended_or_is_not_ours_counts_as_stopped() {
    let (fixture, user) = Fixture::with_channel(20).await;
    fixture.world().silence_channels(user).unwrap();
    fixture.stack.run("UPDATE calendar_webhook_subscriptions SET channel_id = 'never-opened'").await;
    check_renewed(&fixture.deliver(&json!({ "userId": user })).await, true, 1);
    let states = fixture.stack.rows::<(String,)>("SELECT state FROM jobs.push_channels").await;
    assert_eq!(states, [("open".to_owned(),)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn orphaned_channel_is_stopped_by_the_next_attempt() {
    let (fixture, user) = Fixture::with_channel(20).await;
    fixture.fail(Call::EventsWatch, FaultKind::AnswerLost, Times::Count(1));
    let task = task(&json!({ "userId": user }));
    assert_eq!(fixture.service.deliver(task.clone()).await.outcome(), "retry");
    assert_eq!(fixture.world().channels(user).unwrap().len(), 2);
    let known =
        fixture.stack.rows::<(String,)>("SELECT channel_id FROM calendar_webhook_subscriptions").await;
    assert_eq!(known, [("old".to_owned(),)], "the old one still is the user's");

    check_renewed(&fixture.service.deliver(task.again(1)).await, true, 2);
    fixture.check_settled(user).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_google_refuses_is_an_outage_without_attempts_and_renews_no_token() {
    let fixture = Fixture::new(1).await;
    let user = fixture.user(0);
    fixture.deliver(&json!({ "userId": user })).await;
    let exchanges = fixture.world().total_calls().get(&Call::Token).copied();
    fixture.world().inject(Fault::new(FaultKind::AddressUnauthorized).call(Call::EventsWatch));
    check(&fixture.deliver(&json!({ "userId": user })).await, 503, "unavailable", "dependency");
    assert_eq!(fixture.world().total_calls().get(&Call::Token).copied(), exchanges);
    assert!(fixture.stack.failures().await.is_empty());
    let left = fixture.stack.rows::<(String,)>("SELECT state FROM jobs.push_channels WHERE state <> 'open'");
    assert!(left.await.is_empty(), "it was not opened");

    fixture.world().inject(Fault::new(FaultKind::PushNotSupported).call(Call::EventsWatch));
    check(&fixture.deliver(&json!({ "userId": user })).await, 200, "skipped", "push_not_supported");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_google_refuses_leaves_nothing_behind() {
    let (fixture, user) = Fixture::with_channel(20).await;
    let faults = [(FaultKind::TooManyRequests { retry_after_s: 7 }, "snoozed"), (FaultKind::Gone, "retry")];
    for (kind, outcome) in faults {
        fixture.fail(Call::EventsWatch, kind, Times::Count(1));
        assert_eq!(fixture.deliver(&json!({ "userId": user })).await.outcome(), outcome);
        assert!(fixture.stack.rows::<(String,)>("SELECT state FROM jobs.push_channels").await.is_empty());
        fixture.stack.advance(120);
    }
    assert_eq!(fixture.stack.take_tasks(queues::WEBHOOK_RENEWAL).await.len(), 2, "both are rescheduled");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_renewals_at_the_same_time_leave_one_channel() {
    let (fixture, user) = Fixture::with_channel(20).await;
    // Both have their channels announced before either has it open.
    fixture.fail(Call::EventsWatch, FaultKind::Slow { delay_ms: 300 }, Times::Count(2));
    let data = json!({ "userId": user });
    let (one, other) = tokio::join!(fixture.deliver(&data), fixture.deliver(&data));
    for answer in [one, other] {
        assert_eq!((answer.status, answer.outcome()), (200, "done"), "{answer:?}");
    }
    assert_eq!(fixture.calls(Call::EventsWatch), 2);
    fixture.check_settled(user).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_entered_while_a_channel_replaces_another_arrives() {
    let (fixture, user) = Fixture::with_channel(20).await;
    let mut held = fixture.stack.connect().await;
    for sql in ["BEGIN", "LOCK TABLE calendar_webhook_subscriptions IN EXCLUSIVE MODE"] {
        sqlx::query(sql).execute(&mut held).await.unwrap();
    }
    let renewal = tokio::spawn({
        let (service, task) = (fixture.service.clone(), task(&json!({ "userId": user })));
        async move { service.deliver(task).await }
    });
    eventually("google opens it", || fixture.world().channels(user).unwrap().len() == 2).await;
    // No notification of either channel arrives now.
    let event = Event::timed("Tea", fixture.world().now() + TimeDelta::days(1), TimeDelta::hours(1));
    let event = fixture.world().add_event(user, "primary", event).unwrap();
    drop(held);
    check_renewed(&renewal.await.unwrap(), true, 1);

    let mut syncs = fixture.stack.take_tasks(queues::CALENDAR_SYNC).await;
    assert_eq!(syncs.len(), 1);
    let sync = syncs.remove(0);
    assert_eq!(sync.data(), json!({ "userId": user, "trigger": "webhook" }));
    let job = CalendarSync::new(&mut fixture.stack.setup(fixture.google.environment())).unwrap();
    let service = fixture.stack.service_with(job, fixture.google.environment());
    assert_eq!(service.deliver(sync).await.outcome(), "done");
    let known = fixture.stack.rows::<(String,)>("SELECT google_event_id FROM calendar_events").await;
    assert!(known.contains(&(event.id,)), "{known:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_cannot_be_asked_for_is_asked_for_by_the_next_attempt() {
    let (fixture, user) = Fixture::with_channel(20).await;
    let mut environment = fixture.google.environment().to_vec();
    environment.push(("CLOUD_TASKS_URL", "http://127.0.0.1:9".to_owned()));
    let job = WebhookRenewal::new(&mut fixture.stack.setup(environment)).unwrap();
    let cut_off = fixture.stack.service_with(job, fixture.google.environment());
    let task = task(&json!({ "userId": user }));
    assert_eq!(cut_off.deliver(task.clone()).await.status, 503);

    check_renewed(&fixture.service.deliver(task.again(1)).await, false, 1);
    assert_eq!(fixture.stack.take_tasks(queues::CALENDAR_SYNC).await.len(), 1);
    assert_eq!(fixture.calls(Call::EventsWatch), 1);
    fixture.check_settled(user).await;
}

/// A process of its own, which has got the task.
fn deliver_to_process(fixture: &Fixture, task: Delivery) -> Process {
    let environment = fixture.google.environment();
    let process =
        Process::start_with(&fixture.stack, |setup| WebhookRenewal::new(setup).unwrap(), environment);
    // The response of a killed process reaches no caller.
    drop(process.deliver(task));
    process
}

impl Fixture {
    /// The killed process's lease ends, and Cloud Tasks delivers its task again.
    async fn deliver_after_kill(&self, task: Delivery) -> Answer {
        self.stack.redis(&["FLUSHALL"]).await;
        self.service.deliver(task.again(1)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_opening_and_storing_a_renewal_leaves_one_channel() {
    let (fixture, user) = Fixture::with_channel(20).await;
    let mut held = fixture.stack.connect().await;
    for sql in ["BEGIN", "LOCK TABLE calendar_webhook_subscriptions IN EXCLUSIVE MODE"] {
        sqlx::query(sql).execute(&mut held).await.unwrap();
    }
    let task = task(&json!({ "userId": user, "sweepId": "today" }));
    let process = deliver_to_process(&fixture, task.clone());
    eventually("google opens it", || fixture.world().channels(user).unwrap().len() == 2).await;
    drop(process);
    drop(held);
    check_renewed(&fixture.deliver_after_kill(task).await, true, 2);
    assert_eq!(fixture.calls(Call::EventsWatch), 2);
    fixture.check_settled(user).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_storing_and_stopping_a_renewal_leaves_one_channel() {
    let (fixture, user) = Fixture::with_channel(20).await;
    fixture.fail(Call::ChannelsStop, FaultKind::Slow { delay_ms: 600_000 }, Times::Count(1));
    let task = task(&json!({ "userId": user, "sweepId": "today" }));
    let process = deliver_to_process(&fixture, task.clone());
    eventually("it is to be stopped", || fixture.calls(Call::ChannelsStop) == 1).await;
    drop(process);
    assert_eq!(fixture.world().channels(user).unwrap().len(), 2);
    check_renewed(&fixture.deliver_after_kill(task).await, false, 1);
    assert_eq!(fixture.calls(Call::EventsWatch), 1);
    fixture.check_settled(user).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_waited_for_before_and_between_the_calls() {
    let (fixture, user) = Fixture::with_channel(20).await;
    let allowed = fixture.limiter.acquire_many(&GOOGLE_CALENDAR, user, GOOGLE_CALENDAR.max - 1).await;
    assert_eq!(allowed, Decision::Allowed);
    check(&fixture.deliver(&json!({ "userId": user })).await, 200, "snoozed", "");
    assert_eq!((fixture.calls(Call::EventsWatch), fixture.calls(Call::ChannelsStop)), (1, 0));
    let rest = fixture.stack.take_tasks(queues::WEBHOOK_RENEWAL).await.remove(0);
    check(&fixture.service.deliver(rest).await, 200, "snoozed", "");
    let rest = fixture.stack.take_tasks(queues::WEBHOOK_RENEWAL).await.remove(0);
    fixture.stack.advance(61);
    check_renewed(&fixture.service.deliver(rest).await, false, 1);
    assert_eq!((fixture.calls(Call::EventsWatch), fixture.calls(Call::ChannelsStop)), (1, 1));
    fixture.check_settled(user).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_breaker_are_asked_first_and_a_half_open_breaker_is_handed_back() {
    let (fixture, user) = Fixture::with_channel(20).await;
    check(&fixture.deliver(&json!({ "userId": Uuid::new_v4() })).await, 200, "skipped", "unknown_user");
    fixture
        .stack.run(&format!(
            "INSERT INTO circuit_breaker_state (user_id, integration_type, state, failure_count, next_retry_at)
             VALUES ('{user}', 'google_calendar', 'open', 3, timezone('UTC', now()) + interval '30 minutes')"
        ))
        .await;
    check(&fixture.deliver(&json!({ "userId": user })).await, 200, "skipped", "circuit_breaker_open");
    assert!(fixture.order(user).is_empty());

    fixture.stack.advance(31 * 60);
    check_renewed(&fixture.deliver(&json!({ "userId": user })).await, true, 1);
    let breaker = fixture.stack.rows::<(String, i32, bool)>(
        "SELECT state, failure_count, next_retry_at > timezone('UTC', now()) + interval '32 minutes'
         FROM circuit_breaker_state",
    );
    assert_eq!(breaker.await, [("open".to_owned(), 3, false)], "the next sync may try");

    fixture.stack.run("DELETE FROM circuit_breaker_state").await;
    // No one else is left to ask, so Google's word is believed.
    let others =
        format!("DELETE FROM oauth_tokens WHERE user_id <> '{user}' OR provider <> 'google_calendar'");
    fixture.stack.run(&others).await;
    fixture.world().revoke_grant(user, Integration::GoogleCalendar).unwrap();
    fixture.stack.run("UPDATE oauth_tokens SET expires_at = now()").await;
    for _ in 0..2 {
        check(&fixture.deliver(&json!({ "userId": user })).await, 200, "skipped", "token_revoked");
    }
    fixture.stack.run("DELETE FROM oauth_tokens").await;
    check(&fixture.deliver(&json!({ "userId": user })).await, 200, "skipped", "not_connected");
}
