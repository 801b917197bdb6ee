//! Meetings with contacts: `contacts.last_contact_date` and `jobs.next_meetings`.

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared::db::Error;
use uuid::Uuid;

/// Events that are read together.
pub const EVENTS: u16 = 500;

/// A stored event that may be a meeting.
#[derive(Debug, Clone, PartialEq)]
pub struct EventWithAttendees {
    /// Google's id.
    pub google_event_id: String,
    /// The calendar that it is in is the user's primary one.
    pub is_in_primary: bool,
    /// When it begins.
    pub start_time: DateTime<Utc>,
    /// When it ends.
    pub end_time: DateTime<Utc>,
    /// Who takes part, as the application keeps it.
    pub attendees: Value,
}

handle! {
    /// Meetings with contacts: `contacts.last_contact_date` and `jobs.next_meetings`.
    Meetings
}

impl Meetings {
    /// The addresses of the user, in lower case.
    pub async fn own_addresses(&self, user_id: Uuid) -> Result<Vec<String>, Error> {
        let addresses = sqlx::query_scalar!(
            r#"
            SELECT lower(email) AS "email!" FROM users WHERE id = $1
            UNION
            SELECT lower(email) FROM oauth_tokens WHERE user_id = $1 AND email IS NOT NULL
            UNION
            SELECT lower(calendar_id) FROM google_calendars WHERE user_id = $1 AND is_primary
            "#,
            user_id,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(addresses)
    }

    /// The next [`EVENTS`] of the user's stored events that have attendees, and at most so many, by Google's id behind `after`
    /// (empty to begin); fewer at the end.
    pub async fn events(
        &self,
        user_id: Uuid,
        max_attendees: u16,
        after: &str,
    ) -> Result<Vec<EventWithAttendees>, Error> {
        let events = sqlx::query_as!(
            EventWithAttendees,
            r#"
            SELECT e.google_event_id, COALESCE(c.is_primary, false) AS "is_in_primary!", e.start_time, e.end_time,
                   e.attendees AS "attendees!"
            FROM calendar_events e
            LEFT JOIN google_calendars c ON c.user_id = e.user_id AND c.calendar_id = e.calendar_id
            WHERE e.user_id = $1 AND e.google_event_id > $3
              AND CASE jsonb_typeof(e.attendees) WHEN 'array' THEN jsonb_array_length(e.attendees) <= $2 END
            ORDER BY e.google_event_id
            LIMIT $4
            "#,
            user_id,
            i32::from(max_attendees),
            after,
            i64::from(EVENTS),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(events)
    }

    /// Each contact with one of these `addresses` (in lower case) was met `at` the same place of the other list: moves
    /// `last_contact_date` forward, and returns the contacts whose date that changed.
    pub async fn met(
        &self,
        user_id: Uuid,
        addresses: &[String],
        at: &[DateTime<Utc>],
    ) -> Result<Vec<Uuid>, Error> {
        let moved = sqlx::query_scalar!(
            "
            WITH met AS (
                SELECT c.id AS contact_id, max(m.at) AS at
                FROM unnest($2::text[], $3::timestamptz[]) AS m(email, at)
                JOIN contacts c ON c.user_id = $1 AND lower(c.email) = m.email
                GROUP BY c.id
            )
            UPDATE contacts c SET last_contact_date = m.at
            FROM met m
            WHERE c.id = m.contact_id AND (c.last_contact_date IS NULL OR c.last_contact_date < m.at)
            RETURNING c.id
            ",
            user_id,
            addresses,
            at,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(moved)
    }

    /// Each contact with one of these `addresses` (in lower case) will be met `at` the same place of the other list, and
    /// no other one. Nothing is written when another sync than `run` is at work.
    pub async fn replace_next(
        &self,
        user_id: Uuid,
        run: Uuid,
        addresses: &[String],
        at: &[DateTime<Utc>],
    ) -> Result<(), Error> {
        sqlx::query!(
            "
            WITH fence AS (
                SELECT FROM jobs.sync_locks l
                WHERE l.user_id = $1 AND l.integration = 'google_calendar' AND l.run = $4
                FOR SHARE
            ), next AS (
                SELECT c.id AS contact_id, min(m.at) AS at
                FROM unnest($2::text[], $3::timestamptz[]) AS m(email, at)
                JOIN contacts c ON c.user_id = $1 AND lower(c.email) = m.email
                GROUP BY c.id
            ), gone AS (
                DELETE FROM jobs.next_meetings n USING fence
                WHERE n.user_id = $1 AND NOT EXISTS (SELECT FROM next WHERE next.contact_id = n.contact_id)
            )
            INSERT INTO jobs.next_meetings AS n (user_id, contact_id, starts_at)
            SELECT $1, contact_id, at FROM next, fence
            ON CONFLICT (user_id, contact_id) DO UPDATE SET starts_at = excluded.starts_at
            WHERE n.starts_at <> excluded.starts_at
            ",
            user_id,
            addresses,
            at,
            run,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }
}
