//! Who was told what: the ledger, the inbox, batches and reminders.

use std::collections::{HashMap, HashSet};

use catchup::notify;
use catchup::queues;
use chrono::{DateTime, DurationRound as _, NaiveDateTime, SecondsFormat, TimeDelta, Utc};
use messaging_stand_in::{Channel, Inbox, Message, segments};
use sqlx::{FromRow, PgConnection};
use url::Url;
use uuid::Uuid;

use super::suggestions::FREQUENCIES;
use super::{Check, Difference};
use crate::postgres::connect;
use crate::reports::Reports;
use crate::seed::{Seeded, SeededUser};

/// A text message costs by the segment.
const MAX_SEGMENTS: usize = 2;
/// Suggestions in one message.
const MAX_DIGEST: i64 = 3;
/// Time between two sweeps of batches; what is due is what became due by the beginning of the present one.
pub(crate) const QUARTER: TimeDelta = TimeDelta::minutes(15);
/// An open notice of this age was found by a daily sweep that looks for those of seven days.
const REMINDED_AFTER: TimeDelta = TimeDelta::days(8);

#[derive(FromRow)]
struct Delivery {
    user_id: Uuid,
    channel: String,
    subject: String,
    state: String,
    provider_id: Option<String>,
}

/// That the ledger and the inbox say the same: each message is accounted for, and reached the right person, once.
pub(super) async fn ledger(
    db: &mut PgConnection,
    (inbox, reports): (&Inbox, Option<&Reports>),
    seeded: &Seeded,
    addresses: &HashMap<Uuid, String>,
) -> anyhow::Result<Vec<Difference>> {
    let deliveries: Vec<Delivery> = sqlx::query_as(
        "SELECT user_id, channel, subject, state, provider_id FROM jobs.notification_deliveries
         WHERE channel <> 'in_app'",
    )
    .fetch_all(db)
    .await?;
    let mut differences = Vec::new();
    let mut told: HashMap<&str, Vec<&Delivery>> = HashMap::new();
    for delivery in &deliveries {
        match (&delivery.provider_id, delivery.state.as_str()) {
            // Where no service receives reports, it stays sent.
            (Some(id), state) if state == reports.map_or("sent", |reports| reports.ledger_state(id)) => {
                told.entry(id).or_default().push(delivery);
            }
            (_, state) => differences.push(of(delivery, &format!("is {state}"))),
        }
    }
    let messages = inbox.messages();
    let mut seen = HashSet::new();
    for message in &messages {
        let Some(deliveries) = told.get(message.provider_id.as_str()) else {
            let what = format!("message {} was sent, and is not in the ledger", message.provider_id);
            differences.push(Difference { user: None, what });
            continue;
        };
        if !seen.insert(message.provider_id.as_str()) {
            differences.push(of(deliveries[0], "was sent twice"));
        }
        let reach = seeded.users.iter().find(|user| user.id == deliveries[0].user_id).map(|user| &user.reach);
        let (channel, address) = match message.channel {
            Channel::Sms => ("sms", reach.and_then(|reach| reach.number.as_ref())),
            Channel::Email => ("email", addresses.get(&deliveries[0].user_id)),
        };
        if address != Some(&message.to) || deliveries.iter().any(|delivery| delivery.channel != channel) {
            differences.push(of(deliveries[0], "reached another person"));
        }
        differences.extend(form(message).map(|what| of(deliveries[0], what)));
    }
    for (_, deliveries) in told.iter().filter(|(id, _)| !seen.contains(*id)) {
        differences.push(of(deliveries[0], "is recorded as sent, and was not received"));
    }
    Ok(differences)
}

/// What is wrong with how a message looks.
fn form(message: &Message) -> Option<&'static str> {
    let text = message.text.as_deref().unwrap_or_default();
    match message.channel {
        Channel::Sms if segments(text).1 > MAX_SEGMENTS => Some("is a text message of many segments"),
        Channel::Email if text.is_empty() || message.html.is_none() => Some("lacks text or HTML"),
        Channel::Sms | Channel::Email => None,
    }
}

fn of(delivery: &Delivery, what: &str) -> Difference {
    let Delivery { user_id, channel, subject, .. } = delivery;
    Difference { user: Some(*user_id), what: format!("{subject} by {channel} {what}") }
}

