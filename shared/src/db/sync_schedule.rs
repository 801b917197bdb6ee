//! `sync_schedule`: when each user is synced next, and the sweep over those who are due.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Db, Error, Page, Transaction};
use crate::payload::Integration;

mod rules;

use rules::polling;
pub(super) use rules::{Next, Schedule};

impl Db {
    /// The next users, by id after `after` (nil to begin), whose sync is due, who are not revoked and whose breaker is
    /// not open. Those who have a token but no schedule get one first, and are due at once.
    pub async fn syncs_due(
        &self,
        integration: Integration,
        now: DateTime<Utc>,
        after: Uuid,
        limit: u32,
    ) -> Result<Page, Error> {
        let users = sqlx::query!(
            r#"
            SELECT t.user_id, t.created_at, s.id IS NULL AS "newcomer!"
            FROM oauth_tokens t
            LEFT JOIN sync_schedule s ON s.user_id = t.user_id AND s.integration_type = t.provider AND s.user_id > $2
            LEFT JOIN token_health h ON h.user_id = t.user_id AND h.integration_type = t.provider AND h.user_id > $2
            LEFT JOIN circuit_breaker_state b ON b.user_id = t.user_id AND b.integration_type = t.provider AND b.user_id > $2
            WHERE t.provider = $1 AND t.user_id > $2 AND (s.id IS NULL OR s.next_sync_at <= $3)
              AND h.status IS DISTINCT FROM 'revoked'
              AND (b.state IS NULL OR b.state = 'closed' OR b.next_retry_at IS NULL OR b.next_retry_at <= $3)
            ORDER BY t.user_id
            LIMIT $4
            "#,
            integration.as_str(),
            after,
            now.naive_utc(),
            i64::from(limit),
        )
        .fetch_all(self.statement())
        .await?;
        let newcomers: Vec<_> = users
            .iter()
            .filter(|user| user.newcomer)
            .map(|user| (user.user_id, user.created_at.unwrap_or(now)))
            .collect();
        self.schedule_newcomers(integration, &newcomers, now).await?;
        let users: Vec<Uuid> = users.into_iter().map(|user| user.user_id).collect();
        Ok(Page::of(users, limit))
    }

    /// Newcomers: who, and when they connected.
    async fn schedule_newcomers(
        &self,
        integration: Integration,
        newcomers: &[(Uuid, DateTime<Utc>)],
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        if newcomers.is_empty() {
            return Ok(());
        }
        let schedules: Vec<_> =
            newcomers.iter().map(|&(_, connected_at)| Schedule::new(integration, connected_at)).collect();
        let ms = |interval: fn(&Schedule) -> std::time::Duration| -> Vec<i64> {
            schedules.iter().map(|schedule| milliseconds(interval(schedule))).collect()
        };
        let user_ids: Vec<Uuid> = newcomers.iter().map(|&(user_id, _)| user_id).collect();
        let onboarding: Vec<_> =
            schedules.iter().map(|schedule| schedule.onboarding_until.map(|time| time.naive_utc())).collect();
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
        .execute(self.statement())
        .await?;
        Ok(())
    }
}

impl Transaction {
    /// Writes what a sync made of its schedule; `synced_at` when it went well.
    pub(super) async fn store_schedule(
        &mut self,
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
        .execute(self.statement())
        .await?;
        Ok(())
    }
}

impl Transaction {
    /// The user's calendar has a push channel now, or could not be given one: sets the interval, within the schedule's
    /// own bounds. A sync that is due sooner stays due; who has no schedule yet gets it from their first sync.
    pub(super) async fn poll_calendar(
        &mut self,
        user_id: Uuid,
        push_channel: bool,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let interval = polling(push_channel);
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
        .execute(self.statement())
        .await?;
        Ok(())
    }
}

fn milliseconds(interval: std::time::Duration) -> i64 {
    i64::try_from(interval.as_millis()).unwrap_or(i64::MAX)
}
