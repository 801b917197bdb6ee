//! One user's suggestions after a change: over a real Postgres and Redis.

use std::sync::atomic::Ordering;

use catchup::queues;
use chrono::{DateTime, Days, NaiveTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use serde_json::json;
use shared::clock::Clock;
use shared::job::Job;
use shared::queue::Queue;
use suggestion_generation::SuggestionGeneration;
use suggestion_regeneration::SuggestionRegeneration;
use tests::{Delivery, RedisProxy, Service, Stack};
use uuid::Uuid;

const DAY_MINUTES: i64 = 24 * 60;
/// Midnight in Kolkata, in minutes of the day in UTC.
const MIDNIGHT: i64 = -330;

struct Fixture {
    stack: Stack,
    service: Service,
    user: Uuid,
}

impl Fixture {
    /// A user in that zone.
    async fn new(zone: Tz) -> Self {
        let stack = Stack::start().await;
        let service = stack.service(SuggestionRegeneration::new(&mut stack.setup([])).unwrap());
        let fixture = Self { stack, service, user: Uuid::new_v4() };
        fixture
            .stack.run(&format!(
                "INSERT INTO users (id, email, google_id, timezone) VALUES ('{}', 'a@example.test', 'a', '{}')",
                fixture.user,
                zone.name()
            ))
            .await;
        fixture
    }

    fn task(&self, queue: Queue, reason: &str) -> Delivery {
        Delivery::of(queue, &json!({ "userId": self.user, "reason": reason }))
    }

    /// Runs the job: how many were resumed, dismissed and created.
    async fn regenerate(&self) -> (u64, u64, u64) {
        let answer = self.service.deliver(self.task(queues::SUGGESTION_REGENERATION, "calendar_sync")).await;
        assert_eq!((answer.status, answer.outcome()), (200, "done"), "{answer:?}");
        let count = |name: &str| answer.body["result"][name].as_u64().unwrap();
        (count("resumed"), count("dismissed"), count("created"))
    }

    /// A contact who is not overdue, so that nothing new comes in between.
    async fn contact(&self) -> Uuid {
        let id = Uuid::new_v4();
        self.stack.run(&format!(
            "INSERT INTO contacts (id, user_id, name, last_contact_date) VALUES ('{id}', '{}', 'Ada', now())",
            self.user
        ))
        .await;
        id
    }

    async fn overdue_contacts(&self, count: usize) {
        self.stack.run(&format!(
            "INSERT INTO contacts (user_id, name, last_contact_date)
             SELECT '{}', 'Contact ' || n, now() - n * interval '1 day' - interval '30 days' FROM generate_series(1, {count}) n",
            self.user
        ))
        .await;
    }

    /// A suggestion for a contact of its own, minutes after `day`.
    async fn suggestion(&self, status: &str, day: DateTime<Utc>, start: i64, end: i64) -> Uuid {
        let (id, contact) = (Uuid::new_v4(), self.contact().await);
        self.stack
            .run(&format!(
                "INSERT INTO suggestions (id, user_id, contact_id, trigger_type, proposed_timeslot_start,
                 proposed_timeslot_end, proposed_timeslot_timezone, reasoning, status)
             VALUES ('{id}', '{}', '{contact}', 'timebound', '{}', '{}', 'UTC', '', '{status}')",
                self.user,
                day + TimeDelta::minutes(start),
                day + TimeDelta::minutes(end)
            ))
            .await;
        id
    }

    /// An event, minutes after `day`; returns Google's id of it.
    async fn event(&self, day: DateTime<Utc>, start: i64, end: i64, columns: &str, values: &str) -> String {
        let id = Uuid::new_v4().to_string();
        self.stack.run(&format!(
            "INSERT INTO calendar_events (user_id, google_event_id, calendar_id, start_time, end_time, timezone {columns})
             VALUES ('{}', '{id}', 'primary', '{}', '{}', 'UTC' {values})",
            self.user,
            day + TimeDelta::minutes(start),
            day + TimeDelta::minutes(end)
        ))
        .await;
        id
    }

    async fn status(&self, suggestion: Uuid) -> (String, Option<String>) {
        self.stack
            .rows(&format!(
                "SELECT status::text, dismissal_reason FROM suggestions WHERE id = '{suggestion}'"
            ))
            .await
            .remove(0)
    }

    #[track_caller]
    fn check_status<'a>(
        &'a self,
        suggestions: &'a [Uuid],
        expected: &'a str,
    ) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            for (place, suggestion) in suggestions.iter().enumerate() {
                let (status, reason) = self.status(*suggestion).await;
                assert_eq!(status, expected, "number {place} at {caller}");
                assert_eq!(reason.is_some_and(|reason| reason.contains("conflict")), expected == "dismissed");
            }
        }
    }
}

