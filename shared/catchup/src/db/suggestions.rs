//! `suggestions`: whom to meet when; and `jobs.ended_suggestions`, which of them we dismissed.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use shared::db::{Error, Page, Transaction};
use uuid::Uuid;

use super::later_tables::{self, LaterTables};
use crate::span::Span;

mod acts;

use acts::excluded_here;
pub use acts::{Act, Acted};

/// Earlier suggestions are looked back at for this time: the longest that a user's word about one lasts, twice a year.
const LOOK_BACK: TimeDelta = TimeDelta::days(731);

/// Someone the user could meet.
#[derive(Debug, Clone, PartialEq)]
pub struct Contact {
    /// The contact.
    pub id: Uuid,
    /// What the user calls them.
    pub name: String,
    /// Its e-mail address.
    pub email: Option<String>,
    /// Its number, as it was entered.
    pub phone: Option<String>,
    /// Its time zone.
    pub zone: Option<Tz>,
    /// How often the user wants to be in touch.
    pub frequency: Option<Frequency>,
    /// When the two were last in touch: the latest of what the contact, past interactions and the calendar say.
    pub last_met: Option<DateTime<Utc>>,
    /// When the calendar shows the two next.
    pub next_meeting: Option<DateTime<Utc>>,
    /// Since when the user has the contact.
    pub created_at: Option<DateTime<Utc>>,
    /// A close friend, by circle or group.
    pub is_close: bool,
    /// It is in a group or a circle.
    pub is_in_group: bool,
    /// It is kept, and not to be suggested.
    pub is_archived: bool,
}

/// `frequency_option`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, strum::EnumIter, strum::EnumString, strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Frequency {
    Daily,
    Weekly,
    Biweekly,
    /// What counts where the user said nothing.
    #[default]
    Monthly,
    Quarterly,
    Yearly,
    Flexible,
    /// The user does not want to hear of this contact.
    Na,
}

/// A suggestion, open or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// Which.
    pub id: Uuid,
    /// Whom to meet, the main contact first.
    pub contacts: Vec<Uuid>,
    /// It was made because a contact is due, as all of ours are.
    pub is_timebound: bool,
    /// How it stands.
    pub status: Status,
    /// The proposed time.
    pub slot: Span,
    /// Until when the user does not want to hear of it.
    pub snoozed_until: Option<DateTime<Utc>>,
    /// Google's id of the event that was made for it.
    pub calendar_event_id: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When its status changed.
    pub changed_at: DateTime<Utc>,
    /// The user was notified about it, as far as is known.
    pub was_notified: bool,
    /// The user was notified about an earlier time of it, and no provider took a message about this one.
    pub awaits_message: bool,
    /// Why we dismissed it; otherwise the user did.
    pub dismissed_for: Option<DismissalReason>,
    /// What the user says about dismissing it.
    pub feedback: Option<Feedback>,
}

impl Suggestion {
    /// Whether it waits for the user.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.status, Status::Pending | Status::Snoozed)
    }
}

/// `suggestion_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "suggestion_status", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Status {
    Pending,
    Accepted,
    Dismissed,
    Snoozed,
}

/// Why we dismissed a suggestion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum DismissalReason {
    /// Its time has begun.
    Expired,
    /// Its time is not free any more, and there is no other.
    Conflict,
    /// The two met, or the user does not want to hear of the contact any more.
    Unwanted,
}

impl DismissalReason {
    /// The value of `dismissal_reason`, for the user to read.
    fn words(self) -> &'static str {
        match self {
            Self::Expired => "Expired: the proposed time has passed",
            Self::Conflict => "Calendar conflict: a busy event now overlaps the proposed time",
            Self::Unwanted => "No longer needed: you met, or the contact is not suggested any more",
        }
    }
}

/// `suggestion_feedback.preset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Feedback {
    AlreadyInTouch,
    NotRelevant,
    TimingOff,
    DontSuggestContact,
    Other,
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

/// Another time for an open suggestion, which is pending then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewTime {
    /// Which.
    pub id: Uuid,
    /// When it was changed last: what the user says in between stays.
    pub changed_at: DateTime<Utc>,
    /// When.
    pub slot: Span,
}

