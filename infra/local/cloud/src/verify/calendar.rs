//! Calendars and the events in their window.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use google_stand_in::{Calendar, Event, Integration};
use serde_json::Value;
use sqlx::FromRow;

use super::{Check, cut};

const LOOKBACK: TimeDelta = TimeDelta::days(1);
const HORIZON: TimeDelta = TimeDelta::days(60);
const SUMMARY_CHARS: usize = 500;
const NAME_CHARS: usize = 255;

#[derive(FromRow)]
struct EventRow {
    google_event_id: String,
    calendar_id: String,
    summary: Option<String>,
    description: Option<String>,
    start_time: DateTime<Utc>,
    end_time: DateTime<Utc>,
    timezone: String,
    is_all_day: Option<bool>,
    is_busy: Option<bool>,
    location: Option<String>,
    attendees: Option<Value>,
    /// When its calendar was listed in full for the last time.
    listed_at: Option<DateTime<Utc>>,
}

#[derive(PartialEq, FromRow)]
struct CalendarRow {
    calendar_id: String,
    name: String,
    description: Option<String>,
    selected: Option<bool>,
    is_primary: Option<bool>,
}

impl Check<'_> {
    pub(super) async fn calendar(&mut self) -> anyhow::Result<()> {
        if !self.is_synced(Integration::GoogleCalendar) {
            return self.no_events().await;
        }
        let calendars = self.world.calendars(self.user.id)?;
        self.calendar_list(&calendars).await?;
        let synced: Vec<&Calendar> = self.synced(&calendars);
        self.cursors(&synced).await?;
        let mut listed: BTreeMap<String, Vec<(String, Event)>> = BTreeMap::new();
        for calendar in synced {
            for event in self.world.events(self.user.id, &calendar.id)? {
                listed.entry(event.id.clone()).or_default().push((calendar.id.clone(), event));
            }
        }
        let rows: Vec<EventRow> = sqlx::query_as(
            "SELECT google_event_id, calendar_id, summary, description, start_time, end_time, timezone, is_all_day,
                    is_busy, location, attendees, s.last_full_sync_at AS listed_at
             FROM calendar_events e LEFT JOIN jobs.calendar_sync_state s USING (user_id, calendar_id)
             WHERE user_id = $1",
        )
        .bind(self.user.id)
        .fetch_all(&mut *self.db)
        .await?;
        self.missing_events(&listed, &rows);
        // Google reports no change of what had ended before the window of the listing that the sync token is from.
        let is_reported = |row: &&EventRow| row.listed_at.is_none_or(|at| row.end_time > at - LOOKBACK);
        for row in rows.iter().filter(is_reported) {
            let copies = listed.get(&row.google_event_id);
            match copies.and_then(|copies| copies.iter().find(|(calendar, _)| *calendar == row.calendar_id)) {
                Some((_, event)) => self.event(row, event),
                None => {
                    self.differs(format!("calendar_events {}: not in that calendar", row.google_event_id));
                }
            }
        }
        Ok(())
    }

    /// The events of which the database must know, as far as they are in its window; none without a sync.
    pub(super) fn known_events(&self) -> anyhow::Result<Vec<Event>> {
        if !self.is_synced(Integration::GoogleCalendar) {
            return Ok(Vec::new());
        }
        let calendars = self.world.calendars(self.user.id)?;
        let mut known: BTreeMap<String, Event> = BTreeMap::new();
        for calendar in self.synced(&calendars) {
            let events = self.world.events(self.user.id, &calendar.id)?;
            known.extend(events.into_iter().map(|event| (event.id.clone(), event)));
        }
        let in_window = |event: &Event| overlaps(event, self.seeded.at - LOOKBACK, self.now + HORIZON);
        Ok(known.into_values().filter(in_window).collect())
    }

    async fn no_events(&mut self) -> anyhow::Result<()> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM calendar_events WHERE user_id = $1")
            .bind(self.user.id)
            .fetch_one(&mut *self.db)
            .await?;
        self.same("number of calendar_events without a sync", count, 0);
        Ok(())
    }

    /// What the user chose, or the primary calendar when that is nothing.
    fn synced<'c>(&self, calendars: &'c [Calendar]) -> Vec<&'c Calendar> {
        let chosen: Vec<_> =
            calendars.iter().filter(|calendar| self.before.knows_calendars && calendar.selected).collect();
        if chosen.is_empty() {
            calendars.iter().filter(|calendar| calendar.primary).collect()
        } else {
            chosen
        }
    }

    /// A user for whom Google lists no calendar is asked about as `primary`.
    async fn calendar_list(&mut self, calendars: &[Calendar]) -> anyhow::Result<()> {
        let rows: Vec<CalendarRow> = sqlx::query_as(
            "SELECT calendar_id, name, description, selected, is_primary FROM google_calendars c
             WHERE user_id = $1 AND calendar_id <> 'primary' AND NOT EXISTS (
                 SELECT FROM jobs.unlisted_calendars u WHERE u.user_id = $1 AND u.calendar_id = c.calendar_id
             )",
        )
        .bind(self.user.id)
        .fetch_all(&mut *self.db)
        .await?;
        self.same("number of listed google_calendars", rows.len(), calendars.len());
        // The primary calendar becomes selected when the user chose none.
        let is_chosen = |calendar: &Calendar| self.before.knows_calendars && calendar.selected;
        let is_any_chosen = calendars.iter().any(is_chosen);
        for calendar in calendars {
            let expected = CalendarRow {
                calendar_id: calendar.id.clone(),
                name: cut(&calendar.summary, NAME_CHARS),
                description: calendar.description.clone(),
                selected: Some(is_chosen(calendar) || (calendar.primary && !is_any_chosen)),
                is_primary: Some(calendar.primary),
            };
            self.same("a row of google_calendars", rows.contains(&expected), true);
        }
        Ok(())
    }

    async fn cursors(&mut self, synced: &[&Calendar]) -> anyhow::Result<()> {
        let rows: Vec<String> = sqlx::query_scalar(
            "SELECT calendar_id FROM jobs.calendar_sync_state WHERE user_id = $1 AND calendar_id <> 'primary'",
        )
        .bind(self.user.id)
        .fetch_all(&mut *self.db)
        .await?;
        let found: BTreeSet<&str> = rows.iter().map(String::as_str).collect();
        let expected = synced.iter().map(|calendar| calendar.id.as_str()).collect();
        self.same("set of calendars in jobs.calendar_sync_state", found, expected);
        Ok(())
    }

    fn missing_events(&mut self, listed: &BTreeMap<String, Vec<(String, Event)>>, rows: &[EventRow]) {
        let found: BTreeSet<&str> = rows.iter().map(|row| row.google_event_id.as_str()).collect();
        // The window moved while the sync ran: what lay in it all the time must be there.
        let (from, until) = (self.now - LOOKBACK, self.seeded.at + HORIZON);
        for (id, copies) in listed {
            if !found.contains(id.as_str()) && copies.iter().any(|(_, event)| overlaps(event, from, until)) {
                self.differs(format!("calendar_events {id}: missing"));
            }
        }
    }

    fn event(&mut self, row: &EventRow, event: &Event) {
        let (start, end) = event.instants();
        // What lay in it at no time must not be there.
        let in_window = overlaps(event, self.seeded.at - LOOKBACK, self.now + HORIZON);
        let id = &event.id;
        let fields = [
            ("window", in_window),
            ("summary", row.summary == event.summary.as_deref().map(|text| cut(text, SUMMARY_CHARS))),
            ("description", row.description == event.description),
            ("start_time", row.start_time == start),
            ("end_time", row.end_time == end),
            ("timezone", row.timezone == event.time_zone.name()),
            ("is_all_day", row.is_all_day == Some(event.is_all_day())),
            ("is_busy", row.is_busy == Some(event.busy())),
            ("location", row.location == event.location.as_deref().map(|text| cut(text, SUMMARY_CHARS))),
            (
                "attendees",
                attendees(row.attendees.as_ref())
                    == event.attendees.iter().map(|a| a.email.as_str()).collect(),
            ),
        ];
        for (field, _) in fields.iter().filter(|(_, same)| !same) {
            self.differs(format!("calendar_events {id}: {field} differs"));
        }
    }
}

fn overlaps(event: &Event, from: DateTime<Utc>, until: DateTime<Utc>) -> bool {
    let (start, end) = event.instants();
    end.max(start + TimeDelta::milliseconds(1)) > from && start < until
}

fn attendees(stored: Option<&Value>) -> BTreeSet<&str> {
    stored
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|attendee| attendee["email"].as_str())
        .collect()
}
