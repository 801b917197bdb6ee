//! `calendar_events`: the cached events of a user's calendars.
//!
//! The table holds an event once, whatever number of the user's calendars it is in. Its row belongs to the user's primary
//! calendar if that has it, else to the calendar that reported it last; the others are kept in `jobs.calendar_event_copies`.
//! When the row's calendar loses the event, the row goes, and a calendar that still holds a copy forgets its sync token: its
//! next sync is full and brings it back.

use chrono::{DateTime, Utc};
use shared::db::Error;
use sqlx::types::Json;
use uuid::Uuid;

use super::calendars::Listing;

mod page;

pub use page::{Changes, EventRow, Superseded};

use page::Page;

/// A statement about a user (`$1`) that removes events at a moment (`$3`), and all that follows from it:
///
/// - Copies of the events in `removed` go, and those copies `c` that `copies` describes.
/// - A calendar `s` that held a copy of an event in `removed`, and that `reset` describes, forgets its sync token, and where
///   its listing waits.
/// - The events in `changed` are counted for the sync that is under way.
///
/// The statement returns a [`Written`]; NULL when another sync is at work.
///
/// Nothing is written without its `fence`: that the lock is still held by the sync `$4`, and for a listing, that the sync token
/// of the calendar `$2` is still the one `$5` that it began with. `events` are the parts that come first; one of them is
/// `removed`.
macro_rules! remove_events {
    (fence: lock, $($rest:tt)+) => {
        remove_events!(
            fence: "SELECT FROM jobs.sync_locks l
                    WHERE l.user_id = $1 AND l.integration = 'google_calendar' AND l.run = $4
                    FOR SHARE",
            $($rest)+
        )
    };
    (fence: listing, $($rest:tt)+) => {
        remove_events!(
            fence: "SELECT FROM jobs.sync_locks l
                    LEFT JOIN jobs.calendar_sync_state s ON s.user_id = $1 AND s.calendar_id = $2
                    WHERE l.user_id = $1 AND l.integration = 'google_calendar' AND l.run = $4
                      AND s.sync_token IS NOT DISTINCT FROM $5
                    FOR SHARE OF l",
            $($rest)+
        )
    };
    (
        fence: $fence:literal,
        events: $events:literal,
        changed: $changed:literal,
        copies: $copies:literal,
        reset: $reset:literal,
        $($argument:expr),+ $(,)?
    ) => {
        sqlx::query_as!(
            Fenced,
            "WITH fence AS ("
            + $fence
            + "), "
            + $events
            + ", changed AS ("
            + $changed
            + "), copies AS (
                DELETE FROM jobs.calendar_event_copies c
                WHERE c.user_id = $1 AND EXISTS (SELECT FROM fence)
                  AND (c.google_event_id IN (SELECT google_event_id FROM removed) OR ("
            + $copies
            + "))
                RETURNING c.google_event_id, c.calendar_id
            ), reset AS (
                UPDATE jobs.calendar_sync_state s SET sync_token = NULL, last_sync_at = NULL
                FROM copies c JOIN removed r USING (google_event_id)
                WHERE s.user_id = $1 AND s.calendar_id = c.calendar_id AND "
            + $reset
            + r#"
                RETURNING s.calendar_id
            ), positions AS (
                DELETE FROM jobs.calendar_positions p
                WHERE p.user_id = $1 AND p.calendar_id IN (SELECT calendar_id FROM reset)
            ), counted AS (
                INSERT INTO jobs.calendar_sync_runs AS r (user_id, started_at, changed)
                SELECT $1, $3, n.changed FROM (SELECT count(*) AS changed FROM changed) n WHERE n.changed > 0
                ON CONFLICT (user_id) DO UPDATE SET changed = r.changed + excluded.changed
            )
            SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN (SELECT count(*) FROM changed) END AS changed,
                   ARRAY(SELECT calendar_id FROM reset) AS "reset!""#,
            $($argument),+
        )
    };
}

/// What a statement about a user's events came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// How many rows it wrote.
    pub changed: u64,
    /// The calendars whose sync token was reset, as they hold an event that another one has lost.
    pub reset: Vec<String>,
}

/// As Postgres returns it: there is no number when another sync is at work.
struct Fenced {
    changed: Option<i64>,
    reset: Vec<String>,
}

impl Fenced {
    fn written(self) -> Option<Written> {
        let changed = self.changed?.cast_unsigned();
        Some(Written { changed, reset: self.reset })
    }
}

handle! {
    /// `calendar_events`: the cached events of a user's calendars.
    CalendarEvents
}

