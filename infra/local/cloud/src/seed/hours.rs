//! The hours in which a user meets people, read from what was seeded: minute by minute, and not as the functions do.

use chrono::{DateTime, Datelike, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::{Block, OwnAvailability};

/// A minute.
pub(crate) const MINUTE: TimeDelta = TimeDelta::minutes(1);
/// When users without blocks meet no contact.
const NIGHT: (&str, &str) = ("21:00", "09:00");

/// Weekday, beginning and end.
type Window = (u32, NaiveTime, NaiveTime);

/// When a user can meet people, whatever the calendar says.
pub(crate) struct Hours {
    zone: Tz,
    /// Only these; all when there are none.
    kept: Vec<Window>,
    removed: Vec<Window>,
}

impl Hours {
    /// Those of a user in that zone.
    pub(crate) fn new(OwnAvailability { blocks, commute, night }: OwnAvailability, zone: Tz) -> Self {
        let default = blocks.is_empty().then_some(NIGHT);
        let nights = night
            .into_iter()
            .chain(default)
            .flat_map(|(start, end)| (0..7).map(move |day| window(&(day, start, end))));
        Self {
            zone,
            kept: blocks.iter().map(window).collect(),
            removed: commute.iter().map(window).chain(nights).collect(),
        }
    }

    /// Whether the minute is one of them.
    pub(crate) fn contain(&self, minute: DateTime<Utc>) -> bool {
        let local = minute.with_timezone(&self.zone);
        let (day, time) = (local.weekday().num_days_from_sunday(), local.time());
        let is_in = |window: &Window| is_in(*window, day, time);
        (self.kept.is_empty() || self.kept.iter().any(is_in)) && !self.removed.iter().any(is_in)
    }

    /// Whether all of that time is in them.
    pub(crate) fn contain_all(&self, start: DateTime<Utc>, end: DateTime<Utc>) -> bool {
        minutes(start, end).all(|minute| self.contain(minute))
    }
}

fn window((day, start, end): &Block) -> Window {
    let time = |text: &str| NaiveTime::parse_from_str(text, "%H:%M").unwrap_or_default();
    (u32::from(*day), time(start), time(end))
}

/// Whether a window, which may end on the next day, contains a time.
fn is_in((on, start, end): Window, day: u32, time: NaiveTime) -> bool {
    let (is_day, is_day_after) = (on == day, (on + 1) % 7 == day);
    if start < end {
        is_day && start <= time && time < end
    } else {
        (is_day && start <= time) || (is_day_after && time < end)
    }
}

/// The minutes of a time.
pub(crate) fn minutes(start: DateTime<Utc>, end: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
    std::iter::successors(Some(start), |minute| Some(*minute + MINUTE))
        .take_while(move |minute| *minute < end)
}