/// Records that batches were swept before the world began, up to the returned time: the next sweep finds all that became
/// due since, however long the other schedules take before it.
pub async fn swept_before(database: &Url, seeded: &Seeded) -> anyhow::Result<DateTime<Utc>> {
    let until = seeded.at.duration_trunc(QUARTER)? - QUARTER;
    let time = |moment: DateTime<Utc>| moment.to_rfc3339_opts(SecondsFormat::Secs, true);
    let mut db = connect(database).await?;
    sqlx::query("INSERT INTO jobs.sweeps (queue, sweep_id, started_at, finished_at) VALUES ($1, $2, $3, $3)")
        .bind(queues::BATCH_NOTIFICATIONS.name())
        .bind(format!("{}/{}", time(until - QUARTER), time(until)))
        .bind(until)
        .execute(&mut db)
        .await?;
    Ok(until)
}

/// That every batch that was due after `since` and up to the quarter hour in which the sweep began was sent, and no other. To
/// be called when the queues are empty after the sweep, before another one. Also returns how many batches were sent.
pub async fn batches(
    database: &Url,
    seeded: &Seeded,
    since: DateTime<Utc>,
    swept_at: DateTime<Utc>,
) -> anyhow::Result<(Vec<Difference>, usize)> {
    let mut db = connect(database).await?;
    let mut differences = Vec::new();
    let mut sent = 0;
    let until = swept_at.duration_trunc(QUARTER)?;
    for user in &seeded.users {
        let is_due = !user.reach.batches(since, until).is_empty();
        for (channel, is_wanted) in [("email", user.reach.email), ("sms", user.reach.number.is_some())] {
            let batch = Batch::read(&mut db, user, channel, swept_at).await?;
            sent += usize::from(batch.told > 0);
            if let Some(what) = batch.wrong(is_due && is_wanted) {
                differences
                    .push(Difference { user: Some(user.id), what: format!("batch by {channel}: {what}") });
            }
        }
    }
    Ok((differences, sent))
}

/// A user's batch on one channel.
#[derive(FromRow)]
struct Batch {
    /// Suggestions that the user was notified about since the sweep.
    told: i64,
    /// Suggestions that were pending at the sweep and that the user was never notified about.
    untold: i64,
    /// Of these, before the next batch announces anything, of a higher priority than one that the user was notified about.
    overtaken: i64,
    /// Of those that the user was notified about, less than two hours before they began.
    late: i64,
}

impl Batch {
    async fn read(
        db: &mut PgConnection,
        user: &SeededUser,
        channel: &str,
        swept_at: DateTime<Utc>,
    ) -> sqlx::Result<Self> {
        sqlx::query_as(
            "WITH told AS (
                 SELECT s.priority, s.proposed_timeslot_start < d.claimed_at + interval '2 hours' AS late, EXISTS (
                     SELECT FROM jobs.notification_deliveries e
                     WHERE e.user_id = $1 AND e.subject LIKE 'suggestion:' || s.id || ':until:%'
                 ) AS known
                 FROM jobs.notification_deliveries d JOIN suggestions s
                     ON d.subject = 'suggestion:' || s.id
                 WHERE d.user_id = $1 AND d.channel = $2 AND d.claimed_at >= $3
             ), untold AS (
                 SELECT s.priority, s.proposed_timeslot_start < $3 + interval '7 days' AS is_soon FROM suggestions s
                 WHERE s.user_id = $1 AND s.status = 'pending' AND s.calendar_event_id IS NULL AND s.created_at < $3
                   -- The batch may have come some minutes after the sweep.
                   AND s.proposed_timeslot_start > $3 + interval '3 hours'
                   -- Of a calendar that is not known no time is announced.
                   AND EXISTS (SELECT FROM users u WHERE u.id = $1 AND u.last_calendar_sync > $3 - interval '2 days'
                       AND NOT EXISTS (SELECT FROM token_health h WHERE h.user_id = u.id AND h.status = 'revoked'
                           AND h.integration_type = 'google_calendar'
                           AND h.last_checked AT TIME ZONE 'UTC' >= u.last_calendar_sync))
                   AND NOT EXISTS (SELECT FROM jobs.notification_deliveries d
                                   WHERE d.user_id = $1 AND d.channel = $2 AND d.subject = 'suggestion:' || s.id)
                   -- Who is not due by then, or met anyway, is not announced, and neither is a time that is taken.
                   AND NOT EXISTS (SELECT FROM contacts c WHERE c.id = s.contact_id AND c.last_contact_date
                       + make_interval(days => COALESCE((
                           SELECT days FROM UNNEST($4::text[], $5::int[]) AS known (name, days)
                           WHERE name = c.frequency_preference::text
                       ), 30)) > s.proposed_timeslot_start + interval '1 day')
                   AND NOT EXISTS (SELECT FROM jobs.next_meetings n
                                   WHERE n.contact_id = s.contact_id AND n.starts_at <= $3 + interval '15 days')
                   AND NOT EXISTS (SELECT FROM calendar_events e WHERE e.user_id = $1 AND e.is_busy IS NOT FALSE
                       AND e.start_time < s.proposed_timeslot_end + interval '14 hours'
                       AND e.end_time > s.proposed_timeslot_start - interval '14 hours'
                       AND (e.is_all_day OR (e.start_time < s.proposed_timeslot_end AND e.end_time > s.proposed_timeslot_start)))
             )
             SELECT (SELECT count(*) FROM told) AS told, (SELECT count(*) FROM untold) AS untold,
                    (SELECT count(*) FROM untold
                     WHERE is_soon AND priority > (SELECT min(priority) FROM told WHERE NOT known)) AS overtaken,
                    (SELECT count(*) FROM told WHERE late) AS late",
        )
        .bind(user.id)
        .bind(channel)
        .bind(swept_at)
        .bind(FREQUENCIES.map(|(name, _)| name).as_slice())
        .bind(FREQUENCIES.map(|(_, days)| days).as_slice())
        .fetch_one(db)
        .await
    }

    fn wrong(&self, is_expected: bool) -> Option<String> {
        if self.told > MAX_DIGEST {
            return Some(format!("a message is about {} suggestions", self.told));
        }
        let is_full = self.told == MAX_DIGEST;
        if !is_expected {
            return (self.told > 0)
                .then(|| format!("a message about {} suggestions was sent, and none was due", self.told));
        }
        if self.late > 0 {
            return Some(format!("{} suggestions were nearly over, or over, when they were sent", self.late));
        }
        if self.untold > 0 && !is_full {
            return Some(format!("{} suggestions are missing, {} were sent", self.untold, self.told));
        }
        (self.overtaken > 0)
            .then(|| format!("{} suggestions wait behind others of a lower priority", self.overtaken))
    }
}

