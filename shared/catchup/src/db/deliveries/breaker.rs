//! `jobs.provider_circuit_breakers`: a provider that does not answer gets no more messages for a while.

use chrono::{DateTime, TimeDelta, Utc};
use shared::db::Error;

use super::{Channel, Deliveries};

/// Messages in a row without an answer that open the breaker.
const FAILURE_THRESHOLD: i32 = 5;
/// For so long it is open; then one message probes.
const OPEN_FOR: TimeDelta = TimeDelta::minutes(5);
/// For so long the others wait for the probe: longer than any answer takes.
const PROBE_TIMEOUT: TimeDelta = TimeDelta::minutes(2);

/// The breaker of a provider that left the last messages unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    failure_count: i32,
    next_retry_at: DateTime<Utc>,
}

impl Breaker {
    pub(super) fn read(failure_count: Option<i32>, next_retry_at: Option<DateTime<Utc>>) -> Option<Self> {
        Some(Self { failure_count: failure_count?, next_retry_at: next_retry_at? })
    }

    /// Whether a message may be sent only as a probe, if at all.
    #[must_use]
    pub fn has_opened(&self) -> bool {
        self.failure_count >= FAILURE_THRESHOLD
    }

    /// Until when no message may probe.
    #[must_use]
    pub fn open_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        Some(self.next_retry_at).filter(|retry_at| self.has_opened() && now < *retry_at)
    }
}

impl Deliveries {
    /// Takes the probe of an open breaker whose time has expired. Otherwise another message has it, and the others wait until the
    /// time that is returned.
    pub async fn begin_probe(
        &self,
        channel: Channel,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let until = now + PROBE_TIMEOUT;
        let begun = sqlx::query!(
            "
            UPDATE jobs.provider_circuit_breakers SET next_retry_at = $3
            WHERE channel = $1 AND next_retry_at <= $2
            ",
            channel.as_str(),
            now,
            until,
        )
        .execute(self.0.statement())
        .await?;
        Ok((begun.rows_affected() == 0).then_some(until))
    }

    /// The provider did not answer. `true` when that opens the breaker.
    pub async fn record_no_answer(&self, channel: Channel, now: DateTime<Utc>) -> Result<bool, Error> {
        let failure_count = sqlx::query_scalar!(
            r#"
            INSERT INTO jobs.provider_circuit_breakers AS breaker (channel, failure_count, next_retry_at)
            VALUES ($1, 1, $2)
            ON CONFLICT (channel) DO UPDATE SET failure_count = breaker.failure_count + 1, next_retry_at = $2
            RETURNING failure_count
            "#,
            channel.as_str(),
            now + OPEN_FOR,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(failure_count == FAILURE_THRESHOLD)
    }

    /// The provider answers again.
    pub async fn record_answer(&self, channel: Channel) -> Result<(), Error> {
        sqlx::query!("DELETE FROM jobs.provider_circuit_breakers WHERE channel = $1", channel.as_str())
            .execute(self.0.statement())
            .await?;
        Ok(())
    }
}
