//! A calendar and the record of every change to it, by which lists, windows and sync tokens are answered.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::event::{Event, EventStatus, Recurrence};

/// A calendar of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    /// `calendarId`; of the primary one the address of the account. Holiday calendars have a `#` in theirs.
    pub id: String,
    /// Name.
    pub summary: String,
    /// Free text.
    pub description: Option<String>,
    /// IANA time zone.
    pub time_zone: Tz,
    /// Whether it is the account's own.
    pub primary: bool,
    /// Whether the user selected it for the application (`google_calendars.selected`).
    pub selected: bool,
    /// `owner`, `writer` or `reader`.
    pub access_role: String,
}

/// The two ends of `timeMin`/`timeMax`, each open when absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) min: Option<DateTime<Utc>>,
    pub(crate) max: Option<DateTime<Utc>>,
}

impl Window {
    /// `timeMin` excludes what ended by then, `timeMax` what has not begun by then (Calendar reference, events.list).
    fn holds(self, (start, end): (DateTime<Utc>, DateTime<Utc>)) -> bool {
        // An event without length is held when its only instant is.
        let end = end.max(start + TimeDelta::milliseconds(1));
        self.min.is_none_or(|min| end > min) && self.max.is_none_or(|max| start < max)
    }
}

/// What an event was from a revision on.
#[derive(Debug, Clone, Copy)]
struct Past {
    revision: u64,
    live: bool,
    instants: (DateTime<Utc>, DateTime<Utc>),
}

/// An event with its place in the calendar's history.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) event: Event,
    pub(crate) revision: u64,
    history: Vec<Past>,
}

impl Record {
    pub(crate) fn in_window(&self, window: Window) -> bool {
        window.holds(self.event.instants())
    }

    /// Whether a client whose knowledge ends at `revision` has to hear of this event: it changed since, and lies, or
    /// lay then, in the client's window.
    pub(crate) fn concerns(&self, revision: u64, window: Window) -> bool {
        let known = self.history.iter().rev().find(|past| past.revision <= revision);
        let knew = known.is_some_and(|past| past.live && window.holds(past.instants));
        self.revision > revision && (knew || self.in_window(window))
    }
}

/// A calendar with its events.
#[derive(Debug, Clone)]
pub(crate) struct CalendarState {
    pub(crate) calendar: Calendar,
    /// Revision of the user's calendar list at which the calendar itself last changed.
    pub(crate) listed_at: u64,
    pub(crate) deleted: bool,
    /// The user does not see it in their list; only `showHidden` lists it.
    pub(crate) hidden: bool,
    pub(crate) revision: u64,
    /// Sync tokens of another epoch are refused with 410.
    pub(crate) epoch: u64,
    pub(crate) updated: DateTime<Utc>,
    /// Events by order of their coming.
    pub(crate) records: BTreeMap<u64, Record>,
    places: HashMap<String, u64>,
}

impl CalendarState {
    pub(crate) fn new(calendar: Calendar, listed_at: u64, now: DateTime<Utc>) -> Self {
        Self {
            calendar,
            listed_at,
            deleted: false,
            hidden: false,
            revision: 0,
            epoch: 0,
            updated: now,
            records: BTreeMap::new(),
            places: HashMap::new(),
        }
    }

    pub(crate) fn event(&self, id: &str) -> Option<&Event> {
        Some(&self.records.get(self.places.get(id)?)?.event)
    }

    /// Puts `event` here, new or in place of the one with its id, as the newest change; etag and times of change are
    /// given here.
    pub(crate) fn put(&mut self, mut event: Event, now: DateTime<Utc>) -> &Event {
        self.revision += 1;
        self.updated = now;
        event.updated = now;
        event.etag = format!("\"{}\"", STANDARD.encode(format!("{}:{}", event.id, self.revision)));
        let new_entry = self.places.len() as u64;
        let place = *self.places.entry(event.id.clone()).or_insert(new_entry);
        let past = Past { revision: self.revision, live: event.live(), instants: event.instants() };
        let mut history = self.records.remove(&place).map(|record| record.history).unwrap_or_default();
        history.push(past);
        let record = Record { event, revision: self.revision, history };
        &self.records.entry(place).or_insert(record).event
    }

    /// Deletes the event; a recurring one with all its instances. False when there is none.
    pub(crate) fn cancel(&mut self, id: &str, now: DateTime<Utc>) -> bool {
        let doomed: Vec<Event> = self
            .records
            .values()
            .map(|record| &record.event)
            .filter(|event| event.live() && (event.id == id || instance_of(event, id)))
            .cloned()
            .collect();
        for mut event in doomed.iter().cloned() {
            event.status = EventStatus::Cancelled;
            self.put(event, now);
        }
        !doomed.is_empty()
    }

    /// Takes events away of which no list tells any more.
    pub(crate) fn forget(&mut self, is_forgotten: impl Fn(&Event) -> bool) {
        self.records.retain(|_, record| !is_forgotten(&record.event));
    }

    /// Live events as `singleEvents=true` lists them, in order of their coming.
    pub(crate) fn live_singles(&self) -> impl Iterator<Item = &Event> {
        self.records.values().map(|record| &record.event).filter(|event| event.live() && event.is_single())
    }
}

fn instance_of(event: &Event, id: &str) -> bool {
    matches!(&event.recurrence, Recurrence::Instance { series, .. } if series == id)
}