/// A midnight in UTC.
fn day(number: u64) -> DateTime<Utc> {
    (Clock::system().now().date_naive() + Days::new(number)).and_time(NaiveTime::MIN).and_utc()
}

#[tokio::test(flavor = "multi_thread")]
async fn snoozed_suggestions_are_pending_again_when_the_snooze_has_expired() {
    let fixture = Fixture::new(Tz::UTC).await;
    let mut suggestions = Vec::new();
    for until in ["now() - interval '1 minute'", "now() + interval '1 hour'", "NULL"] {
        let suggestion = fixture.suggestion("snoozed", day(3), 600, 660).await;
        fixture
            .stack
            .run(&format!("UPDATE suggestions SET snoozed_until = {until} WHERE id = '{suggestion}'"))
            .await;
        suggestions.push(suggestion);
    }
    assert_eq!(fixture.regenerate().await, (1, 0, 0));
    fixture.check_status(&suggestions[..1], "pending").await;
    fixture.check_status(&suggestions[1..], "snoozed").await;
    fixture.stack.advance(3600);
    assert_eq!(fixture.regenerate().await, (1, 0, 0));
    assert_eq!(fixture.regenerate().await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_event_dismisses_exactly_the_overlapping_suggestions() {
    let fixture = Fixture::new(Tz::UTC).await;
    let of = async |status, slots: &[(i64, i64)]| {
        let mut suggestions = Vec::new();
        for (start, end) in slots {
            suggestions.push(fixture.suggestion(status, day(3), *start, *end).await);
        }
        suggestions
    };
    let apart = of("pending", &[(540, 600), (720, 780), (600 + DAY_MINUTES, 660 + DAY_MINUTES)]).await;
    let overlapping =
        of("pending", &[(570, 601), (719, 780), (600, 720), (630, 660), (540, 780), (500, 2000)]).await;
    let snoozed = of("snoozed", &[(600, 660)]).await;
    let accepted = of("accepted", &[(600, 660)]).await;
    assert_eq!(fixture.regenerate().await, (0, 0, 0));

    // Declined, transparent or empty events change nothing.
    fixture.event(day(3), 0, 3000, ", is_busy", ", false").await;
    fixture.event(day(3), 630, 630, "", "").await;
    assert_eq!(fixture.regenerate().await, (0, 0, 0));

    fixture.event(day(3), 600, 720, "", "").await;
    assert_eq!(fixture.regenerate().await, (0, 6, 0));
    fixture.check_status(&overlapping, "dismissed").await;
    fixture.check_status(&apart, "pending").await;
    fixture.check_status(&snoozed, "snoozed").await;
    fixture.check_status(&accepted, "accepted").await;

    // A resumed suggestion finds its time taken.
    fixture.stack.run("UPDATE suggestions SET snoozed_until = now() WHERE status = 'snoozed'").await;
    fixture.stack.advance(60);
    assert_eq!(fixture.regenerate().await, (1, 1, 0));
    fixture.check_status(&snoozed, "dismissed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_next_thirty_days_are_compared() {
    let fixture = Fixture::new(Tz::UTC).await;
    let past = fixture.suggestion("pending", day(0) - TimeDelta::days(2), 600, 660).await;
    let near = fixture.suggestion("pending", day(29), 0, 60).await;
    let far = fixture.suggestion("pending", day(32), 0, 60).await;
    // It spans them all.
    fixture.event(day(0) - TimeDelta::days(5), 0, 60 * DAY_MINUTES, "", "").await;
    assert_eq!(fixture.regenerate().await, (0, 1, 0));
    fixture.check_status(&[past, far], "pending").await;
    fixture.check_status(&[near], "dismissed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_all_day_event_is_the_users_day_wherever_the_calendar_is_kept() {
    let fixture = Fixture::new(Tz::Asia__Kolkata).await;
    let before = fixture.suggestion("pending", day(3), MIDNIGHT - 60, MIDNIGHT).await;
    let first = fixture.suggestion("pending", day(3), MIDNIGHT, MIDNIGHT + 60).await;
    let last = fixture.suggestion("pending", day(5), MIDNIGHT - 60, MIDNIGHT).await;
    let after = fixture.suggestion("pending", day(5), MIDNIGHT, MIDNIGHT + 60).await;
    fixture.event(day(3), 0, 2 * DAY_MINUTES, ", is_all_day", ", true").await;
    assert_eq!(fixture.regenerate().await, (0, 2, 0));
    fixture.check_status(&[first, last], "dismissed").await;
    fixture.check_status(&[before, after], "pending").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_of_a_suggestion_is_no_conflict_with_it() {
    let fixture = Fixture::new(Tz::UTC).await;
    let own = fixture.suggestion("pending", day(3), 600, 660).await;
    let other = fixture.suggestion("pending", day(3), 600, 660).await;
    let event = fixture.event(day(3), 600, 660, "", "").await;
    fixture
        .stack
        .run(&format!("UPDATE suggestions SET calendar_event_id = '{event}' WHERE id = '{own}'"))
        .await;
    assert_eq!(fixture.regenerate().await, (0, 1, 0));
    fixture.check_status(&[own], "pending").await;
    fixture.check_status(&[other], "dismissed").await;
    fixture.event(day(3), 630, 690, "", "").await;
    assert_eq!(fixture.regenerate().await, (0, 1, 0));
    fixture.check_status(&[own], "dismissed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_ten_new_ones_an_hour_long_and_by_day() {
    let zone = Tz::Australia__Lord_Howe;
    let fixture = Fixture::new(zone).await;
    fixture.overdue_contacts(30).await;
    // The user works at night; that makes no suggestions at night.
    fixture
        .stack.run(&format!(
            "INSERT INTO availability_params (user_id, nighttime_start, nighttime_end) VALUES ('{}', '11:00', '17:45')",
            fixture.user
        ))
        .await;
    for round in 1..=3_usize {
        assert_eq!(fixture.regenerate().await, (0, 0, 10));
        let slots = fixture.stack.rows::<(DateTime<Utc>, DateTime<Utc>)>(
            "SELECT proposed_timeslot_start, proposed_timeslot_end FROM suggestions ORDER BY 1",
        );
        let slots = slots.await;
        assert_eq!(slots.len(), 10 * round);
        assert!(slots.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{slots:?}");
        for (start, end) in slots {
            let (from, to) = (start.with_timezone(&zone), end.with_timezone(&zone));
            let minute = |time: DateTime<Tz>| time.hour() * 60 + time.minute();
            assert_eq!(end - start, TimeDelta::hours(1));
            assert!(minute(from) >= 9 * 60 && minute(to) <= 21 * 60, "{from}");
            assert!(minute(to) <= 11 * 60 || minute(from) >= 17 * 60 + 45, "{from}");
        }
    }
    assert_eq!(fixture.regenerate().await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_whose_time_got_busy_is_suggested_for_another() {
    let fixture = Fixture::new(Tz::UTC).await;
    fixture.overdue_contacts(1).await;
    assert_eq!(fixture.regenerate().await, (0, 0, 1));
    fixture
        .stack.run(
            "INSERT INTO calendar_events (user_id, google_event_id, calendar_id, start_time, end_time, timezone)
             SELECT user_id, 'new', 'primary', proposed_timeslot_start, proposed_timeslot_end, 'UTC' FROM suggestions",
        )
        .await;
    let key = format!("suggestion:list:{}", fixture.user);
    fixture.stack.redis(&["SET", &key, "[]"]).await;
    assert_eq!(fixture.regenerate().await, (0, 1, 1));
    assert_eq!(fixture.stack.redis(&["EXISTS", &key]).await, redis::Value::Int(0));
    let rows = fixture.stack.rows::<(String, bool)>(
        "SELECT s.status::text, EXISTS (SELECT FROM calendar_events e
             WHERE e.start_time < s.proposed_timeslot_end AND e.end_time > s.proposed_timeslot_start)
         FROM suggestions s ORDER BY s.created_at",
    );
    assert_eq!(rows.await, [("dismissed".to_owned(), true), ("pending".to_owned(), false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_while_a_run_waits_for_another_is_seen() {
    let fixture = Fixture::new(Tz::UTC).await;
    let suggestion = fixture.suggestion("pending", day(3), 600, 660).await;
    let lock = fixture.stack.hold_suggestions(fixture.user).await;
    let (service, task) =
        (fixture.service.clone(), fixture.task(queues::SUGGESTION_REGENERATION, "calendar_sync"));
    let run = tokio::spawn(async move { service.deliver(task).await });
    fixture.stack.until_a_session_waits().await;
    fixture.event(day(3), 600, 660, "", "").await;
    drop(lock);
    let answer = run.await.unwrap();
    assert_eq!((answer.outcome(), &answer.body["result"]["dismissed"]), ("done", &json!(1)), "{answer:?}");
    fixture.check_status(&[suggestion], "dismissed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_generation_and_regeneration_never_make_two_open_suggestions_for_one_contact() {
    const ROUNDS: usize = 25;
    let fixture = Fixture::new(Tz::UTC).await;
    fixture.overdue_contacts(25).await;
    let generation = fixture.stack.service(SuggestionGeneration::new(&mut fixture.stack.setup([])).unwrap());
    for round in 0..ROUNDS {
        let deliveries: Vec<_> = (0..6)
            .map(|number| {
                let service = if number % 2 == 0 { fixture.service.clone() } else { generation.clone() };
                let task = fixture.task(service.queue, "manual_refresh");
                tokio::spawn(async move { service.deliver(task).await })
            })
            .collect();
        let mut created = 0;
        for delivery in deliveries {
            let answer = delivery.await.unwrap();
            assert_eq!(answer.outcome(), "done", "{answer:?}");
            created += answer.body["result"]["created"].as_i64().unwrap();
        }
        let open = "SELECT count(*), count(DISTINCT contact_id), count(DISTINCT proposed_timeslot_start)
                    FROM suggestions WHERE status IN ('pending', 'snoozed')";
        assert_eq!(fixture.stack.rows::<(i64, i64, i64)>(open).await, [(25, 25, 25)], "round {round}");
        assert_eq!(created, 25);
        fixture.stack.run("DELETE FROM suggestions").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_is_skipped_and_a_task_without_reason_waits() {
    let fixture = Fixture::new(Tz::UTC).await;
    let unknown = json!({ "userId": Uuid::new_v4(), "reason": "manual_refresh" });
    let answer = fixture.service.deliver(Delivery::of(queues::SUGGESTION_REGENERATION, &unknown)).await;
    assert_eq!((answer.outcome(), answer.reason()), ("skipped", "unknown_user"));
    let unreasoned = Delivery::of(queues::SUGGESTION_REGENERATION, &json!({ "userId": fixture.user }));
    let answer = fixture.service.deliver(unreasoned).await;
    assert_eq!((answer.outcome(), answer.reason()), ("requeued", "unreadable"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_could_not_be_dropped_is_dropped_by_the_next_delivery_which_changes_nothing() {
    let fixture = Fixture::new(Tz::UTC).await;
    fixture.overdue_contacts(1).await;
    let key = format!("suggestion:list:{}", fixture.user);
    fixture.stack.redis(&["SET", &key, "[]"]).await;
    let (proxy, fails) = RedisProxy::failing(&fixture.stack.gateway.url(), &key);
    let mut setup = fixture.stack.setup([("UPSTASH_REDIS_REST_URL", proxy.url("job"))]);
    let service = fixture.stack.service(SuggestionRegeneration::new(&mut setup).unwrap());
    let task = fixture.task(queues::SUGGESTION_REGENERATION, "calendar_sync");
    assert_eq!(service.deliver(task.clone()).await.status, 503);
    assert_eq!(fixture.stack.redis(&["EXISTS", &key]).await, redis::Value::Int(1));
    fails.store(false, Ordering::SeqCst);
    let answer = service.deliver(task.again(1)).await;
    answer.check_done(&json!({ "resumed": 0, "dismissed": 0, "created": 0 }));
    assert_eq!(fixture.stack.redis(&["EXISTS", &key]).await, redis::Value::Int(0));
}
