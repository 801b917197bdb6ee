//! `circuit_breaker_state`: whether a user's integration may be synced at all.
//!
//! What counts is a task that failed for good, not each of its attempts. Closed → three failures in a row → open for an hour → half-open: one sync goes through → closed by its success, open
//! for another hour by its failure. A sync that goes through and is never heard of again counts as that failure.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::sync_schedule::Schedule;
use super::{Db, Error, Transaction};
use crate::payload::Integration;

/// Failures in a row that open the breaker.
pub const OPENED_BY: u32 = 3;
/// How long it stays open, and how long a sync that was let through keeps others out.
pub const OPEN_FOR: TimeDelta = TimeDelta::hours(1);

/// Whether a sync begins or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It begins.
    First,
    /// It was let through before and goes on in another task: the breaker is not asked again.
    Continued,
}

/// Whether a user may be synced now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Admitted(Admitted),
    /// No, and the task has nothing to do.
    Refused(Refusal),
}

/// Lets a sync begin, and knows how it will be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The one sync that a half-open breaker lets through.
    pub probe: bool,
    pub(super) schedule: Schedule,
}

/// Why a sync may not begin; the stable name is that of `sync_metrics.skip_reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Refusal {
    /// There is no such user.
    UnknownUser,
    /// The user has no token for the integration.
    NotConnected,
    /// Google does not take the user's token any more.
    TokenRevoked,
    /// The circuit breaker is open.
    CircuitOpen,
}

impl Refusal {
    /// The stable name.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.into()
    }
}

impl Db {
    /// Looks at token health, circuit breaker and schedule before a sync.
    ///
    /// While the breaker is half-open exactly one caller is admitted, by one atomic update.
    pub async fn admit_sync(
        &self,
        user_id: Uuid,
        integration: Integration,
        entry: Entry,
        now: DateTime<Utc>,
    ) -> Result<Admission, Error> {
        let standing = sqlx::query!(
            r#"
            SELECT t.created_at AS "connected_at?",
                   t.id IS NOT NULL AS "connected!",
                   COALESCE(h.status = 'revoked', false) AS "revoked!",
                   COALESCE(b.state <> 'closed', false) AS "tripped!",
                   $2 = 'google_calendar' AND EXISTS (
                       SELECT FROM calendar_webhook_subscriptions w WHERE w.user_id = u.id AND w.expiration > $3
                   ) AS "push_channel!",
                   s.id IS NOT NULL AS "scheduled!",
                   COALESCE(s.current_frequency_ms, 0) AS "current_ms!",
                   COALESCE(s.default_frequency_ms, 0) AS "default_ms!",
                   COALESCE(s.min_frequency_ms, 0) AS "longest_ms!",
                   COALESCE(s.max_frequency_ms, 0) AS "shortest_ms!",
                   COALESCE(s.consecutive_no_changes, 0) AS "no_changes!",
                   s.onboarding_until AS "onboarding_until?"
            FROM users u
            LEFT JOIN oauth_tokens t ON t.user_id = u.id AND t.provider = $2
            LEFT JOIN token_health h ON h.user_id = u.id AND h.integration_type = $2
            LEFT JOIN circuit_breaker_state b ON b.user_id = u.id AND b.integration_type = $2
            LEFT JOIN sync_schedule s ON s.user_id = u.id AND s.integration_type = $2
            WHERE u.id = $1
            "#,
            user_id,
            integration.as_str(),
            now.naive_utc(),
        )
        .fetch_optional(self.statement())
        .await?;
        let Some(standing) = standing else { return Ok(Admission::Refused(Refusal::UnknownUser)) };
        if !standing.connected {
            return Ok(Admission::Refused(Refusal::NotConnected));
        }
        if standing.revoked {
            return Ok(Admission::Refused(Refusal::TokenRevoked));
        }
        let probe = standing.tripped && entry == Entry::First;
        if probe && !self.take_probe(user_id, integration, now).await? {
            return Ok(Admission::Refused(Refusal::CircuitOpen));
        }
        let schedule = if standing.scheduled {
            Schedule::stored(
                integration,
                [standing.current_ms, standing.default_ms, standing.longest_ms, standing.shortest_ms],
                standing.no_changes,
                standing.onboarding_until.map(|time| time.and_utc()),
            )
        } else {
            Schedule::new(integration, standing.connected_at.unwrap_or(now))
        };
        Ok(Admission::Admitted(Admitted {
            probe,
            schedule: schedule.with_push_channel(standing.push_channel),
        }))
    }

