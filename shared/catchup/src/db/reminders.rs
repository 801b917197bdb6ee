//! Who is reminded of a token that does not work, and who was.

use chrono::{DateTime, TimeDelta, Utc};
use shared::db::{Error, Page};
use uuid::Uuid;

use super::token_health::NoticeKind;
use crate::payload::Integration;

/// A notification that is open for longer is due for its reminder.
const DUE_AFTER: TimeDelta = TimeDelta::days(7);

/// A notification whose reminder was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueReminder {
    /// Which.
    pub id: Uuid,
    /// Whose token it is about.
    pub integration: Integration,
}

handle! {
    /// Who is reminded of a token that does not work, and who was.
    TokenNotices
}

impl TokenNotices {
    /// The next users, by id after `after` (nil to begin), with a reminder of that kind due.
    pub async fn due(
        &self,
        kind: NoticeKind,
        now: DateTime<Utc>,
        after: Uuid,
        limit: u32,
    ) -> Result<Page, Error> {
        let kind: &str = kind.into();
        let users = sqlx::query_scalar!(
            "
            SELECT DISTINCT user_id
            FROM token_health_notifications
            WHERE resolved_at IS NULL AND reminder_sent_at IS NULL AND notification_type = $1 AND created_at < $2
              AND user_id > $3
            ORDER BY user_id
            LIMIT $4
            ",
            kind,
            (now - DUE_AFTER).naive_utc(),
            after,
            i64::from(limit),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(Page::of(users, limit))
    }

    /// The user's reminders of that kind that are due.
    pub async fn due_for(
        &self,
        user_id: Uuid,
        kind: NoticeKind,
        now: DateTime<Utc>,
    ) -> Result<Vec<DueReminder>, Error> {
        let kind: &str = kind.into();
        let rows = sqlx::query!(
            "
            SELECT id, integration_type
            FROM token_health_notifications
            WHERE resolved_at IS NULL AND reminder_sent_at IS NULL AND notification_type = $1 AND created_at < $2
              AND user_id = $3
            ORDER BY created_at, id
            ",
            kind,
            (now - DUE_AFTER).naive_utc(),
            user_id,
        )
        .fetch_all(self.0.statement())
        .await?;
        let reminder =
            |id, integration: &str| Some(DueReminder { id, integration: integration.parse().ok()? });
        Ok(rows.into_iter().filter_map(|row| reminder(row.id, &row.integration_type)).collect())
    }

    /// Notes that reminders were sent.
    pub async fn mark_sent(&self, ids: &[Uuid], now: DateTime<Utc>) -> Result<(), Error> {
        sqlx::query!(
            "
            UPDATE token_health_notifications SET reminder_sent_at = $2, updated_at = $2
            WHERE id = ANY ($1) AND reminder_sent_at IS NULL
            ",
            ids,
            now.naive_utc(),
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }
}
