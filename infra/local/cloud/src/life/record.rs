//! What the database says about a message, read the moment after it was sent.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::verify::frequency;

/// A suggestion in a digest, as it was when the digest was sent.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Announced {
    pub(crate) suggestion: Uuid,
    pub(crate) contact: Uuid,
    pub(crate) start: DateTime<Utc>,
    pub(crate) end: DateTime<Utc>,
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
                s.proposed_timeslot_end AS end, s.status::text AS status, c.archived IS TRUE AS archived,
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
    type Row = (Uuid, String, DateTime<Utc>, Option<DateTime<Utc>>);
    let contacts: Vec<Row> = sqlx::query_as(
        "SELECT c.id, c.frequency_preference::text, c.last_contact_date, (
            SELECT max(s.updated_at) FROM suggestions s WHERE s.contact_id = c.id AND (s.status = 'dismissed' OR EXISTS (
                SELECT FROM jobs.notification_deliveries d WHERE d.subject = 'suggestion:' || s.id
            ))
         )
         FROM contacts c
         WHERE c.user_id = $1 AND c.source = 'manual' AND c.archived IS NOT TRUE
           AND c.frequency_preference <> 'na' AND c.last_contact_date IS NOT NULL
           AND NOT EXISTS (SELECT FROM jobs.next_meetings n WHERE n.contact_id = c.id)
           AND NOT EXISTS (
               SELECT FROM suggestions s WHERE s.contact_id = c.id AND s.status IN ('snoozed', 'accepted')
           )",
    )
    .bind(user)
    .fetch_all(db)
    .await?;
    let is_due = |(_, name, last_contact, suggested): &Row| {
        let own = frequency(Some(name));
        let pause = (own * 2).max(TimeDelta::days(15));
        *last_contact + own + TimeDelta::days(1) <= now && suggested.is_none_or(|at| at + pause <= now)
    };
    Ok(contacts.into_iter().filter(is_due).map(|(id, ..)| id).collect())
}

/// Open suggestions that take the places of others.
#[derive(FromRow)]
pub(crate) struct Taken {
    /// Nothing new can be said about them: snoozed, or announced.
    pub(crate) announced: i64,
    /// The same, and those that are to be announced again at another time, after they were snoozed.
    pub(crate) known: i64,
}

pub(crate) async fn taken(db: &mut PgConnection, user: Uuid) -> sqlx::Result<Taken> {
    sqlx::query_as(
        "SELECT count(*) FILTER (WHERE s.status = 'snoozed' OR d.is_current) AS announced,
                count(*) FILTER (WHERE s.status = 'snoozed' OR d.is_current IS NOT NULL) AS known
         FROM suggestions s CROSS JOIN LATERAL (
             SELECT bool_or(subject = 'suggestion:' || s.id) AS is_current FROM jobs.notification_deliveries
             WHERE user_id = $1 AND subject LIKE 'suggestion:' || s.id || '%'
         ) d
         WHERE s.user_id = $1 AND s.status IN ('pending', 'snoozed')",
    )
    .bind(user)
    .fetch_one(db)
    .await
}

/// What became of the suggestions of a contact, the newest last.
pub(crate) async fn suggestions_of(db: &mut PgConnection, contact: Uuid) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT concat_ws(' ', s.status, e.reason, s.proposed_timeslot_start, 'made', s.created_at, 'changed', s.updated_at,
                          d.state, d.claimed_at)
         FROM suggestions s LEFT JOIN jobs.ended_suggestions e ON e.suggestion_id = s.id
         LEFT JOIN jobs.notification_deliveries d ON d.subject LIKE 'suggestion:' || s.id || '%'
         WHERE s.contact_id = $1 ORDER BY s.created_at, d.claimed_at",
    )
    .bind(contact)
    .fetch_all(db)
    .await
}

/// The open suggestions of a user, the newest last, each with how it can be announced.
pub(crate) async fn open(db: &mut PgConnection, user: Uuid) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT concat_ws(' ', s.status, s.proposed_timeslot_start, 'made', s.created_at, 'changed', s.updated_at,
                          'met', c.last_contact_date, c.frequency_preference, d.state, d.claimed_at)
         FROM suggestions s JOIN contacts c ON c.id = s.contact_id
         LEFT JOIN jobs.notification_deliveries d ON d.subject LIKE 'suggestion:' || s.id || '%'
         WHERE s.user_id = $1 AND s.status IN ('pending', 'snoozed') ORDER BY s.created_at, d.claimed_at",
    )
    .bind(user)
    .fetch_all(db)
    .await
}

/// Whether we ended a suggestion of a contact since then, because it was not wanted any more.
pub(crate) async fn was_unwanted(
    db: &mut PgConnection,
    contact: Uuid,
    since: DateTime<Utc>,
) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM suggestions s JOIN jobs.ended_suggestions e ON e.suggestion_id = s.id
                        WHERE s.contact_id = $1 AND e.reason = 'unwanted' AND e.ended_at >= $2)",
    )
    .bind(contact)
    .bind(since)
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

/// How far the digests that the application shows to a user are apart, at least.
pub(crate) async fn in_app(db: &mut PgConnection) -> sqlx::Result<HashMap<Uuid, TimeDelta>> {
    let shown: Vec<(Uuid, DateTime<Utc>)> =
        sqlx::query_as("SELECT user_id, created_at FROM in_app_notifications ORDER BY user_id, created_at")
            .fetch_all(db)
            .await?;
    let mut apart: HashMap<Uuid, TimeDelta> = shown.iter().map(|(user, _)| (*user, TimeDelta::MAX)).collect();
    for pair in shown.windows(2) {
        let [(user, before), (next, at)] = pair else { continue };
        if user == next {
            apart.entry(*user).and_modify(|least| *least = (*at - *before).min(*least));
        }
    }
    Ok(apart)
}
