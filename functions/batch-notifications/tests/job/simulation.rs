//! Sixty days of sweeps, on time and otherwise, over users everywhere.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use batch_notifications::BatchNotifications;
use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use local_cloud::Background;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::job::Job;
use sqlx::Executor;
use tests::{Delivery, Messaging, Service, Stack};
use uuid::Uuid;

const USERS: u32 = 1_000;
const DAYS: i64 = 60;
const QUARTER: TimeDelta = TimeDelta::minutes(15);

/// Half a year's changes of the clock lie in the sixty days: forward in the south, back in the north.
const BEGIN: &str = "2026-09-24T00:00:00Z";
const ZONES: [Tz; 30] = [
    Tz::UTC,
    Tz::Pacific__Honolulu,
    Tz::America__Anchorage,
    Tz::America__Los_Angeles,
    Tz::America__Denver,
    Tz::America__Chicago,
    Tz::America__New_York,
    Tz::America__Havana,
    Tz::America__Halifax,
    Tz::America__St_Johns,
    Tz::America__Sao_Paulo,
    Tz::America__Asuncion,
    Tz::Atlantic__Azores,
    Tz::Europe__London,
    Tz::Europe__Berlin,
    Tz::Africa__Cairo,
    Tz::Africa__Casablanca,
    Tz::Asia__Beirut,
    Tz::Asia__Gaza,
    Tz::Asia__Tehran,
    Tz::Asia__Kolkata,
    Tz::Asia__Kathmandu,
    Tz::Asia__Shanghai,
    Tz::Australia__Eucla,
    Tz::Australia__Adelaide,
    Tz::Australia__Sydney,
    Tz::Australia__Lord_Howe,
    Tz::Pacific__Auckland,
    Tz::Pacific__Chatham,
    Tz::Pacific__Kiritimati,
];
/// Two hours without a sweep, some of them where clocks change.
const OUTAGES: [&str; 8] = [
    "2026-09-26T13:00:00Z",
    "2026-10-03T14:45:00Z",
    "2026-10-03T15:45:00Z",
    "2026-10-11T08:00:00Z",
    "2026-10-25T00:15:00Z",
    "2026-11-01T04:30:00Z",
    "2026-11-01T08:00:00Z",
    "2026-11-15T08:15:00Z",
];
const OUTAGE: TimeDelta = TimeDelta::hours(2);

/// One user's batch, as the preferences say.
struct User {
    id: Uuid,
    zone: Tz,
    day: u32,
    minute: u32,
}

/// Users of all zones; every seventh has no preferences, so that the defaults hold, and more than by chance chose the
/// hours in which clocks change.
fn users() -> Vec<User> {
    (0..USERS)
        .map(|n| {
            let zone = ZONES[n as usize % ZONES.len()];
            let (day, minute) = match n % 7 {
                0 => (0, 9 * 60),
                1 | 2 => (0, n * 7 % 240),
                _ => (n / 7 % 7, n * 37 % 1440),
            };
            User { id: Uuid::from_u128(u128::from(n) + 1), zone, day, minute }
        })
        .collect()
}

async fn insert(stack: &Stack, users: &[User]) {
    let mut statements = Vec::new();
    for (n, user) in users.iter().enumerate() {
        let (id, zone) = (user.id, user.zone.name());
        let has_preferences = n % 7 != 0;
        // The zone of the preferences goes before the user's; that they say UTC means nothing.
        let is_preferred = has_preferences && n % 2 == 1 && zone != "UTC";
        let (own, preferred) = if is_preferred { ("Asia/Tokyo", zone) } else { (zone, "UTC") };
        statements.push(format!(
            "INSERT INTO users (id, email, google_id, timezone, last_calendar_sync)
             VALUES ('{id}', '{id}', '{id}', '{own}', '2100-01-01')"
        ));
        if has_preferences {
            let (day, hour, minute) = (user.day, user.minute / 60, user.minute % 60);
            statements.push(format!(
                "INSERT INTO notification_preferences (user_id, batch_day, batch_time, timezone)
                 VALUES ('{id}', {day}, '{hour:02}:{minute:02}', '{preferred}')"
            ));
        }
    }
    let sql = statements.join(";");
    stack.connect().await.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
}

/// When a local time happens: found in another way than by the function.
fn happens(zone: Tz, local: NaiveDateTime) -> DateTime<Utc> {
    let mut shown = local;
    loop {
        if let Some(moment) = zone.from_local_datetime(&shown).earliest() {
            return moment.to_utc();
        }
        shown += TimeDelta::minutes(1);
    }
}

/// A user's batches after `begin`, up to `end`.
fn batches(user: &User, begin: DateTime<Utc>, end: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let time = TimeDelta::minutes(user.minute.into());
    let mut date = (begin - TimeDelta::days(2)).date_naive();
    let mut moments = Vec::new();
    while date <= (end + TimeDelta::days(2)).date_naive() {
        if date.weekday().num_days_from_sunday() == user.day {
            moments.push(happens(user.zone, date.and_hms_opt(0, 0, 0).unwrap() + time));
        }
        date = date.succ_opt().unwrap();
    }
    moments.retain(|moment| *moment > begin && *moment <= end);
    moments
}

