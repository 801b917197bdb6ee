//! What people say about a suggestion in the links of a message: the last word counts, whatever was said before.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use shared::db::Error;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{Suggestions, SuggestionsTx};
use crate::db::later_tables::LaterTables;

/// How long "not now" lasts.
const SNOOZED_FOR: TimeDelta = TimeDelta::days(7);
/// `dismissal_reason` of a suggestion whose contact the user has met.
const MET: &str = "Already in touch";
/// `dismissal_reason` of a suggestion of a contact that is never to be suggested.
const NEVER: &str = "Never suggest this contact";

/// What a person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The two have met, or were in touch.
    WeMet,
    /// Later.
    NotNow,
    /// Never again.
    Never,
    /// More of them.
    StillUseful,
}

/// Whom an act was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acted {
    /// The user.
    pub user_id: Uuid,
    /// The contacts of the suggestion.
    pub contacts: Vec<Uuid>,
}

impl Suggestions {
    /// Does what a person says about a suggestion; `None` when it is not there any more. A meeting that is said again is no second
    /// one.
    pub async fn act(&self, suggestion: Uuid, act: Act, now: DateTime<Utc>) -> Result<Option<Acted>, Error> {
        let Some(acted) = self.acted(suggestion).await? else { return Ok(None) };
        let mut tx = self.begin(acted.user_id).await?;
        match act {
            Act::WeMet => {
                let met_at = if tx.close(suggestion, MET).await? {
                    Some(now)
                } else {
                    tx.met_at(suggestion, now).await?
                };
                if let Some(met_at) = met_at {
                    tx.move_last_contact(&acted.contacts, met_at).await?;
                }
            }
            Act::NotNow => {
                tx.include(&acted.contacts).await?;
                tx.snooze(suggestion, now + SNOOZED_FOR).await?;
            }
            Act::Never => {
                tx.exclude(&acted.contacts, now).await?;
                tx.close(suggestion, NEVER).await?;
            }
            Act::StillUseful => {}
        }
        tx.note_act(Some(now)).await?;
        tx.commit().await?;
        Ok(Some(acted))
    }

