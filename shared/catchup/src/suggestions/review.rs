//! A look at one user's suggestions: what is known is read, a plan is made, and carried out.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use shared::config::InvalidConfig;
use shared::db;
use shared::failure::Failure;
use shared::job::Setup;
use uuid::Uuid;

use super::conflicts::conflicts;
use super::history;
use super::plan::{Plan, Situation, plan};
use super::times::Horizon;
use super::{Contact, WeeklyTime};
use crate::availability::{Availability, WallClock, busy};
use crate::cache::{Cache, CalendarSlots};
use crate::db::availability::{Availabilities, StoredUser};
use crate::db::meetings::Meetings;
use crate::db::suggestions::{Changes, Known, Suggestions, SuggestionsTx};
use crate::span::{Span, Spans};
use crate::time_zone;

/// What was read longer ago says nothing about who is free.
const KNOWN: TimeDelta = TimeDelta::hours(48);
/// Suggestions are compared with the events of this time ahead: more than any of ours is.
const CONFLICT_WINDOW: TimeDelta = TimeDelta::days(30);

/// Looks at users' suggestions.
pub struct Reviews {
    tables: Tables,
    cache: Cache,
}

#[derive(Debug)]
struct Tables {
    availabilities: Availabilities,
    meetings: Meetings,
    suggestions: Suggestions,
}

/// A user, and the time for which suggestions are made.
struct Person {
    stored: StoredUser,
    horizon: Horizon,
    clock: WallClock,
}

impl Reviews {
    /// The handles of a job.
    pub fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let (availabilities, meetings) = (Availabilities::new(setup), Meetings::new(setup));
        let (suggestions, cache) = (Suggestions::new(setup), Cache::new(setup));
        let tables =
            Tables { availabilities: availabilities?, meetings: meetings?, suggestions: suggestions? };
        Ok(Self { tables, cache: cache? })
    }

    /// Makes suggestions in time that the cached calendar leaves free; `None` when there is no such user.
    pub async fn fill_up(&self, user_id: Uuid, now: DateTime<Utc>) -> Result<Option<Changes>, Failure> {
        let Some(person) = self.tables.person(user_id, now).await? else { return Ok(None) };
        let free = match person.available(now) {
            free if free == Spans::default() => free,
            free => free.and(&*self.free_calendar(user_id, &person.clock).await?),
        };
        let (mut tx, situation) = self.tables.begin(user_id, &person, now).await?;
        tx.note_act(situation.acted_at).await?;
        let mut plan = plan(situation, &free, &[]);
        keep_what_is_free(&mut plan, &mut tx, &person.clock).await?;
        self.finish(tx, &plan, &person, now).await.map(Some)
    }

    /// As [`Reviews::fill_up`], after a change: in time that the stored events leave free, which some suggestion may have
    /// lost.
    pub async fn look_again(&self, user_id: Uuid, now: DateTime<Utc>) -> Result<Option<Changes>, Failure> {
        let Some(person) = self.tables.person(user_id, now).await? else { return Ok(None) };
        let (mut tx, situation) = self.tables.begin(user_id, &person, now).await?;
        tx.note_act(situation.acted_at).await?;
        let plan = plan_with_stored_events(&mut tx, &person, situation, now).await?;
        self.finish(tx, &plan, &person, now).await.map(Some)
    }

    /// Drops the user's cached list, too, which lives until it is dropped: also if nothing changed, since an earlier run of
    /// this task may have committed what it could not drop.
    async fn finish(
        &self,
        mut tx: SuggestionsTx,
        plan: &Plan,
        person: &Person,
        now: DateTime<Utc>,
    ) -> Result<Changes, Failure> {
        let user_id = tx.user_id();
        let changes = tx.carry_out(plan, person.clock.zone().name(), now).await?;
        tx.commit().await?;
        self.cache.suggestions_changed(user_id).await?;
        Ok(changes)
    }

    /// What the user's events leave of the days of the clock's window. Cached by whole days, so that runs at different
    /// moments share it; what the user says about a week is not part of it and always read.
    async fn free_calendar(&self, user_id: Uuid, clock: &WallClock) -> Result<Arc<Spans>, db::Error> {
        let Span { start, end } = clock.window();
        let (from, to) = (start.date_naive(), end.date_naive());
        let key = CalendarSlots { user_id, zone: clock.zone().name(), from, to };
        let load = async {
            let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
            let days = Span { start: midnight(from), end: midnight(to) + TimeDelta::days(1) };
            let events = self.tables.availabilities.busy_events(user_id, days).await?;
            let busy = busy(events, &WallClock::new(clock.zone(), days));
            Ok(Spans::from(days).except(&busy.into_iter().map(|busy| busy.span).collect()))
        };
        self.cache.slots(&key, load).await
    }
}

