//! Weeks of the whole system, in simulated time, among people who read what they get, act on it and change their minds. Every
//! message is looked at as its reader would, by rules of this module's own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use catchup::db::deliveries::Deliveries;
use catchup::google::TokenCipher;
use catchup::links::{self as signed_links, Links};
use catchup::queues;
use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, TimeDelta, Timelike as _, Utc};
use google_stand_in::World;
use messaging_stand_in::{Channel, Fault, Inbox, Kind as FaultKind, Message, Times};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use shared::config::Config;
use shared::db::Database;
use sqlx::PgConnection;
use url::form_urlencoded;
use uuid::Uuid;

use crate::days::inject_faults;
use crate::postgres::connect;
use crate::reports::{CARELESS, Reports, webhooks_url};
use crate::seed::batches;
use crate::simulated_time::SimulatedTime;
use crate::simulation::Simulation;
use crate::stack::LocalCloud;
use crate::verify::{self, Difference, QUARTER};

mod deeds;
mod links;
mod memory;
mod people;
mod record;
mod rules;
mod table;

use deeds::Stage;
use links::Found;
use memory::{Digest, Memory, Week, Word};
use people::{Kind, Person, people};
use rules::{APART, QUESTION_AFTER, Reading, Subject};
pub use table::Table;

/// The application's later tables, which some people use.
const LATER_TABLES: &str = include_str!("../schema/application-later.sql");
/// In spring all zones with daylight saving change their clocks, in the north and in the south: around this day.
const CLOCK_CHANGES: (u32, u32) = (3, 29);
/// A batch may be so late: a night's quiet hours, and an outage.
const LATENESS: TimeDelta = TimeDelta::hours(36);
/// After the calendar is connected again, it is known from then on.
const UNTIL_SYNCED: TimeDelta = TimeDelta::days(3);
/// After a move to another zone, suggestions have times of that zone from then on: the sweep that finds them is every six hours.
const UNTIL_MOVED: TimeDelta = TimeDelta::hours(7);
/// A snoozed suggestion is announced within two batches after it is due, or after one whose message was lost.
const SNOOZED_LATENESS: TimeDelta = TimeDelta::days(17);
const LONGEST_SNOOZE: TimeDelta = TimeDelta::days(14);
/// An operator looks at a message of unknown status when its provider would have reported it.
const UNTIL_SETTLED: TimeDelta = TimeDelta::hours(48);
const MAX_OPEN: i64 = 5;
/// Of each channel, so many messages a day meet a fault, and so many of Google's calls an hour.
const MESSAGE_FAULTS: usize = 1;
const GOOGLE_FAULTS: u32 = 2;
const FAULTS: [FaultKind; 8] = [
    FaultKind::Status { status: 500, code: 0 },
    FaultKind::Status { status: 503, code: 0 },
    FaultKind::Status { status: 429, code: 20_429 },
    FaultKind::Status { status: 401, code: 20_003 },
    FaultKind::Reset,
    FaultKind::ResetAfterAccept,
    FaultKind::AcceptThenStatus { status: 502 },
    FaultKind::AcceptThenGarbage,
];
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(30);

/// What there is to live through.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// So many days.
    pub days: u32,
    /// The same seed gives the same lives.
    pub seed: u64,
}

impl Course {
    /// When it begins: so that the clock changes of the next spring are in its middle.
    #[must_use]
    pub fn begin(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let (month, day) = CLOCK_CHANGES;
        let before = TimeDelta::days(i64::from(self.days) / 2);
        let begin = |year| {
            let middle = NaiveDate::from_ymd_opt(year, month, day)?.and_time(NaiveTime::MIN).and_utc();
            Some(middle - before).filter(|begin| *begin >= now)
        };
        (now.year()..).find_map(begin).unwrap_or(now)
    }
}

