//! `jobs.refused_tokens` and `jobs.refusal_alarms`: refresh tokens that Google refuses, until that is believed.

use chrono::{DateTime, TimeDelta, Utc};
use shared::db::{Error, Transaction};
use uuid::Uuid;

use super::oauth_tokens::StoredToken;
use crate::payload::Integration;

/// A token that was refused within this time is one of the present ones: what was refused in last night's sweep is not.
const PRESENT: TimeDelta = TimeDelta::hours(12);
/// A token that was not refused for this time, a sweep's period and more, is refused for the first time.
const REMEMBERED: TimeDelta = TimeDelta::hours(26);
/// A token that worked within this time is one of those that the refused ones are compared with: two sweeps.
const WORKING: TimeDelta = TimeDelta::hours(48);
/// Google's access tokens live an hour, so `expires_at`, which has an index, tells when a token was exchanged: a minute more
/// or less, for clocks.
const LIFETIME_MINUTES: i32 = 59;
const LONGEST_LIFETIME: TimeDelta = TimeDelta::minutes(61);
/// Refused tokens that are counted: more make no difference.
const COUNTED: i64 = 1_000;
/// How long an alarm holds.
const ALARM_HOLDS: TimeDelta = TimeDelta::hours(1);
/// The alarms of a night, in which the sweep runs, are one: nights begin at noon.
const NOON: TimeDelta = TimeDelta::hours(12);

/// What Google's other answers say about the refusal of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusals {
    /// When this token was refused first.
    pub since: DateTime<Utc>,
    /// Tokens that are refused at present, this one included.
    pub refused: i64,
    /// Tokens that worked within two days, up to five times as many as are refused.
    pub working: i64,
    /// Tokens that were exchanged since this one was refused, and for as long before, up to four times as many as are
    /// refused.
    pub answered: i64,
    /// Another token is left that was not asked about in that time.
    pub others_left: bool,
}

handle! {
    /// `jobs.refused_tokens` and `jobs.refusal_alarms`: refresh tokens that Google refuses, until that is believed.
    RefusedTokens
}

impl RefusedTokens {
    /// Records that Google refuses the token that was used, and returns what its other answers say.
    ///
    /// `None`, and nothing written, when the user connected again or a refresh came first.
    pub async fn record(
        &self,
        user_id: Uuid,
        integration: Integration,
        used: &StoredToken,
        now: DateTime<Utc>,
    ) -> Result<Option<Refusals>, Error> {
        let refusals = sqlx::query_as!(
            Refusals,
            r#"
            WITH recorded AS (
                INSERT INTO jobs.refused_tokens AS r (user_id, integration, since, refused_at)
                SELECT user_id, provider, $4::timestamptz, $4
                FROM oauth_tokens WHERE user_id = $1 AND provider = $2 AND access_token = $3
                ON CONFLICT (user_id, integration) DO UPDATE
                SET refused_at = $4, since = CASE WHEN r.refused_at < $9 THEN $4 ELSE r.since END
                RETURNING since
            ), others AS (
                SELECT count(*) + 1 AS refused FROM (
                    SELECT FROM jobs.refused_tokens
                    WHERE refused_at >= $5 AND (user_id, integration) <> ($1, $2::text) LIMIT $8
                ) r
            ), period AS (
                SELECT since - ($4 - since) AS start FROM recorded
            )
            SELECT since AS "since!", refused AS "refused!",
                (SELECT count(*) FROM (
                    SELECT FROM oauth_tokens t
                    WHERE t.expires_at > $6::timestamptz + make_interval(mins => $7::int) AND t.expires_at <= $10
                      AND t.provider IN ('google_calendar', 'google_contacts')
                    LIMIT 5 * (SELECT refused FROM others)
                ) w) AS "working!",
                (SELECT count(*) FROM (
                    SELECT FROM oauth_tokens t
                    WHERE t.expires_at > (SELECT start FROM period) + make_interval(mins => $7::int) AND t.expires_at <= $10
                      AND t.provider IN ('google_calendar', 'google_contacts')
                    LIMIT 4 * (SELECT refused FROM others)
                ) a) AS "answered!",
                EXISTS (
                    SELECT FROM oauth_tokens t
                    LEFT JOIN token_health h ON h.user_id = t.user_id AND h.integration_type = t.provider
                    LEFT JOIN jobs.refused_tokens r
                        ON r.user_id = t.user_id AND r.integration = t.provider AND r.refused_at >= $5
                    WHERE t.expires_at <= (SELECT start FROM period) + make_interval(mins => $7::int)
                      AND t.provider IN ('google_calendar', 'google_contacts') AND t.refresh_token IS NOT NULL
                      AND h.status IS DISTINCT FROM 'revoked' AND r.user_id IS NULL
                      AND (t.user_id, t.provider::text) <> ($1, $2::text)
                ) AS "others_left!"
            FROM recorded, others
            "#,
            user_id,
            integration.as_str(),
            used.access_token,
            now,
            now - PRESENT,
            now - WORKING,
            LIFETIME_MINUTES,
            COUNTED,
            now - REMEMBERED,
            now + LONGEST_LIFETIME,
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(refusals)
    }

    /// Raises the night's alarm; `false` when it had been raised before.
    pub async fn raise_alarm(&self, now: DateTime<Utc>) -> Result<bool, Error> {
        let is_first = sqlx::query_scalar!(
            r#"
            INSERT INTO jobs.refusal_alarms (night, raised_at) VALUES ($1, $2)
            ON CONFLICT (night) DO UPDATE SET raised_at = excluded.raised_at
            RETURNING xmax = 0 AS "is_first!"
            "#,
            (now + NOON).date_naive(),
            now,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(is_first)
    }

    /// Whether many tokens were refused within the last hour: sweeps ask no more.
    pub async fn is_alarm_raised(&self, now: DateTime<Utc>) -> Result<bool, Error> {
        let raised = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM jobs.refusal_alarms WHERE raised_at >= $1) AS "raised!""#,
            now - ALARM_HOLDS,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(raised)
    }
}

/// The token's state is known: it is no more one that is refused and not believed.
pub(super) async fn forget(
    tx: &mut Transaction,
    user_id: Uuid,
    integration: Integration,
) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM jobs.refused_tokens WHERE user_id = $1 AND integration = $2",
        user_id,
        integration.as_str(),
    )
    .execute(tx.statement())
    .await?;
    Ok(())
}
