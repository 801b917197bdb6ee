//! Push channels: `calendar_webhook_subscriptions`, one per user; and `jobs.push_channels`, all that Google may hold for us.
//! What comes through them is in `push_notifications`.
//!
//! The intent to open a channel is recorded here, the channel opened at Google, and then activated, which orphans the
//! one before it, and those whose opening was never heard of. Orphaned channels are stopped and deleted. Whatever dies
//! in between, the next renewal finds what is left. Of two renewals at the same time the later one's channel remains.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use shared::db::{Error, Page};
use uuid::Uuid;

use super::sync_schedule::poll_calendar;

/// A channel that ends within this time is due for its replacement.
const DUE_BEFORE_END: TimeDelta = TimeDelta::hours(24);
/// A channel of at least this age without a notification for this time is a stale candidate.
pub const QUIET_FOR: TimeDelta = TimeDelta::hours(48);
/// A renewal that recorded its intent so long ago and has not activated the channel is dead: longer than a renewal may
/// run.
const ABANDONED_AFTER: TimeDelta = TimeDelta::minutes(10);

/// A channel that Google has just opened.
#[derive(Debug, Clone, Copy)]
pub struct NewChannel<'a> {
    /// Our id of the channel.
    pub channel_id: &'a str,
    /// Key of the task that opened it.
    pub opened_by: &'a str,
    /// Google's id of what is watched.
    pub resource_id: &'a str,
    /// Its address.
    pub resource_uri: &'a str,
    /// What Google shows with each notification.
    pub token: &'a SecretString,
    /// When the channel ends.
    pub ends_at: DateTime<Utc>,
}

/// A user's channel, as far as its replacement is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserChannel {
    /// When it was opened; `None` if the application did not say.
    pub opened_at: Option<DateTime<Utc>>,
    /// When it ends.
    pub ends_at: DateTime<Utc>,
    /// Key of the task that opened it, if one did.
    pub opened_by: Option<String>,
}

impl UserChannel {
    /// Whether it ends so soon that it must be replaced.
    #[must_use]
    pub fn ends_soon(&self, now: DateTime<Utc>) -> bool {
        self.ends_at < now + DUE_BEFORE_END
    }

    /// Whether it is too young to be a stale candidate.
    #[must_use]
    pub fn is_young(&self, now: DateTime<Utc>) -> bool {
        self.opened_at.is_some_and(|at| at > now - QUIET_FOR)
    }
}

/// A channel that is to be stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanedChannel {
    /// Our id of it.
    pub channel_id: String,
    /// Google's id of what it watches.
    pub resource_id: String,
}

handle! {
    /// Push channels: `calendar_webhook_subscriptions`, one per user; and `jobs.push_channels`, all that Google may hold
    /// for us.
    Channels
}

