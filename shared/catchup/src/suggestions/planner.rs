//! A look at one user's suggestions: what is known is read, a plan is made, and carried out.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use shared::config::InvalidConfig;
use shared::db;
use shared::failure::Failure;
use shared::job::Setup;
use uuid::Uuid;

use super::batch::WeeklyTime;
use super::conflicts::{conflicts, outside_hours};
use super::history;
use super::plan::{Plan, Situation, announceable, plan};
use super::slot_pool::Horizon;
use crate::availability::{Availability, WallClock, busy};
use crate::cache::{Cache, CalendarSlots};
use crate::db::availability::{Availabilities, StoredUser};
use crate::db::meetings::Meetings;
use crate::db::opt_outs::List;
use crate::db::recipients::Recipients;
use crate::db::suggestions::{Changes, Contact, Known, Status, Suggestion, Suggestions, SuggestionsTx};
use crate::span::{Span, Spans};
use crate::time_zone;

/// What was read longer ago says nothing about who is free.
const MAX_CALENDAR_AGE: TimeDelta = TimeDelta::hours(48);
/// Suggestions are compared with the events and the user's hours of this time ahead: more than any of ours is.
const CONFLICT_WINDOW: TimeDelta = TimeDelta::days(30);

/// Looks at users' suggestions.
pub struct Planner {
    tables: Tables,
    cache: Cache,
}

#[derive(Debug)]
struct Tables {
    availabilities: Availabilities,
    meetings: Meetings,
    recipients: Recipients,
    suggestions: Suggestions,
}

/// A user, and the time for which suggestions are made.
struct UserContext {
    stored: StoredUser,
    horizon: Horizon,
    clock: WallClock,
}

