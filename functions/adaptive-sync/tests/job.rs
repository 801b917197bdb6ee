//! The sweep over schedules, over a real Postgres and Cloud Tasks.

use adaptive_sync::AdaptiveSync;
use catchup::queues;
use serde_json::{Value, json};
use shared::job::Job;
use shared::queue::Queue;
use tests::{Answer, Delivery, Service, Stack};
use uuid::Uuid;

/// One more than a page of the sweep.
const MANY: usize = 501;

struct Fixture {
    stack: Stack,
    service: Service,
}

impl Fixture {
    /// Users who connected both integrations some days ago and have no schedule yet.
    async fn new(users: usize) -> Self {
        let stack = Stack::start().await;
        let job = AdaptiveSync::new(&mut stack.setup([])).unwrap();
        let service = stack.service(job);
        let fixture = Self { stack, service };
        fixture
            .stack.run(&format!(
                "INSERT INTO users (id, email, google_id)
                 SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n || '@example.test', n::text
                 FROM generate_series(1, {users}) n"
            ))
            .await;
        fixture
            .stack
            .run(
                "INSERT INTO oauth_tokens (user_id, provider, access_token, created_at)
                 SELECT id, provider, '', now() - interval '3 days'
                 FROM users, (VALUES ('google_calendar'), ('google_contacts')) AS v (provider)",
            )
            .await;
        fixture
    }

    async fn sweep(&self, integration: &str) -> Answer {
        let data = json!({ "integrationType": integration });
        self.service.deliver(Delivery::of(queues::ADAPTIVE_SYNC, &data)).await
    }

    /// The payloads of the tasks that wait in a queue, by user.
    async fn payloads(&self, queue: Queue) -> Vec<Value> {
        let tasks = self.stack.take_tasks(queue).await;
        let mut payloads: Vec<Value> = tasks
            .iter()
            .map(|task| serde_json::from_str::<Value>(&task.body).unwrap()["data"].clone())
            .collect();
        payloads.sort_by_key(|data| data["userId"].to_string());
        payloads
    }
}