impl CalendarEvents {
    /// Writes one page of a calendar's changes in one statement. Rows that would not change are not touched. `None`, and
    /// nothing is written, when the listing does not stand any more.
    pub async fn apply(
        &self,
        listing: Listing<'_>,
        changes: &Changes,
        now: DateTime<Utc>,
    ) -> Result<Option<Written>, Error> {
        let page = Page::of(changes);
        let written = remove_events!(
            fence: listing,
            events: "page AS (
                SELECT * FROM jsonb_to_recordset($6) AS p(
                    google_event_id text, summary text, description text, start_time timestamptz, end_time timestamptz,
                    timezone text, is_all_day boolean, is_busy boolean, location text, attendees jsonb
                ) WHERE EXISTS (SELECT FROM fence)
            ), own AS (
                -- What the user's own calendar shows of it: another guest's copy says nothing of the user's part.
                SELECT p.google_event_id
                FROM page p
                JOIN calendar_events e ON e.user_id = $1 AND e.google_event_id = p.google_event_id
                JOIN google_calendars c ON c.user_id = $1 AND c.calendar_id = e.calendar_id
                WHERE e.calendar_id <> $2 AND c.is_primary
            ), superseded AS (
                SELECT n.base, n.since FROM unnest($8::text[], $9::text[]) AS n(base, since)
                WHERE n.since <> '' OR NOT EXISTS (
                    SELECT FROM calendar_events e WHERE e.user_id = $1 AND e.google_event_id = n.base
                )
            ), instances AS (
                SELECT i.google_event_id, left(i.google_event_id, -1 - length(i.part[3])) AS series, i.part[1] AS base,
                       COALESCE(i.part[2], '') COLLATE \"C\" AS split_at, i.part[3] COLLATE \"C\" AS original
                FROM (
                    SELECT e.google_event_id,
                           regexp_match(
                               e.google_event_id,
                               '^(.*?)(?:_R([0-9]{8}(?:T[0-9]{6})?)Z?)?_([0-9]{8}(?:T[0-9]{6}Z)?)$'
                           ) AS part
                    FROM calendar_events e
                    WHERE e.user_id = $1 AND e.calendar_id = $2 AND EXISTS (SELECT FROM superseded)
                ) i
                WHERE i.part IS NOT NULL AND i.google_event_id NOT IN (SELECT google_event_id FROM page)
            ), cancelled AS (
                SELECT google_event_id FROM unnest($7::text[]) AS c(google_event_id)
                UNION
                SELECT i.google_event_id
                FROM instances i JOIN superseded s ON s.base = i.series AND s.since = ''
                UNION
                SELECT i.google_event_id
                FROM instances i JOIN superseded s ON s.base = i.base AND s.since <> ''
                WHERE i.split_at < s.since AND i.original >= s.since
            ), removed AS (
                DELETE FROM calendar_events e USING cancelled c
                WHERE e.user_id = $1 AND e.calendar_id = $2 AND e.google_event_id = c.google_event_id
                  AND EXISTS (SELECT FROM fence)
                RETURNING e.google_event_id
            ), taken_over AS (
                INSERT INTO jobs.calendar_event_copies (user_id, google_event_id, calendar_id)
                SELECT $1, e.google_event_id, e.calendar_id
                FROM page p JOIN calendar_events e ON e.user_id = $1 AND e.google_event_id = p.google_event_id
                WHERE e.calendar_id <> $2 AND p.google_event_id NOT IN (SELECT google_event_id FROM own)
                UNION
                SELECT $1, o.google_event_id, $2 FROM own o
                ON CONFLICT DO NOTHING
            ), written AS (
                INSERT INTO calendar_events
                    (user_id, google_event_id, calendar_id, summary, description, start_time, end_time, timezone,
                     is_all_day, is_busy, location, attendees, synced_at)
                SELECT $1, p.google_event_id, $2, p.summary, p.description, p.start_time, p.end_time, p.timezone,
                       p.is_all_day, p.is_busy, p.location, p.attendees, $3
                FROM page p
                LEFT JOIN calendar_events e ON e.user_id = $1 AND e.google_event_id = p.google_event_id
                WHERE p.google_event_id NOT IN (SELECT google_event_id FROM own) AND (
                   e.id IS NULL
                   OR (e.calendar_id, e.summary, e.description, e.start_time, e.end_time, e.timezone, e.is_all_day,
                       e.is_busy, e.location, e.attendees)
                      IS DISTINCT FROM
                      ($2, p.summary, p.description, p.start_time, p.end_time, p.timezone, p.is_all_day,
                       p.is_busy, p.location, p.attendees)
                )
                ON CONFLICT (user_id, google_event_id) DO UPDATE
                SET calendar_id = excluded.calendar_id, summary = excluded.summary, description = excluded.description,
                    start_time = excluded.start_time, end_time = excluded.end_time, timezone = excluded.timezone,
                    is_all_day = excluded.is_all_day, is_busy = excluded.is_busy, location = excluded.location,
                    attendees = excluded.attendees, synced_at = excluded.synced_at
                RETURNING google_event_id
            )",
            changed: "TABLE removed UNION ALL TABLE written",
            copies: "c.calendar_id = $2
                     AND (c.google_event_id IN (SELECT google_event_id FROM page EXCEPT TABLE own)
                          OR c.google_event_id = ANY ($7))",
            reset: "s.calendar_id <> $2",
            listing.user_id,
            listing.calendar_id,
            now,
            listing.run,
            listing.begun_with,
            Json(&page.rows) as _,
            page.gone.as_slice() as _,
            page.bases.as_slice() as _,
            page.since.as_slice() as _,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(written.written())
    }

