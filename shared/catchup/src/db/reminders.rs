//! Who is reminded of a token that does not work, and who was.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use shared::db::{Error, Page};
use uuid::Uuid;

use super::token_health::NoticeKind;
use crate::payload::Integration;

/// How long a notification is open before its reminder is due: a token that does not work can wait for a week; one that ends must
/// be spoken of while it still works.
fn due_after(kind: NoticeKind) -> TimeDelta {
    match kind {
        NoticeKind::TokenInvalid => TimeDelta::days(7),
        NoticeKind::TokenExpiringSoon => TimeDelta::hours(1),
    }
}

/// A notification whose reminder was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueReminder {
    /// Which.
    pub id: Uuid,
    /// Whose token it is about.
    pub integration: Integration,
    /// Since when the token does not work, or when one ends that still does.
    pub at: Option<DateTime<Utc>>,
}

handle! {
    /// Who is reminded of a token that does not work, and who was.
    TokenNotices
}

impl TokenNotices {
    /// The next users, by id after `after` (nil to begin), with a reminder of that kind due. Of a token that ends soon only while
    /// it still works: later the reminder would not be true.
    pub async fn due(
        &self,
        kind: NoticeKind,
        now: DateTime<Utc>,
        after: Uuid,
        limit: u32,
    ) -> Result<Page, Error> {
        let kind_name: &str = kind.into();
        let users = sqlx::query_scalar!(
            "
            SELECT DISTINCT user_id
            FROM token_health_notifications n
            WHERE resolved_at IS NULL AND reminder_sent_at IS NULL AND notification_type = $1 AND created_at < $2
              AND user_id > $3
              AND (notification_type <> 'token_expiring_soon' OR EXISTS (
                SELECT FROM oauth_tokens t
                WHERE t.user_id = n.user_id AND t.provider = n.integration_type AND t.expires_at > $5
              ))
            ORDER BY user_id
            LIMIT $4
            ",
            kind_name,
            (now - due_after(kind)).naive_utc(),
            after,
            i64::from(limit),
            now,
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
        let kind_name: &str = kind.into();
        let rows = sqlx::query!(
            "
            SELECT n.id, n.integration_type, n.created_at, t.expires_at
            FROM token_health_notifications n
            LEFT JOIN oauth_tokens t
                ON t.user_id = n.user_id AND t.provider = n.integration_type AND t.expires_at > $4
            WHERE n.resolved_at IS NULL AND n.reminder_sent_at IS NULL AND n.notification_type = $1
              AND n.created_at < $2 AND n.user_id = $3
              AND (n.notification_type <> 'token_expiring_soon' OR t.expires_at IS NOT NULL)
            ORDER BY n.created_at, n.id
            ",
            kind_name,
            (now - due_after(kind)).naive_utc(),
            user_id,
            now,
        )
        .fetch_all(self.0.statement())
        .await?;
        let at = |created_at: Option<NaiveDateTime>, expires_at| match kind {
            NoticeKind::TokenInvalid => created_at.map(|at| at.and_utc()),
            NoticeKind::TokenExpiringSoon => expires_at,
        };
        let reminders = rows.into_iter().filter_map(|row| {
            let integration = row.integration_type.parse().ok()?;
            Some(DueReminder { id: row.id, integration, at: at(row.created_at, row.expires_at) })
        });
        Ok(reminders.collect())
    }

    /// Marks the reminders that are done: a provider took one, or it was refused for good. One of unknown status is not.
    pub async fn mark_reminded(&self, user_id: Uuid, ids: &[Uuid], now: DateTime<Utc>) -> Result<(), Error> {
        sqlx::query!(
            "
            UPDATE token_health_notifications SET reminder_sent_at = $3, updated_at = $3
            WHERE id = ANY ($2) AND reminder_sent_at IS NULL AND (
                SELECT bool_or(state NOT IN ('unknown', 'refused')) OR bool_and(state <> 'unknown')
                FROM jobs.notification_deliveries d
                WHERE d.user_id = $1 AND d.subject = 'token_notice:' || id AND d.channel IN ('sms', 'email')
            )
            ",
            user_id,
            ids,
            now.naive_utc(),
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }
}
