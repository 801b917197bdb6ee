//! `jobs.silent_channels`: providers that do not answer.

use chrono::{DateTime, TimeDelta, Utc};
use shared::db::Error;

use super::{Channel, Deliveries};

/// Messages in a row without an answer after which the others wait.
const MAX_UNANSWERED: i32 = 5;
/// For so long they wait, and then one of them tries.
const WAIT: TimeDelta = TimeDelta::minutes(5);
/// For so long the others wait for that one: longer than any answer takes.
const TRIAL: TimeDelta = TimeDelta::minutes(2);

/// A provider that left the last messages unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    unanswered: i32,
    retry_at: DateTime<Utc>,
}

impl Silence {
    pub(super) fn read(unanswered: Option<i32>, retry_at: Option<DateTime<Utc>>) -> Option<Self> {
        Some(Self { unanswered: unanswered?, retry_at: retry_at? })
    }
}

impl Deliveries {
    /// Until when a message by that channel waits for an answer to others; `None` when it may be sent.
    pub async fn waits_until(
        &self,
        channel: Channel,
        silence: Silence,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        if silence.unanswered < MAX_UNANSWERED {
            return Ok(None);
        }
        if now < silence.retry_at {
            return Ok(Some(silence.retry_at));
        }
        let until = now + TRIAL;
        let is_trial = sqlx::query!(
            "UPDATE jobs.silent_channels SET retry_at = $3 WHERE channel = $1 AND retry_at <= $2",
            channel.as_str(),
            now,
            until,
        )
        .execute(self.0.statement())
        .await?;
        Ok((is_trial.rows_affected() == 0).then_some(until))
    }

    /// The provider did not answer.
    pub async fn mark_unanswered(&self, channel: Channel, now: DateTime<Utc>) -> Result<(), Error> {
        sqlx::query!(
            "
            INSERT INTO jobs.silent_channels AS silent (channel, unanswered, retry_at) VALUES ($1, 1, $2)
            ON CONFLICT (channel) DO UPDATE SET unanswered = LEAST(silent.unanswered, 1000) + 1, retry_at = $2
            ",
            channel.as_str(),
            now + WAIT,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// The provider answers again.
    pub async fn mark_answered(&self, channel: Channel) -> Result<(), Error> {
        sqlx::query!("DELETE FROM jobs.silent_channels WHERE channel = $1", channel.as_str())
            .execute(self.0.statement())
            .await?;
        Ok(())
    }
}