    /// After a full sync that asked for `from` to `until`: removes the calendar's events inside of it that Google did not
    /// list. What another sync wrote since this one `began_at` is newer than its list. `None`, and nothing is removed, when
    /// the listing does not stand any more.
    pub async fn remove_unseen(
        &self,
        listing: Listing<'_>,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        seen: &[String],
        began_at: DateTime<Utc>,
    ) -> Result<Option<Written>, Error> {
        let removed = remove_events!(
            fence: listing,
            events: "seen AS (SELECT DISTINCT google_event_id FROM unnest($8::text[]) AS s(google_event_id)),
            removed AS (
                DELETE FROM calendar_events e
                WHERE e.user_id = $1 AND e.calendar_id = $2 AND e.end_time > $6 AND e.start_time < $7
                  AND e.synced_at < $3 AND EXISTS (SELECT FROM fence)
                  AND NOT EXISTS (SELECT FROM seen s WHERE s.google_event_id = e.google_event_id)
                RETURNING e.google_event_id
            )",
            changed: "TABLE removed",
            copies: "c.calendar_id = $2
                     AND NOT EXISTS (SELECT FROM seen s WHERE s.google_event_id = c.google_event_id)",
            reset: "s.calendar_id <> $2",
            listing.user_id,
            listing.calendar_id,
            began_at,
            listing.run,
            listing.begun_with,
            from,
            until,
            seen,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(removed.written())
    }

    /// Removes the events and cursors of all calendars but these; `None` when another sync than `run` is at work.
    pub async fn retain_calendars(
        &self,
        user_id: Uuid,
        run: Uuid,
        calendars: &[String],
        now: DateTime<Utc>,
    ) -> Result<Option<Written>, Error> {
        let removed = remove_events!(
            fence: lock,
            events: "removed AS (
                DELETE FROM calendar_events
                WHERE user_id = $1 AND calendar_id NOT IN (SELECT unnest($2::text[])) AND EXISTS (SELECT FROM fence)
                RETURNING google_event_id
            ), cursors AS (
                DELETE FROM jobs.calendar_sync_state
                WHERE user_id = $1 AND calendar_id NOT IN (SELECT unnest($2::text[])) AND EXISTS (SELECT FROM fence)
            )",
            changed: "TABLE removed",
            copies: "c.calendar_id NOT IN (SELECT unnest($2::text[]))",
            reset: "s.calendar_id IN (SELECT unnest($2))",
            user_id,
            calendars,
            now,
            run,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(removed.written())
    }

    /// Removes the events of a calendar that is refused, and forgets its sync token: when it works again, all of them come
    /// back. `None` when another sync is at work.
    pub async fn remove_refused(
        &self,
        listing: Listing<'_>,
        now: DateTime<Utc>,
    ) -> Result<Option<Written>, Error> {
        let removed = remove_events!(
            fence: lock,
            events: "removed AS (
                DELETE FROM calendar_events
                WHERE user_id = $1 AND calendar_id = $2 AND EXISTS (SELECT FROM fence)
                RETURNING google_event_id
            ), cursor AS (
                UPDATE jobs.calendar_sync_state SET sync_token = NULL
                WHERE user_id = $1 AND calendar_id = $2 AND EXISTS (SELECT FROM fence)
            )",
            changed: "TABLE removed",
            copies: "c.calendar_id = $2",
            reset: "s.calendar_id <> $2",
            listing.user_id,
            listing.calendar_id,
            now,
            listing.run,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(removed.written())
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
}