/// Lives through it, and returns what became of everybody, and what was not as it should be. Each day is told with what was found
/// on it.
pub async fn life(
    cloud: &mut LocalCloud,
    time: &mut SimulatedTime,
    Course { days, seed }: Course,
    time_limit: Duration,
    mut tell: impl FnMut(DateTime<Utc>, &[Difference]),
) -> anyhow::Result<(Table, Vec<Difference>)> {
    let (world, inbox) = (cloud.world().clone(), cloud.inbox().clone());
    let begin = world.now();
    let end = begin + TimeDelta::days(days.into());
    let http = shared::http::client(CONNECT_TIMEOUT, TIMEOUT);
    let mut life = Life {
        db: connect(cloud.database()).await?,
        people: people(&world).into_iter().map(|person| (person, Memory::default())).collect(),
        reports: cloud.reports(CARELESS, seed)?.context("the service webhooks is not built")?,
        webhooks: webhooks_url(cloud.environment())?.to_owned(),
        links: Links::from_config(&mut Config::from_pairs(cloud.environment().clone()))
            .map_err(|_| anyhow!("the environment has no key for links"))?,
        deliveries: Database::connect_lazily(cloud.database().as_str().parse()?, 1).into(),
        received: BTreeSet::new(),
        rng: StdRng::seed_from_u64(seed),
        problems: Vec::new(),
        world,
        inbox,
        http,
    };
    life.begin(&cloud.seeded().encryption_key, begin, days).await?;
    let mut simulation = Simulation::new(cloud, time, time_limit)?;
    simulation.cloud.run_schedules(queues::TOKEN_REFRESH).await?;
    simulation.until(begin).await?;
    let (mut told, mut known) = (begin, 0);
    while let Some(moment) = simulation.step(end).await? {
        life.look(moment.at).await?;
        if moment.at.minute() == 0 {
            inject_faults(&life.world, GOOGLE_FAULTS, &mut life.rng);
        }
        if moment.at.date_naive() != told.date_naive() {
            told = moment.at;
            life.inject_faults();
            life.settle(told - UNTIL_SETTLED).await?;
            tell(told, life.problems.get(known..).unwrap_or_default());
            known = life.problems.len();
        }
    }
    life.world.clear_faults();
    life.inbox.clear_faults();
    simulation.until(end + LATENESS).await?;
    life.look(end + LATENESS).await?;
    life.reports.finish(&life.inbox).await?;
    life.settle(end + LATENESS).await?;
    life.end(end + LATENESS, days).await?;
    let Life { people, problems, .. } = life;
    Ok((Table::of(&people), problems))
}

struct Life {
    db: PgConnection,
    people: Vec<(Person, Memory)>,
    reports: Reports,
    world: World,
    inbox: Inbox,
    http: reqwest::Client,
    webhooks: String,
    links: Links,
    deliveries: Deliveries,
    /// Our ids of the messages that arrived.
    received: BTreeSet<Uuid>,
    rng: StdRng,
    problems: Vec<Difference>,
}

impl Life {
    async fn begin(&mut self, key: &str, now: DateTime<Utc>, days: u32) -> anyhow::Result<()> {
        sqlx::raw_sql(LATER_TABLES).execute(&mut self.db).await?;
        let cipher: TokenCipher = key.parse().context("the encryption key cannot be used")?;
        for (person, memory) in &mut self.people {
            person.insert(&mut self.db, &cipher, now).await?;
            deeds::plan_life(person, memory, now, days.into());
            if let Some(number) = person.number.as_ref().filter(|_| person.kind == Kind::Landline) {
                self.reports.is_landline(number);
            }
        }
        sqlx::query("ANALYZE").execute(&mut self.db).await?;
        Ok(())
    }

    /// What happened until now is read, and done.
    async fn look(&mut self, now: DateTime<Utc>) -> anyhow::Result<()> {
        for message in self.reports.look(&self.inbox, now).await? {
            self.read(&message).await?;
        }
        for place in 0..self.people.len() {
            let (person, memory) = &mut self.people[place];
            for deed in memory.due(now) {
                if deeds::is_act(&deed) {
                    memory.acted_at = Some(now);
                }
                let mut stage = Stage {
                    db: &mut self.db,
                    world: &self.world,
                    inbox: &self.inbox,
                    http: &self.http,
                    webhooks: &self.webhooks,
                    now,
                };
                stage.perform(person, memory, deed).await?;
            }
            if memory.week.is_some_and(|week| week.at + LATENESS <= now) {
                self.end_week(place).await?;
            }
            let person = &self.people[place].0;
            let weekly = (person.batch_day, person.batch_time, person.zone);
            if let Some(at) = batches(weekly, now, now + QUARTER).first().copied() {
                self.begin_week(place, at).await?;
            }
        }
        Ok(())
    }

