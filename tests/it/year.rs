//! A year of one person: every message that she gets in 52 weeks, as a file to be read (`year/messages.txt`), and a
//! reader's verdict on each (`year/verdicts.txt`).
//!
//! A change of the rules changes what is sent: `UPDATE_YEAR=1` writes the messages anew, and every new one needs a verdict.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use batch_notifications::BatchNotifications;
use catchup::db::suggestions::{Act, Suggestions};
use catchup::queues;
use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, TimeDelta, Utc, Weekday};
use chrono_tz::Tz;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use shared::job::Job as _;
use shared::queue::Queue;
use suggestion_generation::SuggestionGeneration;
use tests::database::LATER_SCHEMA;
use tests::{Delivery, Messaging, Service, Stack};
use uuid::Uuid;

const NORA: Uuid = Uuid::from_u128(0x0A);
const ZONE: Tz = Tz::Europe__Berlin;
const DAYS: u64 = 364;
/// Of a hundred messages so many may annoy.
const MAX_ANNOYED_PERCENT: usize = 5;
/// A line of the file that begins so is no message.
const SAID: &str = ">";
/// She reads nothing on holiday, and reacts to nothing for some weeks in autumn.
const HOLIDAY: [(u32, u32); 2] = [(8, 1), (8, 16)];
const QUIET: [(u32, u32); 2] = [(9, 1), (10, 16)];
const CHRISTMAS: [(u32, u32); 2] = [(12, 24), (12, 27)];
/// She pauses suggestions.
const PAUSE: [(u32, u32); 2] = [(11, 15), (11, 29)];

/// The only one whom she calls close.
const MOTHER: &str = "Ingrid Lind";
/// Name, address, how often she wants to meet them, and for how many days they have not met; no address or frequency
/// stands for what an import brought.
const CONTACTS: [(&str, &str, Option<&str>, Option<i64>); 20] = [
    (MOTHER, "ingrid@family.test", Some("weekly"), Some(6)),
    ("Anna Berg", "anna@friends.test", Some("biweekly"), Some(20)),
    ("Jonas Weber", "jonas@friends.test", Some("biweekly"), Some(9)),
    ("Priya Nair", "priya@friends.test", Some("monthly"), Some(41)),
    ("Tom Keller", "tom@friends.test", Some("monthly"), Some(33)),
    ("Lucía Romero", "lucia@friends.test", Some("monthly"), Some(12)),
    ("Ben Okafor", "ben@friends.test", Some("monthly"), Some(25)),
    ("Mei Tanaka", "mei@friends.test", Some("monthly"), Some(3)),
    ("Sofie Dahl", "sofie@friends.test", Some("quarterly"), Some(100)),
    ("Emil Novak", "emil@friends.test", Some("quarterly"), Some(60)),
    ("Ruth Stern", "ruth@friends.test", Some("quarterly"), Some(30)),
    ("Albrecht Haas", "haas@university.test", Some("yearly"), Some(200)),
    ("Kaya Demir", "kaya@friends.test", Some("flexible"), Some(50)),
    ("Gerd Pohl", "gerd@work.test", Some("na"), Some(400)),
    ("Sam Lee", "sam.lee@mail.test", None, None),
    ("Daniel Fuchs", "daniel.fuchs@mail.test", None, None),
    ("Marta Costa", "marta@mail.test", None, None),
    ("Roadside Assistance", "", None, None),
    ("Corner Shop Newsletter", "newsletter@shop.test", None, None),
    ("Nora", "nora@example.test", None, None),
];

/// Nora, and the two functions that write to her.
struct Year {
    stack: Stack,
    messaging: Messaging,
    generation: Service,
    batches: Service,
    suggestions: Suggestions,
    rng: StdRng,
    /// What she will say of which suggestion, when.
    words: BTreeMap<DateTime<Utc>, (Uuid, Act)>,
    text: String,
}

impl Year {
    async fn begin() -> Self {
        let (stack, messaging) = (Stack::start().await, Messaging::start());
        let environment = messaging.environment();
        let setup = || stack.setup(environment.clone());
        let generation = SuggestionGeneration::new(&mut setup()).unwrap();
        let batches = BatchNotifications::new(&mut setup()).unwrap();
        let suggestions = Suggestions::new(&setup()).unwrap();
        let generation = stack.service_with(generation, environment.clone());
        let batches = stack.service_with(batches, environment.clone());
        let (rng, words, text) = (StdRng::seed_from_u64(1), BTreeMap::new(), String::new());
        let year = Self { stack, messaging, generation, batches, suggestions, rng, words, text };
        year.insert().await;
        year
    }

