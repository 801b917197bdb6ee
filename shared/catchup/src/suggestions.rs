//! Whom to suggest when: the rules that generation and regeneration share.
//!
//! Contacts that are overdue are put in order, free time is cut into slots, and the first contact gets the first slot.
//! No slot is used twice: time for which a suggestion is open or accepted is not free.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use shared::db;
use shared::failure::Failure;

use crate::availability::WallClock;
use crate::cache::Cache;
use crate::db::suggestions::{NewSuggestion, SuggestionsTx};
use crate::span::Span;

mod overdue;
mod slots;

pub use overdue::{Frequency, Overdue, overdue};
pub use slots::{SLOT, slots};

/// Suggestions are made for this time ahead.
const HORIZON: TimeDelta = TimeDelta::days(14);
/// The first slot does not begin at an odd minute.
const FIRST_STEP: TimeDelta = TimeDelta::minutes(15);

/// The time for which suggestions are made at that moment: 14 days, without the rest of this quarter of an hour.
#[must_use]
pub fn horizon(now: DateTime<Utc>) -> Span {
    Span { start: now.duration_round_up(FIRST_STEP).unwrap_or(now), end: now + HORIZON }
}

/// Suggests one contact for each slot as long as there are both, and returns how many.
pub async fn suggest(
    tx: &mut SuggestionsTx,
    overdue: &[Overdue],
    slots: impl IntoIterator<Item = Span> + Send,
    clock: &WallClock,
    now: DateTime<Utc>,
) -> Result<u64, db::Error> {
    let new: Vec<NewSuggestion> = overdue
        .iter()
        .zip(slots)
        .map(|(overdue, slot)| NewSuggestion {
            contact_id: overdue.contact.id,
            slot,
            reasoning: overdue.reasoning(now),
            priority: overdue.priority(),
        })
        .collect();
    if new.is_empty() {
        return Ok(0);
    }
    tx.add(&new, clock.zone().name(), now).await
}

/// Commits, and drops the user's cached list, which lives until it is dropped: also if nothing changed, since an earlier
/// run of this task may have committed what it could not drop.
pub async fn commit(tx: SuggestionsTx, cache: &Cache) -> Result<(), Failure> {
    let user_id = tx.user_id();
    tx.commit().await?;
    Ok(cache.suggestions_changed(user_id).await?)
}