    /// A person's mail program follows every link, and then a person reads it.
    async fn read(&mut self, message: &Message) -> anyhow::Result<()> {
        let is_theirs = |person: &Person| match message.channel {
            Channel::Email => person.address == message.to,
            Channel::Sms => person.number.as_ref() == Some(&message.to),
        };
        let Some(place) = self.people.iter().position(|(person, _)| is_theirs(person)) else {
            self.problem(None, format!("a message of {} went to no one", message.received_at));
            return Ok(());
        };
        let links = links::found(message, &self.webhooks, &self.links);
        for Found { link, url } in &links {
            let page = self.http.get(url).send().await.context("webhooks does not answer")?;
            if !page.status().is_success() {
                self.problem(Some(place), format!("the page of {link:?} answers {}", page.status()));
            }
        }
        let id = message_id(message).unwrap_or_default();
        self.received.insert(id);
        let entries = record::entries(&mut self.db, id).await?;
        let Some(subject) = Subject::of(&entries) else {
            self.problem(Some(place), format!("a message of {} is not in the ledger", message.received_at));
            return Ok(());
        };
        let announced = record::announced(&mut self.db, id).await?;
        let (person, memory) = &self.people[place];
        let at = message.received_at;
        let ignored = memory.ignored(at, |message| self.reports.has_failed(message));
        let (entries, announced, links) = (entries.as_slice(), announced.as_slice(), links.as_slice());
        let reading = Reading { person, memory, message, subject, entries, announced, links, ignored };
        for problem in reading.problems() {
            self.problem(Some(place), problem);
        }
        let (person, memory) = &mut self.people[place];
        match subject {
            Subject::Digest => {
                for one in announced {
                    memory.waits.remove(&one.contact);
                    memory.snoozed.remove(&one.contact);
                }
                memory.digests.push(Digest {
                    at,
                    channel: message.channel,
                    message: message.provider_id.clone(),
                    announced: announced.iter().map(|one| (one.suggestion, one.start)).collect(),
                });
                deeds::plan_reaction(person, memory, (at, announced), links, &mut self.rng);
            }
            Subject::Question => memory.asked_at = Some(at),
            Subject::Reminder => memory.other_messages += 1,
        }
        Ok(())
    }

    /// Before a batch: whether it is expected to bring something.
    async fn begin_week(&mut self, place: usize, at: DateTime<Utc>) -> anyhow::Result<()> {
        let (person, memory) = &mut self.people[place];
        let mut due = record::due(&mut self.db, person.id, at).await?;
        due.retain(|contact| {
            !memory.never.contains(contact)
                && memory.cooling.get(contact).is_none_or(|until| *until + TimeDelta::days(1) <= at)
        });
        let taken = record::taken(&mut self.db, person.id).await?;
        let ignored = memory.ignored(at, |message| self.reports.has_failed(message));
        let is_heard = ignored < QUESTION_AFTER && !memory.is_asked(at);
        let is_expected = !due.is_empty()
            && taken.announced < MAX_OPEN
            && is_heard
            && is_reached(person, memory)
            && !memory.is_paused(at)
            && !memory.is_paused(at - TimeDelta::days(1))
            // One that the reader had in the zone before.
            && memory.digests.iter().all(|digest| digest.at + APART <= at)
            && memory.moved_at.is_none_or(|moved| moved + UNTIL_MOVED <= at)
            && memory.calendar_lost.is_none()
            && memory.calendar_found.is_none_or(|since| since + UNTIL_SYNCED <= at);
        if is_expected && taken.known < MAX_OPEN {
            let waiting: BTreeSet<Uuid> = due.into_iter().collect();
            memory.waits.retain(|contact, _| waiting.contains(contact));
            for contact in waiting {
                let weeks = memory.waits.entry(contact).or_default();
                *weeks += 1;
                memory.longest_wait = memory.longest_wait.max(*weeks);
            }
        }
        memory.week = Some(Week { at, is_expected });
        Ok(())
    }

