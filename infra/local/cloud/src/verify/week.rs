//! A user's time, minute by minute.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use google_stand_in::{Event, EventTime};

use super::Check;
use crate::seed::{Block, OwnAvailability};

const MINUTE: TimeDelta = TimeDelta::minutes(1);
/// When users without blocks meet no contact.
const NIGHT: (&str, &str) = ("21:00", "09:00");

/// Weekday, beginning and end.
type Window = (u32, NaiveTime, NaiveTime);

/// When a user is busy, and when the user can meet people.
pub(super) struct Week {
    zone: Tz,
    /// Only these; all when there are none.
    kept: Vec<Window>,
    removed: Vec<Window>,
    busy: Vec<EventTime>,
    has_events: bool,
}

impl Check<'_> {
    pub(super) fn week(&self) -> anyhow::Result<Week> {
        let events = self.known_events()?;
        let OwnAvailability { blocks, commute, night } = self.before.availability;
        let default = blocks.is_empty().then_some(NIGHT);
        let nights = night
            .into_iter()
            .chain(default)
            .flat_map(|(start, end)| (0..7).map(move |day| window(&(day, start, end))));
        Ok(Week {
            zone: self.user.time_zone,
            kept: blocks.iter().map(window).collect(),
            removed: commute.iter().map(window).chain(nights).collect(),
            has_events: !events.is_empty(),
            busy: events.iter().filter(|event| event.busy()).map(|event: &Event| event.time).collect(),
        })
    }
}

impl Week {
    /// Whether the database got events at all.
    pub(super) fn has_events(&self) -> bool {
        self.has_events
    }

    pub(super) fn date(&self, moment: DateTime<Utc>) -> NaiveDate {
        moment.with_timezone(&self.zone).date_naive()
    }

    pub(super) fn is_busy_between(&self, start: DateTime<Utc>, end: DateTime<Utc>) -> bool {
        minutes(start, end).any(|minute| self.is_busy(minute))
    }

    pub(super) fn is_free_between(&self, start: DateTime<Utc>, end: DateTime<Utc>) -> bool {
        minutes(start, end).all(|minute| self.is_free(minute))
    }

    /// The longest stretches of free minutes without those that are `taken`.
    pub(super) fn free_runs(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        taken: impl Fn(DateTime<Utc>) -> bool,
    ) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
        let mut runs: Vec<(DateTime<Utc>, DateTime<Utc>)> = Vec::new();
        for minute in minutes(from, until).filter(|minute| self.is_free(*minute) && !taken(*minute)) {
            match runs.last_mut() {
                Some((_, end)) if *end == minute => *end = minute + MINUTE,
                Some(_) | None => runs.push((minute, minute + MINUTE)),
            }
        }
        runs
    }

    fn is_free(&self, minute: DateTime<Utc>) -> bool {
        self.is_available(minute) && !self.is_busy(minute)
    }

    fn is_busy(&self, minute: DateTime<Utc>) -> bool {
        self.busy.iter().any(|time| match *time {
            EventTime::Timed { start, end } => start < minute + MINUTE && minute < end,
            EventTime::AllDay { start, end } => {
                let date = self.date(minute);
                start <= date && date < end
            }
        })
    }

    fn is_available(&self, minute: DateTime<Utc>) -> bool {
        let local = minute.with_timezone(&self.zone);
        let (day, time) = (local.weekday().num_days_from_sunday(), local.time());
        let is_in = |window: &Window| is_in(*window, day, time);
        (self.kept.is_empty() || self.kept.iter().any(is_in)) && !self.removed.iter().any(is_in)
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

fn minutes(start: DateTime<Utc>, end: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
    std::iter::successors(Some(start), |minute| Some(*minute + MINUTE))
        .take_while(move |minute| *minute < end)
}
