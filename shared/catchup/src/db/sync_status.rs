//! What is known of a user's integration before a sync, and the sync's lock, in one statement.

use chrono::{DateTime, Utc};
use shared::db::{Database, Error};
use uuid::Uuid;

use super::circuit_breaker::breaker;
use super::sync_locks::SyncLock;
use super::token_health::MISSING_SCOPE;
use crate::payload::Integration;
use crate::sync_rules::breaker::Breaker;

/// What is known.
#[derive(Debug, Clone)]
pub(crate) struct SyncStatus {
    /// When the user connected, as far as that is known.
    pub(crate) connected_at: Option<DateTime<Utc>>,
    pub(crate) token: TokenState,
    pub(crate) breaker: Breaker,
    pub(crate) has_push_channel: bool,
    /// Since when another sync has held the lock that was asked for.
    pub(crate) busy_since: Option<DateTime<Utc>>,
    /// `None` before the first sync.
    pub(crate) schedule: Option<StoredSchedule>,
}

/// What is known of a user's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenState {
    /// There is none.
    Missing,
    /// Nothing speaks against it.
    Usable,
    /// Google does not take it any more.
    Revoked,
    /// The user has not granted all that is needed.
    LacksScope,
}

/// A row of `sync_schedule`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredSchedule {
    /// The current, default, longest and shortest interval.
    pub(crate) intervals_ms: [i64; 4],
    pub(crate) no_changes: i32,
    pub(crate) onboarding_until: Option<DateTime<Utc>>,
}

/// `None` when there is no such user. Takes the `lock`, if there is one to take, unless another task holds it: an earlier
/// dispatch of the same task was killed, or writes nothing any more.
pub(crate) async fn sync_status(
    database: &Database,
    user_id: Uuid,
    integration: Integration,
    lock: Option<SyncLock<'_>>,
    now: DateTime<Utc>,
) -> Result<Option<SyncStatus>, Error> {
    let row = sqlx::query!(
        r#"
        WITH taken AS (
            INSERT INTO jobs.sync_locks AS l (user_id, integration, run, since, held_until, task)
            SELECT u.id, $2, $4::uuid, $5::timestamptz, $6::timestamptz, $8::text FROM users u WHERE u.id = $1 AND $4 IS NOT NULL
            ON CONFLICT (user_id, integration) DO UPDATE
            SET run = excluded.run, continues = false, since = excluded.since, held_until = excluded.held_until,
                task = excluded.task
            WHERE l.held_until <= excluded.since OR l.task = excluded.task OR (l.continues AND l.run = excluded.run)
            RETURNING l.run
        )
        SELECT t.created_at AS "connected_at?",
               t.id IS NOT NULL AS "connected!",
               COALESCE(h.revoked, false) AS "revoked!",
               COALESCE(h.revoked AND h.error_message = $7, false) AS "lacks_scope!",
               b.state AS "breaker?",
               b.failure_count AS "failures?",
               b.opened_at AS "opened_at?",
               b.next_retry_at AS "retry_at?",
               $2 = 'google_calendar' AND EXISTS (
                   SELECT FROM calendar_webhook_subscriptions w WHERE w.user_id = u.id AND w.expiration > $3
               ) AS "push_channel!",
               CASE WHEN $4::uuid IS NOT NULL AND NOT EXISTS (SELECT FROM taken) THEN COALESCE(l.since, $5) END AS "busy_since?",
               s.id IS NOT NULL AS "scheduled!",
               COALESCE(s.current_frequency_ms, 0) AS "current_ms!",
               COALESCE(s.default_frequency_ms, 0) AS "default_ms!",
               COALESCE(s.min_frequency_ms, 0) AS "longest_ms!",
               COALESCE(s.max_frequency_ms, 0) AS "shortest_ms!",
               COALESCE(s.consecutive_no_changes, 0) AS "no_changes!",
               s.onboarding_until AS "onboarding_until?"
        FROM users u
        LEFT JOIN oauth_tokens t ON t.user_id = u.id AND t.provider = $2
        LEFT JOIN LATERAL (
            SELECT h.status = 'revoked' AND (t.updated_at > h.last_checked AT TIME ZONE 'UTC') IS NOT TRUE AS revoked,
                   h.error_message
            FROM token_health h WHERE h.user_id = u.id AND h.integration_type = $2
        ) h ON true
        LEFT JOIN circuit_breaker_state b ON b.user_id = u.id AND b.integration_type = $2
        LEFT JOIN sync_schedule s ON s.user_id = u.id AND s.integration_type = $2
        LEFT JOIN jobs.sync_locks l ON l.user_id = u.id AND l.integration = $2
        WHERE u.id = $1
        "#,
        user_id,
        integration.as_str(),
        now.naive_utc(),
        lock.map(|lock| lock.run) as Option<Uuid>,
        now,
        lock.map(|lock| lock.held_until) as Option<DateTime<Utc>>,
        MISSING_SCOPE,
        lock.map(|lock| lock.task) as Option<&str>,
    )
    .fetch_optional(database.statement())
    .await?;
    Ok(row.map(|row| SyncStatus {
        connected_at: row.connected_at,
        token: match (row.connected, row.revoked, row.lacks_scope) {
            (false, ..) => TokenState::Missing,
            (true, true, true) => TokenState::LacksScope,
            (true, true, false) => TokenState::Revoked,
            (true, false, _) => TokenState::Usable,
        },
        breaker: breaker(row.breaker.as_deref(), row.failures, row.opened_at, row.retry_at),
        has_push_channel: row.push_channel,
        busy_since: row.busy_since,
        schedule: row.scheduled.then(|| StoredSchedule {
            intervals_ms: [row.current_ms, row.default_ms, row.longest_ms, row.shortest_ms],
            no_changes: row.no_changes,
            onboarding_until: row.onboarding_until.map(|time| time.and_utc()),
        }),
    }))
}