    async fn acted(&self, suggestion: Uuid) -> Result<Option<Acted>, Error> {
        let acted = sqlx::query_as!(
            Acted,
            r#"
            SELECT s.user_id, ARRAY(
                SELECT s.contact_id UNION SELECT contact_id FROM suggestion_contacts WHERE suggestion_id = s.id
            ) AS "contacts!"
            FROM suggestions s WHERE s.id = $1
            "#,
            suggestion,
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(acted)
    }
}

impl SuggestionsTx {
    async fn move_last_contact(&mut self, contacts: &[Uuid], met_at: DateTime<Utc>) -> Result<(), Error> {
        let user_id = self.user_id();
        sqlx::query!(
            "
            UPDATE contacts SET last_contact_date = $3
            WHERE user_id = $1 AND id = ANY ($2) AND (last_contact_date IS NULL OR last_contact_date < $3)
            ",
            user_id,
            contacts,
            met_at,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(())
    }

    /// Closes the suggestion, unless the two have an appointment, and with it any other that is open for its contact. `false` when
    /// it was closed for that reason before.
    async fn close(&mut self, suggestion: Uuid, reason: &str) -> Result<bool, Error> {
        let user_id = self.user_id();
        let is_closed = sqlx::query_scalar!(
            r#"
            WITH closed AS (
                UPDATE suggestions SET status = 'dismissed', dismissal_reason = $3, snoozed_until = NULL
                WHERE user_id = $1 AND id = $2 AND status <> 'accepted' AND dismissal_reason IS DISTINCT FROM $3
                RETURNING contact_id
            ), others AS (
                UPDATE suggestions s SET status = 'dismissed', dismissal_reason = $3, snoozed_until = NULL
                FROM closed
                WHERE s.user_id = $1 AND s.id <> $2 AND s.contact_id = closed.contact_id
                  AND s.status IN ('pending', 'snoozed')
            )
            SELECT EXISTS (SELECT FROM closed) AS "closed!"
            "#,
            user_id,
            suggestion,
            reason,
        )
        .fetch_one(self.tx.statement())
        .await?;
        self.forget_ending(suggestion).await?;
        Ok(is_closed)
    }

    /// When the two have met, if they had an appointment: at its time, and not later than `now`.
    async fn met_at(&mut self, suggestion: Uuid, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
        let user_id = self.user_id();
        let met_at = sqlx::query_scalar!(
            r#"
            SELECT LEAST(proposed_timeslot_end, $3) AS "met_at!" FROM suggestions
            WHERE user_id = $1 AND id = $2 AND status = 'accepted'
            "#,
            user_id,
            suggestion,
            now,
        )
        .fetch_optional(self.tx.statement())
        .await?;
        Ok(met_at)
    }

    /// Snoozes the suggestion, unless the two have an appointment, or, if another one is open for its contact, that one: a contact has one at a time.
    async fn snooze(&mut self, suggestion: Uuid, until: DateTime<Utc>) -> Result<(), Error> {
        let user_id = self.user_id();
        sqlx::query!(
            "
            UPDATE suggestions SET status = 'snoozed', snoozed_until = $3, dismissal_reason = NULL
            WHERE user_id = $1 AND id = COALESCE((
                SELECT other.id FROM suggestions other
                WHERE other.user_id = $1 AND other.status IN ('pending', 'snoozed')
                  AND other.contact_id = (SELECT contact_id FROM suggestions WHERE id = $2)
                ORDER BY other.id <> $2, other.created_at DESC LIMIT 1
            ), $2) AND status <> 'accepted'
            ",
            user_id,
            suggestion,
            until,
        )
        .execute(self.tx.statement())
        .await?;
        self.forget_ending(suggestion).await
    }

    /// What we did with it counts no more: this is the user's word.
    async fn forget_ending(&mut self, suggestion: Uuid) -> Result<(), Error> {
        let user_id = self.user_id();
        sqlx::query!(
            "DELETE FROM jobs.ended_suggestions WHERE user_id = $1 AND suggestion_id = $2",
            user_id,
            suggestion,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(())
    }

    /// The contacts are never suggested again: where the application shows it, if it has a place for that.
    async fn exclude(&mut self, contacts: &[Uuid], now: DateTime<Utc>) -> Result<(), Error> {
        let user_id = self.user_id();
        if LaterTables::find(self.tx.statement()).await?.exclusions {
            sqlx::query!(
                "
                INSERT INTO suggestion_exclusions (user_id, contact_id)
                SELECT $1, contact_id FROM unnest($2::uuid[]) contact_id
                ON CONFLICT DO NOTHING
                ",
                user_id,
                contacts,
            )
            .execute(self.tx.statement())
            .await?;
        } else {
            sqlx::query!(
                "
                INSERT INTO jobs.excluded_contacts (user_id, contact_id, since)
                SELECT $1, contact_id, $3 FROM unnest($2::uuid[]) contact_id
                ON CONFLICT DO NOTHING
                ",
                user_id,
                contacts,
                now,
            )
            .execute(self.tx.statement())
            .await?;
        }
        Ok(())
    }

    /// The contacts may be suggested again.
    async fn include(&mut self, contacts: &[Uuid]) -> Result<(), Error> {
        let user_id = self.user_id();
        sqlx::query!(
            "DELETE FROM jobs.excluded_contacts WHERE user_id = $1 AND contact_id = ANY ($2)",
            user_id,
            contacts,
        )
        .execute(self.tx.statement())
        .await?;
        if LaterTables::find(self.tx.statement()).await?.exclusions {
            sqlx::query!(
                "DELETE FROM suggestion_exclusions WHERE user_id = $1 AND contact_id = ANY ($2)",
                user_id,
                contacts,
            )
            .execute(self.tx.statement())
            .await?;
        }
        Ok(())
    }
}

/// Contacts that the user never wants to be suggested, said while the application had no place for that.
pub(super) async fn excluded_here(
    statement: impl PgExecutor<'_>,
    user_id: Uuid,
) -> Result<HashSet<Uuid>, Error> {
    let excluded =
        sqlx::query_scalar!("SELECT contact_id FROM jobs.excluded_contacts WHERE user_id = $1", user_id)
            .fetch_all(statement)
            .await?;
    Ok(excluded.into_iter().collect())
}
