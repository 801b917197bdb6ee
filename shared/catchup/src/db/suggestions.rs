//! `suggestions`: whom to meet when.
//!
//! A suggestion is *open* while it is pending or snoozed. A contact *has an open suggestion* with one of these, and
//! with an accepted one until its time has passed: no contact is suggested for another meeting before that.

use chrono::{DateTime, Utc};
use shared::db::{Error, Page, Transaction};
use uuid::Uuid;

use crate::span::Span;

mod acts;

pub use acts::{Act, Acted, MET, NEVER, SNOOZED_FOR};

/// Someone the user could meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The contact.
    pub id: Uuid,
    /// What the user calls them.
    pub name: String,
    /// `frequency_option`, as the database spells it.
    pub frequency: Option<String>,
    /// When the two were last in touch: the later of what the contact and past interactions say.
    pub last_contact: Option<DateTime<Utc>>,
    /// Since when the user has the contact.
    pub created_at: Option<DateTime<Utc>>,
    /// A close friend, by circle or group.
    pub is_close: bool,
}

/// A suggestion that waits for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The suggestion.
    pub id: Uuid,
    /// The proposed time.
    pub slot: Span,
    /// Google's id of the event that was made for it.
    pub calendar_event_id: Option<String>,
}

/// A suggestion to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSuggestion {
    /// Whom.
    pub contact_id: Uuid,
    /// When.
    pub slot: Span,
    /// Why, for the user to read.
    pub reasoning: String,
    /// The higher, the sooner.
    pub priority: i32,
}

handle! {
    /// `suggestions`: whom to meet when.
    Suggestions
}

impl Suggestions {
    /// The next users, by id after `after` (nil to begin), who connected a calendar.
    pub async fn calendar_users(&self, after: Uuid, limit: u32) -> Result<Page, Error> {
        let users = sqlx::query_scalar!(
            "
            SELECT user_id FROM oauth_tokens
            WHERE user_id > $1 AND provider = 'google_calendar'
            ORDER BY user_id
            LIMIT $2
            ",
            after,
            i64::from(limit),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(Page::of(users, limit))
    }

    /// Waits until no other task makes suggestions for the user, and keeps others waiting until the end of the
    /// transaction. The application knows nothing of this lock.
    pub async fn begin(&self, user_id: Uuid) -> Result<SuggestionsTx, Error> {
        let mut tx = self.0.begin().await?;
        sqlx::query!(
            "SELECT FROM pg_advisory_xact_lock(hashtextextended('suggestions:' || $1::uuid::text, 0))",
            user_id
        )
        .execute(tx.statement())
        .await?;
        Ok(SuggestionsTx { tx, user_id })
    }
}

/// A transaction in which no other task makes suggestions for the user; dropped without [`SuggestionsTx::commit`] it
/// leaves nothing behind.
#[derive(Debug)]
pub struct SuggestionsTx {
    pub(super) tx: Transaction,
    user_id: Uuid,
}

impl SuggestionsTx {
    /// For whom.
    #[must_use]
    pub fn user_id(&self) -> Uuid {
        self.user_id
    }