impl Channels {
    /// The next users, by id after `after` (nil to begin), with a calendar connected and no channel, one that ends soon,
    /// or orphaned channels.
    pub async fn due(&self, now: DateTime<Utc>, after: Uuid, limit: u32) -> Result<Page, Error> {
        let users = sqlx::query_scalar!(
            "
            SELECT t.user_id
            FROM oauth_tokens t
            LEFT JOIN calendar_webhook_subscriptions w ON w.user_id = t.user_id AND w.user_id > $1
            LEFT JOIN token_health h
                ON h.user_id = t.user_id AND h.integration_type = t.provider AND h.user_id > $1
            WHERE t.user_id > $1 AND t.provider = 'google_calendar'
              AND (h.status IS DISTINCT FROM 'revoked' OR t.updated_at > h.last_checked AT TIME ZONE 'UTC')
              AND (w.id IS NULL OR w.expiration < $2
                   OR EXISTS (SELECT FROM jobs.push_channels c WHERE c.user_id = t.user_id AND c.state = 'stray'))
            ORDER BY t.user_id
            LIMIT $3
            ",
            after,
            (now + DUE_BEFORE_END).naive_utc(),
            i64::from(limit),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(Page::of(users, limit))
    }

    /// The user's channel.
    pub async fn of_user(&self, user_id: Uuid) -> Result<Option<UserChannel>, Error> {
        let channel = sqlx::query!(
            r#"
            SELECT w.created_at, w.expiration, c.opened_by AS "opened_by?"
            FROM calendar_webhook_subscriptions w
            LEFT JOIN jobs.push_channels c ON c.channel_id = w.channel_id
            WHERE w.user_id = $1
            "#,
            user_id,
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(channel.map(|channel| UserChannel {
            opened_at: channel.created_at.map(|time| time.and_utc()),
            ends_at: channel.expiration.and_utc(),
            opened_by: channel.opened_by,
        }))
    }

    /// Records the intent of the task of that key to open a channel, which Google would forget at
    /// `ends_at`.
    pub async fn record_intent(
        &self,
        user_id: Uuid,
        channel_id: &str,
        opened_by: &str,
        ends_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        sqlx::query!(
            "
            INSERT INTO jobs.push_channels (channel_id, user_id, state, opened_by, announced_at, ends_at)
            VALUES ($1, $2, 'announced', $3, $4, $5)
            ",
            channel_id,
            user_id,
            opened_by,
            now,
            ends_at,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// Discards the record of a channel that Google refused to open.
    pub async fn discard(&self, channel_id: &str) -> Result<(), Error> {
        sqlx::query!(
            "DELETE FROM jobs.push_channels WHERE channel_id = $1 AND state = 'announced'",
            channel_id,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// Makes an opened channel the user's, and orphans what the user had before: the last channel, and those that this
    /// task's earlier attempts, or renewals long dead, may have opened. The calendar is polled so often from now on.
    pub async fn activate(
        &self,
        user_id: Uuid,
        channel: &NewChannel<'_>,
        poll_every: Duration,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let mut tx = self.0.begin().await?;
        // Of those that the application opened nothing is written down here yet.
        sqlx::query!(
            "
            INSERT INTO jobs.push_channels (channel_id, user_id, state, resource_id, ends_at)
            SELECT channel_id, user_id, 'stray', resource_id, expiration
            FROM calendar_webhook_subscriptions WHERE user_id = $1
            ON CONFLICT (channel_id) DO NOTHING
            ",
            user_id,
        )
        .execute(tx.statement())
        .await?;
        // Another renewal of this user waits here, and then finds this one's channel open.
        sqlx::query!(
            "
            INSERT INTO calendar_webhook_subscriptions
                (user_id, channel_id, resource_id, resource_uri, expiration, token, created_at, updated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
            ON CONFLICT (user_id) DO UPDATE
            SET channel_id = excluded.channel_id, resource_id = excluded.resource_id,
                resource_uri = excluded.resource_uri, expiration = excluded.expiration, token = excluded.token,
                created_at = excluded.created_at, updated_at = excluded.updated_at
            ",
            user_id,
            channel.channel_id,
            channel.resource_id,
            channel.resource_uri,
            channel.ends_at.naive_utc(),
            channel.token.expose_secret(),
            now.naive_utc(),
        )
        .execute(tx.statement())
        .await?;
        sqlx::query!(
            "
            UPDATE jobs.push_channels
            SET state = CASE WHEN channel_id = $2 THEN 'open' ELSE 'stray' END,
                ends_at = CASE WHEN channel_id = $2 THEN $4 ELSE ends_at END,
                resource_id = COALESCE(resource_id, $3)
            WHERE user_id = $1
              AND (channel_id = $2 OR state = 'open'
                   OR (state = 'announced' AND (opened_by = $5 OR announced_at < $6)))
            ",
            user_id,
            channel.channel_id,
            channel.resource_id,
            channel.ends_at,
            channel.opened_by,
            now - ABANDONED_AFTER,
        )
        .execute(tx.statement())
        .await?;
        poll_calendar(&mut tx, user_id, poll_every, now).await?;
        tx.commit().await
    }

    /// The user's channels that are to be stopped.
    pub async fn orphaned(&self, user_id: Uuid) -> Result<Vec<OrphanedChannel>, Error> {
        let orphaned = sqlx::query_as!(
            OrphanedChannel,
            r#"
            SELECT channel_id, resource_id AS "resource_id!"
            FROM jobs.push_channels WHERE user_id = $1 AND state = 'stray' ORDER BY ends_at, channel_id
            "#,
            user_id,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(orphaned)
    }

    /// An orphaned channel was stopped.
    pub async fn mark_stopped(&self, channel_id: &str) -> Result<(), Error> {
        sqlx::query!("DELETE FROM jobs.push_channels WHERE channel_id = $1 AND state = 'stray'", channel_id)
            .execute(self.0.statement())
            .await?;
        Ok(())
    }

    /// The user's calendar has no channel that can be relied on: it is polled so often.
    pub async fn poll_without_channel(
        &self,
        user_id: Uuid,
        poll_every: Duration,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let mut tx = self.0.begin().await?;
        poll_calendar(&mut tx, user_id, poll_every, now).await?;
        tx.commit().await
    }

    /// The next users, by id after `after` (nil to begin), whose channel is a stale candidate.
    pub async fn stale_candidates(&self, now: DateTime<Utc>, after: Uuid, limit: u32) -> Result<Page, Error> {
        // The application has no index on channels: the user's notifications are looked at, by the index that it has. OFFSET 0
        // keeps the planner from walking back through those of all users until it meets one of a channel that is quiet.
        let users = sqlx::query_scalar!(
            "
            SELECT w.user_id
            FROM calendar_webhook_subscriptions w
            JOIN oauth_tokens t
                ON t.user_id = w.user_id AND t.provider = 'google_calendar' AND t.user_id > $1
            LEFT JOIN token_health h
                ON h.user_id = t.user_id AND h.integration_type = t.provider AND h.user_id > $1
            LEFT JOIN LATERAL (
                SELECT max(n.created_at) AS created_at FROM (
                    SELECT created_at FROM webhook_notifications
                    WHERE user_id = w.user_id AND channel_id = w.channel_id OFFSET 0
                ) n
            ) heard ON true
            WHERE w.user_id > $1 AND w.expiration > $2 AND w.created_at <= $3
              AND (heard.created_at IS NULL OR heard.created_at <= $3)
              AND (h.status IS DISTINCT FROM 'revoked' OR t.updated_at > h.last_checked AT TIME ZONE 'UTC')
            ORDER BY w.user_id
            LIMIT $4
            ",
            after,
            now.naive_utc(),
            (now - QUIET_FOR).naive_utc(),
            i64::from(limit),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(Page::of(users, limit))
    }

    /// Since when the user's channel is quiet; `None` when it is no stale candidate, or not there.
    pub async fn quiet_since(
        &self,
        user_id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let since: Option<NaiveDateTime> = sqlx::query_scalar!(
            r#"
            SELECT GREATEST(w.created_at, heard.created_at) AS "since!"
            FROM calendar_webhook_subscriptions w
            LEFT JOIN LATERAL (
                SELECT max(n.created_at) AS created_at FROM (
                    SELECT created_at FROM webhook_notifications
                    WHERE user_id = w.user_id AND channel_id = w.channel_id OFFSET 0
                ) n
            ) heard ON true
            WHERE w.user_id = $1 AND w.expiration > $2 AND w.created_at <= $3
              AND (heard.created_at IS NULL OR heard.created_at <= $3)
            "#,
            user_id,
            now.naive_utc(),
            (now - QUIET_FOR).naive_utc(),
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(since.map(|time| time.and_utc()))
    }

    /// How many users' channels end soon.
    pub async fn count_ending(&self, now: DateTime<Utc>) -> Result<u64, Error> {
        let ending = sqlx::query_scalar!(
            r#"
            SELECT count(*) AS "ending!"
            FROM calendar_webhook_subscriptions WHERE expiration > $1 AND expiration < $2
            "#,
            now.naive_utc(),
            (now + DUE_BEFORE_END).naive_utc(),
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(ending.unsigned_abs())
    }
}