/// Cloud Tasks, reduced to what is asked of it, and without a memory: a name may be used again.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<(String, Value)>>>);

impl Tasks {
    fn serve(&self) -> Background {
        let tasks = self.clone();
        let create = post(|State(tasks): State<Self>, Json(body): Json<Value>| async move {
            let task = &body["task"];
            let envelope = STANDARD.decode(task["httpRequest"]["body"].as_str().unwrap()).unwrap();
            let envelope: Value = serde_json::from_slice(&envelope).unwrap();
            tasks.lock().push((task["name"].as_str().unwrap().to_owned(), envelope["data"].clone()));
            Json(json!({}))
        });
        Background::start("cloud-tasks", |listener| async move {
            axum::serve(listener, Router::new().fallback_service(create.with_state(tasks))).await
        })
        .unwrap()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, Value)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.lock())
    }
}

/// A function whose clock says what the simulation says.
struct World {
    stack: Stack,
    service: Service,
    token: String,
    tasks: Tasks,
    _server: Background,
    ahead: i64,
}

impl World {
    async fn new() -> Self {
        let stack = Stack::start().await;
        let tasks = Tasks::default();
        let server = tasks.serve();
        let mut environment: Vec<_> = Messaging::start().environment().into();
        environment.push(("CLOUD_TASKS_URL", server.url()));
        let job = BatchNotifications::new(&mut stack.setup(environment.clone())).unwrap();
        let service = stack.service_with(job, environment);
        let mut claims = stack.issuer.claims(&service.audience);
        claims["iat"] = json!(0);
        claims["exp"] = json!(i64::from(u32::MAX));
        let key = stack.issuer.key();
        let header = json!({ "alg": "RS256", "kid": key.id, "typ": "JWT" });
        let token = format!("Bearer {}", tests::issuer::sign(&header, &claims, &key));
        Self { stack, service, token, tasks, _server: server, ahead: 0 }
    }

    fn set_time(&mut self, now: DateTime<Utc>) {
        let ahead = (now - Clock::system().now()).num_seconds() + 1;
        self.stack.advance(ahead - self.ahead);
        self.ahead = ahead;
    }

    /// The sweep of that moment; a page holds all who are due.
    async fn sweep(&self, at: DateTime<Utc>) {
        let body = json!({ "data": {}, "jobName": "batch-notifications", "enqueuedAt": at }).to_string();
        let delivery = Delivery { authorization: Some(self.token.clone()), ..Delivery::new(body) };
        let answer = self.service.deliver(delivery).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// When sweeps run, and for which moments: around outages every quarter hour, at other times, where a sweep finds the
/// same whatever the width of its window, every three hours. Now and then one runs twice at the same time, or after the
/// next one.
fn timetable(begin: DateTime<Utc>, end: DateTime<Utc>) -> Vec<Vec<DateTime<Utc>>> {
    let outages: Vec<DateTime<Utc>> = OUTAGES.iter().map(|text| text.parse().unwrap()).collect();
    let mut runs: Vec<Vec<DateTime<Utc>>> = Vec::new();
    let mut at = begin;
    for number in 0.. {
        let since = |outage: &DateTime<Utc>| at - *outage;
        if !outages.iter().any(|outage| (TimeDelta::zero()..OUTAGE).contains(&since(outage))) {
            match number % 11 {
                3 => runs.push(vec![at, at]),
                7 => runs.push(vec![at, at - QUARTER]),
                8 => runs.push(vec![at - QUARTER]),
                _ => runs.push(vec![at]),
            }
        }
        if at >= end {
            break;
        }
        let is_close = outages.iter().any(|outage| (-OUTAGE..OUTAGE * 2).contains(&since(outage)));
        at += if is_close { QUARTER } else { OUTAGE + OUTAGE / 2 };
    }
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn in_sixty_days_each_user_gets_each_weeks_batch_once_whatever_becomes_of_sweeps() {
    let mut world = World::new().await;
    let users = users();
    insert(&world.stack, &users).await;
    let begin: DateTime<Utc> = BEGIN.parse().unwrap();
    let end = begin + TimeDelta::days(DAYS);

    let mut found: HashMap<Uuid, Vec<DateTime<Utc>>> = HashMap::new();
    let mut names = HashSet::new();
    let mut reached = BTreeSet::new();
    for at in timetable(begin, end) {
        let last = *at.iter().max().unwrap();
        world.set_time(last);
        if let [one, other] = at.as_slice() {
            tokio::join!(world.sweep(*one), world.sweep(*other));
        } else {
            world.sweep(at[0]).await;
        }
        for (name, data) in world.tasks.take() {
            // The second of two tasks of one name is recognised by its lease.
            if names.insert(name) {
                found.entry(data["userId"].as_str().unwrap().parse().unwrap()).or_default().push(last);
            }
        }
        reached.insert(last);
    }
    let reached_at_last = *reached.last().unwrap();
    for user in &users {
        let expected: Vec<_> = batches(user, begin - QUARTER, reached_at_last)
            .into_iter()
            .map(|moment| *reached.range(moment..).next().unwrap())
            .collect();
        let found = found.remove(&user.id).unwrap_or_default();
        assert_eq!(found, expected, "{} {} {}", user.zone, user.day, user.minute);
    }
    assert!(found.is_empty());
}