/// A suggestion that we dismiss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dismissal {
    /// Which.
    pub id: Uuid,
    /// When it was changed last: what the user says in between stays.
    pub changed_at: DateTime<Utc>,
    /// Why.
    pub reason: DismissalReason,
}

/// What is known of a user's suggestions.
#[derive(Debug)]
pub struct Known {
    /// Open ones, and earlier ones.
    pub suggestions: Vec<Suggestion>,
    /// Contacts that the user does not want to hear of.
    pub excluded: HashSet<Uuid>,
    /// The user wants no suggestions now.
    pub is_paused: bool,
    /// When the user acted last, as it was noted: [`SuggestionsTx::note_act`].
    pub acted_at: Option<DateTime<Utc>>,
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

    /// The user's contacts, archived ones included.
    pub async fn contacts(&mut self, now: DateTime<Utc>) -> Result<Vec<Contact>, Error> {
        let rows = sqlx::query!(
            r#"
            WITH met AS MATERIALIZED (
                SELECT contact_id, max(at) FILTER (WHERE at <= $2) AS last, min(at) FILTER (WHERE at > $2) AS next
                FROM (
                    SELECT contact_id, date AS at FROM interaction_logs WHERE user_id = $1 AND date <= $2
                    UNION ALL
                    -- What has ended took place since the last sync of the calendars.
                    SELECT contact_id, starts_at FROM jobs.next_meetings WHERE user_id = $1
                ) meetings
                GROUP BY contact_id
            ), grouped AS MATERIALIZED (
                SELECT m.contact_id, bool_or(lower(btrim(g.name)) IN ('close', 'close friends')) AS is_close
                FROM groups g JOIN contact_groups m ON m.group_id = g.id
                WHERE g.user_id = $1 AND g.archived IS NOT TRUE
                GROUP BY m.contact_id
            )
            SELECT c.id, c.name, c.email, c.phone, c.timezone, c.frequency_preference::text AS frequency,
                greatest(CASE WHEN c.last_contact_date <= $2 THEN c.last_contact_date END, m.last) AS last_met, m.next AS "next_meeting?", c.created_at,
                COALESCE(c.circle IN ('inner', 'close'), false) OR COALESCE(g.is_close, false) AS "is_close!",
                c.circle IS NOT NULL OR g.contact_id IS NOT NULL AS "is_in_group!",
                c.archived IS TRUE AS "is_archived!"
            FROM contacts c
            LEFT JOIN met m ON m.contact_id = c.id
            LEFT JOIN grouped g ON g.contact_id = c.id
            WHERE c.user_id = $1
            "#,
            self.user_id,
            now,
        )
        .fetch_all(self.tx.statement())
        .await?;
        let contacts = rows.into_iter().map(|row| Contact {
            id: row.id,
            name: row.name,
            email: row.email,
            phone: row.phone,
            zone: row.timezone.and_then(|name| name.parse().ok()),
            frequency: row.frequency.and_then(|name| name.parse().ok()),
            last_met: row.last_met,
            next_meeting: row.next_meeting,
            created_at: row.created_at,
            is_close: row.is_close,
            is_in_group: row.is_in_group,
            is_archived: row.is_archived,
        });
        Ok(contacts.collect())
    }

