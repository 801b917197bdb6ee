//! The sweep and a user's suggestions: over a real Postgres, Redis and Cloud Tasks.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use catchup::cache::Cache;
use catchup::queues;
use chrono::{DateTime, Days, NaiveTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::job::Job;
use sqlx::{Connection, PgConnection};
use suggestion_generation::SuggestionGeneration;
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
                "INSERT INTO users (id, email, google_id)
                 SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n || '@example.test', n::text
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
async fn the_best_contact_gets_the_first_slot() {
    let fixture = Fixture::new(1).await;
    fixture.stack.run("UPDATE users SET timezone = 'Atlantic/Reykjavik'").await;
    fixture.leave_free(3, (10, 0), (12, 15)).await;
    // Neither takes time: declined or transparent, and without length.
    fixture.event(at(3, 10, 0), at(3, 12, 0), ", is_busy", ", false").await;
    fixture.event(at(3, 11, 30), at(3, 11, 30), "", "").await;
    fixture.contact("Late", 100, ", frequency_preference", ", 'weekly'").await;
    fixture.contact("Later", 40, ", frequency_preference", ", 'weekly'").await;
    let close =
        fixture.contact("Close", 9, ", frequency_preference, dunbar_circle", ", 'weekly', 'inner'").await;
    assert_eq!(fixture.generate().await, 2);

    let pending = fixture.pending().await;
    let expected = [(at(3, 10, 0), at(3, 11, 0), "Close"), (at(3, 11, 0), at(3, 12, 0), "Late")];
    assert_eq!(pending, expected.map(|(start, end, name)| (start, end, name.to_owned())));
    let row = format!(
        "SELECT trigger_type::text, type, proposed_timeslot_timezone, priority, reasoning, calendar_event_id
         FROM suggestions WHERE contact_id = '{close}'"
    );
    let rows = fixture.stack.rows::<(String, String, String, i32, String, Option<String>)>(&row);
    let reasoning = "You and Close were last in touch 9 days ago.".to_owned();
    // 100 + 50·ln 3.
    let expected = (
        "timebound".to_owned(),
        "individual".to_owned(),
        "Atlantic/Reykjavik".to_owned(),
        155,
        reasoning,
        None,
    );
    assert_eq!(rows.await, [expected]);
    let linked = "SELECT s.id FROM suggestions s
        JOIN suggestion_contacts c ON c.suggestion_id = s.id AND c.contact_id = s.contact_id";
    assert_eq!(fixture.stack.rows::<(Uuid,)>(linked).await.len(), 2);

    // The slots are taken now, and no contact is suggested twice.
    assert_eq!(fixture.generate().await, 0);
    fixture.stack.run("UPDATE suggestions SET status = 'dismissed' WHERE contact_id <> (SELECT id FROM contacts WHERE name = 'Close')").await;
    assert_eq!(fixture.generate().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_hour_is_a_slot_and_less_is_none() {
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
    assert_eq!(fixture.generate().await, 2);
    let slots: Vec<_> = fixture.pending().await.into_iter().map(|row| (row.0, row.1)).collect();
    assert_eq!(slots, [(at(3, 10, 0), at(3, 11, 0)), (at(3, 11, 0), at(3, 11, 30))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_week_is_the_users_and_read_each_time() {
    let fixture = Fixture::new(1).await;
    fixture.contacts(200).await;
    fixture.stack.run("UPDATE users SET timezone = 'Asia/Kolkata'").await;
    // An all-day event takes the day of the user, wherever its calendar is kept.
    let holiday = Clock::system().now().with_timezone(&Tz::Asia__Kolkata).date_naive() + Days::new(3);
    let midnight = holiday.and_time(NaiveTime::MIN).and_utc();
    fixture.event(midnight, midnight + TimeDelta::days(1), ", is_all_day", ", true").await;
    let availability = json!(
        [0, 1, 2, 3, 4, 5, 6]
            .map(|day| json!({ "dayOfWeek": day, "startTime": "18:00", "endTime": "23:30" }))
    );
    let commute = json!(
        [0, 1, 2, 3, 4, 5, 6]
            .map(|day| json!({ "dayOfWeek": day, "startTime": "18:30", "endTime": "19:00" }))
    );
    fixture
        .stack.run(&format!(
            "INSERT INTO availability_params (user_id, manual_time_blocks, commute_windows, nighttime_start, nighttime_end)
             VALUES ('{}', '{availability}', '{commute}', '21:00', '08:00')",
            user(1)
        ))
        .await;
    assert!(fixture.generate().await >= 12 * 3);
    let local = async || -> Vec<_> {
        let pending = fixture.pending().await.into_iter();
        pending.map(|row| (row.0.with_timezone(&Tz::Asia__Kolkata), row.1 - row.0)).collect()
    };
    // The first and the last day are cut by the present moment.
    let days: Vec<_> = local().await.into_iter().map(|(start, _)| start.date_naive()).collect();
    let (first, last) = (*days.iter().min().unwrap(), *days.iter().max().unwrap());
    for (start, length) in local().await {
        let day = start.date_naive();
        assert_ne!(day, holiday);
        if day == first || day == last {
            continue;
        }
        let minutes = start.hour() * 60 + start.minute();
        assert!([18 * 60, 19 * 60, 20 * 60].contains(&minutes));
        assert_eq!(length.num_minutes(), if minutes == 18 * 60 { 30 } else { 60 });
    }

    // The user changes the week: nothing has to be dropped.
    fixture.stack.run("DELETE FROM suggestions").await;
    fixture.stack.run("UPDATE availability_params SET manual_time_blocks = NULL, commute_windows = '[7]', nighttime_start = '08:30'").await;
    fixture.stack.run("UPDATE availability_params SET nighttime_end = '08:00'").await;
    assert!(fixture.generate().await >= 12);
    let starts: Vec<_> = local().await.into_iter().map(|(start, _)| start).collect();
    assert!(starts[1..].iter().all(|start| (start.hour(), start.minute()) == (8, 0)), "{starts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_has_at_most_four_suggestions_and_none_of_them_overlap() {
    let fixture = Fixture::new(1).await;
    fixture.contacts(200).await;
    let created = fixture.generate().await;
    assert!((13 * 4..=15 * 4).contains(&created), "{created}");
    for expected in [0, 1] {
        let pending = fixture.pending().await;
        assert_eq!(pending.len() as u64, created);
        assert!(pending.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        let horizon = Clock::system().now() + TimeDelta::days(14);
        for day in pending.chunk_by(|one, other| one.0.date_naive() == other.0.date_naive()) {
            assert!(day.len() <= 4, "{day:?}");
            assert!(day.iter().all(|slot| slot.0.hour() >= 9 && slot.1 <= horizon), "{day:?}");
        }
        // Another run fills no more than what has become free.
        assert_eq!(fixture.generate().await, 0);
        if expected == 0 {
            fixture
                .stack.run("DELETE FROM suggestions WHERE id = (SELECT id FROM suggestions ORDER BY proposed_timeslot_start DESC OFFSET 4 LIMIT 1)")
                .await;
            assert_eq!(fixture.generate().await, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_overdue_contacts_without_an_open_suggestion_are_suggested() {
    let fixture = Fixture::new(2).await;
    fixture.contact("Archived", 100, ", archived", ", true").await;
    fixture.contact("Met last week", 7, "", "").await;
    fixture.contact("Not their turn", 300, ", frequency_preference", ", 'yearly'").await;
    for (name, status, day, hour) in [
        ("Pending", "pending", 2, 9),
        ("Pending long ago", "pending", 0, 0),
        ("Snoozed", "snoozed", 2, 10),
        ("Accepted", "accepted", 2, 11),
    ] {
        let contact = fixture.contact(name, 100, "", "").await;
        fixture.suggestion(contact, status, day, hour).await;
    }
    fixture.stack.run("UPDATE suggestions SET proposed_timeslot_start = '2026-01-01', proposed_timeslot_end = '2026-01-02' WHERE proposed_timeslot_start = current_date").await;
    let called = fixture.contact("Called yesterday", 100, "", "").await;
    let log = |contact: Uuid, days: i64| {
        format!(
            "INSERT INTO interaction_logs (user_id, contact_id, date, type)
             VALUES ('{}', '{contact}', now() - interval '{days} days', 'call')",
            user(1)
        )
    };
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

    // These are. A call that is only planned changes nothing.
    let planned = fixture.contact("Call planned", 50, "", "").await;
    fixture.stack.run(&log(planned, -3)).await;
    let dismissed = fixture.contact("Dismissed", 60, "", "").await;
    fixture.suggestion(dismissed, "dismissed", 2, 13).await;
    let met = fixture.contact("Met", 70, "", "").await;
    fixture.suggestion(met, "accepted", 0, 0).await;
    fixture.stack.run("UPDATE suggestions SET proposed_timeslot_end = now() - interval '1 second', proposed_timeslot_start = now() - interval '1 hour' WHERE status = 'accepted' AND proposed_timeslot_start = current_date").await;
    fixture
        .stack
        .run(&format!(
            "INSERT INTO contacts (user_id, name, frequency_preference) VALUES ('{}', 'Never met', 'na')",
            user(1)
        ))
        .await;
    let circle = fixture.contact("In a group of close friends", 31, "", "").await;
    let former = fixture.contact("In an archived group", 32, "", "").await;
    for (name, archived, contact) in [("My CLOSEST", false, circle), ("close once", true, former)] {
        fixture
            .stack.run(&format!(
                "WITH g AS (INSERT INTO groups (user_id, name, archived) VALUES ('{}', '{name}', {archived}) RETURNING id)
                 INSERT INTO contact_groups (contact_id, group_id) SELECT '{contact}', id FROM g",
                user(1)
            ))
            .await;
    }
    fixture.stack.run("UPDATE suggestions SET status = 'dismissed' WHERE status = 'pending'").await;
    fixture
        .stack
        .run("UPDATE contacts SET archived = true WHERE name LIKE 'Pending%' OR name IN ('Leader', 'Member')")
        .await;
    assert_eq!(fixture.generate().await, 6);
    assert_eq!(
        fixture.names().await,
        [
            "In a group of close friends",
            "Met",
            "Dismissed",
            "Call planned",
            "In an archived group",
            "Never met"
        ]
    );
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
        assert_eq!(fixture.stack.rows::<(i64, i64, i64)>(open).await, [(40, 40, 40)], "round {round}");
        assert_eq!(created, 40);
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
    run.await.unwrap().check_done(&json!({ "created": 1 }));
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
    service.deliver(task.again(2)).await.check_done(&json!({ "created": 0 }));
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
    service_with_redis(&fixture.stack, &proxy).deliver(task).await.check_done(&json!({ "created": 1 }));
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
    let created = fixture.generate().await;
    assert!((13..=18).contains(&created), "{created}");
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
