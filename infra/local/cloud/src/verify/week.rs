//! A user's time, minute by minute.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use google_stand_in::{Event, EventTime};

use super::Check;
use crate::seed::hours::{Hours, MINUTE, minutes};

/// When a user is busy, and when the user can meet people.
pub(super) struct Week {
    zone: Tz,
    hours: Hours,
    busy: Vec<EventTime>,
    has_events: bool,
}

impl Check<'_> {
    pub(super) fn week(&self) -> anyhow::Result<Week> {
        let events = self.known_events()?;
        let zone = self.before.reach.home(self.user);
        Ok(Week {
            zone,
            hours: Hours::new(self.before.availability, zone),
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

    /// Whether the user meets people then, as far as the calendar allows it.
    pub(super) fn is_in_hours(&self, start: DateTime<Utc>, end: DateTime<Utc>) -> bool {
        self.hours.contain_all(start, end)
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
        self.hours.contain(minute) && !self.is_busy(minute)
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
}
