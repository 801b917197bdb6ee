//! The sweep and a user's suggestions: over a real Postgres, Redis and Cloud Tasks.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use catchup::cache::Cache;
use catchup::queues;
use catchup::suggestions::{Decision, explain};
use chrono::{DateTime, Datelike, Days, NaiveTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::db::Database;
use shared::job::Job;
use sqlx::{Connection, PgConnection};
use suggestion_generation::SuggestionGeneration;
use tests::database::LATER_SCHEMA;
use tests::redis_proxy::ProxyAction;
use tests::{Answer, Delivery, RedisProxy, Service, Stack};
use uuid::Uuid;

/// One more than a page of the sweep.
const MANY: usize = 501;
/// A whole number of pages.
const LOTS: usize = 10_000;
const PAGE: usize = 500;

struct Fixture {
    stack: Stack,
    service: Service,
}

impl Fixture {
    /// That many users with a calendar, in UTC.
    async fn new(users: usize) -> Self {
        let stack = Stack::start().await;
        let service = service(&stack);
        let fixture = Self { stack, service };
        fixture
            .stack.run(&format!(
                "INSERT INTO users (id, email, google_id, last_calendar_sync)
                 SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n || '@example.test', n::text, now()
                 FROM generate_series(1, {users}) n"
            ))
            .await;
        fixture
            .stack.run("INSERT INTO oauth_tokens (user_id, provider, access_token) SELECT id, 'google_calendar', '' FROM users")
            .await;
        fixture
    }

    async fn deliver(&self, data: &Value) -> Answer {
        self.service.deliver(task(data)).await
    }

    /// Lets suggestions be made for the first user, and returns how many.
    async fn generate(&self) -> u64 {
        let answer = self.deliver(&json!({ "userId": user(1) })).await;
        assert_eq!((answer.status, answer.outcome()), (200, "done"), "{answer:?}");
        answer.body["result"]["created"].as_u64().unwrap()
    }

    /// A contact of the first user, last met so many days ago; `columns` and `values` say more about it.
    async fn contact(&self, name: &str, days_ago: i64, columns: &str, values: &str) -> Uuid {
        let id = Uuid::new_v4();
        self.stack
            .run(&format!(
                "INSERT INTO contacts (id, user_id, name, last_contact_date {columns})
             VALUES ('{id}', '{}', '{name}', now() - interval '{days_ago} days' {values})",
                user(1)
            ))
            .await;
        id
    }

    /// As many contacts as there can be slots, and more.
    async fn contacts(&self, count: usize) {
        self.stack.run(&format!(
            "INSERT INTO contacts (user_id, name, last_contact_date)
             SELECT '{}', 'Contact ' || n, now() - n * interval '1 day' - interval '30 days' FROM generate_series(1, {count}) n",
            user(1)
        ))
        .await;
    }

    async fn event(&self, start: DateTime<Utc>, end: DateTime<Utc>, columns: &str, values: &str) {
        self.stack.run(&format!(
            "INSERT INTO calendar_events (user_id, google_event_id, calendar_id, start_time, end_time, timezone {columns})
             VALUES ('{}', '{}', 'primary', '{start}', '{end}', 'UTC' {values})",
            user(1),
            Uuid::new_v4()
        ))
        .await;
    }

    /// Events leave only this time of one day of the first user free.
    async fn leave_free(&self, day: u64, from: (u32, u32), to: (u32, u32)) {
        self.event(at(0, 0, 0) - TimeDelta::days(1), at(day, from.0, from.1), "", "").await;
        self.event(at(day, to.0, to.1), at(20, 0, 0), "", "").await;
    }

    async fn suggestion(&self, contact: Uuid, status: &str, day: u64, hour: u32) -> Uuid {
        let id = Uuid::new_v4();
        self.stack
            .run(&format!(
                "INSERT INTO suggestions (id, user_id, contact_id, trigger_type, proposed_timeslot_start,
                 proposed_timeslot_end, proposed_timeslot_timezone, reasoning, status)
             VALUES ('{id}', '{}', '{contact}', 'timebound', '{}', '{}', 'UTC', '', '{status}')",
                user(1),
                at(day, hour, 0),
                at(day, hour + 1, 0)
            ))
            .await;
        id
    }

    /// The slots of pending suggestions and whom they are for, in order.
    async fn pending(&self) -> Vec<(DateTime<Utc>, DateTime<Utc>, String)> {
        self.stack
            .rows(
                "SELECT s.proposed_timeslot_start, s.proposed_timeslot_end, c.name
             FROM suggestions s JOIN contacts c ON c.id = s.contact_id
             WHERE s.status = 'pending' ORDER BY 1",
            )
            .await
    }

    async fn names(&self) -> Vec<String> {
        self.pending().await.into_iter().map(|row| row.2).collect()
    }
}

