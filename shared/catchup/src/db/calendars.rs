//! `google_calendars`: a user's list of calendars.

use chrono::{DateTime, TimeDelta, Utc};
use shared::db::{Error, shortened};
use uuid::Uuid;

/// How long a calendar that is not listed any more keeps its row.
pub const UNLISTED_KEPT: TimeDelta = TimeDelta::days(30);
const NAME_CHARS: usize = 255;
/// Longest id that the application's tables can hold: a calendar or an event with a longer one is skipped.
pub const ID_CHARS: usize = 255;

/// A calendar as Google lists it.
#[derive(Debug, Clone, Copy)]
pub struct CalendarEntry<'a> {
    /// Google's id.
    pub calendar_id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its description.
    pub description: Option<&'a str>,
    /// The user's own calendar.
    pub is_primary: bool,
}

/// A calendar to sync, and where its sync continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarToSync {
    /// Google's id.
    pub calendar_id: String,
    /// What to ask for changes with; `None` asks for everything.
    pub sync_token: Option<String>,
    /// When its first full listing began.
    pub first_listed_at: Option<DateTime<Utc>>,
    /// Where the last full sync ended.
    pub horizon: Option<DateTime<Utc>>,
    /// Events on a page of the listing that the sync token is from; without one, of the listing that is to come.
    pub page_size: Option<i32>,
    /// When its last sync began, or passed it over; `None` when there was none or its result no longer counts.
    pub synced_at: Option<DateTime<Utc>>,
    /// Failures in a row.
    pub failures: i32,
    /// Until then it is skipped, as it failed.
    pub retry_at: Option<DateTime<Utc>>,
    /// Its next listing looks back for meetings.
    pub looks_back: bool,
    /// When the user's list of calendars was read last.
    pub listed_at: Option<DateTime<Utc>>,
}

mod cursors;
mod failures;
mod listing;
mod positions;

pub use cursors::{CalendarCursor, ListedScope};
pub use failures::{CalendarFailure, Failed};
pub use listing::Listing;
pub use positions::CalendarPosition;

handle! {
    /// `google_calendars`: a user's list of calendars.
    Calendars
}

