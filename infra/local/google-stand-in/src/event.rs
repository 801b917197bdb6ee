//! A calendar event as Google knows it.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::dice::Dice;

/// `status` of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EventStatus {
    /// It takes place.
    Confirmed,
    /// It may take place; as busy as a confirmed one.
    Tentative,
    /// Deleted. Only incremental lists, `showDeleted` and `updatedMin` still show it.
    Cancelled,
}

/// What an attendee answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ResponseStatus {
    /// No answer yet.
    NeedsAction,
    /// Will not come.
    Declined,
    /// May come.
    Tentative,
    /// Will come.
    Accepted,
}

/// Someone invited to an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attendee {
    /// Their address.
    pub email: String,
    /// Their name, when Google knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Their answer.
    pub response_status: ResponseStatus,
    /// Whether this is the owner of the calendar.
    #[serde(rename = "self", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_self: bool,
    /// Whether they called the meeting.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub organizer: bool,
}

/// When an event takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventTime {
    /// From one instant to another.
    Timed {
        /// First instant.
        start: DateTime<Utc>,
        /// First instant that is no longer part of it.
        end: DateTime<Utc>,
    },
    /// Whole days of the calendar's time zone.
    AllDay {
        /// First day.
        start: NaiveDate,
        /// First day that is no longer part of it.
        end: NaiveDate,
    },
}

impl EventTime {
    /// The same length, `by` later (or earlier); whole days are moved by whole days.
    #[must_use]
    pub fn shifted(self, by: TimeDelta) -> Self {
        match self {
            Self::Timed { start, end } => Self::Timed { start: start + by, end: end + by },
            Self::AllDay { start, end } => {
                let by = TimeDelta::days(by.num_days());
                Self::AllDay { start: start + by, end: end + by }
            }
        }
    }

    /// Start and end as instants, days beginning at midnight in `zone`.
    #[must_use]
    pub fn instants(self, zone: Tz) -> (DateTime<Utc>, DateTime<Utc>) {
        match self {
            Self::Timed { start, end } => (start, end),
            Self::AllDay { start, end } => (midnight(start, zone), midnight(end, zone)),
        }
    }
}

/// The first instant of `day` in `zone`, also where daylight saving begins at midnight.
fn midnight(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    (0..24)
        .find_map(|hour| day.and_hms_opt(hour, 0, 0)?.and_local_timezone(zone).earliest())
        .map_or_else(|| day.and_time(chrono::NaiveTime::MIN).and_utc(), |local| local.to_utc())
}

/// How an event belongs to a recurring one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recurrence {
    /// It stands alone.
    None,
    /// The recurring event itself, listed only without `singleEvents`.
    Series {
        /// Its rule, e.g. `RRULE:FREQ=WEEKLY;COUNT=12`.
        rule: String,
    },
    /// One occurrence, listed with `singleEvents` (and without, once it differs from its series).
    Instance {
        /// Id of the recurring event.
        series: String,
        /// When it would have been by the rule.
        original: EventTime,
        /// Whether it was changed apart from its series.
        exception: bool,
    },
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Event id, the same in every calendar that the event appears in.
    pub id: String,
    /// Changes with every change.
    pub etag: String,
    /// Whether it takes place.
    pub status: EventStatus,
    /// Title; absent when its maker gave none.
    pub summary: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Free text.
    pub location: Option<String>,
    /// When.
    pub time: EventTime,
    /// The zone in which `time` is written; for whole days that of the calendar.
    pub time_zone: Tz,
    /// Does not make its owner busy.
    pub transparent: bool,
    /// Those invited.
    pub attendees: Vec<Attendee>,
    /// How it belongs to a recurring event.
    pub recurrence: Recurrence,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
}

impl Event {
    /// A confirmed event that makes its owner busy. Id, etag and times of change are given when it enters the world.
    #[must_use]
    pub fn new(summary: &str, time: EventTime, time_zone: Tz) -> Self {
        Self {
            id: String::new(),
            etag: String::new(),
            status: EventStatus::Confirmed,
            summary: Some(summary.to_owned()),
            description: None,
            location: None,
            time,
            time_zone,
            transparent: false,
            attendees: Vec::new(),
            recurrence: Recurrence::None,
            created: DateTime::UNIX_EPOCH,
            updated: DateTime::UNIX_EPOCH,
        }
    }

    /// An event from `start` for `length`.
    #[must_use]
    pub fn timed(summary: &str, start: DateTime<Utc>, length: TimeDelta) -> Self {
        Self::new(summary, EventTime::Timed { start, end: start + length }, Tz::UTC)
    }

    /// An event of `days` whole days.
    #[must_use]
    pub fn all_day(summary: &str, start: NaiveDate, days: u64) -> Self {
        Self::new(summary, EventTime::AllDay { start, end: start + Days::new(days) }, Tz::UTC)
    }

    /// Whether the calendar's owner declined it.
    #[must_use]
    pub fn declined(&self) -> bool {
        self.attendees.iter().any(|a| a.is_self && a.response_status == ResponseStatus::Declined)
    }

    /// Whether it makes its owner busy: neither transparent nor declined.
    #[must_use]
    pub fn busy(&self) -> bool {
        !self.transparent && !self.declined()
    }

    /// Whether it was not deleted.
    #[must_use]
    pub fn live(&self) -> bool {
        self.status != EventStatus::Cancelled
    }

    /// Whether it takes whole days.
    #[must_use]
    pub fn is_all_day(&self) -> bool {
        matches!(self.time, EventTime::AllDay { .. })
    }

    /// Start and end as instants.
    #[must_use]
    pub fn instants(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        self.time.instants(self.time_zone)
    }

    /// Whether `singleEvents=true` lists it: everything but the recurring event itself.
    #[must_use]
    pub fn is_single(&self) -> bool {
        !matches!(self.recurrence, Recurrence::Series { .. })
    }

    /// Whether `singleEvents=false` lists it: everything but the instances that follow their rule.
    pub(crate) fn is_own_entry(&self) -> bool {
        !matches!(self.recurrence, Recurrence::Instance { exception: false, .. })
    }
}

/// Google's own ids of events have 26 characters of base32hex.
const ID_DIGITS: usize = 26;

/// An id for a new event.
pub(crate) fn new_id(dice: &mut Dice) -> String {
    dice.hex(2)[..ID_DIGITS].to_owned()
}
