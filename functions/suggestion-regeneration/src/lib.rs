//! Looks at one user's suggestions again after the calendar changed, or because the user asks.
//!
//! Snoozed ones whose time has come are pending again; pending ones for which the calendar has no time any more are
//! dismissed; then new ones are made. Events are read from the table and not from the cache: what changed is what counts.

use catchup::availability::{Availability, WallClock, busy, daily};
use catchup::cache::Cache;
use catchup::db::availability::Availabilities;
use catchup::db::suggestions::Suggestions;
use catchup::payload;
use catchup::span::{Span, Spans};
use catchup::suggestions::{self, SLOT, horizon, overdue, slots};
use catchup::time_zone;
use chrono::TimeDelta;
use serde::Serialize;
use shared::config::InvalidConfig;
use shared::job::{Context, Failure, Job, Outcome, Setup};

mod conflicts;

/// Suggestions are compared with the events of this time ahead.
const CONFLICT_WINDOW: TimeDelta = TimeDelta::days(30);
/// The time of the day for which suggestions are made.
const DAYTIME: (&str, &str) = ("09:00", "21:00");
/// Suggestions that one run makes.
const MAX_NEW: usize = 10;
const CONFLICT: &str = "Calendar conflict: a busy event now overlaps the proposed time";

/// Looks at suggestions again.
pub struct SuggestionRegeneration {
    availabilities: Availabilities,
    suggestions: Suggestions,
    cache: Cache,
}

/// What became of one user's suggestions.
#[derive(Serialize)]
struct Regenerated {
    resumed: u64,
    dismissed: u64,
    created: u64,
}

impl Job for SuggestionRegeneration {
    type Payload = payload::SuggestionRegeneration;

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let (availabilities, suggestions) = (Availabilities::new(setup), Suggestions::new(setup));
        let cache = Cache::new(setup);
        Ok(Self { availabilities: availabilities?, suggestions: suggestions?, cache: cache? })
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        let user_id = payload.user_id;
        let Some(stored) = self.availabilities.get(user_id).await? else {
            return Ok(Outcome::Skipped("unknown_user"));
        };
        let now = context.now();
        let window = Span { start: now, end: now + CONFLICT_WINDOW };
        let clock = WallClock::new(time_zone::named(user_id, stored.timezone.as_deref()), window);

        let mut tx = self.suggestions.begin(user_id).await?;
        let busy = busy(tx.busy_events(window).await?, &clock);
        let resumed = tx.resume_snoozed(now).await?;
        let conflicts = conflicts::conflicts(&tx.pending(window).await?, &busy);
        let dismissed = tx.dismiss(&conflicts, CONFLICT).await?;

        let occupied = busy.iter().map(|busy| busy.span).chain(tx.taken(now).await?).collect();
        let free = Spans::from(horizon(now))
            .and(&Availability::read(&stored).times(&clock))
            .and(&daily(&clock, DAYTIME.0, DAYTIME.1))
            .except(&occupied);
        let slots = slots(&free, SLOT).take(MAX_NEW);
        let overdue = overdue(tx.contacts(now).await?, now);
        let created = suggestions::suggest(&mut tx, &overdue, slots, &clock, now).await?;
        suggestions::commit(tx, &self.cache).await?;
        Ok(Outcome::done(Regenerated { resumed, dismissed, created }))
    }
}