/// What a review would do now, and why; `None` when there is no such user. Changes nothing.
pub async fn explain(
    database: &db::Database,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<(Vec<Contact>, Plan)>, db::Error> {
    let tables = Tables {
        availabilities: database.clone().into(),
        meetings: database.clone().into(),
        suggestions: database.clone().into(),
    };
    let Some(person) = tables.person(user_id, now).await? else { return Ok(None) };
    let (mut tx, situation) = tables.begin(user_id, &person, now).await?;
    let contacts = situation.contacts.clone();
    let plan = plan_with_stored_events(&mut tx, &person, situation, now).await?;
    Ok(Some((contacts, plan)))
}

impl Tables {
    async fn person(&self, user_id: Uuid, now: DateTime<Utc>) -> Result<Option<Person>, db::Error> {
        let Some(stored) = self.availabilities.get(user_id).await? else { return Ok(None) };
        let zone = time_zone::named(user_id, stored.timezone.as_deref());
        let batch = WeeklyTime::read(stored.batch_day, stored.batch_time.as_deref());
        let batch_zone = time_zone::named(user_id, stored.batch_timezone.as_deref());
        let horizon = Horizon::new(now, stored.has_channel.then(|| batch.next(batch_zone, now)));
        Ok(Some(Person { stored, horizon, clock: WallClock::new(zone, horizon.span()) }))
    }

    async fn begin(
        &self,
        user_id: Uuid,
        person: &Person,
        now: DateTime<Utc>,
    ) -> Result<(SuggestionsTx, Situation), db::Error> {
        let own_addresses = self.meetings.own_addresses(user_id).await?.into_iter().collect();
        let mut tx = self.suggestions.begin(user_id).await?;
        let contacts = tx.contacts(now).await?;
        let Known { suggestions, excluded, paused_until, acted_at } = tx.known(now).await?;
        let acted_at = acted_at.max(history::acted_at(&suggestions));
        let (zone, horizon) = (person.clock.zone(), person.horizon);
        let situation = Situation {
            now,
            zone,
            horizon,
            contacts,
            suggestions,
            own_addresses,
            excluded,
            acted_at,
            paused_until,
        };
        Ok((tx, situation))
    }
}

impl Person {
    /// When the user can meet people, whatever the calendar says; nothing, when that is not known.
    fn available(&self, now: DateTime<Utc>) -> Spans {
        let is_known = |synced: DateTime<Utc>| now - synced <= KNOWN;
        match self.stored.synced_at {
            Some(synced) if is_known(synced) && !self.stored.is_revoked => {
                Availability::read(&self.stored.availability).times(&self.clock)
            }
            Some(_) | None => Spans::default(),
        }
    }
}

async fn plan_with_stored_events(
    tx: &mut SuggestionsTx,
    person: &Person,
    situation: Situation,
    now: DateTime<Utc>,
) -> Result<Plan, db::Error> {
    let window = Span { start: now, end: now + CONFLICT_WINDOW };
    let events = tx.busy_events(window).await?;
    let busy = busy(events, &WallClock::new(person.clock.zone(), window));
    let conflicts = conflicts(&situation.suggestions, &busy);
    let free = person.available(now).except(&busy.into_iter().map(|busy| busy.span).collect());
    Ok(plan(situation, &free, &conflicts))
}

/// Leaves out of a plan what some event takes by now: what is cached may be old, and the events may have changed since it
/// was read. Another look follows such a change.
async fn keep_what_is_free(
    plan: &mut Plan,
    tx: &mut SuggestionsTx,
    clock: &WallClock,
) -> Result<(), db::Error> {
    let slots = || plan.new.iter().map(|new| new.slot).chain(plan.moved.iter().map(|moved| moved.slot));
    let (Some(start), Some(end)) = (slots().map(|slot| slot.start).min(), slots().map(|slot| slot.end).max())
    else {
        return Ok(());
    };
    let busy = busy(tx.busy_events(Span { start, end }).await?, clock);
    let is_free = |slot: Span| busy.iter().all(|busy| busy.span.and(&slot).is_empty());
    plan.new.retain(|new| is_free(new.slot));
    plan.moved.retain(|moved| is_free(moved.slot));
    Ok(())
}