    async fn insert(&self) {
        self.stack.run(LATER_SCHEMA).await;
        // What the application changes, it changes at Nora's time.
        self.stack
            .run(
                "CREATE TABLE year_clock (now timestamptz);
                 CREATE OR REPLACE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN NEW.updated_at = (SELECT now FROM year_clock); RETURN NEW; END $$",
            )
            .await;
        self.stack
            .run(&format!(
                "INSERT INTO year_clock VALUES ('{begin}');
                 INSERT INTO users (id, email, name, google_id, timezone)
                 VALUES ('{NORA}', 'nora@example.test', 'Nora', 'nora', '{ZONE}');
                 INSERT INTO notification_preferences (user_id, sms_enabled, email_enabled, timezone)
                 VALUES ('{NORA}', false, true, '{ZONE}');
                 INSERT INTO oauth_tokens (user_id, provider, access_token) VALUES ('{NORA}', 'google_calendar', '');
                 INSERT INTO google_calendars (user_id, calendar_id, name, selected, is_primary)
                 VALUES ('{NORA}', 'nora', 'Nora', true, true);
                 INSERT INTO suggestion_pauses (user_id, pause_start, pause_end) VALUES ('{NORA}', '{}', '{}')",
                at(day(PAUSE[0]), 12),
                at(day(PAUSE[1]), 12),
                begin = at(begin(), 0),
            ))
            .await;
        for (number, (name, email, frequency, days)) in CONTACTS.iter().enumerate() {
            let id = Uuid::from_u128(0x100 + number as u128);
            let last = days.map(|days| at(begin(), 12) - TimeDelta::days(days));
            let circle = if *name == MOTHER { "'inner'" } else { "NULL" };
            self.stack
                .run(&format!(
                    "INSERT INTO contacts
                        (id, user_id, name, email, dunbar_circle, frequency_preference, last_contact_date)
                     VALUES ('{id}', '{NORA}', '{name}', NULLIF('{email}', ''), {circle}, {}, {})",
                    frequency.map_or("NULL".to_owned(), |frequency| format!("'{frequency}'")),
                    last.map_or("NULL".to_owned(), |last| format!("'{last}'")),
                ))
                .await;
        }
        let mut rows = Vec::new();
        for date in (0..DAYS + 60).map(|days| begin() + Days::new(days)) {
            for (what, from, until) in events(date) {
                let (start, end, synced) = (at(date, from), at(date, until), at(begin(), 0));
                rows.push(format!(
                    "('{NORA}', '{what}{date}', 'nora', '{what}', '{start}', '{end}', '{ZONE}', '{synced}')"
                ));
            }
        }
        self.stack
            .run(&format!(
                "INSERT INTO calendar_events
                    (user_id, google_event_id, calendar_id, summary, start_time, end_time, timezone, synced_at)
                 VALUES {}",
                rows.join(", "),
            ))
            .await;
    }

    /// A day: the calendar is read, suggestions are made, Nora says what she has to say, and on Sundays her batch is due.
    async fn day(&mut self, date: NaiveDate) {
        // A little later each day: what is due after whole days would otherwise hang on milliseconds.
        let early = at(date, 6) + TimeDelta::seconds(10 * (date - begin()).num_days());
        self.set_clock(early).await;
        self.stack.run(&format!("UPDATE users SET last_calendar_sync = '{early}'")).await;
        deliver(&self.generation, queues::SUGGESTION_GENERATION).await;
        let morning = at(date, 9);
        self.speak(morning).await;
        if date.weekday() == Weekday::Sun {
            self.set_clock(morning).await;
            // Her limits go by the machine's hours.
            self.stack.redis(&["FLUSHALL"]).await;
            let before = self.messaging.inbox.messages().len();
            deliver(&self.batches, queues::BATCH_NOTIFICATIONS).await;
            self.read(date, before).await;
        }
        self.speak(at(date, 23)).await;
    }

