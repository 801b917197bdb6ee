//! Suggests whom to meet in the free time of the next 14 days: a sweep finds the users with a calendar, and one task
//! per user makes the suggestions.
//!
//! Free time is cut into consecutive slots of an hour; a rest of half an hour is one, too. A user's day has at most
//! four suggestions, those that are there already included, so what a run reads and writes is bounded.

use std::sync::Arc;

use catchup::availability::{Availability, WallClock, busy};
use catchup::cache::{Cache, CalendarSlots};
use catchup::db::availability::Availabilities;
use catchup::db::suggestions::{Suggestions, SuggestionsTx};
use catchup::payload;
use catchup::span::{Span, Spans};
use catchup::suggestions::{self, horizon, overdue, slots};
use catchup::time_zone;
use chrono::{NaiveDate, NaiveTime, TimeDelta};
use serde::Serialize;
use shared::config::InvalidConfig;
use shared::db;
use shared::db::sweeps::Sweeps;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::{Payload, Position, Target};
use shared::queue::Queue;
use shared::sweep::{self, Sweep};
use shared::tasks::Tasks;
use uuid::Uuid;

mod day_limit;

const QUEUE: Queue = <payload::SuggestionGeneration as Payload>::QUEUE;

/// Less time than this is no slot.
const SHORTEST: TimeDelta = TimeDelta::minutes(30);

/// Makes suggestions, and finds the users to make them for.
pub struct SuggestionGeneration {
    availabilities: Availabilities,
    suggestions: Suggestions,
    sweeps: Sweeps,
    tasks: Tasks,
    cache: Cache,
}

/// What one user got.
#[derive(Serialize)]
struct Generated {
    created: u64,
}

impl Job for SuggestionGeneration {
    type Payload = payload::SuggestionGeneration;

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let (availabilities, suggestions) = (Availabilities::new(setup), Suggestions::new(setup));
        let (sweeps, tasks, cache) = (setup.sweeps(), setup.tasks(), Cache::new(setup));
        Ok(Self {
            availabilities: availabilities?,
            suggestions: suggestions?,
            sweeps: sweeps?,
            tasks: tasks?,
            cache: cache?,
        })
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        match payload.0 {
            Target::Sweep(position) => self.sweep(&position, context).await,
            Target::User(user) => {
                let run = self.generate(user.user_id, context);
                sweep::user_task(&self.sweeps, QUEUE, user.swept(), context, run).await
            }
        }
    }
}

impl SuggestionGeneration {
    async fn sweep(&self, position: &Position, context: &Context) -> Result<Outcome, Failure> {
        let sweep = Sweep::of(position, context);
        if !sweep.begin(&self.sweeps, QUEUE).await? {
            return Ok(sweep::SUPERSEDED);
        }
        let page = self.suggestions.calendar_users(sweep.after, sweep::PAGE).await?;
        sweep.fan_out(&self.sweeps, &self.tasks, page, payload::SuggestionGeneration).await
    }

    async fn generate(&self, user_id: Uuid, context: &Context) -> Result<Outcome, Failure> {
        let Some(stored) = self.availabilities.get(user_id).await? else {
            return Ok(Outcome::Skipped("unknown_user"));
        };
        let now = context.now();
        let clock = WallClock::new(time_zone::named(user_id, stored.timezone.as_deref()), horizon(now));
        let free =
            Availability::read(&stored).times(&clock).and(&*self.free_calendar(user_id, &clock).await?);

        let mut tx = self.suggestions.begin(user_id).await?;
        let taken = tx.taken(now).await?;
        let free = free.except(&taken.iter().copied().collect());
        let overdue = overdue(tx.contacts(now).await?, now);
        let chosen = day_limit::limit_per_day(slots(&free, SHORTEST), &taken, &clock).take(overdue.len());
        let slots = still_free(&mut tx, chosen.collect(), &clock).await?;
        let created = suggestions::suggest(&mut tx, &overdue, slots, &clock, now).await?;
        suggestions::commit(tx, &self.cache).await?;
        Ok(Outcome::done(Generated { created }))
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
            let events = self.availabilities.busy_events(user_id, days).await?;
            let busy = busy(events, &WallClock::new(clock.zone(), days));
            Ok(Spans::from(days).except(&busy.into_iter().map(|busy| busy.span).collect()))
        };
        self.cache.slots(&key, load).await
    }
}

/// Those of the chosen slots, which are in order, that no event takes by now: what is cached may be old, and the events
/// may have changed since it was read.
async fn still_free(
    tx: &mut SuggestionsTx,
    mut chosen: Vec<Span>,
    clock: &WallClock,
) -> Result<Vec<Span>, db::Error> {
    let (Some(first), Some(last)) = (chosen.first(), chosen.last()) else { return Ok(chosen) };
    let events = tx.busy_events(Span { start: first.start, end: last.end }).await?;
    let busy = busy(events, clock);
    chosen.retain(|slot| busy.iter().all(|busy| busy.span.and(slot).is_empty()));
    Ok(chosen)
}