    /// The user's open suggestions, earlier ones of two years, and what the user said.
    pub async fn known(&mut self, now: DateTime<Utc>) -> Result<Known, Error> {
        // What the old jobs dismissed has no row of ours, and a reason that no user wrote.
        let rows = sqlx::query!(
            r#"
            WITH notified AS MATERIALIZED (
                SELECT split_part(subject, ':', 2) AS id,
                    bool_or(subject LIKE '%:until:%') AND NOT bool_or(subject NOT LIKE '%:until:%' AND state <> 'unknown') AS awaits_message
                FROM jobs.notification_deliveries
                WHERE user_id = $1 AND subject LIKE 'suggestion:%' AND state NOT IN ('refused', 'failed', 'bounced')
                GROUP BY 1
            )
            SELECT s.id, s.contact_id, s.trigger_type = 'timebound' AS "is_timebound!", s.status AS "status: Status", s.proposed_timeslot_start AS start,
                s.proposed_timeslot_end AS end, s.snoozed_until, s.calendar_event_id,
                COALESCE(s.created_at, $2) AS "created_at!", COALESCE(s.updated_at, $2) AS "changed_at!",
                COALESCE(j.reason, CASE
                    WHEN s.dismissal_reason LIKE 'Conflicts with calendar event%' THEN 'conflict'
                    WHEN s.dismissal_reason LIKE 'Calendar conflict:%' THEN 'conflict'
                END) AS dismissed_for,
                n.id IS NOT NULL AS "was_notified!", n.awaits_message IS TRUE AS "awaits_message!",
                ARRAY(
                    SELECT c.contact_id FROM suggestion_contacts c
                    WHERE c.suggestion_id = s.id AND c.contact_id <> s.contact_id
                ) AS "others!"
            FROM suggestions s
            LEFT JOIN jobs.ended_suggestions j ON j.user_id = $1 AND j.suggestion_id = s.id
            LEFT JOIN notified n ON n.id = s.id::text
            WHERE s.user_id = $1 AND (s.status IN ('pending', 'snoozed') OR s.created_at > $3)
            ORDER BY s.priority DESC, s.id
            "#,
            self.user_id,
            now,
            now - LOOK_BACK,
        )
        .fetch_all(self.tx.statement())
        .await?;
        let later = LaterTables::find(self.tx.statement()).await?;
        let mut feedback = HashMap::new();
        if later.feedback {
            feedback = later_tables::feedback(self.tx.statement(), self.user_id).await?;
        }
        let suggestions = rows.into_iter().map(|row| Suggestion {
            id: row.id,
            contacts: std::iter::once(row.contact_id).chain(row.others).collect(),
            is_timebound: row.is_timebound,
            status: row.status,
            slot: Span { start: row.start, end: row.end },
            snoozed_until: row.snoozed_until,
            calendar_event_id: row.calendar_event_id,
            created_at: row.created_at,
            changed_at: row.changed_at,
            was_notified: row.was_notified,
            awaits_message: row.awaits_message,
            dismissed_for: row.dismissed_for.and_then(|dismissed_for| dismissed_for.parse().ok()),
            feedback: feedback.remove(&row.id),
        });
        let mut known = Known {
            suggestions: suggestions.collect(),
            excluded: excluded_here(self.tx.statement(), self.user_id).await?,
            is_paused: false,
            acted_at: self.acted_at().await?,
        };
        if later.exclusions {
            known.excluded.extend(later_tables::excluded(self.tx.statement(), self.user_id).await?);
        }
        if later.pauses {
            known.is_paused = later_tables::is_paused(self.tx.statement(), self.user_id, now).await?;
        }
        Ok(known)
    }

    async fn acted_at(&mut self) -> Result<Option<DateTime<Utc>>, Error> {
        let acted_at =
            sqlx::query_scalar!("SELECT acted_at FROM jobs.last_acts WHERE user_id = $1", self.user_id)
                .fetch_optional(self.tx.statement())
                .await?;
        Ok(acted_at)
    }