#[derive(FromRow)]
struct NoticeRow {
    id: Uuid,
    kind: String,
    open: bool,
    created_at: NaiveDateTime,
    reminded: bool,
    /// By which the user was reminded.
    channels: Vec<String>,
}

impl Check<'_> {
    /// That exactly those were reminded who had to be.
    pub(super) async fn reminders(&mut self) -> anyhow::Result<()> {
        let notices: Vec<NoticeRow> = sqlx::query_as(
            "SELECT n.id, n.notification_type AS kind, n.resolved_at IS NULL AS open, n.created_at, n.reminder_sent_at IS NOT NULL AS reminded,
                    ARRAY(SELECT d.channel FROM jobs.notification_deliveries d
                          WHERE d.user_id = n.user_id AND d.subject = 'token_notice:' || n.id ORDER BY 1) AS channels
             FROM token_health_notifications n WHERE n.user_id = $1",
        )
        .bind(self.user.id)
        .fetch_all(&mut *self.db)
        .await?;
        for notice in notices {
            let before = self.before.notices.iter().find(|before| before.id == notice.id);
            let is_old = notice.created_at.and_utc() <= self.now - REMINDED_AFTER;
            let is_needless = before.is_some_and(|before| !before.is_due());
            // Of a token that ends, only while it works.
            let is_due = notice.open && is_old && notice.kind == "token_invalid";
            let is_expected = !is_needless && (notice.reminded || is_due);
            let reach = &self.before.reach;
            let waits = |channel| notify::quiet_hours::end(channel, self.now, reach.zone, None) > self.now;
            let sent = notice.channels.iter().map(String::as_str).collect::<Vec<_>>();
            // What waits for the morning.
            let (text, email) = (notify::Channel::Sms, notify::Channel::Email);
            let is_late = match sent.as_slice() {
                [] => waits(email),
                ["email"] => reach.number.is_some() && waits(text),
                _ => false,
            };
            if !notice.reminded && is_late {
                continue;
            }
            let by_sms = self.before.reach.number.as_ref().map(|_| "sms");
            let expected: Vec<&str> = ["email"].into_iter().chain(by_sms).filter(|_| is_expected).collect();
            self.same(format!("reminder of notice {}", notice.id), notice.channels == expected, true);
            self.same("token_health_notifications: reminder_sent_at", notice.reminded || !is_expected, true);
        }
        Ok(())
    }
}