    async fn end_week(&mut self, place: usize) -> anyhow::Result<()> {
        let (person, memory) = &mut self.people[place];
        let Some(week) = memory.week.take() else { return Ok(()) };
        let is_told = memory.digests.iter().any(|digest| digest.at >= week.at);
        let is_unanswered = !is_told && record::has_unknown(&mut self.db, person.id, week.at).await?;
        if is_unanswered {
            memory.unanswered_at = Some(week.at);
        }
        // Who pauses while the batch waits for a provider gets none.
        if !week.is_expected || memory.is_paused(week.at + LATENESS) {
            return Ok(());
        }
        memory.expected_weeks += 1;
        if is_told {
            memory.good_weeks += 1;
        } else if is_unanswered {
            memory.unanswered_weeks += 1;
        } else {
            let at = week.at.format("%F %H:%M");
            let open = record::open(&mut self.db, person.id).await?.join("; ");
            let what = format!("a contact was due, and the batch of {at} brought nothing; open are: {open}");
            self.problem(Some(place), what);
        }
        Ok(())
    }

    fn inject_faults(&mut self) {
        self.inbox.clear_faults();
        for channel in [Channel::Email, Channel::Sms] {
            for _ in 0..MESSAGE_FAULTS {
                let Some(kind) = FAULTS.choose(&mut self.rng) else { continue };
                let times = Times::Count(self.rng.random_range(1..=2));
                self.inbox.fault(Fault::new(channel, *kind).times(times));
            }
        }
    }

    /// What an operator does with messages of unknown status that their providers know nothing of.
    async fn settle(&self, before: DateTime<Utc>) -> anyhow::Result<()> {
        for unknown in self.deliveries.list_unknown(before, u32::MAX).await? {
            if !self.received.contains(&unknown.message_id) {
                self.deliveries.settle_not_sent(unknown.message_id, before).await?;
            }
        }
        Ok(())
    }

    /// What must be true at the end.
    async fn end(&mut self, now: DateTime<Utc>, days: u32) -> anyhow::Result<()> {
        self.problems.extend(verify::dead_letters(&mut self.db).await?);
        let open: Vec<(Uuid, String, i64)> = sqlx::query_as(
            "SELECT user_id, state, count(*) FROM jobs.notification_deliveries
             WHERE state IN ('unknown', 'sent') GROUP BY 1, 2",
        )
        .fetch_all(&mut self.db)
        .await?;
        for (user, state, count) in open {
            self.problems.push(Difference {
                user: Some(user),
                what: format!("{count} suggestions are still {state}"),
            });
        }
        // What the application says is wanted again has no effect any more, and stays in the table.
        let left: Vec<(Uuid, String)> = sqlx::query_as(
            "SELECT user_id, channel FROM jobs.opt_outs o JOIN notification_preferences p USING (user_id)
             WHERE NOT (o.is_shown AND CASE channel WHEN 'sms' THEN p.sms_enabled ELSE p.email_enabled END)",
        )
        .fetch_all(&mut self.db)
        .await?;
        let in_app = record::in_app(&mut self.db).await?;
        for place in 0..self.people.len() {
            self.last_words(place, now).await?;
            let (person, memory) = &self.people[place];
            let has_left = |channel, name: &str| {
                let is_there = left.iter().any(|(user, channel)| *user == person.id && channel == name);
                is_there == memory.left(channel).is_some()
            };
            let mut problems = Vec::new();
            if !has_left(Channel::Email, "email") || !has_left(Channel::Sms, "sms") {
                problems.push("who left and who did not is not what the opt-outs say".to_owned());
            }
            let is_reached =
                is_reached(person, memory) && memory.paused.is_none() && memory.calendar_lost.is_none();
            for (contact, due) in &memory.snoozed {
                let since = memory.unanswered_at.map_or(*due, |at| at.max(*due));
                if !is_reached || since + SNOOZED_LATENESS > now {
                    continue;
                }
                // Who was met meanwhile, or will be, needs no other message.
                if !record::was_unwanted(&mut self.db, *contact, *due - LONGEST_SNOOZE).await? {
                    let became = record::suggestions_of(&mut self.db, *contact).await?.join("; ");
                    let digests = memory.digests.iter().filter(|digest| digest.at >= *due);
                    let digests: Vec<_> =
                        digests.map(|digest| digest.at.format("%F %H:%M").to_string()).collect();
                    problems.push(format!(
                        "a contact that was snoozed until {due} was not heard of again: {became}; digests since then: {}",
                        digests.join(", ")
                    ));
                }
            }
            let longest =
                u32::try_from(person.due_contacts() / person.new_per_week() + 2).unwrap_or(u32::MAX);
            if memory.longest_wait > longest {
                problems.push(format!("a contact was due for {} weeks", memory.longest_wait));
            }
            if person.kind == Kind::Ignores && days >= 70 && memory.asked_at.is_none() {
                problems.push("who reacts to nothing was never asked".to_owned());
            }
            let is_long = days >= 14 && person.kind != Kind::Revokes;
            let is_told = if person.kind == Kind::Unreached {
                in_app.contains_key(&person.id)
            } else {
                !memory.digests.is_empty()
            };
            if is_long && !is_told {
                problems.push("no digest at all".to_owned());
            }
            if in_app.get(&person.id).is_some_and(|apart| *apart < APART) {
                problems.push("the application shows two digests of one week".to_owned());
            }
            for problem in problems {
                self.problem(Some(place), problem);
            }
        }
        Ok(())
    }

