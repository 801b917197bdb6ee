//! Weekly batches: whose is due, and which suggestions are in it.

use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, Timelike, Utc};
use serde_json::{Value, json};
use shared::db::Error;
use uuid::Uuid;

use super::deliveries::Channel;
use crate::notify::message::InAppDigest;

/// Users that one page of the batch sweep looks at. No index knows when a user's batch is due, so a page ends after so many
/// users, due or not.
pub const SPAN: u32 = 50_000;

/// What a zone's local times are in a span of time, minute by minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneSpan {
    /// IANA name.
    pub zone: &'static str,
    /// The first minute.
    pub first: NaiveDateTime,
    /// How many.
    pub minutes: i64,
}

impl ZoneSpan {
    fn as_json(&self) -> Value {
        let day = self.first.weekday().num_days_from_monday();
        let minute_of_week = (day * 24 + self.first.hour()) * 60 + self.first.minute();
        json!({ "first": self.first, "minuteOfWeek": minute_of_week, "minutes": self.minutes })
    }
}

/// A user whose weekly batch is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueBatch {
    /// Who.
    pub user_id: Uuid,
    /// For when it was due, by the user's wall clock.
    pub at: NaiveDateTime,
}

/// One page of the batch sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPage {
    /// Whose batch is due, in the order of their ids.
    pub due: Vec<DueBatch>,
    /// The next page begins behind this user; `None` when this was the last.
    pub next: Option<Uuid>,
}

/// A suggestion that was not sent yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingSuggestion {
    /// Which.
    pub id: Uuid,
    /// Whom to meet: the contact first, then others of a group by name.
    pub contacts: Vec<String>,
    /// From when.
    pub start: DateTime<Utc>,
    /// Until when.
    pub end: DateTime<Utc>,
    /// Why, in words for the user.
    pub reasoning: String,
}

/// The messages about suggestions that a user got, and whether the user reacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    email_at: Option<DateTime<Utc>>,
    sms_at: Option<DateTime<Utc>>,
    /// Digests since the user acted last.
    pub ignored: i64,
    /// Since then the user was asked whether they are still useful.
    pub is_asked: bool,
    /// The last suggestion that the user was notified about.
    pub last_suggestion_id: Option<Uuid>,
}

/// In the ledger, the channel of what the application shows.
pub const IN_APP: &str = "in_app";
/// Messages of this time are of the same batch: one channel may wait for longer than the other.
const SAME_BATCH: TimeDelta = TimeDelta::days(3);

impl Digests {
    /// Whether the batch of that time was sent by a channel.
    #[must_use]
    pub fn has_batch(&self, channel: Channel, at: DateTime<Utc>) -> bool {
        let last = match channel {
            Channel::Email => self.email_at,
            Channel::Sms => self.sms_at,
        };
        last.is_some_and(|last| last + SAME_BATCH > at)
    }
}

handle! {
    /// Weekly batches: whose is due, and which suggestions are in it.
    Batches
}

