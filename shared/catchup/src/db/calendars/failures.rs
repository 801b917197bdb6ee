//! Failures of single calendars, each with its own backoff.

use chrono::{DateTime, Utc};
use shared::db::{Error, shortened};
use uuid::Uuid;

use super::{Calendars, Listing};

const REASON_CHARS: usize = 200;

/// How a calendar failed.
#[derive(Debug, Clone, Copy)]
pub struct CalendarFailure<'a> {
    /// For operators.
    pub reason: &'a str,
    /// It is Google's answer about this calendar, and no transient failure.
    pub is_refusal: bool,
    /// When it failed.
    pub at: DateTime<Utc>,
}

/// What a calendar's failures came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// Failures in a row.
    pub failures: i32,
    /// Refusals since the last success.
    pub refusals: i32,
}

impl Calendars {
    /// A calendar failed: it is done for this sync, and skipped for a while that grows with its failures in a row: from a
    /// minute, four and sixteen to half a day after refusals, from ten seconds, thirty and ninety to an hour after transient
    /// failures. `None` when another sync is at work.
    pub async fn failed(
        &self,
        listing: Listing<'_>,
        failure: CalendarFailure<'_>,
    ) -> Result<Option<Failed>, Error> {
        let (seconds, factor, longest) =
            if failure.is_refusal { (60.0, 4.0, 43_200.0) } else { (10.0, 3.0, 3_600.0) };
        let failed = sqlx::query_as!(
            Failed,
            "
            INSERT INTO jobs.calendar_sync_state AS s
                (user_id, calendar_id, last_sync_at, failures, refusals, is_refused, failure, retry_at)
            SELECT $1, $3, $4::timestamptz, 1, $5::boolean::integer, $5, $6, $4 + $7::float8 * interval '1 second'
            FROM jobs.sync_locks l WHERE l.user_id = $1 AND l.integration = 'google_calendar' AND l.run = $2
            FOR SHARE
            ON CONFLICT (user_id, calendar_id) DO UPDATE
            SET last_sync_at = excluded.last_sync_at, failures = s.failures + 1,
                refusals = s.refusals + excluded.refusals, is_refused = excluded.is_refused, failure = excluded.failure,
                retry_at = $4 + LEAST($7 * power($8::float8, LEAST(s.failures, 10)), $9::float8) * interval '1 second'
            RETURNING failures, refusals
            ",
            listing.user_id,
            listing.run,
            listing.calendar_id,
            failure.at,
            failure.is_refusal,
            shortened(failure.reason, REASON_CHARS),
            seconds,
            factor,
            longest,
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(failed)
    }

    /// When the first of the user's calendars is to be tried again that failed transiently.
    pub async fn next_retry(&self, user_id: Uuid) -> Result<Option<DateTime<Utc>>, Error> {
        let at = sqlx::query_scalar!(
            "SELECT min(retry_at) FROM jobs.calendar_sync_state WHERE user_id = $1 AND NOT is_refused",
            user_id,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(at)
    }
}
