//! Complaints about tokens that are there before the first sweep.

use chrono::{DateTime, TimeDelta, Utc};
use google_stand_in::{Grant, GrantState, Integration, User};
use sqlx::PgConnection;
use uuid::Uuid;

use super::works;

/// Old enough for a reminder.
const AGE: TimeDelta = TimeDelta::days(8);

/// A row of `token_health_notifications` that is unresolved and eight days old.
#[derive(Debug)]
pub struct OwnNotice {
    /// Its id.
    pub id: Uuid,
    /// Of which token.
    pub integration: Integration,
    /// `token_invalid` or `token_expiring_soon`.
    pub kind: &'static str,
    /// The user was reminded of it already.
    pub is_reminded: bool,
    /// The token works again: the next refresh resolves the notice before anybody is reminded.
    pub is_outdated: bool,
}

impl OwnNotice {
    /// Whether the user must be reminded of it, once.
    #[must_use]
    pub fn is_due(&self) -> bool {
        !self.is_reminded && !self.is_outdated
    }

    pub(super) async fn insert(
        &self,
        db: &mut PgConnection,
        user: Uuid,
        at: DateTime<Utc>,
    ) -> sqlx::Result<()> {
        sqlx::query(
            "INSERT INTO token_health_notifications
                (id, user_id, integration_type, notification_type, message, re_auth_link, created_at, updated_at,
                 reminder_sent_at)
             VALUES ($1, $2, $3, $4, 'Connect again.', 'https://app.example.test/connect', $5, $5, $6)",
        )
        .bind(self.id)
        .bind(user)
        .bind(self.integration.provider())
        .bind(self.kind)
        .bind((at - AGE).naive_utc())
        .bind(self.is_reminded.then(|| at.naive_utc()))
        .execute(db)
        .await?;
        Ok(())
    }
}

/// What the user was told, by the place in the world. Some tokens that do not work have no notice yet.
pub(super) fn plan(user: &User, place: usize, at: DateTime<Utc>) -> Vec<OwnNotice> {
    let grants = Integration::ALL.into_iter().filter_map(|integration| user.grant(integration));
    grants.filter_map(|grant| notice(grant, place, at)).collect()
}

fn notice(grant: &Grant, place: usize, at: DateTime<Utc>) -> Option<OwnNotice> {
    /// Among those whose token works.
    const WORKS_AGAIN: usize = 1;
    let is_both_revoked = grant.state == GrantState::Revoked && place == 2;
    let (kind, is_outdated) = if works(grant) {
        if place % 4 != WORKS_AGAIN {
            return None;
        }
        ("token_invalid", true)
    } else if grant.state == GrantState::Granted && grant.access_token_expires_at > at {
        ("token_expiring_soon", false)
    } else if place == 10 {
        // Found out only now.
        return None;
    } else {
        ("token_invalid", false)
    };
    Some(OwnNotice {
        id: Uuid::new_v4(),
        integration: grant.integration,
        kind,
        is_reminded: is_both_revoked && grant.integration == Integration::GoogleContacts,
        is_outdated,
    })
}
