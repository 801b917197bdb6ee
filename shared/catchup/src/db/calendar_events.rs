//! `calendar_events`: the cached events of a user's calendars.
//!
//! The table holds an event once, whatever number of the user's calendars it is in. Its row belongs to the calendar
//! that reported it last; the others are kept in `jobs.calendar_event_copies`. When the row's calendar loses the event,
//! the row goes, and a calendar that still holds a copy forgets its sync token: its next sync is full and brings it back.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared::db::{Error, shortened};
use uuid::Uuid;

const SUMMARY_CHARS: usize = 500;
const LOCATION_CHARS: usize = 500;
const TIMEZONE_CHARS: usize = 100;
/// Longest id that the application's tables can hold; an event with a longer one is skipped.
const ID_CHARS: usize = 255;

/// An event, as the application caches it.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// Google's id; an instance of a recurring event has one of its own.
    pub google_event_id: String,
    /// Title.
    pub summary: Option<String>,
    /// Text.
    pub description: Option<String>,
    /// When it begins.
    pub start_time: DateTime<Utc>,
    /// When it ends.
    pub end_time: DateTime<Utc>,
    /// IANA name.
    pub timezone: String,
    /// It has dates instead of times.
    pub is_all_day: bool,
    /// It takes the user's time.
    pub is_busy: bool,
    /// Where it is.
    pub location: Option<String>,
    /// Who takes part.
    pub attendees: Option<Value>,
}

handle! {
    /// `calendar_events`: the cached events of a user's calendars.
    CalendarEvents
}