    /// Notes when the user acted last: a snoozed suggestion that is pending again does not tell any more.
    pub async fn note_act(&mut self, acted_at: Option<DateTime<Utc>>) -> Result<(), Error> {
        let Some(acted_at) = acted_at else { return Ok(()) };
        sqlx::query!(
            "
            INSERT INTO jobs.last_acts AS l (user_id, acted_at) VALUES ($1, $2)
            ON CONFLICT (user_id) DO UPDATE SET acted_at = excluded.acted_at WHERE l.acted_at < excluded.acted_at
            ",
            self.user_id,
            acted_at,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(())
    }

    /// Dismisses, moves and makes suggestions; what changed since it was planned stays as it is.
    pub async fn carry_out(
        &mut self,
        (dismissals, new_times, new): (&[Dismissal], &[NewTime], &[NewSuggestion]),
        timezone: &str,
        now: DateTime<Utc>,
    ) -> Result<Changes, Error> {
        let dismissed = self.dismiss(dismissals, now).await?;
        let moved = self.change_times(new_times, timezone, now).await?;
        let created = self.add(new, timezone, now).await?;
        Ok(Changes { created, moved, dismissed })
    }

    async fn dismiss(&mut self, dismissals: &[Dismissal], now: DateTime<Utc>) -> Result<u64, Error> {
        if dismissals.is_empty() {
            return Ok(0);
        }
        let ids: Vec<_> = dismissals.iter().map(|dismissal| dismissal.id).collect();
        let names: Vec<&str> = dismissals.iter().map(|dismissal| dismissal.reason.into()).collect();
        let words: Vec<_> = dismissals.iter().map(|dismissal| dismissal.reason.words()).collect();
        let changed: Vec<_> = dismissals.iter().map(|dismissal| dismissal.changed_at).collect();
        let dismissed = sqlx::query_scalar!(
            r#"
            WITH dismissed AS (
                UPDATE suggestions s SET status = 'dismissed', dismissal_reason = d.words
                FROM unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[]) AS d(id, reason, words, changed_at)
                WHERE s.user_id = $1 AND s.id = d.id AND s.status IN ('pending', 'snoozed')
                  AND COALESCE(s.updated_at, d.changed_at) = d.changed_at
                RETURNING s.id, d.reason
            ), noted AS (
                INSERT INTO jobs.ended_suggestions (user_id, suggestion_id, reason, ended_at)
                SELECT $1, id, reason, $6 FROM dismissed
                -- The application made it pending again in between.
                ON CONFLICT (user_id, suggestion_id)
                DO UPDATE SET reason = excluded.reason, ended_at = excluded.ended_at
            )
            SELECT count(*) AS "dismissed!" FROM dismissed
            "#,
            self.user_id,
            &ids,
            names.as_slice() as _,
            words.as_slice() as _,
            &changed,
            now,
        )
        .fetch_one(self.tx.statement())
        .await?;
        Ok(dismissed.cast_unsigned())
    }

    /// Messages about the old times are kept under other names: each new time is another subject of a message.
    async fn change_times(
        &mut self,
        times: &[NewTime],
        timezone: &str,
        now: DateTime<Utc>,
    ) -> Result<u64, Error> {
        if times.is_empty() {
            return Ok(0);
        }
        let ids: Vec<_> = times.iter().map(|time| time.id).collect();
        let starts: Vec<_> = times.iter().map(|time| time.slot.start).collect();
        let ends: Vec<_> = times.iter().map(|time| time.slot.end).collect();
        let changed: Vec<_> = times.iter().map(|time| time.changed_at).collect();
        let moved = sqlx::query_scalar!(
            r#"
            WITH moved AS (
                UPDATE suggestions s SET status = 'pending', snoozed_until = NULL,
                    proposed_timeslot_start = t.starts_at, proposed_timeslot_end = t.ends_at,
                    proposed_timeslot_timezone = $7
                FROM unnest($2::uuid[], $3::timestamptz[], $4::timestamptz[], $6::timestamptz[])
                    AS t(id, starts_at, ends_at, changed_at)
                WHERE s.user_id = $1 AND s.id = t.id AND s.status IN ('pending', 'snoozed')
                  AND COALESCE(s.updated_at, t.changed_at) = t.changed_at
                RETURNING s.id
            ), noted AS (
                UPDATE jobs.notification_deliveries d
                SET subject = d.subject || ':until:' || extract(epoch FROM $5::timestamptz)::bigint
                FROM moved WHERE d.user_id = $1 AND d.subject = 'suggestion:' || moved.id
            )
            SELECT count(*) AS "moved!" FROM moved
            "#,
            self.user_id,
            &ids,
            &starts,
            &ends,
            now,
            &changed,
            timezone,
        )
        .fetch_one(self.tx.statement())
        .await?;
        Ok(moved.cast_unsigned())
    }

    /// Makes those suggestions whose contact is still there and has no open one, and returns how many.
    async fn add(
        &mut self,
        suggestions: &[NewSuggestion],
        timezone: &str,
        now: DateTime<Utc>,
    ) -> Result<u64, Error> {
        if suggestions.is_empty() {
            return Ok(0);
        }
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

/// What became of one user's suggestions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Changes {
    /// New ones.
    pub created: u64,
    /// Those with another time.
    pub moved: u64,
    /// Those that ended.
    pub dismissed: u64,
}
