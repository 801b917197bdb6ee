//! `circuit_breaker_state`: the breaker of a user's integration; [`crate::sync_rules::breaker`] has its rules.

use chrono::{DateTime, NaiveDateTime, Utc};
use shared::db::{Database, Error, Transaction};
use uuid::Uuid;

use crate::payload::Integration;
use crate::sync_rules::breaker::{Breaker, State};

/// The breaker of a row; a user without one has it closed.
pub(super) fn breaker(
    state: Option<&str>,
    failures: Option<i32>,
    opened_at: Option<NaiveDateTime>,
    retry_at: Option<NaiveDateTime>,
) -> Breaker {
    let Some(state) = state else { return Breaker::default() };
    Breaker {
        // A state that we do not know is not closed.
        state: state.parse().unwrap_or(State::Open),
        failures: failures.unwrap_or_default().unsigned_abs(),
        opened_at: opened_at.map(|time| time.and_utc()),
        retry_at: retry_at.map(|time| time.and_utc()),
    }
}

/// Makes the breaker that was `seen` half-open, until another time; `false` when it is another one by now: another task
/// makes the one sync that is let through.
pub(crate) async fn begin_probe(
    database: &Database,
    user_id: Uuid,
    integration: Integration,
    seen: &Breaker,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let begun = sqlx::query!(
        "
        UPDATE circuit_breaker_state SET state = 'half_open', next_retry_at = $4, updated_at = $3
        WHERE user_id = $1 AND integration_type = $2 AND state <> 'closed' AND next_retry_at IS NOT DISTINCT FROM $5
        ",
        user_id,
        integration.as_str(),
        now.naive_utc(),
        until.naive_utc(),
        seen.retry_at.map(|time| time.naive_utc()),
    )
    .execute(database.statement())
    .await?;
    Ok(begun.rows_affected() == 1)
}

/// A half-open breaker is open again, and lets the next sync through.
pub(crate) async fn hand_back_probe(
    database: &Database,
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
    .execute(database.statement())
    .await?;
    Ok(())
}

/// Closes the breaker after a success.
pub(crate) async fn close(
    tx: &mut Transaction,
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
    .execute(tx.statement())
    .await?;
    Ok(())
}

/// The breaker, which no other session changes before the end of the transaction.
pub(crate) async fn lock(
    tx: &mut Transaction,
    user_id: Uuid,
    integration: Integration,
    now: DateTime<Utc>,
) -> Result<Breaker, Error> {
    let row = sqlx::query!(
        "
        INSERT INTO circuit_breaker_state AS b (user_id, integration_type, state, failure_count, created_at, updated_at)
        VALUES ($1, $2, 'closed', 0, $3, $3)
        ON CONFLICT (user_id, integration_type) DO UPDATE SET updated_at = excluded.updated_at
        RETURNING state, failure_count, opened_at, next_retry_at
        ",
        user_id,
        integration.as_str(),
        now.naive_utc(),
    )
    .fetch_one(tx.statement())
    .await?;
    Ok(breaker(Some(&row.state), Some(row.failure_count), row.opened_at, row.next_retry_at))
}

/// Writes the breaker that a failure left.
pub(crate) async fn store_failure(
    tx: &mut Transaction,
    user_id: Uuid,
    integration: Integration,
    breaker: &Breaker,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let state: &str = breaker.state.into();
    sqlx::query!(
        "
        UPDATE circuit_breaker_state
        SET state = $3, failure_count = $4, opened_at = $5, next_retry_at = $6, last_failure_at = $7,
            last_failure_reason = $8, updated_at = $7
        WHERE user_id = $1 AND integration_type = $2
        ",
        user_id,
        integration.as_str(),
        state,
        breaker.failures.cast_signed(),
        breaker.opened_at.map(|time| time.naive_utc()),
        breaker.retry_at.map(|time| time.naive_utc()),
        now.naive_utc(),
        reason,
    )
    .execute(tx.statement())
    .await?;
    Ok(())
}