    async fn set_clock(&self, now: DateTime<Utc>) {
        self.stack.advance_to(Some(now));
        self.stack.run(&format!("UPDATE year_clock SET now = '{now}'")).await;
    }

    /// Says what is to be said by that time.
    async fn speak(&mut self, until: DateTime<Utc>) {
        while let Some((when, (suggestion, act))) = self.words.pop_first() {
            if when > until {
                self.words.insert(when, (suggestion, act));
                return;
            }
            self.set_clock(when).await;
            self.suggestions.act(suggestion, act, when).await.unwrap();
            self.write_down(suggestion, act, when).await;
        }
    }

    /// What she says, where it explains what comes next.
    async fn write_down(&mut self, suggestion: Uuid, act: Act, when: DateTime<Utc>) {
        let names: Vec<(String,)> = self
            .stack
            .rows(&format!(
                "SELECT c.name FROM suggestions s JOIN contacts c ON c.id = s.contact_id WHERE s.id = '{suggestion}'"
            ))
            .await;
        let said = match act {
            Act::WeMet => format!("we met ({})", names[0].0),
            Act::NotNow => format!("not now ({})", names[0].0),
            Act::Never => format!("never ({})", names[0].0),
            Act::StillUseful => "yes, more ideas".to_owned(),
        };
        let day = when.with_timezone(&ZONE).format("%a %-d %b");
        writeln!(self.text, "{SAID} {day}, Nora: {said}\n").unwrap();
    }

    /// Writes down what came, and decides what she will say.
    async fn read(&mut self, date: NaiveDate, before: usize) {
        let messages = self.messaging.inbox.messages_after(before);
        assert!(messages.len() <= 1, "{date}: {messages:?}");
        let Some(message) = messages.into_iter().next() else {
            writeln!(self.text, "## {date}\n\n(nothing)\n").unwrap();
            return;
        };
        let (subject, text) = (message.subject.unwrap_or_default(), message.text.unwrap_or_default());
        writeln!(self.text, "## {date}\n\nSubject: {subject}\n\n{}\n", without_tokens(&text)).unwrap();
        let announced: Vec<(Uuid, DateTime<Utc>, bool)> = self
            .stack
            .rows(&format!(
                "SELECT s.id, s.proposed_timeslot_end, c.frequency_preference IS NULL
                 FROM jobs.notification_deliveries d
                 JOIN suggestions s ON d.subject = 'suggestion:' || s.id JOIN contacts c ON c.id = s.contact_id
                 WHERE d.claimed_at >= '{}' ORDER BY s.proposed_timeslot_start",
                at(date, 9),
            ))
            .await;
        if announced.is_empty() {
            let last: Vec<(Uuid,)> =
                self.stack.rows("SELECT id FROM suggestions ORDER BY created_at DESC LIMIT 1").await;
            self.words.insert(at(date, 10) + TimeDelta::days(3), (last[0].0, Act::StillUseful));
        }
        for (suggestion, end, is_unknown) in announced {
            let chance = self.rng.random_range(0..100);
            let act = match (is_unknown, chance) {
                (true, 0..50) => Act::Never,
                (false, 0..55) => Act::WeMet,
                (false, 55..70) => Act::NotNow,
                _ => continue,
            };
            let when = match act {
                Act::WeMet => end + TimeDelta::hours(2),
                Act::NotNow | Act::Never | Act::StillUseful => {
                    at(date, 10) + TimeDelta::minutes(self.rng.random_range(0..600))
                }
            };
            let is_silent = [HOLIDAY, QUIET].iter().any(|span| is_within(when.date_naive(), *span));
            if !is_silent {
                self.words.insert(when, (suggestion, act));
            }
        }
    }
}