impl Calendars {
    /// Makes the list of a user's calendars equal to Google's, and returns how many rows that took; `None`, and nothing is
    /// written, when another sync than `run` is at work. It was asked for at `listed_at`.
    ///
    /// - What the user selected stays selected. When nothing is, the primary calendar becomes it: the application's search
    ///   for free time needs one. A new primary calendar takes over the selection of the one that was.
    /// - A calendar that is not listed any more keeps its row, and the user's choice, for [`UNLISTED_KEPT`]. Its events leave
    ///   with [`CalendarEvents::retain_calendars`](super::calendar_events::CalendarEvents::retain_calendars).
    /// - A list without a primary calendar says nothing about it: the one that is known stays, or it is called `primary`.
    /// - An empty list says nothing at all.
    pub async fn replace(
        &self,
        user_id: Uuid,
        run: Uuid,
        calendars: &[CalendarEntry<'_>],
        listed_at: DateTime<Utc>,
    ) -> Result<Option<u64>, Error> {
        let calendars: Vec<_> =
            calendars.iter().filter(|calendar| calendar.calendar_id.chars().count() <= ID_CHARS).collect();
        let ids: Vec<&str> = calendars.iter().map(|calendar| calendar.calendar_id).collect();
        let names: Vec<String> =
            calendars.iter().map(|calendar| shortened(calendar.name, NAME_CHARS)).collect();
        let descriptions: Vec<Option<String>> = calendars
            .iter()
            .map(|calendar| calendar.description.map(|text| shortened(text, usize::MAX)))
            .collect();
        let primary: Vec<bool> = calendars.iter().map(|calendar| calendar.is_primary).collect();
        let written = sqlx::query_scalar!(
            r#"
            WITH fence AS (
                SELECT FROM jobs.sync_locks l
                WHERE l.user_id = $1 AND l.integration = 'google_calendar' AND l.run = $8
                FOR SHARE
            ), stored AS (
                SELECT * FROM google_calendars WHERE user_id = $1
            ), listed AS (
                SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::boolean[])
                    AS l(calendar_id, name, description, is_primary)
                WHERE EXISTS (SELECT FROM fence)
                UNION ALL
                SELECT 'primary', 'primary', NULL, true FROM fence
                WHERE NOT (true = ANY ($5)) AND NOT EXISTS (SELECT FROM stored WHERE is_primary)
            ), unlisted AS (
                SELECT c.id, c.calendar_id FROM stored c, fence
                WHERE c.calendar_id <> ALL ($2) AND $2 <> '{}' AND (NOT c.is_primary OR true = ANY ($5))
            ), missed AS (
                INSERT INTO jobs.unlisted_calendars (user_id, calendar_id, since)
                SELECT $1, u.calendar_id, $6 FROM unlisted u
                WHERE u.calendar_id <> 'primary' AND NOT EXISTS (
                    SELECT FROM jobs.unlisted_calendars m WHERE m.user_id = $1 AND m.calendar_id = u.calendar_id
                )
            ), returned AS (
                DELETE FROM jobs.unlisted_calendars m USING fence
                WHERE m.user_id = $1 AND (m.calendar_id = ANY ($2) OR m.since < $7)
            ), gone AS (
                DELETE FROM google_calendars c USING unlisted u
                WHERE c.id = u.id AND (
                    u.calendar_id = 'primary' OR EXISTS (
                        SELECT FROM jobs.unlisted_calendars m
                        WHERE m.user_id = $1 AND m.calendar_id = u.calendar_id AND m.since < $7
                    )
                )
                RETURNING c.id
            ), chosen AS (
                SELECT l.*, COALESCE(c.selected, false) OR (l.is_primary AND (
                           NOT EXISTS (SELECT FROM stored WHERE selected)
                           OR (c.id IS NULL AND EXISTS (
                               SELECT FROM stored s JOIN unlisted u ON u.id = s.id WHERE s.selected AND s.is_primary
                           ))
                       )) AS selected,
                       c.id IS NULL OR (c.name, c.description, c.is_primary)
                           IS DISTINCT FROM (l.name, l.description, l.is_primary) AS differs,
                       COALESCE(c.selected, false) AS was_selected
                FROM listed l LEFT JOIN stored c ON c.calendar_id = l.calendar_id
            ), written AS (
                INSERT INTO google_calendars AS c (user_id, calendar_id, name, description, is_primary, selected)
                SELECT $1, n.calendar_id, n.name, n.description, n.is_primary, n.selected
                FROM chosen n WHERE n.differs OR n.selected <> n.was_selected
                ON CONFLICT (user_id, calendar_id) DO UPDATE
                SET name = excluded.name, description = excluded.description, is_primary = excluded.is_primary,
                    selected = c.selected OR excluded.selected
                RETURNING id
            ), known AS (
                INSERT INTO jobs.calendar_sync_runs AS r (user_id, started_at, listed_at)
                SELECT $1, $6, $6 FROM fence
                ON CONFLICT (user_id) DO UPDATE SET listed_at = excluded.listed_at
            )
            SELECT CASE WHEN EXISTS (SELECT FROM fence)
                       THEN (SELECT count(*) FROM gone) + (SELECT count(*) FROM written) END AS "written?"
            "#,
            user_id,
            ids.as_slice() as _,
            &names,
            descriptions.as_slice() as _,
            &primary,
            listed_at,
            listed_at - UNLISTED_KEPT,
            run,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(written.map(i64::cast_unsigned))
    }

    /// The calendars that the user selected, or the primary one when none of these is listed.
    pub async fn to_sync(&self, user_id: Uuid) -> Result<Vec<CalendarToSync>, Error> {
        let calendars = sqlx::query_as!(
            CalendarToSync,
            r#"
            WITH listed AS (
                SELECT c.calendar_id, COALESCE(c.selected, false) AS selected, c.is_primary
                FROM google_calendars c
                WHERE c.user_id = $1 AND NOT EXISTS (
                    SELECT FROM jobs.unlisted_calendars m WHERE m.user_id = $1 AND m.calendar_id = c.calendar_id
                )
            )
            SELECT c.calendar_id, s.sync_token AS "sync_token?", s.first_full_sync_at AS "first_listed_at?", s.horizon AS "horizon?", s.page_size AS "page_size?",
                   s.last_sync_at AS "synced_at?", COALESCE(s.failures, 0) AS "failures!", s.retry_at AS "retry_at?",
                   s.looked_back IS NULL OR (NOT s.looked_back AND EXISTS (
                       SELECT FROM google_contacts_sync_state g WHERE g.user_id = $1 AND g.last_full_sync_at IS NOT NULL
                   )) AS "looks_back!",
                   r.listed_at AS "listed_at?"
            FROM listed c
            LEFT JOIN jobs.calendar_sync_state s ON s.user_id = $1 AND s.calendar_id = c.calendar_id
            LEFT JOIN jobs.calendar_sync_runs r ON r.user_id = $1
            WHERE c.selected OR (c.is_primary AND NOT EXISTS (SELECT FROM listed o WHERE o.selected))
            ORDER BY c.calendar_id
            "#,
            user_id,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(calendars)
    }
}
