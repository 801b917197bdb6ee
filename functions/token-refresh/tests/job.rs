//! The sweep and its tasks: over real servers and the stand-in for Google.

use std::collections::{BTreeMap, BTreeSet};

use catchup::queues;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt as _;
use google_stand_in::{Call, Fault, FaultKind, GrantState, Integration, SeedOptions, Times};
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::job::Job;
use tests::{Answer, Delivery, Google, Service, Stack};
use token_refresh::TokenRefresh;
use uuid::Uuid;

/// Users of the world in which all are refused, or few.
const EVERYBODY: usize = 500;
/// Times that a refused token is tried in a sweep, and more.
const MAX_ROUNDS: usize = 10;

/// One more than a page of the sweep.
const MANY: i64 = 501;

struct Fixture {
    stack: Stack,
    google: Google,
    service: Service,
}

impl Fixture {
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

    /// Users who took a grant back.
    fn revoked(&self) -> BTreeSet<Uuid> {
        let users = self.google.world.users().into_iter();
        let revoked = users.filter(|user| {
            let mut grants = Integration::ALL.iter().filter_map(|integration| user.grant(*integration));
            grants.any(|grant| grant.state == GrantState::Revoked)
        });
        revoked.map(|user| user.id).collect()
    }

    /// When the waiting tasks begin, in order.
    async fn times(&self) -> Vec<DateTime<Utc>> {
        let tasks = self.stack.tasks.list(queues::TOKEN_REFRESH).await.unwrap();
        let mut times: Vec<DateTime<Utc>> =
            tasks.iter().map(|task| task["scheduleTime"].as_str().unwrap().parse().unwrap()).collect();
        times.sort();
        times
    }

    async fn deliver(&self, data: &Value) -> Answer {
        self.service.deliver(task(data)).await
    }

    /// Delivers what waits until nothing does; how often each reason of a skip was given.
    async fn until_done(&self) -> BTreeMap<String, usize> {
        let mut skipped = BTreeMap::new();
        for _ in 0..MAX_ROUNDS {
            let tasks = self.stack.take_tasks(queues::TOKEN_REFRESH).await;
            if tasks.is_empty() {
                return skipped;
            }
            self.stack.advance_to(tasks.iter().filter_map(|task| task.due).max());
            let answers = futures_util::stream::iter(tasks)
                .map(|task| self.service.deliver(task))
                .buffer_unordered(8)
                .collect::<Vec<Answer>>();
            for answer in answers.await {
                match answer.outcome() {
                    "done" | "snoozed" => {}
                    "skipped" => *skipped.entry(answer.reason().to_owned()).or_default() += 1,
                    _ => panic!("{answer:?}"),
                }
            }
        }
        panic!("tasks are rescheduled for ever");
    }

    /// Whom we marked because Google refuses their tokens, and who was notified about it.
    async fn marked(&self) -> (BTreeSet<Uuid>, BTreeSet<Uuid>) {
        let marked =
            "SELECT user_id FROM token_health WHERE status = 'revoked' AND error_message = 'invalid_grant'";
        let notified = "SELECT user_id FROM token_health_notifications
                        WHERE notification_type = 'token_invalid' AND resolved_at IS NULL AND user_id NOT IN
                            (SELECT user_id FROM token_health WHERE error_message = 'no refresh token')";
        let users =
            async |sql| self.stack.rows::<(Uuid,)>(sql).await.into_iter().map(|(user,)| user).collect();
        (users(marked).await, users(notified).await)
    }

    async fn alarms(&self) -> usize {
        self.stack.rows::<(DateTime<Utc>,)>("SELECT raised_at FROM jobs.refusal_alarms").await.len()
    }

    async fn health(&self) -> Vec<(String, String)> {
        self.stack.rows("SELECT integration_type, status FROM token_health ORDER BY integration_type").await
    }
}

