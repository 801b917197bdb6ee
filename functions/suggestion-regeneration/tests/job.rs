//! One user's suggestions after a change: over a real Postgres and Redis.

use std::sync::atomic::Ordering;

use catchup::queues;
use chrono::{DateTime, Days, NaiveTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};
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
            .stack
            .run(&format!(
                "INSERT INTO users (id, email, google_id, timezone, last_calendar_sync)
                 VALUES ('{}', 'a@example.test', 'a', '{}', now())",
                fixture.user,
                zone.name()
            ))
            .await;
        fixture
    }

    fn task(&self, queue: Queue, reason: &str) -> Delivery {
        Delivery::of(queue, &json!({ "userId": self.user, "reason": reason }))
    }

    /// Runs the job: how many were moved, dismissed and created.
    async fn regenerate(&self) -> (u64, u64, u64) {
        let answer = self.service.deliver(self.task(queues::SUGGESTION_REGENERATION, "calendar_sync")).await;
        assert_eq!((answer.status, answer.outcome()), (200, "done"), "{answer:?}");
        let count = |name: &str| answer.body["result"][name].as_u64().unwrap();
        (count("moved"), count("dismissed"), count("created"))
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

    /// Which of the suggestions are pending, for another time than the given minutes after `day`.
    async fn moved(&self, suggestions: &[(Uuid, i64)], day: DateTime<Utc>) -> Vec<bool> {
        let mut moved = Vec::new();
        for (suggestion, start) in suggestions {
            let query = format!(
                "SELECT status::text, proposed_timeslot_start FROM suggestions WHERE id = '{suggestion}'"
            );
            let (status, found) = self.stack.rows::<(String, DateTime<Utc>)>(&query).await.remove(0);
            assert_eq!(status, "pending");
            moved.push(found != day + TimeDelta::minutes(*start));
        }
        moved
    }

    /// The user meets people by day and by night.
    async fn meet_at_any_hour(&self) {
        let day = |day| json!({ "dayOfWeek": day, "startTime": "00:00", "endTime": "24:00" });
        let blocks: Value = (0..7).map(day).collect();
        self.stack
            .run(&format!(
                "INSERT INTO availability_params (user_id, manual_time_blocks) VALUES ('{}', '{blocks}')",
                self.user
            ))
            .await;
    }

    /// No time is left in which a suggestion could be.
    async fn leave_nothing_free(&self) {
        self.event(day(0), -DAY_MINUTES, 60 * DAY_MINUTES, "", "").await;
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
async fn snoozed_suggestions_are_pending_for_a_new_time_when_the_snooze_has_expired() {
    let fixture = Fixture::new(Tz::UTC).await;
    let mut suggestions = Vec::new();
    for until in ["now() - interval '1 minute'", "now() + interval '1 hour'", "NULL"] {
        let suggestion = fixture.suggestion("snoozed", day(0), -120, -60).await;
        fixture
            .stack
            .run(&format!("UPDATE suggestions SET snoozed_until = {until} WHERE id = '{suggestion}'"))
            .await;
        suggestions.push(suggestion);
    }
    assert_eq!(fixture.regenerate().await, (1, 0, 0));
    fixture.check_status(&suggestions[..1], "pending").await;
    assert_eq!(fixture.moved(&[(suggestions[0], -120)], day(0)).await, [true]);
    fixture.check_status(&suggestions[1..], "snoozed").await;
    fixture.stack.advance(3600);
    assert_eq!(fixture.regenerate().await, (1, 0, 0));
    assert_eq!(fixture.regenerate().await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snoozed_suggestion_waits_for_a_free_slot() {
    let fixture = Fixture::new(Tz::UTC).await;
    let suggestion = fixture.suggestion("snoozed", day(3), 600, 660).await;
    fixture.stack.run("UPDATE suggestions SET snoozed_until = now()").await;
    fixture.leave_nothing_free().await;
    assert_eq!(fixture.regenerate().await, (0, 0, 0));
    fixture.check_status(&[suggestion], "snoozed").await;
    fixture.stack.run("DELETE FROM calendar_events").await;
    assert_eq!(fixture.regenerate().await, (1, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_event_moves_exactly_the_overlapping_suggestions() {
    let fixture = Fixture::new(Tz::UTC).await;
    fixture.meet_at_any_hour().await;
    let of = async |status, slots: &[(i64, i64)]| {
        let mut suggestions = Vec::new();
        for (start, end) in slots {
            suggestions.push((fixture.suggestion(status, day(3), *start, *end).await, *start));
        }
        suggestions
    };
    let apart = of("pending", &[(540, 600), (720, 780), (600 + DAY_MINUTES, 660 + DAY_MINUTES)]).await;
    let overlapping =
        of("pending", &[(570, 601), (719, 780), (600, 720), (630, 660), (540, 780), (500, 2000)]).await;
    let ids = |suggestions: &[(Uuid, i64)]| suggestions.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    let snoozed = ids(&of("snoozed", &[(600, 660)]).await);
    let accepted = ids(&of("accepted", &[(600, 660)]).await);
    assert_eq!(fixture.regenerate().await, (0, 0, 0));

    // Declined, transparent or empty events change nothing.
    fixture.event(day(3), 0, 3000, ", is_busy", ", false").await;
    fixture.event(day(3), 630, 630, "", "").await;
    assert_eq!(fixture.regenerate().await, (0, 0, 0));

    fixture.event(day(3), 600, 720, "", "").await;
    assert_eq!(fixture.regenerate().await, (6, 0, 0));
    assert_eq!(fixture.moved(&overlapping, day(3)).await, [true; 6]);
    assert_eq!(fixture.moved(&apart, day(3)).await, [false; 3]);
    fixture.check_status(&snoozed, "snoozed").await;
    fixture.check_status(&accepted, "accepted").await;
    assert_eq!(fixture.regenerate().await, (0, 0, 0));

    fixture.leave_nothing_free().await;
    assert_eq!(fixture.regenerate().await, (0, 9, 0));
    fixture.check_status(&ids(&overlapping), "dismissed").await;
    fixture.check_status(&ids(&apart), "dismissed").await;
    let states = "SELECT DISTINCT reason FROM jobs.ended_suggestions";
    assert_eq!(fixture.stack.rows::<(String,)>(states).await, [("conflict".to_owned(),)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_next_thirty_days_are_compared() {
    let fixture = Fixture::new(Tz::UTC).await;
    fixture.meet_at_any_hour().await;
    let near = fixture.suggestion("pending", day(29), 0, 60).await;
    let far = fixture.suggestion("pending", day(32), 0, 60).await;
    fixture.leave_nothing_free().await;
    assert_eq!(fixture.regenerate().await, (0, 1, 0));
    fixture.check_status(&[far], "pending").await;
    fixture.check_status(&[near], "dismissed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_all_day_event_is_the_users_day_wherever_the_calendar_is_kept() {
    let fixture = Fixture::new(Tz::Asia__Kolkata).await;
    fixture.meet_at_any_hour().await;
    let mut suggestions = Vec::new();
    for (date, start) in [(3, MIDNIGHT - 60), (3, MIDNIGHT), (5, MIDNIGHT - 60), (5, MIDNIGHT)] {
        let suggestion = fixture.suggestion("pending", day(date), start, start + 60).await;
        suggestions.push((suggestion, start + i64::try_from(date - 3).unwrap() * DAY_MINUTES));
    }
    fixture.event(day(3), 0, 2 * DAY_MINUTES, ", is_all_day", ", true").await;
    assert_eq!(fixture.regenerate().await, (2, 0, 0));
    assert_eq!(fixture.moved(&suggestions, day(3)).await, [false, true, true, false]);
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
    assert_eq!(fixture.regenerate().await, (1, 0, 0));
    assert_eq!(fixture.moved(&[(own, 600), (other, 600)], day(3)).await, [false, true]);
    fixture.event(day(3), 630, 690, "", "").await;
    assert_eq!(fixture.regenerate().await, (1, 0, 0));
    assert_eq!(fixture.moved(&[(own, 600)], day(3)).await, [true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_again_fills_up_by_the_same_rules_as_a_generation() {
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
    assert_eq!(fixture.regenerate().await, (0, 0, 5));
    let slots = fixture.stack.rows::<(DateTime<Utc>, DateTime<Utc>)>(
        "SELECT proposed_timeslot_start, proposed_timeslot_end FROM suggestions ORDER BY 1",
    );
    for (start, end) in slots.await {
        let (from, to) = (start.with_timezone(&zone), end.with_timezone(&zone));
        let minute = |time: DateTime<Tz>| time.hour() * 60 + time.minute();
        assert!(minute(from) >= 9 * 60 && minute(to) <= 21 * 60, "{from}");
        assert!(minute(to) <= 11 * 60 || minute(from) >= 17 * 60 + 45, "{from}");
    }
    assert_eq!(fixture.regenerate().await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lives_in_another_zone_is_suggested_times_of_their_day_there() {
    let fixture = Fixture::new(Tz::UTC).await;
    let evening = fixture.suggestion("pending", day(4), 18 * 60, 19 * 60).await;
    let midday = fixture.suggestion("pending", day(5), 12 * 60, 13 * 60).await;
    assert_eq!(fixture.regenerate().await, (0, 0, 0));
    // Eighteen o'clock is two in the morning there, and noon is evening.
    let zone = Tz::Asia__Singapore;
    let moves = format!("UPDATE users SET timezone = '{}' WHERE id = '{}'", zone.name(), fixture.user);
    fixture.stack.run(&moves).await;
    assert_eq!(fixture.regenerate().await, (1, 0, 0));
    let query = format!(
        "SELECT proposed_timeslot_start, proposed_timeslot_timezone FROM suggestions WHERE id = '{evening}'"
    );
    let (start, named) = fixture.stack.rows::<(DateTime<Utc>, String)>(&query).await.remove(0);
    assert!((9..21).contains(&start.with_timezone(&zone).hour()), "{start}");
    assert_eq!(named, zone.name());
    assert_eq!(fixture.moved(&[(midday, 12 * 60)], day(5)).await, [false]);
    assert_eq!(fixture.regenerate().await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cached_list_is_dropped() {
    let fixture = Fixture::new(Tz::UTC).await;
    let key = format!("suggestion:list:{}", fixture.user);
    fixture.stack.redis(&["SET", &key, "[]"]).await;
    assert_eq!(fixture.regenerate().await, (0, 0, 0));
    assert_eq!(fixture.stack.redis(&["EXISTS", &key]).await, redis::Value::Int(0));
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
    assert_eq!((answer.outcome(), &answer.body["result"]["moved"]), ("done", &json!(1)), "{answer:?}");
    assert_eq!(fixture.moved(&[(suggestion, 600)], day(3)).await, [true]);
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
        assert_eq!(fixture.stack.rows::<(i64, i64, i64)>(open).await, [(5, 5, 5)], "round {round}");
        assert_eq!(created, 5);
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
    answer.check_done(&json!({ "created": 0, "moved": 0, "dismissed": 0 }));
    assert_eq!(fixture.stack.redis(&["EXISTS", &key]).await, redis::Value::Int(0));
}
