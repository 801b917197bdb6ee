//! Users as suggestions are made for them, `availability_params` and busy `calendar_events`: when a user can meet people. Read only.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use shared::db::Error;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::suggestions::SuggestionsTx;
use crate::span::Span;

/// More than a date can be apart in two zones of the world, and a day, so that a cut leaves whole dates.
const DAY_ELSEWHERE: TimeDelta = TimeDelta::days(3);

/// What a user said about the times of a week, as it is stored: not checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoredAvailability {
    /// `[{"dayOfWeek":0-6,"startTime":"HH:mm","endTime":"HH:mm"}]`.
    pub manual_time_blocks: Option<Value>,
    /// The same shape.
    pub commute_windows: Option<Value>,
    /// `HH:mm`.
    pub nighttime_start: Option<String>,
    /// `HH:mm`.
    pub nighttime_end: Option<String>,
}

/// What there is to know of a user for whom suggestions are made.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredUser {
    /// The user's zone, an IANA name: what the user set, else that of most of the primary calendar's events.
    pub timezone: Option<String>,
    /// The zone of the batch's time, an IANA name.
    pub batch_timezone: Option<String>,
    /// When the user can meet people.
    pub availability: StoredAvailability,
    /// Weekday of the batch, 0 is Sunday.
    pub batch_day: Option<i32>,
    /// Time of the batch, `HH:mm`.
    pub batch_time: Option<String>,
    /// When the user's calendars were last read without a failure.
    pub synced_at: Option<DateTime<Utc>>,
    /// Since then the token was found revoked.
    pub is_revoked: bool,
}

/// An event that takes the user's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusyEvent {
    /// Google's id.
    pub google_event_id: String,
    /// When it is: all-day events from the beginning of a day to the beginning of another, in their own zone.
    pub span: Span,
    /// IANA name.
    pub timezone: String,
    /// It has dates instead of times.
    pub is_all_day: bool,
}

handle! {
    /// `availability_params` and busy `calendar_events`: when a user can meet people. Read only.
    Availabilities
}

impl Availabilities {
    /// The user; `None` when there is no such user.
    pub async fn get(&self, user_id: Uuid) -> Result<Option<StoredUser>, Error> {
        let row = sqlx::query!(
            r#"
            SELECT COALESCE(
                    NULLIF(u.timezone, 'UTC'),
                    NULLIF(p.timezone, 'UTC'),
                    jobs.calendar_zone(u.id),
                    u.timezone
                ) AS timezone,
                COALESCE(NULLIF(p.timezone, 'UTC'), u.timezone) AS batch_timezone,
                a.manual_time_blocks AS "manual_time_blocks?", a.commute_windows AS "commute_windows?",
                a.nighttime_start AS "nighttime_start?", a.nighttime_end AS "nighttime_end?",
                p.batch_day AS "batch_day?", p.batch_time AS "batch_time?",
                u.last_calendar_sync,
                EXISTS (
                    SELECT FROM token_health h
                    WHERE h.user_id = u.id AND h.integration_type = 'google_calendar' AND h.status = 'revoked'
                      AND h.last_checked AT TIME ZONE 'UTC' >= u.last_calendar_sync
                ) AS "is_revoked!"
            FROM users u
            LEFT JOIN availability_params a ON a.user_id = u.id
            LEFT JOIN notification_preferences p ON p.user_id = u.id
            WHERE u.id = $1
            "#,
            user_id,
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(row.map(|row| StoredUser {
            timezone: row.timezone,
            batch_timezone: row.batch_timezone,
            availability: StoredAvailability {
                manual_time_blocks: row.manual_time_blocks,
                commute_windows: row.commute_windows,
                nighttime_start: row.nighttime_start,
                nighttime_end: row.nighttime_end,
            },
            batch_day: row.batch_day,
            batch_time: row.batch_time,
            synced_at: row.last_calendar_sync,
            is_revoked: row.is_revoked,
        }))
    }

    /// The busy events that may take time of the window. Spans that reach far beyond it are cut.
    pub async fn busy_events(&self, user_id: Uuid, window: Span) -> Result<Vec<BusyEvent>, Error> {
        busy_events(self.0.statement(), user_id, window).await
    }
}

impl SuggestionsTx {
    /// As [`Availabilities::busy_events`], under the lock. An event that is committed later finds the suggestions of this transaction
    /// when they are looked at again.
    pub async fn busy_events(&mut self, window: Span) -> Result<Vec<BusyEvent>, Error> {
        let user_id = self.user_id();
        busy_events(self.tx.statement(), user_id, window).await
    }
}

async fn busy_events(
    statement: impl PgExecutor<'_>,
    user_id: Uuid,
    window: Span,
) -> Result<Vec<BusyEvent>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT google_event_id, greatest(start_time, $2) AS "start_time!", least(end_time, $3) AS "end_time!",
               timezone, COALESCE(is_all_day, false) AS "is_all_day!"
        FROM calendar_events
        WHERE user_id = $1 AND start_time < $3 AND end_time > $2 AND is_busy IS NOT FALSE
        "#,
        user_id,
        window.start - DAY_ELSEWHERE,
        window.end + DAY_ELSEWHERE,
    )
    .fetch_all(statement)
    .await?;
    let events = rows.into_iter().map(|row| BusyEvent {
        google_event_id: row.google_event_id,
        span: Span { start: row.start_time, end: row.end_time },
        timezone: row.timezone,
        is_all_day: row.is_all_day,
    });
    Ok(events.collect())
}
