//! `google_calendars`: a user's list of calendars.

use chrono::{DateTime, Utc};
use shared::db::{Error, shortened};
use uuid::Uuid;

const NAME_CHARS: usize = 255;
/// Longest id that the application's tables can hold; a longer one is skipped.
const ID_CHARS: usize = 255;

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
    /// Where the last full sync ended.
    pub horizon: Option<DateTime<Utc>>,
    /// When its last sync began, or passed it over; `None` when there was none or its result no longer counts.
    pub synced_at: Option<DateTime<Utc>>,
}

mod cursors;
mod positions;

pub use cursors::{CalendarCursor, ListedScope};
pub use positions::CalendarPosition;

handle! {
    /// `google_calendars`: a user's list of calendars.
    Calendars
}

impl Calendars {
    /// Makes the list of a user's calendars equal to Google's, and returns how many rows that took. What the user
    /// selected stays selected. Events of calendars that are gone leave with
    /// [`CalendarEvents::retain_calendars`](super::calendar_events::CalendarEvents::retain_calendars).
    pub async fn replace(&self, user_id: Uuid, calendars: &[CalendarEntry<'_>]) -> Result<u64, Error> {
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
            WITH listed AS (
                SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::boolean[])
                    AS l(calendar_id, name, description, is_primary)
            ), gone AS (
                DELETE FROM google_calendars c WHERE c.user_id = $1 AND c.calendar_id <> ALL ($2)
                RETURNING c.calendar_id
            ), written AS (
                INSERT INTO google_calendars (user_id, calendar_id, name, description, is_primary)
                SELECT $1, l.calendar_id, l.name, l.description, l.is_primary
                FROM listed l
                LEFT JOIN google_calendars c ON c.user_id = $1 AND c.calendar_id = l.calendar_id
                WHERE c.id IS NULL
                   OR (c.name, c.description, c.is_primary) IS DISTINCT FROM (l.name, l.description, l.is_primary)
                ON CONFLICT (user_id, calendar_id) DO UPDATE
                SET name = excluded.name, description = excluded.description, is_primary = excluded.is_primary
                RETURNING id
            )
            SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM written) AS "written!"
            "#,
            user_id,
            ids.as_slice() as _,
            &names,
            descriptions.as_slice() as _,
            &primary,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(written.cast_unsigned())
    }

    /// The calendars that the user selected, or the primary one when none is selected.
    pub async fn to_sync(&self, user_id: Uuid) -> Result<Vec<CalendarToSync>, Error> {
        let calendars = sqlx::query_as!(
            CalendarToSync,
            r#"
            SELECT c.calendar_id, s.sync_token AS "sync_token?", s.horizon AS "horizon?",
                   s.last_sync_at AS "synced_at?"
            FROM google_calendars c
            LEFT JOIN jobs.calendar_sync_state s ON s.user_id = c.user_id AND s.calendar_id = c.calendar_id
            WHERE c.user_id = $1
              AND (c.selected OR (
                  c.is_primary AND NOT EXISTS (SELECT FROM google_calendars o WHERE o.user_id = $1 AND o.selected)
              ))
            ORDER BY c.calendar_id
            "#,
            user_id,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(calendars)
    }
}