impl Batches {
    /// The next users, by id after `after` (nil to begin), whose weekly batch is at one of these local times.
    ///
    /// `zones` is less than a week long and holds `UTC`, which stands for unknown zones. Without preferences, and where they say nothing that is a
    /// time, a batch is on Sunday at 09:00.
    pub async fn due(&self, zones: &[ZoneSpan], after: Uuid, limit: u32) -> Result<BatchPage, Error> {
        let end = sqlx::query_scalar!(
            "SELECT id FROM users WHERE id > $1 ORDER BY id OFFSET $2 LIMIT 1",
            after,
            i64::from(SPAN) - 1,
        )
        .fetch_optional(self.0.statement())
        .await?;
        let zones: serde_json::Map<String, Value> =
            zones.iter().map(|zone| (zone.zone.to_owned(), zone.as_json())).collect();
        // The range of ids stands on both sides of the join, or one of the indexes would be read from its beginning. Zones
        // are looked up in one value: joined, each user would be compared with each of them.
        let due = sqlx::query_as!(
            DueBatch,
            r#"
            SELECT u.id AS user_id, (zone ->> 'first')::timestamp + make_interval(mins => behind) AS "at!"
            FROM users u
            LEFT JOIN notification_preferences p ON p.user_id = u.id AND p.user_id > $1 AND p.user_id <= $2
            CROSS JOIN LATERAL (
                SELECT
                    CASE WHEN p.timezone <> 'UTC' THEN p.timezone ELSE u.timezone END AS zone_name,
                    (COALESCE(p.batch_day, 0) + 6) % 7 * 1440
                        + CASE WHEN p.batch_time ~ '^([01]?[0-9]|2[0-3]):[0-5][0-9]$'
                            THEN EXTRACT(epoch FROM p.batch_time::time)::int / 60 ELSE 540 END AS minute_of_week
            ) batch
            CROSS JOIN LATERAL (SELECT COALESCE($4::jsonb -> zone_name, $4 -> 'UTC') AS zone) found
            CROSS JOIN LATERAL (
                SELECT (minute_of_week - (zone ->> 'minuteOfWeek')::int + 10080) % 10080 AS behind
            ) distance
            WHERE u.id > $1 AND u.id <= $2 AND behind < (zone ->> 'minutes')::int
            ORDER BY u.id
            LIMIT $3
            "#,
            after,
            end.unwrap_or(Uuid::max()),
            i64::from(limit),
            Value::Object(zones),
        )
        .fetch_all(self.0.statement())
        .await?;
        let is_full = u32::try_from(due.len()).is_ok_and(|found| found == limit);
        let next = if is_full { due.last().map(|batch| batch.user_id) } else { end };
        Ok(BatchPage { due, next })
    }