impl Planner {
    /// The handles of a job.
    pub fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let (availabilities, meetings) = (Availabilities::new(setup), Meetings::new(setup));
        let (recipients, suggestions) = (Recipients::new(setup), Suggestions::new(setup));
        let cache = Cache::new(setup);
        let tables = Tables {
            availabilities: availabilities?,
            meetings: meetings?,
            recipients: recipients?,
            suggestions: suggestions?,
        };
        Ok(Self { tables, cache: cache? })
    }

    /// Makes suggestions in time that the cached calendar leaves free; `None` when there is no such user.
    pub async fn fill_up(&self, user_id: Uuid, now: DateTime<Utc>) -> Result<Option<Changes>, Failure> {
        let Some(user) = self.tables.user(user_id, now).await? else { return Ok(None) };
        let free = match user.available(now) {
            free if free.is_empty() => free,
            free => free.and(&*self.free_calendar(user_id, &user.clock).await?),
        };
        let (mut tx, situation) = self.tables.begin(user_id, &user, now).await?;
        tx.note_act(situation.acted_at).await?;
        let outside = user.outside_hours(&situation.suggestions, now);
        let mut plan = plan(situation, &free, &outside);
        keep_what_is_free(&mut plan, &mut tx, &user.clock).await?;
        self.finish(tx, &plan, &user, now).await.map(Some)
    }

    /// As [`Planner::fill_up`], after a change: in time that the stored events leave free, which some suggestion may have
    /// lost.
    pub async fn replan(&self, user_id: Uuid, now: DateTime<Utc>) -> Result<Option<Changes>, Failure> {
        let Some(user) = self.tables.user(user_id, now).await? else { return Ok(None) };
        let (mut tx, situation) = self.tables.begin(user_id, &user, now).await?;
        tx.note_act(situation.acted_at).await?;
        let plan = plan_with_stored_events(&mut tx, &user, situation, now).await?;
        self.finish(tx, &plan, &user, now).await.map(Some)
    }

    /// The user's pending suggestions that are still wanted, at times that are still known to be free: what may be announced now.
    /// `None` while the user wants to hear of no contact, and when there is no such user. Changes nothing.
    pub async fn announceable(
        &self,
        user_id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<Uuid>>, db::Error> {
        let Some(user) = self.tables.user(user_id, now).await? else { return Ok(None) };
        let (mut tx, situation) = self.tables.begin(user_id, &user, now).await?;
        if situation.is_paused {
            return Ok(None);
        }
        if !user.is_calendar_known(now) {
            return Ok(Some(Vec::new()));
        }
        let (_, conflicts) = stored_events(&mut tx, &user, &situation, now).await?;
        Ok(Some(announceable(situation, &conflicts)))
    }

    /// Drops the user's cached list, too, which lives until it is dropped: also if nothing changed, since an earlier run of
    /// this task may have committed what it could not drop.
    async fn finish(
        &self,
        mut tx: SuggestionsTx,
        plan: &Plan,
        user: &UserContext,
        now: DateTime<Utc>,
    ) -> Result<Changes, Failure> {
        let user_id = tx.user_id();
        let changes = (plan.dismissed.as_slice(), plan.moved.as_slice(), plan.new.as_slice());
        let changes = tx.carry_out(changes, user.clock.zone().name(), now).await?;
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

/// What a look at the user would change now, and why; `None` when there is no such user. Changes nothing.
pub async fn explain(
    database: &db::Database,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<(Vec<Contact>, Plan)>, db::Error> {
    let tables = Tables {
        availabilities: database.clone().into(),
        meetings: database.clone().into(),
        recipients: database.clone().into(),
        suggestions: database.clone().into(),
    };
    let Some(user) = tables.user(user_id, now).await? else { return Ok(None) };
    let (mut tx, situation) = tables.begin(user_id, &user, now).await?;
    let contacts = situation.contacts.clone();
    let plan = plan_with_stored_events(&mut tx, &user, situation, now).await?;
    Ok(Some((contacts, plan)))
}

impl Tables {
    async fn user(&self, user_id: Uuid, now: DateTime<Utc>) -> Result<Option<UserContext>, db::Error> {
        let Some(stored) = self.availabilities.get(user_id).await? else { return Ok(None) };
        let zone = time_zone::named(user_id, stored.timezone.as_deref());
        let batch = WeeklyTime::read(stored.batch_day, stored.batch_time.as_deref());
        let batch_zone = time_zone::named(user_id, stored.batch_timezone.as_deref());
        let recipient = self.recipients.contactable(user_id, now).await?;
        let is_reached = recipient.is_some_and(|recipient| !recipient.channels(List::Ideas).is_empty());
        let horizon = Horizon::new(now, is_reached.then(|| batch.next(batch_zone, now)));
        Ok(Some(UserContext { stored, horizon, clock: WallClock::new(zone, horizon.span()) }))
    }

    async fn begin(
        &self,
        user_id: Uuid,
        user: &UserContext,
        now: DateTime<Utc>,
    ) -> Result<(SuggestionsTx, Situation), db::Error> {
        let own_addresses = self.meetings.own_addresses(user_id).await?.into_iter().collect();
        let mut tx = self.suggestions.begin(user_id).await?;
        let contacts = tx.contacts(now).await?;
        let Known { suggestions, excluded, is_paused, acted_at } = tx.known(now).await?;
        let acted_at = acted_at.max(history::acted_at(&suggestions));
        let (zone, horizon) = (user.clock.zone(), user.horizon);
        let situation = Situation {
            now,
            zone,
            horizon,
            contacts,
            suggestions,
            own_addresses,
            excluded,
            acted_at,
            is_paused,
        };
        Ok((tx, situation))
    }
}

impl UserContext {
    fn is_calendar_known(&self, now: DateTime<Utc>) -> bool {
        let is_recent = |synced: DateTime<Utc>| now - synced <= MAX_CALENDAR_AGE;
        self.stored.synced_at.is_some_and(is_recent) && !self.stored.is_revoked
    }

    /// When the user can meet people, whatever the calendar says; nothing, when that is not known.
    fn available(&self, now: DateTime<Utc>) -> Spans {
        if self.is_calendar_known(now) {
            Availability::read(&self.stored.availability).times(&self.clock)
        } else {
            Spans::default()
        }
    }

    /// The suggestions whose time was found when the user had another zone or other hours.
    fn outside_hours(&self, suggestions: &[Suggestion], now: DateTime<Utc>) -> Vec<Uuid> {
        if suggestions.iter().all(|suggestion| suggestion.status != Status::Pending) {
            return Vec::new();
        }
        let window = Span { start: now, end: now + CONFLICT_WINDOW };
        let clock = WallClock::new(self.clock.zone(), window);
        outside_hours(suggestions, &Availability::read(&self.stored.availability).times(&clock), window)
    }
}

async fn plan_with_stored_events(
    tx: &mut SuggestionsTx,
    user: &UserContext,
    situation: Situation,
    now: DateTime<Utc>,
) -> Result<Plan, db::Error> {
    let (taken, conflicts) = stored_events(tx, user, &situation, now).await?;
    Ok(plan(situation, &user.available(now).except(&taken), &conflicts))
}

/// What stored events take of the user's time, and the suggestions that have lost theirs: to them, or because the user's hours
/// are others now.
async fn stored_events(
    tx: &mut SuggestionsTx,
    user: &UserContext,
    situation: &Situation,
    now: DateTime<Utc>,
) -> Result<(Spans, Vec<Uuid>), db::Error> {
    let window = Span { start: now, end: now + CONFLICT_WINDOW };
    let events = tx.busy_events(window).await?;
    let busy = busy(events, &WallClock::new(user.clock.zone(), window));
    let mut conflicts = conflicts(&situation.suggestions, &busy);
    conflicts.extend(user.outside_hours(&situation.suggestions, now));
    Ok((busy.into_iter().map(|busy| busy.span).collect(), conflicts))
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