fn task(data: &Value) -> Delivery {
    Delivery::of(queues::TOKEN_REFRESH, data)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_goes_through_all_users_in_pages_and_twice_creates_nothing_twice() {
    let fixture = Fixture::new(0).await;
    fixture
        .stack.run(&format!(
            "INSERT INTO users (id, email, google_id)
             SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n || '@example.test', n::text
             FROM generate_series(1, {MANY}) n"
        ))
        .await;
    fixture
        .stack.run("INSERT INTO oauth_tokens (user_id, provider, access_token) SELECT id, 'google_calendar', '' FROM users")
        .await;
    fixture
        .deliver(&json!({}))
        .await
        .check_done(&json!({ "due": 500, "created": 500, "existing": 0, "continued": true }));
    let times = fixture.times().await;
    let tasks = fixture.stack.take_tasks(queues::TOKEN_REFRESH).await;
    let (rest, users): (Vec<_>, Vec<_>) =
        tasks.into_iter().partition(|task| task.data().get("cursor").is_some());
    assert_eq!((rest.len(), users.len()), (1, 500));
    assert!(users.iter().all(|task| task.data().get("integrationType").is_none()));

    fixture
        .service
        .deliver(rest[0].clone())
        .await
        .check_done(&json!({ "due": 1, "created": 1, "existing": 0, "continued": false }));
    // Half of ten a second, the first fifty excepted, and the next page behind them; the sweep itself does not wait.
    let span = times[times.len() - 1] - times[0];
    assert!((80..=90).contains(&span.num_seconds()), "{span}");
    assert_eq!(times.iter().filter(|at| **at < times[0] + TimeDelta::seconds(1)).count() / 10, 5);
    assert!(fixture.times().await[0] > times[times.len() - 1] - TimeDelta::seconds(1));
    assert_eq!(fixture.stack.take_tasks(queues::TOKEN_REFRESH).await.len(), 1);
    assert_eq!(fixture.stack.sweep().await, (MANY, 0, 0, false));

    // The names of tasks that were there block others of the same name.
    fixture
        .deliver(&json!({}))
        .await
        .check_done(&json!({ "due": 500, "created": 0, "existing": 500, "continued": true }));
    assert!(fixture.stack.take_tasks(queues::TOKEN_REFRESH).await.is_empty());
    assert_eq!(fixture.stack.sweep().await, (MANY, 0, 0, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tasks_of_a_sweep_renew_what_is_due_and_count_what_failed() {
    let fixture = Fixture::new(2).await;
    fixture.google.world.revoke_grant(fixture.user(1), Integration::GoogleCalendar).unwrap();
    assert_eq!(fixture.deliver(&json!({})).await.body["result"]["created"], 2);
    fixture.until_done().await;
    assert_eq!(fixture.stack.sweep().await, (2, 3, 1, true));
    let health = fixture.stack.rows::<(Uuid, String, String)>(
        "SELECT user_id, integration_type, status FROM token_health WHERE status <> 'valid'",
    );
    assert_eq!(health.await, [(fixture.user(1), "google_calendar".to_owned(), "revoked".to_owned())]);

    // All were looked at, so that tomorrow's sweep finds nothing but their next expiry.
    fixture.stack.run("UPDATE oauth_tokens SET expires_at = now() + interval '3 days'").await;
    fixture.stack.advance(2);
    let answer = fixture.deliver(&json!({ "sweepId": "another" })).await;
    answer.check_done(&json!({ "due": 0, "created": 0, "existing": 0, "continued": false }));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_everybody_that_are_refused_mark_no_user_and_raise_one_alarm() {
    let fixture = Fixture::new(EVERYBODY).await;
    let refused = Fault::new(FaultKind::Revoked).call(Call::Token).times(Times::Forever);
    fixture.google.world.inject(refused);
    fixture.deliver(&json!({})).await;
    let skipped = fixture.until_done().await;
    assert_eq!(fixture.marked().await, (BTreeSet::new(), BTreeSet::new()));
    assert_eq!(fixture.alarms().await, 1);
    assert!(skipped["many_refused"] > EVERYBODY / 2, "the sweep stops: {skipped:?}");
    let asked = fixture.google.world.total_calls()[&Call::Token];
    assert!(asked < EVERYBODY as u64, "{asked} exchanges");

    // A person is asked for all the same, and the rest of the sweep is not.
    let user = fixture.user(0);
    assert_eq!(fixture.deliver(&json!({ "userId": user })).await.reason(), "many_refused");
    assert!(fixture.google.world.total_calls()[&Call::Token] > asked);
    let rest = json!({ "sweepId": "today", "cursor": Uuid::from_u128(1) });
    assert_eq!(fixture.deliver(&rest).await.reason(), "many_refused");

    // Once it is put right, nothing is left of it.
    fixture.google.world.clear_faults();
    fixture.stack.advance(24 * 3600);
    assert_eq!(fixture.service.deliver(sweep_in(1)).await.outcome(), "done");
    fixture.until_done().await;
    assert_eq!(fixture.marked().await.0, fixture.revoked());
    assert_eq!(fixture.alarms().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_begins_in_the_middle_of_a_sweep_marks_no_user() {
    let fixture = Fixture::new(EVERYBODY).await;
    fixture.deliver(&json!({})).await;
    let mut tasks = fixture.stack.take_tasks(queues::TOKEN_REFRESH).await;
    tasks.sort_by_key(|task| task.due);
    for (place, task) in tasks.into_iter().enumerate() {
        if place == EVERYBODY / 2 {
            let refused = Fault::new(FaultKind::Revoked).call(Call::Token).times(Times::Forever);
            fixture.google.world.inject(refused);
        }
        fixture.stack.advance_to(task.due);
        let answer = fixture.service.deliver(task).await;
        assert!(["done", "snoozed", "skipped"].contains(&answer.outcome()), "{answer:?}");
    }
    fixture.until_done().await;
    let (marked, notified) = fixture.marked().await;
    let innocent = |users: &BTreeSet<Uuid>| users.difference(&fixture.revoked()).count();
    assert_eq!((innocent(&marked), innocent(&notified)), (0, 0));
    assert_eq!(fixture.alarms().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_tokens_that_are_refused_among_many_mark_exactly_their_users() {
    let fixture = Fixture::new(EVERYBODY).await;
    fixture.google.world.revoke_grant(fixture.user(1), Integration::GoogleCalendar).unwrap();
    assert_eq!(fixture.revoked().len(), 3);
    fixture.deliver(&json!({})).await;
    fixture.until_done().await;
    let revoked = fixture.revoked();
    assert_eq!(fixture.marked().await, (revoked.clone(), revoked));
    assert_eq!(fixture.alarms().await, 0);
    assert!(fixture.stack.rows::<(Uuid,)>("SELECT user_id FROM jobs.refused_tokens").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_application_marked_is_tried_once() {
    let fixture = Fixture::new(2).await;
    let mark = |error: &str| {
        format!(
            "INSERT INTO token_health (user_id, integration_type, status, error_message)
             SELECT user_id, provider, 'revoked', '{error}' FROM oauth_tokens
             ON CONFLICT (user_id, integration_type) DO UPDATE SET status = 'revoked', error_message = '{error}'"
        )
    };
    fixture.stack.run(&mark("Calendar token refresh not yet implemented")).await;
    fixture.google.world.revoke_grant(fixture.user(1), Integration::GoogleCalendar).unwrap();
    assert_eq!(fixture.deliver(&json!({})).await.body["result"]["due"], 2);
    fixture.until_done().await;
    assert_eq!(fixture.marked().await.0, fixture.revoked());
    let valid =
        fixture.stack.rows::<(Uuid,)>("SELECT user_id FROM token_health WHERE status = 'valid'").await;
    assert_eq!(valid.len(), 3);

    // What we say ourselves is believed, until the user connects again.
    fixture.stack.run(&mark("invalid_grant")).await;
    fixture.stack.run("UPDATE token_health SET last_checked = now() + interval '5 minutes'").await;
    assert_eq!(fixture.service.deliver(sweep_in(1)).await.body["result"]["due"], 0);
    fixture.stack.run("UPDATE token_health SET last_checked = '2026-01-01'").await;
    assert_eq!(fixture.service.deliver(sweep_in(2)).await.body["result"]["due"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_for_a_persons_sake_asks_about_marked_tokens_too() {
    let fixture = Fixture::new(1).await;
    fixture
        .stack
        .run(
            "INSERT INTO token_health (user_id, integration_type, status, error_message, last_checked)
             SELECT user_id, provider, 'revoked', 'invalid_grant', now() + interval '5 minutes' FROM oauth_tokens",
        )
        .await;
    let swept = fixture.deliver(&json!({ "userId": fixture.user(0), "sweepId": "today" })).await;
    assert_eq!((swept.outcome(), swept.reason()), ("skipped", "not_connected"));
    fixture
        .deliver(&json!({ "userId": fixture.user(0) }))
        .await
        .check_done(&json!({ "refreshed": 2, "failed": 0 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_from_before_a_sweep_does_not_stop_it() {
    let fixture = Fixture::new(1).await;
    fixture
        .stack
        .run(
            "INSERT INTO jobs.refusal_alarms (night, raised_at)
             VALUES (((now() AT TIME ZONE 'UTC') + interval '12 hours')::date, now() - interval '1 day')",
        )
        .await;
    assert_eq!(fixture.deliver(&json!({})).await.body["result"]["created"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_scope_is_notified_once_and_costs_no_attempt() {
    let fixture = Fixture::new(1).await;
    fixture.google.world.untick_box(fixture.user(0), Integration::GoogleCalendar).unwrap();
    for _ in 0..2 {
        let answer = fixture
            .deliver(&json!({ "userId": fixture.user(0), "integrationType": "google_calendar" }))
            .await;
        answer.check_done(&json!({ "refreshed": 0, "failed": 1 }));
    }
    let notices = fixture.stack.rows::<(String,)>("SELECT message FROM token_health_notifications").await;
    assert!(notices.len() == 1 && notices[0].0.contains("See and download any calendar"), "{notices:?}");
    assert!(fixture.stack.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_may_be_asked_for() {
    let fixture = Fixture::new(1).await;
    let answer =
        fixture.deliver(&json!({ "userId": fixture.user(0), "integrationType": "google_contacts" })).await;
    answer.check_done(&json!({ "refreshed": 1, "failed": 0 }));
    assert_eq!(fixture.health().await, [("google_contacts".to_owned(), "valid".to_owned())]);
    assert!(fixture.stack.rows::<(String,)>("SELECT sweep_id FROM jobs.sweeps").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_token_is_skipped() {
    let fixture = Fixture::new(1).await;
    let answer = fixture.deliver(&json!({ "userId": Uuid::new_v4() })).await;
    assert_eq!((answer.outcome(), answer.reason()), ("skipped", "unknown_user"));
    fixture.stack.run("DELETE FROM oauth_tokens").await;
    for integration in [json!(null), json!("google_calendar")] {
        let answer =
            fixture.deliver(&json!({ "userId": fixture.user(0), "integrationType": integration })).await;
        assert_eq!((answer.outcome(), answer.reason()), ("skipped", "not_connected"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_token_endpoint_is_retried_and_counted_after_the_last_attempt() {
    let fixture = Fixture::new(1).await;
    // Only the first of the two tokens meets it.
    let failure = Fault::new(FaultKind::ServerError { status: 503 }).call(Call::Token).times(Times::Count(1));
    let last = queues::TOKEN_REFRESH.policy().attempts - 1;
    let task = task(&json!({ "userId": fixture.user(0), "sweepId": "today" }));
    for attempt in 0..last {
        fixture.google.world.inject(failure.clone());
        assert_eq!(fixture.service.deliver(task.clone().again(attempt)).await.outcome(), "retry");
        assert!(fixture.stack.rows::<(String,)>("SELECT sweep_id FROM jobs.sweeps").await.is_empty());
    }
    assert_eq!(fixture.health().await, [("google_contacts".to_owned(), "valid".to_owned())]);

    fixture.google.world.inject(failure);
    let answer = fixture.service.deliver(task.again(last)).await;
    assert_eq!((answer.status, answer.outcome()), (200, "dead"), "{answer:?}");
    assert_eq!(
        fixture.stack.sweep().await,
        (0, 1, 1, false),
        "a sweep that has not ended has no failure rate"
    );
    assert_eq!(fixture.stack.dead_letters().await.len(), 1);
}

/// The sweep of so many days from now.
fn sweep_in(days: i64) -> Delivery {
    let at = Clock::system().now() + TimeDelta::days(days);
    Delivery::new(json!({ "data": {}, "jobName": "token-refresh", "enqueuedAt": at }).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_task_still_waits_gets_no_second_one() {
    let fixture = Fixture::new(2).await;
    let sweep = async |days, created, existing| {
        let answer = fixture.service.deliver(sweep_in(days)).await;
        let due = created + existing;
        answer
            .check_done(&json!({ "due": due, "created": created, "existing": existing, "continued": false }));
        fixture.stack.take_tasks(queues::TOKEN_REFRESH).await
    };
    let first = sweep(0, 2, 0).await;
    assert_eq!(sweep(1, 0, 2).await.len(), 0);
    // One ends well, and one fails for the present.
    let [well, badly] = [0, 1].map(|place| {
        let user = fixture.user(place).to_string();
        first.iter().find(|task| task.data()["userId"] == user).unwrap().clone()
    });
    assert_eq!(fixture.service.deliver(well).await.outcome(), "done");
    let failure = Fault::new(FaultKind::ServerError { status: 503 }).call(Call::Token).times(Times::Count(1));
    fixture.google.world.inject(failure);
    assert_ne!(fixture.service.deliver(badly).await.outcome(), "done");
    fixture.stack.run("UPDATE token_health SET last_checked = '2026-01-01'").await;
    let second = sweep(2, 1, 1).await;
    assert_eq!(second[0].data()["userId"], fixture.user(0).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_sweep_is_superseded_by_one_that_began_after_its_day_and_else_runs() {
    let fixture = Fixture::new(2).await;
    for (days, expected) in [(-3, "done"), (-2, "skipped"), (-1, "skipped"), (0, "done"), (-3, "skipped")] {
        let answer = fixture.service.deliver(sweep_in(days)).await;
        assert_eq!(answer.outcome(), expected, "{days}: {answer:?}");
        if expected == "skipped" {
            assert_eq!(answer.reason(), "superseded");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_continuation_is_superseded_by_a_finished_sweep_only() {
    let fixture = Fixture::new(1).await;
    let rest = |sweep: &str| task(&json!({ "sweepId": sweep, "cursor": Uuid::from_u128(1) }));
    fixture
        .stack
        .run(
            "INSERT INTO jobs.sweeps (queue, sweep_id, started_at) VALUES
                ('token-refresh', 'old', now()), ('token-refresh', 'new', now() + interval '1 day')",
        )
        .await;
    assert_eq!(fixture.service.deliver(rest("old")).await.outcome(), "done");
    // The check before a takeover leaves nothing behind that could supersede a sweep.
    assert_eq!(fixture.service.deliver(rest("takeover-check")).await.outcome(), "done");
    assert_eq!(fixture.stack.rows::<(i64,)>("SELECT count(*) FROM jobs.sweeps").await, [(2,)]);
    fixture.stack.run("UPDATE jobs.sweeps SET finished_at = now() WHERE sweep_id = 'new'").await;
    assert_eq!(fixture.service.deliver(rest("old")).await.reason(), "superseded");
    assert_eq!(fixture.service.deliver(rest("new")).await.outcome(), "done");
}