    /// That every suggestion ended as its reader's last word says.
    async fn last_words(&mut self, place: usize, now: DateTime<Utc>) -> anyhow::Result<()> {
        let user = self.people[place].0.id;
        let rows: Vec<(Uuid, String, bool)> = sqlx::query_as(
            "SELECT s.id, s.status::text, e.suggestion_id IS NOT NULL
             FROM suggestions s LEFT JOIN jobs.ended_suggestions e ON e.suggestion_id = s.id WHERE s.user_id = $1",
        )
        .bind(user)
        .fetch_all(&mut self.db)
        .await?;
        let rows: BTreeMap<Uuid, (String, bool)> =
            rows.into_iter().map(|(id, status, is_ended)| (id, (status, is_ended))).collect();
        let wrong: Vec<String> = self.people[place]
            .1
            .words()
            .filter_map(|(suggestion, word)| {
                let (status, is_ended) = rows.get(&suggestion)?;
                let is_kept = match word {
                    Word::Accepted => status == "accepted",
                    Word::Dismissed => status == "dismissed" && !is_ended,
                    Word::Snoozed { until } => *is_ended || now >= until || status == "snoozed",
                };
                (!is_kept).then(|| format!("suggestion {suggestion} is {status} after {word:?}"))
            })
            .collect();
        for problem in wrong {
            self.problem(Some(place), problem);
        }
        Ok(())
    }

    fn problem(&mut self, place: Option<usize>, what: String) {
        let person = place.map(|place| &self.people[place].0);
        let what = match person {
            Some(person) => format!("({:?}) {what}", person.kind),
            None => what,
        };
        self.problems.push(Difference { user: person.map(|person| person.id), what });
    }
}

/// Whether a digest can reach a person.
fn is_reached(person: &Person, memory: &Memory) -> bool {
    let by_email = person.wants_email && memory.left(Channel::Email).is_none();
    let takes_texts = person.number.is_some() && person.kind != Kind::Landline;
    by_email || (takes_texts && memory.left(Channel::Sms).is_none())
}

/// Our id of a message, which travels with it.
fn message_id(message: &Message) -> Option<Uuid> {
    let id = match message.channel {
        Channel::Email => message.our_id.clone(),
        Channel::Sms => {
            let (_, query) = message.status_callback.as_ref()?.split_once('?')?;
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(name, _)| name == signed_links::MESSAGE).map(|(_, id)| id.into_owned())
        }
    };
    id?.parse().ok()
}
