//! `sync_schedule`: when each user is synced next, and the sweep over those who are due.

use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::db::{Error, Transaction};
use shared::queue::Queue;
use uuid::Uuid;

use crate::payload::Integration;
use crate::sync_rules::schedule::{Intervals, Next, Schedule};

/// A user whose sync is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DueUser {
    pub(crate) user_id: Uuid,
    /// When the user connected, as far as that is known.
    pub(crate) connected_at: Option<DateTime<Utc>>,
    /// The user has no schedule yet.
    pub(crate) is_new: bool,
}

handle! {
    /// `sync_schedule`: when each user is synced next, and the sweep over those who are due.
    SyncSchedules
}

impl SyncSchedules {
    /// The next users, by id after `after` (nil to begin), whose sync is due, who are not revoked and whose breaker is
    /// not open; and those who have a token but no schedule. A sync that the running application put off for longer than our
    /// longest interval is due, too.
    pub(crate) async fn due(
        &self,
        integration: Integration,
        now: DateTime<Utc>,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<DueUser>, Error> {
        let users = sqlx::query_as!(
            DueUser,
            r#"
            SELECT t.user_id, t.created_at AS connected_at, s.id IS NULL AS "is_new!"
            FROM oauth_tokens t
            LEFT JOIN sync_schedule s ON s.user_id = t.user_id AND s.integration_type = t.provider AND s.user_id > $2
            LEFT JOIN token_health h ON h.user_id = t.user_id AND h.integration_type = t.provider AND h.user_id > $2
            LEFT JOIN circuit_breaker_state b ON b.user_id = t.user_id AND b.integration_type = t.provider AND b.user_id > $2
            WHERE t.provider = $1 AND t.user_id > $2
              AND (s.id IS NULL OR s.next_sync_at <= $3 OR s.next_sync_at > $3 + make_interval(secs => $5))
              AND (h.status IS DISTINCT FROM 'revoked' OR t.updated_at > h.last_checked AT TIME ZONE 'UTC')
              AND (b.state IS NULL OR b.state = 'closed' OR b.next_retry_at IS NULL OR b.next_retry_at <= $3)
            ORDER BY t.user_id
            LIMIT $4
            "#,
            integration.as_str(),
            after,
            now.naive_utc(),
            i64::from(limit),
            Intervals::of(integration).longest.as_secs_f64(),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(users)
    }

    /// The sweep has created the tasks of these users: their next sync is due an interval later, whenever this one ends.
    ///
    /// A user who got no task of this sweep is left alone: the task of an earlier one still waits, or was lost.
    pub(crate) async fn tasks_created(
        &self,
        integration: Integration,
        (queue, sweep_id): (Queue, &str),
        users: &[Uuid],
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let Intervals { longest, onboarding, .. } = Intervals::of(integration);
        sqlx::query!(
            "
            UPDATE sync_schedule s
            SET updated_at = $5,
                next_sync_at = $5 + CASE WHEN s.onboarding_until > $5 THEN make_interval(secs => $7)
                    ELSE make_interval(secs => LEAST(s.current_frequency_ms / 1000.0::float8, $6::float8)) END
            WHERE s.user_id = ANY ($1) AND s.integration_type = $2
              AND (s.next_sync_at <= $5 OR s.next_sync_at > $5 + make_interval(secs => $6::float8))
              AND EXISTS (
                SELECT FROM jobs.swept_users w WHERE w.user_id = s.user_id AND w.queue = $3 AND w.sweep_id = $4
              )
            ",
            users,
            integration.as_str(),
            queue.name(),
            sweep_id,
            now.naive_utc(),
            longest.as_secs_f64(),
            onboarding.as_secs_f64(),
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// Adds the first schedules of users, all of them due immediately.
    pub(crate) async fn add(
        &self,
        integration: Integration,
        new: &[(Uuid, Schedule)],
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        if new.is_empty() {
            return Ok(());
        }
        let ms = |interval: fn(&Schedule) -> Duration| -> Vec<i64> {
            new.iter().map(|(_, schedule)| milliseconds(interval(schedule))).collect()
        };
        let user_ids: Vec<Uuid> = new.iter().map(|&(user_id, _)| user_id).collect();
        let onboarding: Vec<_> =
            new.iter().map(|(_, schedule)| schedule.onboarding_until.map(|time| time.naive_utc())).collect();
        sqlx::query!(
            "
            INSERT INTO sync_schedule
                (user_id, integration_type, current_frequency_ms, default_frequency_ms, min_frequency_ms,
                 max_frequency_ms, onboarding_until, next_sync_at, created_at, updated_at)
            SELECT u.user_id, $1, u.current_ms, u.default_ms, u.longest_ms, u.shortest_ms, u.onboarding_until, $8, $8, $8
            FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::timestamp[])
                AS u(user_id, current_ms, default_ms, longest_ms, shortest_ms, onboarding_until)
            ON CONFLICT (user_id, integration_type) DO NOTHING
            ",
            integration.as_str(),
            &user_ids,
            &ms(|schedule| schedule.current),
            &ms(|schedule| schedule.default),
            &ms(|schedule| schedule.longest),
            &ms(|schedule| schedule.shortest),
            onboarding.as_slice() as _,
            now.naive_utc(),
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }
}

/// Writes what a sync made of its schedule; `synced_at` when it succeeded.
pub(crate) async fn store(
    tx: &mut Transaction,
    user_id: Uuid,
    integration: Integration,
    schedule: &Schedule,
    next: &Next,
    synced_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
            "
            INSERT INTO sync_schedule AS s
                (user_id, integration_type, current_frequency_ms, default_frequency_ms, min_frequency_ms,
                 max_frequency_ms, onboarding_until, consecutive_no_changes, last_sync_at, next_sync_at, created_at,
                 updated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
            ON CONFLICT (user_id, integration_type) DO UPDATE
            SET current_frequency_ms = excluded.current_frequency_ms,
                consecutive_no_changes = excluded.consecutive_no_changes,
                last_sync_at = COALESCE(excluded.last_sync_at, s.last_sync_at),
                next_sync_at = excluded.next_sync_at, updated_at = excluded.updated_at
            ",
            user_id,
            integration.as_str(),
            milliseconds(next.current),
            milliseconds(schedule.default),
            milliseconds(schedule.longest),
            milliseconds(schedule.shortest),
            schedule.onboarding_until.map(|time| time.naive_utc()),
            i32::try_from(next.no_changes).unwrap_or(i32::MAX),
            synced_at.map(|time| time.naive_utc()),
            next.at.naive_utc(),
            now.naive_utc(),
        )
        .execute(tx.statement())
        .await?;
    Ok(())
}

/// The user's calendar has a push channel now, or could not be given one: sets the interval, within the schedule's own
/// bounds. A sync that is due sooner stays due; who has no schedule yet gets it from their first sync.
pub(super) async fn poll_calendar(
    tx: &mut Transaction,
    user_id: Uuid,
    interval: Duration,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "
            UPDATE sync_schedule
            SET current_frequency_ms = GREATEST(LEAST($2, min_frequency_ms), max_frequency_ms),
                next_sync_at = LEAST(next_sync_at, $3), updated_at = $4
            WHERE user_id = $1 AND integration_type = 'google_calendar'
            ",
        user_id,
        milliseconds(interval),
        (now + interval).naive_utc(),
        now.naive_utc(),
    )
    .execute(tx.statement())
    .await?;
    Ok(())
}

fn milliseconds(interval: Duration) -> i64 {
    i64::try_from(interval.as_millis()).unwrap_or(i64::MAX)
}