fn user(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

#[track_caller]
fn check_result(answer: &Answer, due: u32, created: u32, existing: u32, continued: bool) {
    assert_eq!((answer.status, answer.outcome()), (200, "done"), "{answer:?}");
    let expected = json!({ "due": due, "created": created, "existing": existing, "continued": continued });
    assert_eq!(answer.body["result"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_due_users_get_one_sync_in_pages_and_a_second_sweep_of_the_hour_adds_none() {
    let fixture = Fixture::new(MANY).await;
    check_result(&fixture.sweep("google_calendar").await, 500, 500, 0, true);
    assert_eq!(fixture.payloads(queues::CALENDAR_SYNC).await.len(), 500);
    let mut rest = fixture.stack.take_tasks(queues::ADAPTIVE_SYNC).await;
    assert_eq!(rest.len(), 1);
    check_result(&fixture.service.deliver(rest.remove(0)).await, 1, 1, 0, false);
    assert_eq!(
        fixture.payloads(queues::CALENDAR_SYNC).await,
        [json!({ "userId": user(MANY), "trigger": "schedule" })]
    );

    // All are due in a day.
    check_result(&fixture.sweep("google_calendar").await, 0, 0, 0, false);
    assert!(fixture.stack.take_tasks(queues::ADAPTIVE_SYNC).await.is_empty());
    assert!(fixture.payloads(queues::CALENDAR_SYNC).await.is_empty());
    // The other integration's sweep of the same hour is another one.
    check_result(&fixture.sweep("google_contacts").await, 500, 500, 0, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn contacts_are_synced_incrementally() {
    let fixture = Fixture::new(1).await;
    check_result(&fixture.sweep("google_contacts").await, 1, 1, 0, false);
    assert_eq!(
        fixture.payloads(queues::GOOGLE_CONTACTS_SYNC).await,
        [json!({ "userId": user(1), "syncType": "incremental", "trigger": "schedule" })]
    );
    assert!(fixture.payloads(queues::CALENDAR_SYNC).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_a_token_but_no_schedule_gets_one() {
    const HOUR_MS: i64 = 3_600_000;
    let fixture = Fixture::new(2).await;
    fixture
        .stack
        .run(&format!("UPDATE oauth_tokens SET created_at = now() WHERE user_id = '{}'", user(2)))
        .await;
    for integration in ["google_calendar", "google_contacts"] {
        check_result(&fixture.sweep(integration).await, 2, 2, 0, false);
    }
    let schedules = fixture.stack.rows::<(String, i64, bool)>(
        "SELECT integration_type, default_frequency_ms, onboarding_until > timezone('UTC', now())
         FROM sync_schedule ORDER BY integration_type, user_id",
    );
    let schedules: Vec<_> = schedules.await.into_iter().map(|row| (row.0, row.1 / HOUR_MS, row.2)).collect();
    let of = |integration: &str, hours, onboarding| (integration.to_owned(), hours, onboarding);
    assert_eq!(
        schedules,
        [
            of("google_calendar", 24, false),
            of("google_calendar", 24, true),
            of("google_contacts", 5 * 24, false),
            of("google_contacts", 5 * 24, true),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_not_due_revoked_or_cut_off_gets_no_task() {
    let fixture = Fixture::new(5).await;
    check_result(&fixture.sweep("google_calendar").await, 5, 5, 0, false);
    fixture.payloads(queues::CALENDAR_SYNC).await;
    fixture
        .stack
        .run(&format!(
            "UPDATE sync_schedule SET next_sync_at = next_sync_at - interval '1 day' WHERE user_id <> '{}'",
            user(1)
        ))
        .await;
    fixture
        .stack.run(&format!(
            "INSERT INTO token_health (user_id, integration_type, status) VALUES ('{}', 'google_calendar', 'revoked')",
            user(2)
        ))
        .await;
    fixture
        .stack
        .run(&format!(
            "INSERT INTO circuit_breaker_state (user_id, integration_type, state, next_retry_at) VALUES
                 ('{}', 'google_calendar', 'open', timezone('UTC', now()) + interval '2 hours'),
                 ('{}', 'google_calendar', 'open', timezone('UTC', now()))",
            user(3),
            user(4)
        ))
        .await;
    fixture.stack.run(&format!("DELETE FROM oauth_tokens WHERE user_id = '{}'", user(5))).await;
    // The next hour's sweep: whose sync still waits gets no second one.
    fixture.stack.advance(3600);
    check_result(&fixture.sweep("google_calendar").await, 1, 0, 1, false);
    assert!(fixture.payloads(queues::CALENDAR_SYNC).await.is_empty());
    // All have ended, and the sweep runs once more.
    fixture.stack.run("UPDATE jobs.swept_users SET until = now()").await;
    fixture.stack.run("DELETE FROM jobs.sweeps").await;
    let again = json!({ "integrationType": "google_calendar", "sweepId": "google_calendar:again" });
    check_result(&fixture.service.deliver(Delivery::of(queues::ADAPTIVE_SYNC, &again)).await, 1, 1, 0, false);
    let payloads = fixture.payloads(queues::CALENDAR_SYNC).await;
    assert_eq!(payloads, [json!({ "userId": user(4), "trigger": "schedule" })]);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_users_sync_waits_for_six_hours_no_sweep_adds_another() {
    let fixture = Fixture::new(1).await;
    // In onboarding, so that the user is due in each of these hours.
    fixture.stack.run("UPDATE oauth_tokens SET created_at = now()").await;
    check_result(&fixture.sweep("google_contacts").await, 1, 1, 0, false);
    for hour in 1..=6 {
        fixture.stack.advance(3600);
        let hourly =
            json!({ "integrationType": "google_contacts", "sweepId": format!("google_contacts:{hour}") });
        let answer = fixture.service.deliver(Delivery::of(queues::ADAPTIVE_SYNC, &hourly)).await;
        check_result(&answer, 1, 0, 1, false);
    }
    assert_eq!(fixture.payloads(queues::GOOGLE_CONTACTS_SYNC).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_ended_before_it_moved_the_schedule_creates_no_second_sync_and_loses_none() {
    let fixture = Fixture::new(2).await;
    check_result(&fixture.sweep("google_calendar").await, 2, 2, 0, false);
    let late =
        "SELECT user_id FROM sync_schedule WHERE next_sync_at < timezone('UTC', now()) + interval '23 hours'";
    assert!(fixture.stack.rows::<(Uuid,)>(late).await.is_empty(), "it moved when the tasks were created");
    // As if the page had been stopped between the tasks and the schedule, and one task were not there.
    fixture.stack.run("UPDATE sync_schedule SET next_sync_at = timezone('UTC', now())").await;
    check_result(&fixture.sweep("google_calendar").await, 2, 0, 2, false);
    assert!(fixture.stack.rows::<(Uuid,)>(late).await.is_empty());
    assert_eq!(fixture.payloads(queues::CALENDAR_SYNC).await.len(), 2);
}