async fn deliver(service: &Service, queue: Queue) {
    let answer = service.deliver(Delivery::of(queue, &json!({ "userId": NORA }))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A Monday, so far ahead that no machine is there yet.
fn begin() -> NaiveDate {
    NaiveDate::from_ymd_opt(2035, 1, 1).unwrap()
}

fn day((month, day): (u32, u32)) -> NaiveDate {
    NaiveDate::from_ymd_opt(begin().year(), month, day).unwrap()
}

fn is_within(date: NaiveDate, [from, until]: [(u32, u32); 2]) -> bool {
    (day(from)..day(until)).contains(&date)
}

fn at(date: NaiveDate, hour: u32) -> DateTime<Utc> {
    let time = NaiveTime::from_hms_opt(hour, 0, 0).unwrap();
    date.and_time(time).and_local_timezone(ZONE).earliest().unwrap().to_utc()
}

/// What is in Nora's calendar on a day.
fn events(date: NaiveDate) -> Vec<(&'static str, u32, u32)> {
    if is_within(date, HOLIDAY) {
        return vec![("Holiday", 0, 23)];
    }
    if is_within(date, CHRISTMAS) {
        return vec![("Christmas", 0, 23)];
    }
    if (date.month(), date.day()) == (12, 31) {
        return vec![("Party", 16, 23)];
    }
    match date.weekday() {
        Weekday::Tue => vec![("Work", 9, 17), ("Choir", 19, 21)],
        Weekday::Mon | Weekday::Wed | Weekday::Thu => vec![("Work", 9, 17)],
        Weekday::Fri if date.iso_week().week().is_multiple_of(2) => vec![("Work", 9, 15), ("Dinner", 19, 22)],
        Weekday::Fri => vec![("Work", 9, 15)],
        Weekday::Sat => vec![("Shopping", 10, 12)],
        Weekday::Sun => vec![],
    }
}

/// The text of a message without what differs each time.
fn without_tokens(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let end = line.find("?t=").unwrap_or(line.len());
        lines.push(line[..end].trim_end());
    }
    lines.join("\n").trim().to_owned()
}

/// The messages of a text: date, and a digest of what stands there.
fn messages(text: &str) -> Vec<(String, String)> {
    let parts = text.split("## ").skip(1).filter(|part| !part.contains("(nothing)"));
    let message = |part: &str| {
        let (date, rest) = part.split_once('\n')?;
        let lines: Vec<_> = rest.lines().filter(|line| !line.starts_with(SAID)).collect();
        let hash = digest(&SHA256, lines.join("\n").trim().as_bytes());
        let hash = hash.as_ref().first_chunk().copied().map(u32::from_be_bytes)?;
        Some((date.to_owned(), format!("{hash:08x}")))
    };
    parts.filter_map(message).collect()
}

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "it", "year", name].iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_year_of_messages_is_as_it_was_read() {
    let mut year = Year::begin().await;
    for date in (0..DAYS).map(|days| begin() + Days::new(days)) {
        year.day(date).await;
    }
    if std::env::var_os("UPDATE_YEAR").is_some() {
        std::fs::write(file("messages.txt"), &year.text).unwrap();
    }
    let known = std::fs::read_to_string(file("messages.txt")).unwrap();
    let first = year.text.lines().zip(known.lines()).position(|(new, known)| new != known);
    assert!(
        year.text == known,
        "the messages have changed, first in line {first:?}: UPDATE_YEAR=1 writes them anew; read them, and give a verdict on each"
    );
}

#[test]
fn a_reader_is_seldom_annoyed() {
    let [messages_text, verdicts] =
        ["messages.txt", "verdicts.txt"].map(|name| std::fs::read_to_string(file(name)).unwrap());
    let verdicts: BTreeMap<(&str, &str), &str> = verdicts
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(((words.next()?, words.next()?), words.next()?))
        })
        .collect();
    let messages = messages(&messages_text);
    let verdict = |(date, hash): &(String, String)| verdicts.get(&(date.as_str(), hash.as_str())).copied();
    let missing: Vec<_> = messages.iter().filter(|message| verdict(message).is_none()).collect();
    assert!(
        missing.is_empty(),
        "read these messages, and give a verdict on each in verdicts.txt: {missing:?}"
    );
    let count = |word| messages.iter().filter(|message| verdict(message) == Some(word)).count();
    let (glad, neutral, annoyed) = (count("glad"), count("neutral"), count("annoyed"));
    assert_eq!(glad + neutral + annoyed, messages.len(), "a verdict is glad, neutral or annoyed");
    assert!(messages.len() > 20, "a year has more messages");
    assert!(annoyed * 100 <= messages.len() * MAX_ANNOYED_PERCENT, "{annoyed} of {} annoy", messages.len());
}