impl CalendarEvents {
    /// Writes one page of a calendar's changes in one statement, and returns how many rows that took. Rows that would
    /// not change are not touched. Of an id that comes twice, the last counts; present counts more than cancelled.
    pub async fn apply(
        &self,
        user_id: Uuid,
        calendar_id: &str,
        events: &[EventRow],
        cancelled: &[String],
        now: DateTime<Utc>,
    ) -> Result<u64, Error> {
        let last: HashMap<&str, usize> =
            events.iter().enumerate().map(|(index, event)| (event.google_event_id.as_str(), index)).collect();
        let events: Vec<&EventRow> = events
            .iter()
            .enumerate()
            .filter(|(index, event)| {
                last[event.google_event_id.as_str()] == *index
                    && event.google_event_id.chars().count() <= ID_CHARS
            })
            .map(|(_, event)| event)
            .collect();
        let cancelled: Vec<&str> =
            cancelled.iter().map(String::as_str).filter(|id| !last.contains_key(id)).collect();
        let ids: Vec<&str> = events.iter().map(|event| event.google_event_id.as_str()).collect();
        let summaries = column(&events, |event| event.summary.as_deref(), SUMMARY_CHARS);
        let descriptions = column(&events, |event| event.description.as_deref(), usize::MAX);
        let starts: Vec<_> = events.iter().map(|event| event.start_time).collect();
        let ends: Vec<_> = events.iter().map(|event| event.end_time).collect();
        let timezones = column(&events, |event| Some(&event.timezone), TIMEZONE_CHARS);
        let all_day: Vec<bool> = events.iter().map(|event| event.is_all_day).collect();
        let busy: Vec<bool> = events.iter().map(|event| event.is_busy).collect();
        let locations = column(&events, |event| event.location.as_deref(), LOCATION_CHARS);
        let attendees: Vec<Option<&Value>> = events.iter().map(|event| event.attendees.as_ref()).collect();
        let written = sqlx::query_scalar!(
            r#"
            WITH page AS (
                SELECT * FROM unnest(
                    $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[], $8::text[], $9::boolean[],
                    $10::boolean[], $11::text[], $12::jsonb[]
                ) AS p(google_event_id, summary, description, start_time, end_time, timezone, is_all_day, is_busy,
                       location, attendees)
            ), removed AS (
                DELETE FROM calendar_events e USING unnest($13::text[]) AS cancelled(google_event_id)
                WHERE e.user_id = $1 AND e.calendar_id = $2 AND e.google_event_id = cancelled.google_event_id
                RETURNING e.google_event_id
            ), taken_over AS (
                INSERT INTO jobs.calendar_event_copies (user_id, google_event_id, calendar_id)
                SELECT $1, e.google_event_id, e.calendar_id
                FROM page p JOIN calendar_events e ON e.user_id = $1 AND e.google_event_id = p.google_event_id
                WHERE e.calendar_id <> $2
                ON CONFLICT DO NOTHING
            ), copies AS (
                DELETE FROM jobs.calendar_event_copies c
                WHERE c.user_id = $1
                  AND (c.google_event_id IN (SELECT google_event_id FROM removed)
                       OR (c.calendar_id = $2
                           AND (c.google_event_id = ANY ($3) OR c.google_event_id = ANY ($13))))
                RETURNING c.google_event_id, c.calendar_id
            ), asked_again AS (
                DELETE FROM jobs.calendar_sync_state s USING copies c JOIN removed r USING (google_event_id)
                WHERE s.user_id = $1 AND s.calendar_id = c.calendar_id AND s.calendar_id <> $2
            ), written AS (
                INSERT INTO calendar_events
                    (user_id, google_event_id, calendar_id, summary, description, start_time, end_time, timezone,
                     is_all_day, is_busy, location, attendees, synced_at)
                SELECT $1, p.google_event_id, $2, p.summary, p.description, p.start_time, p.end_time, p.timezone,
                       p.is_all_day, p.is_busy, p.location, p.attendees, $14
                FROM page p
                LEFT JOIN calendar_events e ON e.user_id = $1 AND e.google_event_id = p.google_event_id
                WHERE e.id IS NULL
                   OR (e.calendar_id, e.summary, e.description, e.start_time, e.end_time, e.timezone, e.is_all_day,
                       e.is_busy, e.location, e.attendees)
                      IS DISTINCT FROM
                      ($2, p.summary, p.description, p.start_time, p.end_time, p.timezone, p.is_all_day,
                       p.is_busy, p.location, p.attendees)
                ON CONFLICT (user_id, google_event_id) DO UPDATE
                SET calendar_id = excluded.calendar_id, summary = excluded.summary, description = excluded.description,
                    start_time = excluded.start_time, end_time = excluded.end_time, timezone = excluded.timezone,
                    is_all_day = excluded.is_all_day, is_busy = excluded.is_busy, location = excluded.location,
                    attendees = excluded.attendees, synced_at = excluded.synced_at
                RETURNING id
            ), counted AS (
                INSERT INTO jobs.calendar_sync_runs AS r (user_id, started_at, changed)
                SELECT $1, $14, n.changed FROM (SELECT (SELECT count(*) FROM removed) + (SELECT count(*) FROM written) AS changed) n WHERE n.changed > 0
                ON CONFLICT (user_id) DO UPDATE SET changed = r.changed + excluded.changed
            )
            SELECT (SELECT count(*) FROM removed) + (SELECT count(*) FROM written) AS "written!"
            "#,
            user_id,
            calendar_id,
            ids.as_slice() as _,
            summaries.as_slice() as _,
            descriptions.as_slice() as _,
            &starts,
            &ends,
            timezones.as_slice() as _,
            &all_day,
            &busy,
            locations.as_slice() as _,
            attendees.as_slice() as _,
            cancelled.as_slice() as _,
            now,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(written.cast_unsigned())
    }

    /// After a full sync that asked for `from` to `until`: removes the calendar's events inside of it that Google did
    /// not list, and returns how many. What another sync wrote since this one `began_at` is newer than its list.
    pub async fn remove_unseen(
        &self,
        user_id: Uuid,
        calendar_id: &str,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        seen: &[String],
        began_at: DateTime<Utc>,
    ) -> Result<u64, Error> {
        let removed = sqlx::query_scalar!(
            r#"
            WITH seen AS (SELECT DISTINCT google_event_id FROM unnest($5::text[]) AS s(google_event_id)),
            removed AS (
                DELETE FROM calendar_events e
                WHERE e.user_id = $1 AND e.calendar_id = $2 AND e.end_time > $3 AND e.start_time < $4
                  AND e.synced_at < $6
                  AND NOT EXISTS (SELECT FROM seen s WHERE s.google_event_id = e.google_event_id)
                RETURNING e.google_event_id
            ), copies AS (
                DELETE FROM jobs.calendar_event_copies c
                WHERE c.user_id = $1
                  AND (c.google_event_id IN (SELECT google_event_id FROM removed)
                       OR (c.calendar_id = $2
                           AND NOT EXISTS (SELECT FROM seen s WHERE s.google_event_id = c.google_event_id)))
                RETURNING c.google_event_id, c.calendar_id
            ), asked_again AS (
                DELETE FROM jobs.calendar_sync_state s USING copies c JOIN removed r USING (google_event_id)
                WHERE s.user_id = $1 AND s.calendar_id = c.calendar_id AND s.calendar_id <> $2
            ), counted AS (
                INSERT INTO jobs.calendar_sync_runs AS r (user_id, started_at, changed)
                SELECT $1, $6, n.changed FROM (SELECT count(*) AS changed FROM removed) n WHERE n.changed > 0
                ON CONFLICT (user_id) DO UPDATE SET changed = r.changed + excluded.changed
            )
            SELECT count(*) AS "removed!" FROM removed
            "#,
            user_id,
            calendar_id,
            from,
            until,
            seen,
            began_at,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(removed.cast_unsigned())
    }

    /// Removes a user's events that ended before `before`, and returns how many.
    pub async fn remove_ended(&self, user_id: Uuid, before: DateTime<Utc>) -> Result<u64, Error> {
        let removed = sqlx::query_scalar!(
            r#"
            WITH removed AS (
                DELETE FROM calendar_events WHERE user_id = $1 AND end_time < $2 RETURNING google_event_id
            ), copies AS (
                DELETE FROM jobs.calendar_event_copies c USING removed r
                WHERE c.user_id = $1 AND c.google_event_id = r.google_event_id
            )
            SELECT count(*) AS "removed!" FROM removed
            "#,
            user_id,
            before,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(removed.cast_unsigned())
    }

    /// Removes the events and cursors of all calendars but these, and returns how many events.
    pub async fn retain_calendars(
        &self,
        user_id: Uuid,
        calendars: &[String],
        now: DateTime<Utc>,
    ) -> Result<u64, Error> {
        let removed = sqlx::query_scalar!(
            r#"
            WITH removed AS (
                DELETE FROM calendar_events WHERE user_id = $1 AND calendar_id <> ALL ($2)
                RETURNING google_event_id
            ), cursors AS (
                DELETE FROM jobs.calendar_sync_state WHERE user_id = $1 AND calendar_id <> ALL ($2)
            ), copies AS (
                DELETE FROM jobs.calendar_event_copies c
                WHERE c.user_id = $1
                  AND (c.calendar_id <> ALL ($2) OR c.google_event_id IN (SELECT google_event_id FROM removed))
                RETURNING c.google_event_id, c.calendar_id
            ), asked_again AS (
                DELETE FROM jobs.calendar_sync_state s USING copies c JOIN removed r USING (google_event_id)
                WHERE s.user_id = $1 AND s.calendar_id = c.calendar_id AND s.calendar_id = ANY ($2)
            ), counted AS (
                INSERT INTO jobs.calendar_sync_runs AS r (user_id, started_at, changed)
                SELECT $1, $3, n.changed FROM (SELECT count(*) AS changed FROM removed) n WHERE n.changed > 0
                ON CONFLICT (user_id) DO UPDATE SET changed = r.changed + excluded.changed
            )
            SELECT count(*) AS "removed!" FROM removed
            "#,
            user_id,
            calendars,
            now,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(removed.cast_unsigned())
    }
}

fn column<'a>(
    events: &[&'a EventRow],
    of: impl Fn(&'a EventRow) -> Option<&'a str>,
    chars: usize,
) -> Vec<Option<String>> {
    events.iter().map(|event| of(event).map(|value| shortened(value, chars))).collect()
}
