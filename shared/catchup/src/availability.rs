//! When a user can meet people: by the clock on that user's wall, daylight saving included.
//!
//! | rule | what it does |
//! |---|---|
//! | `manual_time_blocks` | when there are any, only what is in one of them is kept: nothing, if none can be read |
//! | `commute_windows` | are removed |
//! | `nighttime_start` to `nighttime_end` | is removed, every day |
//! | no blocks | [`NIGHT`] is removed, too: who only says when the night is does not want to meet people at seven |
//!
//! A window whose end is before its start ends on the next day. What is malformed is skipped and logged.

use serde::Deserialize;
use serde_json::Value;

use crate::db::availability::StoredAvailability;
use crate::span::Spans;

mod busy;
mod wall_clock;
mod weekly;

pub use busy::{Busy, busy};
pub use wall_clock::WallClock;

use weekly::{Weekly, every_day};

/// When no contact is met, unless the user's blocks say so.
pub const NIGHT: (&str, &str) = ("21:00", "09:00");

/// What a user said about the times of a week.
#[derive(Debug, Clone, PartialEq)]
pub struct Availability {
    /// Only these; `None` is the whole week.
    kept: Option<Vec<Weekly>>,
    removed: Vec<Weekly>,
}

/// An entry of `manual_time_blocks` and `commute_windows`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    /// 0 is Sunday.
    day_of_week: u8,
    start_time: String,
    end_time: String,
}

impl Availability {
    /// Reads what is stored.
    #[must_use]
    pub fn read(stored: &StoredAvailability) -> Self {
        let kept = blocks("manual_time_blocks", stored.manual_time_blocks.as_ref());
        let mut removed = blocks("commute_windows", stored.commute_windows.as_ref()).unwrap_or_default();
        let night = night(stored.nighttime_start.as_deref(), stored.nighttime_end.as_deref());
        let default = if kept.is_none() { every_day(NIGHT.0, NIGHT.1) } else { None };
        removed.extend([night, default].into_iter().flatten().flatten());
        Self { kept, removed }
    }

    /// The time of the clock's window in which the user can meet people, whatever the calendar says.
    #[must_use]
    pub fn times(&self, clock: &WallClock) -> Spans {
        let window = Spans::from(clock.window());
        let kept = self.kept.as_ref().map_or(window, |kept| weekly::moments(kept, clock));
        kept.except(&weekly::moments(&self.removed, clock))
    }
}

fn night(start: Option<&str>, end: Option<&str>) -> Option<[Weekly; 7]> {
    let (Some(start), Some(end)) = (start, end) else { return None };
    let night = every_day(start, end);
    if night.is_none() {
        tracing::warn!("malformed night skipped");
    }
    night
}

/// `None` when nothing is stored; of what is stored, the part that can be read.
fn blocks(column: &'static str, stored: Option<&Value>) -> Option<Vec<Weekly>> {
    let entries = match stored {
        None | Some(Value::Null) => return None,
        Some(Value::Array(entries)) if entries.is_empty() => return None,
        Some(Value::Array(entries)) => entries.as_slice(),
        Some(other) => std::slice::from_ref(other),
    };
    let read: Vec<Weekly> = entries.iter().filter_map(block).collect();
    let ignored = entries.len() - read.len();
    if ignored > 0 {
        tracing::warn!(column, ignored, left = read.len(), "malformed windows skipped");
    }
    Some(read)
}

fn block(entry: &Value) -> Option<Weekly> {
    let block = Block::deserialize(entry).ok()?;
    Weekly::new(block.day_of_week, &block.start_time, &block.end_time)
}

#[cfg(test)]
mod tests;