fn service(stack: &Stack) -> Service {
    stack.service(SuggestionGeneration::new(&mut stack.setup([])).unwrap())
}

/// One whose job finds Redis behind a proxy.
fn service_with_redis(stack: &Stack, proxy: &RedisProxy) -> Service {
    let mut setup = stack.setup([("UPSTASH_REDIS_REST_URL", proxy.url("job"))]);
    stack.service(SuggestionGeneration::new(&mut setup).unwrap())
}

fn user(number: usize) -> Uuid {
    format!("00000000-0000-4000-8000-{number:012}").parse().unwrap()
}

fn task(data: &Value) -> Delivery {
    Delivery::of(queues::SUGGESTION_GENERATION, data)
}

/// A time of a day so many days from today, UTC.
fn at(day: u64, hour: u32, minute: u32) -> DateTime<Utc> {
    let date = Clock::system().now().date_naive() + Days::new(day);
    date.and_time(NaiveTime::from_hms_opt(hour, minute, 0).unwrap()).and_utc()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_goes_through_all_users_with_a_calendar_in_pages() {
    let fixture = Fixture::new(MANY).await;
    fixture.stack.run("INSERT INTO users (email, google_id) VALUES ('none@example.test', 'none')").await;
    fixture
        .stack.run("INSERT INTO oauth_tokens (user_id, provider, access_token) SELECT id, 'google_contacts', '' FROM users")
        .await;
    // What the application's own scheduler sends is a sweep, too.
    fixture
        .deliver(&json!({ "batchSize": 50, "offset": 100 }))
        .await
        .check_done(&json!({ "due": 500, "created": 500, "existing": 0, "continued": true }));
    let tasks = fixture.stack.take_tasks(queues::SUGGESTION_GENERATION).await;
    let (rest, users): (Vec<_>, Vec<_>) =
        tasks.into_iter().partition(|task| task.data().get("cursor").is_some());
    let mut users: Vec<Value> = users.iter().map(|task| task.data()["userId"].clone()).collect();
    users.sort_by_key(ToString::to_string);
    assert_eq!(users, (1..MANY).map(|number| json!(user(number))).collect::<Vec<_>>());
    assert_eq!(rest.len(), 1);
    fixture
        .service
        .deliver(rest[0].clone())
        .await
        .check_done(&json!({ "due": 1, "created": 1, "existing": 0, "continued": false }));
    let last = fixture.stack.take_tasks(queues::SUGGESTION_GENERATION).await;
    let last: Vec<Value> = last.iter().map(|task| task.data()["userId"].clone()).collect();
    assert_eq!(last, [json!(user(MANY))]);
}

/// Runs a whole sweep page by page, and returns how many tasks it created.
async fn sweep(service: &Service) -> u64 {
    let mut position = json!({ "sweepId": "noon" });
    let mut created = 0;
    for page in 1.. {
        let answer = service.deliver(task(&position)).await;
        assert_eq!((answer.status, answer.outcome()), (200, "done"), "{answer:?}");
        let result = &answer.body["result"];
        assert!(result["due"].as_u64().unwrap() <= PAGE as u64, "{result}");
        created += result["created"].as_u64().unwrap();
        if result["continued"] == json!(false) {
            assert_eq!(page, LOTS / PAGE + 1);
            break;
        }
        position = json!({ "sweepId": "noon", "cursor": user(page * PAGE) });
    }
    created
}

#[tokio::test(flavor = "multi_thread")]
async fn two_concurrent_sweeps_over_ten_thousand_users_create_ten_thousand_tasks() {
    let fixture = Fixture::new(LOTS).await;
    let (one, other) = tokio::join!(sweep(&fixture.service), sweep(&fixture.service));
    assert_eq!(one + other, LOTS as u64);
    // Each of the full pages created one continuation as well.
    assert_eq!(fixture.stack.tasks.count(queues::SUGGESTION_GENERATION).await.unwrap(), LOTS + LOTS / PAGE);
    let sweeps = fixture
        .stack
        .rows::<(String, i64, bool)>("SELECT sweep_id, tasks, finished_at IS NOT NULL FROM jobs.sweeps");
    assert_eq!(sweeps.await, [("noon".to_owned(), 10_000, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_contact_gets_the_best_slot() {
    let fixture = Fixture::new(1).await;
    fixture.stack.run("UPDATE users SET timezone = 'Atlantic/Reykjavik'").await;
    fixture.leave_free(3, (9, 0), (13, 0)).await;
    // Neither takes time: declined or transparent, and without length.
    fixture.event(at(3, 10, 0), at(3, 12, 0), ", is_busy", ", false").await;
    fixture.event(at(3, 11, 30), at(3, 11, 30), "", "").await;
    fixture.contact("Late", 40, ", frequency_preference", ", 'monthly'").await;
    fixture.contact("Later", 100, ", frequency_preference", ", 'monthly'").await;
    let close =
        fixture.contact("Close", 9, ", frequency_preference, dunbar_circle", ", 'weekly', 'inner'").await;
    assert_eq!(fixture.generate().await, 2);

    let pending = fixture.pending().await;
    let expected = [(at(3, 9, 0), at(3, 10, 0), "Later"), (at(3, 11, 0), at(3, 12, 0), "Close")];
    assert_eq!(pending, expected.map(|(start, end, name)| (start, end, name.to_owned())));
    let row = format!(
        "SELECT trigger_type::text, type, proposed_timeslot_timezone, priority, reasoning, calendar_event_id
         FROM suggestions WHERE contact_id = '{close}'"
    );
    let rows = fixture.stack.rows::<(String, String, String, i32, String, Option<String>)>(&row);
    let met = Clock::system().now() - TimeDelta::days(9);
    let is_this_year = met.year() == Clock::system().now().year();
    let last = met.format(if is_this_year { "last %-d %B" } else { "last %-d %B %Y" });
    let reasoning = format!("Close · weekly · {last}");
    // 9 of 7 days, and a close friend.
    let expected = (
        "timebound".to_owned(),
        "individual".to_owned(),
        "Atlantic/Reykjavik".to_owned(),
        429,
        reasoning,
        None,
    );
    assert_eq!(rows.await, [expected]);
    let linked = "SELECT s.id FROM suggestions s
        JOIN suggestion_contacts c ON c.suggestion_id = s.id AND c.contact_id = s.contact_id";
    assert_eq!(fixture.stack.rows::<(Uuid,)>(linked).await.len(), 2);
    // The slots are taken now, and no contact is suggested twice.
    assert_eq!(fixture.generate().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_explained_is_what_a_generation_does() {
    let fixture = Fixture::new(1).await;
    fixture.contacts(8).await;
    let archived = fixture.contact("Ida", 99, ", archived", ", true").await;
    let met = fixture.contact("Mel", 2, "", "").await;
    let database = Database::connect_lazily(fixture.stack.database.as_str().parse().unwrap(), 1);
    let (contacts, plan) = explain(&database, user(1), Clock::system().now()).await.unwrap().unwrap();
    assert_eq!(plan.decisions.len(), contacts.len(), "one for each contact");
    let decision = |contact: Uuid| plan.decisions.iter().find(|(id, _)| *id == contact).unwrap().1;
    assert_eq!(decision(archived), Decision::Archived);
    assert!(matches!(decision(met), Decision::NotDue(_)), "{:?}", decision(met));
    assert!(fixture.pending().await.is_empty(), "nothing is changed");

    let mut explained: Vec<_> = contacts
        .iter()
        .filter_map(|contact| match decision(contact.id) {
            Decision::Suggested(slot) => Some((slot.start, slot.end, contact.name.clone())),
            _ => None,
        })
        .collect();
    explained.sort();
    assert!(!explained.is_empty(), "some are due");
    assert_eq!(fixture.generate().await, explained.len() as u64);
    assert_eq!(fixture.pending().await, explained);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cached_of_the_calendar_is_dropped_with_its_events() {
    let fixture = Fixture::new(1).await;
    fixture.contacts(10).await;
    fixture.leave_free(3, (10, 0), (10, 29)).await;
    assert_eq!(fixture.generate().await, 0);
    fixture.stack.run("DELETE FROM calendar_events").await;
    fixture.leave_free(3, (10, 0), (11, 30)).await;
    let cache = Cache::new(&mut fixture.stack.setup([])).unwrap();
    cache.events_changed(user(1)).await.unwrap();
    // What is cached in the service's own memory lives on for a moment.
    fixture.stack.advance(60);
    assert_eq!(fixture.generate().await, 1);
    let slots: Vec<_> = fixture.pending().await.into_iter().map(|row| (row.0, row.1)).collect();
    assert_eq!(slots, [(at(3, 10, 0), at(3, 11, 0))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_week_is_the_users_and_read_each_time() {
    let fixture = Fixture::new(1).await;
    fixture.contacts(200).await;
    fixture.stack.run("UPDATE users SET timezone = 'Asia/Kolkata'").await;
    // An all-day event takes the day of the user, wherever its calendar is kept.
    let today = Clock::system().now().with_timezone(&Tz::Asia__Kolkata).date_naive();
    let holiday = today + Days::new(3);
    let midnight = holiday.and_time(NaiveTime::MIN).and_utc();
    fixture.event(midnight, midnight + TimeDelta::days(1), ", is_all_day", ", true").await;
    let every_day = |start, end| {
        json!(
            [0, 1, 2, 3, 4, 5, 6].map(|day| json!({ "dayOfWeek": day, "startTime": start, "endTime": end }))
        )
    };
    fixture
        .stack.run(&format!(
            "INSERT INTO availability_params (user_id, manual_time_blocks, commute_windows, nighttime_start, nighttime_end)
             VALUES ('{}', '{}', '{}', '21:00', '08:00')",
            user(1),
            every_day("18:00", "23:30"),
            every_day("18:30", "19:00"),
        ))
        .await;
    assert_eq!(fixture.generate().await, 5);
    let local = async || -> Vec<_> {
        let pending = fixture.pending().await.into_iter();
        pending.map(|row| (row.0.with_timezone(&Tz::Asia__Kolkata), row.1 - row.0)).collect()
    };
    for (start, length) in local().await {
        assert_ne!(start.date_naive(), holiday);
        assert!(start.date_naive() > today, "{start}");
        let minutes = start.hour() * 60 + start.minute();
        if start.date_naive() == today + Days::new(1) {
            continue; // The first day is cut by the present moment.
        }
        assert!([18 * 60, 19 * 60, 20 * 60].contains(&minutes));
        assert_eq!(length.num_minutes(), if minutes == 18 * 60 { 30 } else { 60 });
    }

    // The user changes the week: nothing has to be dropped.
    fixture.stack.run("DELETE FROM suggestions").await;
    fixture.stack.run("UPDATE availability_params SET manual_time_blocks = NULL, commute_windows = '[7]', nighttime_start = '10:00'").await;
    assert_eq!(fixture.generate().await, 5);
    for (start, _) in local().await {
        assert_eq!(start.hour(), 9, "{start}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_five_open_suggestions_and_two_a_day() {
    let fixture = Fixture::new(1).await;
    fixture.contacts(200).await;
    assert_eq!(fixture.generate().await, 5);
    for expected in [0, 1] {
        let pending = fixture.pending().await;
        assert_eq!(pending.len(), 5);
        assert!(pending.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        let now = Clock::system().now();
        let horizon = now + TimeDelta::days(15);
        for day in pending.chunk_by(|one, other| one.0.date_naive() == other.0.date_naive()) {
            assert!(day.len() <= 2, "{day:?}");
            let is_in_time = |slot: &(DateTime<Utc>, DateTime<Utc>, String)| {
                slot.0 >= now + TimeDelta::hours(23) && slot.1 <= horizon && slot.0.hour() >= 9
            };
            assert!(day.iter().all(is_in_time), "{day:?}");
        }
        // Another run fills no more than what has become free.
        assert_eq!(fixture.generate().await, 0);
        if expected == 0 {
            fixture
                .stack.run("DELETE FROM suggestions WHERE id = (SELECT id FROM suggestions ORDER BY proposed_timeslot_start LIMIT 1)")
                .await;
            assert_eq!(fixture.generate().await, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_messages_get_slots_after_the_batch_that_announces_them() {
    let fixture = Fixture::new(1).await;
    fixture.contacts(200).await;
    let batch = at(2, 9, 0);
    fixture
        .stack
        .run(&format!(
            "INSERT INTO notification_preferences (user_id, email_enabled, batch_day, batch_time)
             VALUES ('{}', true, {}, '09:00')",
            user(1),
            batch.weekday().num_days_from_sunday()
        ))
        .await;
    assert_eq!(fixture.generate().await, 5);
    let starts: Vec<_> = fixture.pending().await.into_iter().map(|row| row.0).collect();
    let first = batch + TimeDelta::hours(12);
    assert!(starts.iter().all(|start| *start >= first), "{starts:?}");
    let announced = starts.iter().filter(|start| **start < first + TimeDelta::weeks(1)).count();
    assert_eq!(announced, 3, "{starts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_that_was_not_read_lately_is_not_known_to_be_free() {
    let fixture = Fixture::new(1).await;
    fixture.contacts(1).await;
    for unknown in [
        "UPDATE users SET last_calendar_sync = NULL",
        "UPDATE users SET last_calendar_sync = now() - interval '49 hours'",
    ] {
        fixture.stack.run(unknown).await;
        assert_eq!(fixture.generate().await, 0, "{unknown}");
    }
    fixture.stack.run("UPDATE users SET last_calendar_sync = now() - interval '47 hours'").await;
    fixture.stack.run("INSERT INTO token_health (user_id, integration_type, status, last_checked) SELECT id, 'google_calendar', 'revoked', now() AT TIME ZONE 'UTC' FROM users").await;
    assert_eq!(fixture.generate().await, 0);
    // It was read since: nothing is revoked.
    fixture.stack.run("UPDATE users SET last_calendar_sync = now() + interval '1 second'").await;
    assert_eq!(fixture.generate().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_due_contacts_without_an_open_suggestion_are_suggested() {
    let fixture = Fixture::new(2).await;
    fixture.contact("Archived", 100, ", archived", ", true").await;
    fixture.contact("Met last week", 7, "", "").await;
    fixture.contact("Not their turn", 300, ", frequency_preference", ", 'yearly'").await;
    fixture.contact("Never", 3_000, ", frequency_preference", ", 'na'").await;
    for (name, status, day, hour) in [("Snoozed", "snoozed", 2, 10), ("Accepted", "accepted", 2, 11)] {
        let contact = fixture.contact(name, 100, "", "").await;
        fixture.suggestion(contact, status, day, hour).await;
    }
    let log = |contact: Uuid, days: i64| {
        format!(
            "INSERT INTO interaction_logs (user_id, contact_id, date, type)
             VALUES ('{}', '{contact}', now() - interval '{days} days', 'call')",
            user(1)
        )
    };
    let called = fixture.contact("Called yesterday", 100, "", "").await;
    fixture.stack.run(&log(called, 1)).await;
    // In a group suggestion of another contact.
    let leader = fixture.contact("Leader", 100, "", "").await;
    let member = fixture.contact("Member", 100, "", "").await;
    let group = fixture.suggestion(leader, "pending", 2, 12).await;
    fixture
        .stack
        .run(&format!(
            "INSERT INTO suggestion_contacts (suggestion_id, contact_id) VALUES ('{group}', '{member}')"
        ))
        .await;
    fixture
        .stack
        .run(&format!("INSERT INTO contacts (user_id, name) VALUES ('{}', 'Another user''s')", user(2)))
        .await;
    assert_eq!(fixture.generate().await, 0);

    // These are. A call that is only planned changes nothing, nor does a group that is not exactly that of close friends.
    let planned = fixture.contact("Call planned", 50, "", "").await;
    fixture.stack.run(&log(planned, -3)).await;
    let met = fixture.contact("Met", 70, "", "").await;
    fixture.suggestion(met, "accepted", 0, 0).await;
    fixture.stack.run("UPDATE suggestions SET proposed_timeslot_end = now() - interval '1 second', proposed_timeslot_start = now() - interval '1 hour' WHERE status = 'accepted' AND proposed_timeslot_start = current_date").await;
    let close = fixture.contact("Of close friends", 31, "", "").await;
    let other = fixture.contact("Of other friends", 32, "", "").await;
    for (name, archived, contact) in
        [("Close Friends", false, close), ("close friends", true, other), ("my closest", false, other)]
    {
        fixture
            .stack.run(&format!(
                "WITH g AS (INSERT INTO groups (user_id, name, archived) VALUES ('{}', '{name}', {archived}) RETURNING id)
                 INSERT INTO contact_groups (contact_id, group_id) SELECT '{contact}', id FROM g",
                user(1)
            ))
            .await;
    }
    fixture.stack.run("DELETE FROM suggestions WHERE status <> 'accepted'").await;
    fixture
        .stack
        .run("UPDATE contacts SET archived = true WHERE name IN ('Leader', 'Member', 'Snoozed')")
        .await;
    assert_eq!(fixture.generate().await, 4);
    let by_priority = fixture.stack.rows::<(String,)>(
        "SELECT c.name FROM suggestions s JOIN contacts c ON c.id = s.contact_id WHERE s.status = 'pending'
         ORDER BY s.priority DESC",
    );
    let names: Vec<_> = by_priority.await.into_iter().map(|row| row.0).collect();
    assert_eq!(names, ["Of close friends", "Met", "Call planned", "Of other friends"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_passed_ends_with_our_reason_and_is_no_word_of_the_user() {
    let fixture = Fixture::new(1).await;
    let expired = fixture.contact("Expired", 100, "", "").await;
    let told = fixture.contact("Told", 100, "", "").await;
    let met = fixture.contact("Met since", 100, "", "").await;
    for (contact, day) in [(expired, 0), (told, 0), (met, 5)] {
        fixture.suggestion(contact, "pending", day, 0).await;
    }
    fixture.stack.run("UPDATE suggestions SET created_at = now() - interval '8 days'").await;
    fixture
        .stack
        .run(&format!("UPDATE contacts SET last_contact_date = now() - interval '1 day' WHERE id = '{met}'"))
        .await;
    fixture
        .stack
        .run(&format!(
            "INSERT INTO jobs.notification_deliveries (user_id, channel, subject, state, claimed_at, settled_at, provider_id)
             SELECT user_id, 'email', 'suggestion:' || id, 'sent', now(), now(), 'x' FROM suggestions
             WHERE contact_id = '{told}'"
        ))
        .await;
    let answer = fixture.deliver(&json!({ "userId": user(1) })).await;
    answer.check_done(&json!({ "created": 1, "moved": 0, "dismissed": 3 }));
    assert_eq!(fixture.names().await, ["Expired"]);
    let states = fixture.stack.rows::<(String, String, String)>(
        "SELECT c.name, s.status::text, j.reason FROM suggestions s JOIN contacts c ON c.id = s.contact_id
         JOIN jobs.ended_suggestions j ON j.suggestion_id = s.id AND j.user_id = s.user_id ORDER BY 1",
    );
    let expected = [("Expired", "expired"), ("Met since", "unwanted"), ("Told", "expired")];
    let expected = expected.map(|(name, ended)| (name.to_owned(), "dismissed".to_owned(), ended.to_owned()));
    assert_eq!(states.await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snoozed_suggestion_whose_time_has_come_gets_a_new_slot_and_is_a_new_subject() {
    let fixture = Fixture::new(1).await;
    let contact = fixture.contact("Snoozed", 100, "", "").await;
    let suggestion = fixture.suggestion(contact, "snoozed", 0, 0).await;
    fixture.stack.run("UPDATE suggestions SET snoozed_until = now()").await;
    let told = "INSERT INTO jobs.notification_deliveries (user_id, channel, subject, state, claimed_at, settled_at, provider_id)
                SELECT user_id, 'sms', 'suggestion:' || id, 'sent', now(), now(), 'x' FROM suggestions";
    fixture.stack.run(told).await;
    let answer = fixture.deliver(&json!({ "userId": user(1) })).await;
    answer.check_done(&json!({ "created": 0, "moved": 1, "dismissed": 0 }));
    let rows = fixture.stack.rows::<(Uuid, bool, bool, bool)>(
        "SELECT s.id, s.snoozed_until IS NULL, s.proposed_timeslot_start > now(), d.subject = 'suggestion:' || s.id
         FROM suggestions s JOIN jobs.notification_deliveries d ON d.subject LIKE 'suggestion:' || s.id || '%'
         WHERE s.status = 'pending'",
    );
    assert_eq!(rows.await, [(suggestion, true, true, false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snoozed_suggestion_gets_times_until_a_message_announces_one() {
    let fixture = Fixture::new(1).await;
    let (contact, user) = (fixture.contact("Snoozed", 100, "", "").await, user(1));
    let suggestion = fixture.suggestion(contact, "snoozed", 0, 0).await;
    let number = format!(
        "INSERT INTO user_phone_numbers (user_id, phone_number, encrypted_phone_number, verified)
         VALUES ('{user}', '+12125550001', '', true);
         UPDATE suggestions SET snoozed_until = now()"
    );
    fixture.stack.run(&number).await;
    let message = async |state: &str, settled: &str| {
        let row = format!(
            "INSERT INTO jobs.notification_deliveries (user_id, channel, subject, state, claimed_at, settled_at, provider_id)
             VALUES ('{user}', 'sms', 'suggestion:{suggestion}', '{state}', now(), {settled}, 'x')"
        );
        fixture.stack.run(&row).await;
    };
    let pass = "UPDATE suggestions SET proposed_timeslot_start = now() - interval '1 hour', proposed_timeslot_end = now()";
    message("delivered", "now()").await;
    // It was snoozed; no message announced its next time; of one it is not known; the last one was announced.
    for (state, moved, dismissed) in [("", 1, 0), ("", 1, 0), ("unknown", 1, 0), ("sent", 0, 1)] {
        match state {
            "unknown" => message(state, "NULL").await,
            "sent" => message(state, "now()").await,
            _ => {}
        }
        let answer = fixture.deliver(&json!({ "userId": user })).await;
        answer.check_done(&json!({ "created": 0, "moved": moved, "dismissed": dismissed }));
        fixture.stack.run(pass).await;
        fixture.stack.advance(60);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_applications_later_tables_are_followed_where_they_are() {
    let fixture = Fixture::new(1).await;
    let excluded = fixture.contact("Excluded", 100, "", "").await;
    let in_touch = fixture.contact("In touch", 100, "", "").await;
    let dismissed = fixture.suggestion(in_touch, "dismissed", 0, 0).await;
    fixture.stack.run(LATER_SCHEMA).await;
    fixture
        .stack
        .run(&format!(
            "INSERT INTO suggestion_exclusions (user_id, contact_id) VALUES ('{}', '{excluded}')",
            user(1)
        ))
        .await;
    fixture
        .stack
        .run(&format!(
            "INSERT INTO suggestion_feedback (suggestion_id, user_id, preset)
             VALUES ('{dismissed}', '{}', 'already_in_touch')",
            user(1)
        ))
        .await;
    assert_eq!(fixture.generate().await, 0);
    fixture.contact("Someone", 100, "", "").await;
    fixture
        .stack
        .run(&format!(
            "INSERT INTO suggestion_pauses (user_id, pause_start, pause_end)
             VALUES ('{}', now() - interval '1 day', now() + interval '90 days')",
            user(1)
        ))
        .await;
    assert_eq!(fixture.generate().await, 0);
    fixture.stack.run("UPDATE suggestion_pauses SET pause_end = now()").await;
    assert_eq!(fixture.generate().await, 1);
    assert_eq!(fixture.names().await, ["Someone"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_generations_never_make_two_open_suggestions_for_one_contact() {
    const ROUNDS: usize = 25;
    let fixture = Fixture::new(1).await;
    fixture.contacts(40).await;
    // Another instance has its own connections and its own cache.
    let instances = [fixture.service.clone(), service(&fixture.stack)];
    for round in 0..ROUNDS {
        let deliveries: Vec<_> = (0..6)
            .map(|number: usize| {
                let service = instances[number % 2].clone();
                tokio::spawn(async move { service.deliver(task(&json!({ "userId": user(1) }))).await })
            })
            .collect();
        let mut created = 0;
        for delivery in deliveries {
            let answer = delivery.await.unwrap();
            assert_eq!(answer.outcome(), "done", "{answer:?}");
            created += answer.body["result"]["created"].as_u64().unwrap();
        }
        let open = "SELECT count(*), count(DISTINCT contact_id), count(DISTINCT proposed_timeslot_start)
                    FROM suggestions WHERE status IN ('pending', 'snoozed')";
        assert_eq!(fixture.stack.rows::<(i64, i64, i64)>(open).await, [(5, 5, 5)], "round {round}");
        assert_eq!(created, 5);
        fixture.stack.run("DELETE FROM suggestions").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_while_a_run_waits_for_another_is_seen() {
    let fixture = Fixture::new(1).await;
    fixture.contacts(2).await;
    fixture.leave_free(3, (10, 0), (12, 0)).await;
    let lock = fixture.stack.hold_suggestions(user(1)).await;
    let service = fixture.service.clone();
    let run = tokio::spawn(async move { service.deliver(task(&json!({ "userId": user(1) }))).await });
    fixture.stack.until_a_session_waits().await;
    fixture.event(at(3, 10, 30), at(3, 11, 0), "", "").await;
    drop(lock);
    run.await.unwrap().check_done(&json!({ "created": 1, "moved": 0, "dismissed": 0 }));
    let slots: Vec<_> = fixture.pending().await.into_iter().map(|row| (row.0, row.1)).collect();
    assert_eq!(slots, [(at(3, 11, 0), at(3, 12, 0))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cached_list_is_dropped_in_each_run() {
    let fixture = Fixture::new(1).await;
    let key = format!("suggestion:list:{}", user(1));
    for contacts in [0, 1] {
        fixture.stack.redis(&["SET", &key, "[]"]).await;
        fixture.contacts(contacts).await;
        assert_eq!(fixture.generate().await, contacts as u64);
        assert_eq!(fixture.stack.redis(&["EXISTS", &key]).await, redis::Value::Int(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_could_not_be_dropped_is_dropped_by_the_next_delivery_which_changes_nothing() {
    let fixture = Fixture::new(1).await;
    fixture.contacts(1).await;
    let key = format!("suggestion:list:{}", user(1));
    fixture.stack.redis(&["SET", &key, "[]"]).await;
    let (proxy, fails) = RedisProxy::failing(&fixture.stack.gateway.url(), &key);
    let service = service_with_redis(&fixture.stack, &proxy);
    let task = task(&json!({ "userId": user(1) }));
    for attempt in 0..2 {
        let answer = service.deliver(task.clone().again(attempt)).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(fixture.pending().await.len(), 1, "the suggestion is made");
    }
    assert_eq!(fixture.stack.redis(&["EXISTS", &key]).await, redis::Value::Int(1));
    fails.store(false, Ordering::SeqCst);
    service.deliver(task.again(2)).await.check_done(&json!({ "created": 0, "moved": 0, "dismissed": 0 }));
    assert_eq!(fixture.stack.redis(&["EXISTS", &key]).await, redis::Value::Int(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_redis_is_asked_the_user_is_not_locked_and_no_transaction_is_open() {
    let fixture = Fixture::new(1).await;
    fixture.contacts(1).await;
    let database = fixture.stack.database.clone();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let proxy = {
        let seen = Arc::clone(&seen);
        RedisProxy::start(&fixture.stack.gateway.url(), move |request| {
            let (database, seen) = (database.clone(), Arc::clone(&seen));
            async move {
                let mut connection = PgConnection::connect(database.as_str()).await.unwrap();
                let open = sqlx::query_as::<_, (i64, i64)>(
                    "SELECT (SELECT count(*) FROM pg_stat_activity
                             WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL),
                            (SELECT count(*) FROM suggestions)",
                );
                let open = open.fetch_one(&mut connection).await.unwrap();
                let command = request.body.split('"').nth(1).unwrap().to_owned();
                seen.lock().unwrap().push((command, open));
                ProxyAction::Pass
            }
        })
    };
    let task = task(&json!({ "userId": user(1) }));
    service_with_redis(&fixture.stack, &proxy)
        .deliver(task)
        .await
        .check_done(&json!({ "created": 1, "moved": 0, "dismissed": 0 }));
    let expected = [("MGET", 0), ("SET", 0), ("DEL", 1)];
    let expected = expected.map(|(command, suggestions)| (command.to_owned(), (0, suggestions)));
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_is_skipped_and_an_unknown_zone_is_utc() {
    let fixture = Fixture::new(1).await;
    let answer = fixture.deliver(&json!({ "userId": Uuid::new_v4() })).await;
    assert_eq!((answer.outcome(), answer.reason()), ("skipped", "unknown_user"));
    fixture.stack.run("UPDATE users SET timezone = 'Mars/Olympus'").await;
    fixture.contacts(1).await;
    assert_eq!(fixture.generate().await, 1);
    let zones = fixture.stack.rows::<(String,)>("SELECT proposed_timeslot_timezone FROM suggestions").await;
    assert_eq!(zones, [("UTC".to_owned(),)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_thousands_of_contacts_and_events_is_served() {
    let fixture = Fixture::new(1).await;
    fixture.contacts(5_000).await;
    // Each day is full of short events until eight in the evening; the last day of the horizon has none.
    fixture
        .stack.run(&format!(
            "INSERT INTO calendar_events (user_id, google_event_id, calendar_id, start_time, end_time, timezone)
             SELECT '{}', day || '-' || n, 'primary', e.start_time, e.start_time + interval '8 minutes', 'UTC'
             FROM generate_series(0, 13) day, generate_series(0, 149) n,
                  LATERAL (SELECT '{}'::timestamptz + day * interval '1 day' + n * interval '8 minutes' AS start_time) e",
            user(1),
            at(0, 0, 0)
        ))
        .await;
    assert_eq!(fixture.generate().await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_calendar_showed_yesterday_is_not_overdue() {
    let fixture = Fixture::new(1).await;
    let weekly = (", frequency_preference", ", 'weekly'");
    let met = fixture.contact("Met", 30, weekly.0, weekly.1).await;
    fixture.contact("Overdue", 30, weekly.0, weekly.1).await;
    let at = at(0, 0, 0) - TimeDelta::hours(3);
    fixture
        .stack
        .run(&format!(
            "INSERT INTO jobs.next_meetings (user_id, contact_id, starts_at) VALUES ('{}', '{met}', '{at}')",
            user(1)
        ))
        .await;
    fixture.generate().await;
    assert_eq!(fixture.names().await, ["Overdue"]);
}
