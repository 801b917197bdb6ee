//! What the database says about a message, read the moment after it was sent.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

/// A suggestion in a digest, as it was when the digest was sent.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Announced {
    pub(crate) suggestion: Uuid,
    pub(crate) contact: Uuid,
    pub(crate) start: DateTime<Utc>,
    pub(crate) end: DateTime<Utc>,
    pub(crate) timezone: String,
    pub(crate) status: String,
    pub(crate) archived: bool,
    pub(crate) frequency: Option<String>,
    pub(crate) last_contact: Option<DateTime<Utc>>,
    /// The calendar shows the two within the next two weeks.
    pub(crate) meets_soon: bool,
}

/// What a message is about, by the ledger.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Entry {
    pub(crate) user_id: Uuid,
    pub(crate) channel: String,
    pub(crate) subject: String,
}

/// The ledger's rows of a message.
pub(crate) async fn entries(db: &mut PgConnection, message: Uuid) -> sqlx::Result<Vec<Entry>> {
    sqlx::query_as(
        "SELECT user_id, channel, subject FROM jobs.notification_deliveries WHERE message_id = $1 ORDER BY subject",
    )
    .bind(message)
    .fetch_all(db)
    .await
}

/// The suggestions of a digest, in the order of time.
pub(crate) async fn announced(db: &mut PgConnection, message: Uuid) -> sqlx::Result<Vec<Announced>> {
    sqlx::query_as(
        "SELECT s.id AS suggestion, s.contact_id AS contact, s.proposed_timeslot_start AS start,
                s.proposed_timeslot_end AS end, s.proposed_timeslot_timezone AS timezone,
                s.status::text AS status, c.archived IS TRUE AS archived,
                c.frequency_preference::text AS frequency, c.last_contact_date AS last_contact,
                EXISTS (SELECT FROM jobs.next_meetings n
                        WHERE n.contact_id = c.id AND n.starts_at < d.claimed_at + interval '14 days'
                          AND n.starts_at > d.claimed_at) AS meets_soon
         FROM jobs.notification_deliveries d
         JOIN suggestions s ON d.subject = 'suggestion:' || s.id
         JOIN contacts c ON c.id = s.contact_id
         WHERE d.message_id = $1
         ORDER BY s.proposed_timeslot_start, s.id",
    )
    .bind(message)
    .fetch_all(db)
    .await
}

/// Contacts of the user's own of whom nothing keeps from being suggested: due for a day, neither open nor met soon, and not
/// suggested within two weeks, or twice their frequency.
pub(crate) async fn due(db: &mut PgConnection, user: Uuid, now: DateTime<Utc>) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "SELECT c.id FROM contacts c
         CROSS JOIN LATERAL (SELECT make_interval(days => CASE c.frequency_preference WHEN 'daily' THEN 1
             WHEN 'weekly' THEN 7 WHEN 'biweekly' THEN 14 WHEN 'quarterly' THEN 90 WHEN 'yearly' THEN 365
             WHEN 'flexible' THEN 60 ELSE 30 END) AS own) frequency
         WHERE c.user_id = $1 AND c.source = 'manual' AND c.archived IS NOT TRUE
           AND c.frequency_preference IS NOT NULL AND c.frequency_preference <> 'na'
           AND c.last_contact_date <= $2 - interval '1 day' - own
           AND NOT EXISTS (SELECT FROM jobs.next_meetings n WHERE n.contact_id = c.id)
           AND NOT EXISTS (SELECT FROM suggestions s WHERE s.contact_id = c.id AND (
               s.status IN ('snoozed', 'accepted') OR s.updated_at > $2 - greatest(interval '15 days', own * 2) AND (
                   s.status = 'dismissed' OR EXISTS (
                       SELECT FROM jobs.notification_deliveries d WHERE d.subject = 'suggestion:' || s.id
                   )
               )
           ))",
    )
    .bind(user)
    .bind(now)
    .fetch_all(db)
    .await
}

/// Open suggestions that nothing new can be said about: snoozed, or announced.
pub(crate) async fn announced_and_open(db: &mut PgConnection, user: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "SELECT count(*) FROM suggestions s WHERE s.user_id = $1 AND (s.status = 'snoozed' OR s.status = 'pending' AND
             EXISTS (SELECT FROM jobs.notification_deliveries d WHERE d.subject = 'suggestion:' || s.id))",
    )
    .bind(user)
    .fetch_one(db)
    .await
}

/// Whether no provider said what became of a message since then.
pub(crate) async fn has_unknown(
    db: &mut PgConnection,
    user: Uuid,
    since: DateTime<Utc>,
) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM jobs.notification_deliveries
                        WHERE user_id = $1 AND state = 'unknown' AND claimed_at >= $2)",
    )
    .bind(user)
    .bind(since)
    .fetch_one(db)
    .await
}

/// What an operator does with messages that their providers know nothing of: `scripts/ops deliveries settle MESSAGE --not-sent`.
pub(crate) async fn settle_as_not_sent(db: &mut PgConnection, before: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM jobs.notification_deliveries WHERE state = 'unknown' AND claimed_at < $1")
        .bind(before)
        .execute(db)
        .await?;
    Ok(())
}

/// Days between meetings.
pub(crate) fn frequency(name: Option<&str>) -> TimeDelta {
    TimeDelta::days(match name {
        Some("daily") => 1,
        Some("weekly") => 7,
        Some("biweekly") => 14,
        Some("quarterly") => 90,
        Some("yearly") => 365,
        Some("flexible") => 60,
        _ => 30,
    })
}