    /// However a sync ended, the breaker is not left half-open: a probe that neither succeeded nor failed lets the next
    /// one try. Best effort: what is not handed back counts as a failure when its hour is over.
    pub async fn sync_ended(
        &self,
        user_id: Uuid,
        integration: Integration,
        admitted: &Admitted,
        now: DateTime<Utc>,
    ) {
        if !admitted.probe {
            return;
        }
        if let Err(error) = self.hand_back_probe(user_id, integration, now).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a probe was not handed back");
        }
    }

    async fn hand_back_probe(
        &self,
        user_id: Uuid,
        integration: Integration,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        sqlx::query!(
            "
            UPDATE circuit_breaker_state SET state = 'open', next_retry_at = $3, updated_at = $3
            WHERE user_id = $1 AND integration_type = $2 AND state = 'half_open'
            ",
            user_id,
            integration.as_str(),
            now.naive_utc(),
        )
        .execute(self.statement())
        .await?;
        Ok(())
    }

    async fn take_probe(
        &self,
        user_id: Uuid,
        integration: Integration,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let taken = sqlx::query!(
            "
            UPDATE circuit_breaker_state SET state = 'half_open', next_retry_at = $4, updated_at = $3
            WHERE user_id = $1 AND integration_type = $2 AND state <> 'closed'
              AND (next_retry_at IS NULL OR next_retry_at <= $3)
            ",
            user_id,
            integration.as_str(),
            now.naive_utc(),
            (now + OPEN_FOR).naive_utc(),
        )
        .execute(self.statement())
        .await?;
        Ok(taken.rows_affected() == 1)
    }
}

impl Transaction {
    /// Closes the breaker after a success.
    pub(super) async fn close_breaker(
        &mut self,
        user_id: Uuid,
        integration: Integration,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        sqlx::query!(
            "
            UPDATE circuit_breaker_state
            SET state = 'closed', failure_count = 0, opened_at = NULL, next_retry_at = NULL, updated_at = $3
            WHERE user_id = $1 AND integration_type = $2 AND (state <> 'closed' OR failure_count <> 0)
            ",
            user_id,
            integration.as_str(),
            now.naive_utc(),
        )
        .execute(self.statement())
        .await?;
        Ok(())
    }

    /// Counts a failure, opens the breaker when it must, and answers how many failures there were in a row.
    pub(super) async fn count_failure(
        &mut self,
        user_id: Uuid,
        integration: Integration,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<u32, Error> {
        let failures = sqlx::query_scalar!(
            "
            INSERT INTO circuit_breaker_state AS b
                (user_id, integration_type, state, failure_count, last_failure_at, last_failure_reason, created_at, updated_at)
            VALUES ($1, $2, 'closed', 1, $3, $4, $3, $3)
            ON CONFLICT (user_id, integration_type) DO UPDATE
            SET failure_count = b.failure_count + 1, last_failure_at = $3, last_failure_reason = $4, updated_at = $3,
                (state, opened_at, next_retry_at) = (
                    SELECT 'open', $3::timestamp, $6::timestamp WHERE b.state <> 'closed' OR b.failure_count + 1 >= $5
                    UNION ALL
                    SELECT b.state, b.opened_at, b.next_retry_at WHERE b.state = 'closed' AND b.failure_count + 1 < $5
                )
            RETURNING failure_count
            ",
            user_id,
            integration.as_str(),
            now.naive_utc(),
            reason,
            OPENED_BY.cast_signed(),
            (now + OPEN_FOR).naive_utc(),
        )
        .fetch_one(self.statement())
        .await?;
        Ok(failures.unsigned_abs())
    }
}