    /// Makes snoozed suggestions pending whose time has come, and returns how many.
    pub async fn resume_snoozed(&mut self, now: DateTime<Utc>) -> Result<u64, Error> {
        let resumed = sqlx::query!(
            "
            UPDATE suggestions SET status = 'pending', snoozed_until = NULL
            WHERE user_id = $1 AND status = 'snoozed' AND snoozed_until <= $2
            ",
            self.user_id,
            now,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(resumed.rows_affected())
    }

    /// The pending suggestions that propose time of the window.
    pub async fn pending(&mut self, window: Span) -> Result<Vec<Pending>, Error> {
        let rows = sqlx::query!(
            "
            SELECT id, proposed_timeslot_start, proposed_timeslot_end, calendar_event_id
            FROM suggestions
            WHERE user_id = $1 AND status = 'pending' AND proposed_timeslot_start < $3 AND proposed_timeslot_end > $2
            ",
            self.user_id,
            window.start,
            window.end,
        )
        .fetch_all(self.tx.statement())
        .await?;
        let pending = rows.into_iter().map(|row| Pending {
            id: row.id,
            slot: Span { start: row.proposed_timeslot_start, end: row.proposed_timeslot_end },
            calendar_event_id: row.calendar_event_id,
        });
        Ok(pending.collect())
    }

    /// Dismisses those of these suggestions that are still pending, and returns how many.
    pub async fn dismiss(&mut self, suggestions: &[Uuid], reason: &str) -> Result<u64, Error> {
        let dismissed = sqlx::query!(
            "
            UPDATE suggestions SET status = 'dismissed', dismissal_reason = $3
            WHERE user_id = $1 AND id = ANY ($2) AND status = 'pending'
            ",
            self.user_id,
            suggestions,
            reason,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(dismissed.rows_affected())
    }

    /// The time, from now on, for which a suggestion is open or accepted.
    pub async fn taken(&mut self, now: DateTime<Utc>) -> Result<Vec<Span>, Error> {
        let rows = sqlx::query!(
            "
            SELECT proposed_timeslot_start, proposed_timeslot_end FROM suggestions
            WHERE user_id = $1 AND status IN ('pending', 'snoozed', 'accepted') AND proposed_timeslot_end > $2
            ",
            self.user_id,
            now,
        )
        .fetch_all(self.tx.statement())
        .await?;
        let taken = rows
            .into_iter()
            .map(|row| Span { start: row.proposed_timeslot_start, end: row.proposed_timeslot_end });
        Ok(taken.collect())
    }

    /// The user's contacts that are not archived and have no open suggestion.
    pub async fn contacts(&mut self, now: DateTime<Utc>) -> Result<Vec<Contact>, Error> {
        let contacts = sqlx::query_as!(
            Contact,
            r#"
            WITH standing AS MATERIALIZED (
                SELECT id, contact_id FROM suggestions
                WHERE user_id = $1
                  AND (status IN ('pending', 'snoozed') OR (status = 'accepted' AND proposed_timeslot_end > $2))
            ), has_open_suggestion AS MATERIALIZED (
                SELECT contact_id FROM standing
                UNION
                SELECT c.contact_id FROM standing s JOIN suggestion_contacts c ON c.suggestion_id = s.id
            ), met AS MATERIALIZED (
                SELECT contact_id, max(at) AS at FROM (
                    SELECT contact_id, date AS at FROM interaction_logs WHERE user_id = $1
                    UNION ALL
                    -- It took place since the last sync of the calendars.
                    SELECT contact_id, starts_at FROM jobs.next_meetings WHERE user_id = $1
                ) meetings
                WHERE at <= $2
                GROUP BY contact_id
            ), close AS MATERIALIZED (
                SELECT m.contact_id FROM groups g JOIN contact_groups m ON m.group_id = g.id
                WHERE g.user_id = $1 AND g.archived IS NOT TRUE AND g.name ILIKE '%close%'
            )
            SELECT c.id, c.name, c.frequency_preference::text AS frequency,
                   greatest(c.last_contact_date, m.at) AS last_contact, c.created_at,
                   COALESCE(c.circle IN ('inner', 'close'), false) OR c.id IN (SELECT contact_id FROM close)
                       AS "is_close!"
            FROM contacts c LEFT JOIN met m ON m.contact_id = c.id
            WHERE c.user_id = $1 AND c.archived IS NOT TRUE AND c.id NOT IN (SELECT contact_id FROM has_open_suggestion)
            "#,
            self.user_id,
            now,
        )
        .fetch_all(self.tx.statement())
        .await?;
        Ok(contacts)
    }

    /// Makes those suggestions whose contact is still there and has no open one, and returns how many.
    pub async fn add(
        &mut self,
        suggestions: &[NewSuggestion],
        timezone: &str,
        now: DateTime<Utc>,
    ) -> Result<u64, Error> {
        let contacts: Vec<Uuid> = suggestions.iter().map(|new| new.contact_id).collect();
        let starts: Vec<_> = suggestions.iter().map(|new| new.slot.start).collect();
        let ends: Vec<_> = suggestions.iter().map(|new| new.slot.end).collect();
        let reasonings: Vec<&str> = suggestions.iter().map(|new| new.reasoning.as_str()).collect();
        let priorities: Vec<i32> = suggestions.iter().map(|new| new.priority).collect();
        let added = sqlx::query_scalar!(
            r#"
            WITH added AS (
                INSERT INTO suggestions
                    (user_id, contact_id, trigger_type, proposed_timeslot_start, proposed_timeslot_end,
                     proposed_timeslot_timezone, reasoning, priority, created_at, updated_at)
                SELECT $1, n.contact_id, 'timebound', n.starts_at, n.ends_at, $7, n.reasoning, n.priority, $8, $8
                FROM unnest($2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::integer[])
                    AS n(contact_id, starts_at, ends_at, reasoning, priority)
                JOIN contacts c ON c.id = n.contact_id AND c.user_id = $1
                WHERE NOT EXISTS (
                    SELECT FROM suggestions s
                    WHERE s.contact_id = n.contact_id AND s.status IN ('pending', 'snoozed')
                )
                RETURNING id, contact_id
            ), linked AS (
                INSERT INTO suggestion_contacts (suggestion_id, contact_id, created_at)
                SELECT id, contact_id, $8 FROM added
            )
            SELECT count(*) AS "added!" FROM added
            "#,
            self.user_id,
            &contacts,
            &starts,
            &ends,
            reasonings.as_slice() as _,
            &priorities,
            timezone,
            now,
        )
        .fetch_one(self.tx.statement())
        .await?;
        Ok(added.cast_unsigned())
    }

    /// Makes it so.
    pub async fn commit(self) -> Result<(), Error> {
        self.tx.commit().await
    }
}