    /// The messages about suggestions that the user got so far. Those since the user acted last are ignored ones, but those of the batch
    /// that is being sent.
    pub async fn digests(&self, user_id: Uuid, now: DateTime<Utc>) -> Result<Digests, Error> {
        let digests = sqlx::query_as!(
            Digests,
            r#"
            WITH acted AS (
                SELECT COALESCE(max(at), '-infinity') AS at FROM (
                    SELECT acted_at AS at FROM jobs.last_acts WHERE user_id = $1
                    UNION ALL
                    SELECT created_at FROM interaction_logs WHERE user_id = $1
                    UNION ALL
                    SELECT s.updated_at FROM suggestions s
                    WHERE s.user_id = $1 AND s.status <> 'pending' AND NOT EXISTS (
                        SELECT FROM jobs.ended_suggestions e WHERE e.user_id = $1 AND e.suggestion_id = s.id
                    )
                      -- The old jobs left no row of ours.
                      AND (s.dismissal_reason LIKE 'Conflicts with calendar event%'
                        OR s.dismissal_reason LIKE 'Calendar conflict:%') IS NOT TRUE
                ) acts
            ), told AS (
                SELECT d.channel, d.subject, d.message_id, d.claimed_at, d.subject LIKE 'suggestion:%' AS is_digest,
                    d.claimed_at > acted.at AND d.claimed_at < $2 
                        AND d.state NOT IN ('refused', 'failed', 'bounced') AS is_ignored
                FROM jobs.notification_deliveries d, acted
                WHERE d.user_id = $1 AND (d.subject LIKE 'suggestion:%' OR d.subject LIKE 'still_useful:%')
            )
            SELECT max(claimed_at) FILTER (WHERE channel = 'email') AS email_at,
                max(claimed_at) FILTER (WHERE channel = 'sms') AS sms_at,
                greatest(
                    count(DISTINCT message_id) FILTER (WHERE is_ignored AND is_digest AND channel = 'email'),
                    count(DISTINCT message_id) FILTER (WHERE is_ignored AND is_digest AND channel = 'sms'),
                    count(DISTINCT message_id) FILTER (WHERE is_ignored AND is_digest AND channel = 'in_app')
                ) AS "ignored!",
                COALESCE(bool_or(is_ignored AND NOT is_digest), false) AS "is_asked!",
                (
                    array_agg(split_part(subject, ':', 2)::uuid ORDER BY claimed_at DESC, subject)
                    FILTER (WHERE is_digest)
                )[1] AS last_suggestion_id
            FROM told
            "#,
            user_id,
            now - SAME_BATCH,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(digests)
    }

    /// The best of the user's suggestions `among` these that are pending without a calendar event, begin at `from` or later, and
    /// that the ledger does not know on `channel`. Those that begin before `next`, when the next batch can announce something,
    /// come first, and among them those of which the user has heard at another time, and waits for.
    pub async fn suggestions_to_send(
        &self,
        user_id: Uuid,
        channel: &str,
        [from, next]: [DateTime<Utc>; 2],
        among: &[Uuid],
        limit: usize,
    ) -> Result<Vec<PendingSuggestion>, Error> {
        let suggestions = sqlx::query_as!(
            PendingSuggestion,
            r#"
            SELECT s.id, s.proposed_timeslot_start AS start, s.proposed_timeslot_end AS end, s.reasoning,
                ARRAY(
                    SELECT c.name::text FROM contacts c
                    WHERE c.id = ANY (ARRAY(
                        SELECT s.contact_id
                        UNION SELECT contact_id FROM suggestion_contacts WHERE suggestion_id = s.id
                    ))
                    ORDER BY c.id <> s.contact_id, c.name
                ) AS "contacts!"
            FROM suggestions s
            WHERE s.user_id = $1 AND s.id = ANY ($6) AND s.status = 'pending' AND s.calendar_event_id IS NULL
              AND s.proposed_timeslot_start >= $4
              AND NOT EXISTS (
                SELECT FROM jobs.notification_deliveries d
                WHERE d.user_id = s.user_id AND d.channel = $2 AND d.subject = 'suggestion:' || s.id
              )
            ORDER BY s.proposed_timeslot_start >= $5, NOT EXISTS (
                SELECT FROM jobs.notification_deliveries d
                WHERE d.user_id = s.user_id AND d.subject LIKE 'suggestion:' || s.id || ':until:%'
              ), s.priority DESC, s.proposed_timeslot_start, s.id
            LIMIT $3
            "#,
            user_id,
            channel,
            i64::try_from(limit).unwrap_or(i64::MAX),
            from,
            next,
            among,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(suggestions)
    }

    /// Whether the application shows notifications: some of its versions do.
    pub async fn has_in_app(&self) -> Result<bool, Error> {
        let has_in_app =
            sqlx::query_scalar!(r#"SELECT to_regclass('in_app_notifications') IS NOT NULL AS "has_in_app!""#)
                .fetch_one(self.0.statement())
                .await?;
        Ok(has_in_app)
    }

    /// Lets the application show a digest of these suggestions, one for each batch: `false` when there is one. Only where it
    /// [shows notifications](Self::has_in_app).
    pub async fn show_in_app(
        &self,
        user_id: Uuid,
        suggestions: &[Uuid],
        digest: &InAppDigest,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let shown = sqlx::query!(
            "
            WITH claimed AS (
                INSERT INTO jobs.notification_deliveries
                    (user_id, channel, subject, message_id, claimed_at, state, settled_at)
                SELECT $1, $7, 'suggestion:' || id, $9, $6, 'delivered', $6 FROM UNNEST($2::uuid[]) AS id
                WHERE NOT EXISTS (
                    SELECT FROM jobs.notification_deliveries WHERE user_id = $1 AND channel = $7 AND claimed_at > $8
                )
                ON CONFLICT DO NOTHING
                RETURNING subject
            )
            INSERT INTO in_app_notifications (user_id, event_type, title, description, action_url, read, created_at)
            SELECT $1, 'suggestions', $3, $4, $5, false, $6 WHERE EXISTS (SELECT FROM claimed)
            ",
            user_id,
            suggestions,
            digest.title,
            digest.description,
            digest.url,
            now,
            IN_APP,
            now - SAME_BATCH,
            Uuid::new_v4(),
        )
        .execute(self.0.statement())
        .await?;
        Ok(shown.rows_affected() > 0)
    }
}
