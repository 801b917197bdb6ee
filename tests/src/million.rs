//! A million rows in every table that sweeps read, on exactly the application's indexes, and every question that sweeps ask.

use catchup::db::batches::{Batches, ZoneSpan};
use catchup::db::oauth_tokens::OauthTokens;
use catchup::db::reminders::TokenNotices;
use catchup::db::suggestions::Suggestions;
use catchup::db::sync_schedule::SyncSchedules;
use catchup::db::token_health::NoticeKind;
use catchup::db::webhook_channels::Channels;
use catchup::payload::Integration;
use catchup::{queues, sync};
use chrono::TimeDelta;
use shared::db::sweeps::Sweeps;
use shared::db::{Database as Handle, Error};
use uuid::Uuid;

use crate::database::{Database, now};

/// Rows in each table.
pub const ROWS: u32 = 1_000_000;
/// For each sweep one user of so many is due.
pub const ONE_IN: u32 = 50;
/// Users of a page.
pub const PAGE: u32 = 500;
/// A sweep after the one that all users are swept by.
const NEXT_SWEEP: &str = "next";

/// References are dropped: to check them would take longer than all the rest. No table is analyzed by itself: a row that was replaced
/// is read as long as a snapshot is held, as that of an analysis that comes when it likes.
pub const PREPARE: &str = "
    DO $$
    DECLARE
        reference record;
        own regclass;
        big text;
    BEGIN
        FOR reference IN SELECT conrelid::regclass AS of, conname FROM pg_constraint WHERE contype = 'f' LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', reference.of, reference.conname);
        END LOOP;
        FOR own IN SELECT oid FROM pg_class
            WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'jobs'::regnamespace)
        LOOP
            EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', own);
        END LOOP;
        FOREACH big IN ARRAY ARRAY[
            'users', 'oauth_tokens', 'token_health', 'sync_schedule', 'calendar_webhook_subscriptions',
            'webhook_notifications', 'notification_preferences', 'token_health_notifications'
        ] LOOP
            EXECUTE format('ALTER TABLE %I SET UNLOGGED', big);
        END LOOP;
    END
    $$";

/// Two halves of about the same work. `u.id` are the users' ids, `u.is_due` whether the user is due, `now` what it is in
/// all tests, and `today` the same without a zone.
const HALVES: [&[&str]; 2] = [
    &[
        "INSERT INTO users (id, email, password_hash, timezone) SELECT id, number, '', 'Europe/Berlin' FROM u",
        "INSERT INTO sync_schedule (id, user_id, integration_type, current_frequency_ms, default_frequency_ms,
            min_frequency_ms, max_frequency_ms, next_sync_at)
         SELECT id, id, 'google_calendar', 1, 1, 1, 1,
            today + CASE WHEN is_due THEN interval '-1 minute' ELSE interval '12 hours' END FROM u",
        "INSERT INTO sync_schedule (user_id, integration_type, current_frequency_ms, default_frequency_ms,
            min_frequency_ms, max_frequency_ms, next_sync_at)
         SELECT id, 'google_contacts', 1, 1, 1, 1,
            today + CASE WHEN is_due THEN interval '-1 minute' ELSE interval '12 hours' END FROM u",
        "INSERT INTO notification_preferences (id, user_id, batch_day, batch_time, timezone)
         SELECT id, id, number % 7, to_char(number % 96 * interval '15 minutes', 'HH24:MI'), 'UTC' FROM u",
        "INSERT INTO token_health (id, user_id, integration_type, status, last_checked)
         SELECT id, id, 'google_calendar', 'valid', today - interval '1 hour' FROM u",
    ],
    &[
        "INSERT INTO oauth_tokens (id, user_id, provider, access_token, expires_at)
         SELECT id, id, 'google_calendar', '',
            now + CASE WHEN is_due THEN interval '1 hour' ELSE interval '30 days' END FROM u",
        "INSERT INTO oauth_tokens (user_id, provider, access_token, expires_at)
         SELECT id, 'google_contacts', '',
            now + CASE WHEN is_due THEN interval '1 hour' ELSE interval '30 days' END FROM u",
        "INSERT INTO calendar_webhook_subscriptions
            (id, user_id, channel_id, resource_id, resource_uri, token, created_at, expiration)
         SELECT id, id, id, '', '', '', today - interval '5 days',
            today + CASE WHEN is_due THEN interval '1 hour' ELSE interval '6 days' END FROM u",
        "INSERT INTO webhook_notifications (id, user_id, channel_id, resource_id, resource_state, result, created_at)
         SELECT id, id, id, '', 'exists', 'success',
            today - CASE WHEN is_due THEN interval '3 days' ELSE interval '1 hour' END FROM u",
        "INSERT INTO token_health_notifications
            (id, user_id, integration_type, notification_type, message, re_auth_link, created_at, resolved_at)
         SELECT id, id, 'google_calendar', 'token_invalid', '', '', today - interval '8 days',
            CASE WHEN NOT is_due THEN today END FROM u",
        "INSERT INTO token_health_notifications
            (user_id, integration_type, notification_type, message, re_auth_link, created_at)
         SELECT id, 'google_calendar', 'token_expiring_soon', '', '', today - interval '2 hours' FROM u WHERE is_due",
        "INSERT INTO jobs.swept_users (user_id, queue, sweep_id, until) SELECT id, 'calendar-sync', 'last', now FROM u",
    ],
];

/// Fills a database that has the application's tables and ours.
pub async fn fill(database: &Database, rows: u32) {
    database.run(PREPARE).await;
    let with_users = |statement: &&str| {
        let (target, columns) = statement.split_once("SELECT").expect("each inserts what it selects");
        let now = now();
        format!(
            "{target} WITH u AS (
                SELECT number, number % {ONE_IN} = 0 AS is_due, timestamptz '{now}' AS now,
                    timestamptz '{now}' AT TIME ZONE 'UTC' AS today,
                    ('00000000-0000-4000-8000-' || lpad(to_hex(number), 12, '0'))::uuid AS id
                FROM generate_series(1, {rows}) number
             ) SELECT {columns}"
        )
    };
    let [one, other] =
        HALVES.map(|half| database.run(half.iter().map(with_users).collect::<Vec<_>>().join(";")));
    tokio::join!(one, other);
    database.run("ANALYZE").await;
}

/// What a sweep asks, or says, for one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumIter, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Question {
    /// `token-refresh`: whose tokens end.
    TokensDue,
    /// `adaptive-sync`: whose calendar is due.
    CalendarSyncsDue,
    /// `adaptive-sync`: whose contacts are due.
    ContactsSyncsDue,
    /// `webhook-renewal`: whose channel ends.
    ChannelsDue,
    /// `webhook-renewal`: how many do.
    CountEnding,
    /// `webhook-health-check`: whose channel is quiet.
    StaleCandidates,
    /// `suggestion-generation`: everybody with a calendar.
    CalendarUsers,
    /// `batch-notifications`: whose batch is due.
    BatchesDue,
    /// `notification-reminder`.
    InvalidReminders,
    /// `token-health-reminder`.
    ExpiringReminders,
    /// Every sweep with tasks per user: for whom a task is created.
    SweepUsers,
    /// The same: that they were.
    UsersSwept,
    /// `adaptive-sync`: when those are due again.
    TasksCreated,
}

impl Question {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Asks for the page behind this user, as the sweep does, and returns how many it found.
    pub async fn ask(self, db: &Handle, after: Uuid) -> Result<usize, Error> {
        let db = db.clone();
        let (now, queue) = (now(), queues::CALENDAR_SYNC);
        let schedules = SyncSchedules::from(db.clone());
        let until = now + TimeDelta::days(1);
        let users = users_behind(after);
        Ok(match self {
            Self::TokensDue => OauthTokens::from(db).due(now, after, PAGE).await?.users.len(),
            Self::CalendarSyncsDue => {
                sync::due(&schedules, Integration::GoogleCalendar, now, after, PAGE).await?.users.len()
            }
            Self::ContactsSyncsDue => {
                sync::due(&schedules, Integration::GoogleContacts, now, after, PAGE).await?.users.len()
            }
            Self::ChannelsDue => Channels::from(db).due(now, after, PAGE).await?.users.len(),
            Self::CountEnding => usize::try_from(Channels::from(db).count_ending(now).await?).unwrap_or(0),
            Self::StaleCandidates => Channels::from(db).stale_candidates(now, after, PAGE).await?.users.len(),
            Self::CalendarUsers => Suggestions::from(db).calendar_users(after, PAGE).await?.users.len(),
            Self::BatchesDue => Batches::from(db).due(&quarter_hour(), after, PAGE).await?.due.len(),
            Self::InvalidReminders => {
                TokenNotices::from(db).due(NoticeKind::TokenInvalid, now, after, PAGE).await?.users.len()
            }
            Self::ExpiringReminders => {
                TokenNotices::from(db).due(NoticeKind::TokenExpiringSoon, now, after, PAGE).await?.users.len()
            }
            Self::SweepUsers => {
                Sweeps::from(db).sweep_users(queue, NEXT_SWEEP, &users, until, now).await?.len()
            }
            Self::UsersSwept => {
                Sweeps::from(db).users_swept(queue, NEXT_SWEEP, &users, until, until, now).await?;
                users.len()
            }
            Self::TasksCreated => {
                let sweep = (queue, NEXT_SWEEP);
                sync::tasks_created(&schedules, Integration::GoogleCalendar, sweep, &users, now).await?;
                users.len()
            }
        })
    }
}

/// The due users of a page.
fn users_behind(after: Uuid) -> Vec<Uuid> {
    let first = (after.as_u128() & 0xffff_ffff_ffff) / u128::from(ONE_IN);
    (1..=u128::from(PAGE)).map(|n| user((first + n) * u128::from(ONE_IN))).collect()
}

/// The user in the middle of so many.
#[must_use]
pub fn middle(rows: u32) -> Uuid {
    user(u128::from(rows / 2))
}

fn user(number: u128) -> Uuid {
    Uuid::from_u128((0x4000 << 64) | 0x8000_0000_0000_0000 | number)
}

/// A quarter hour in which one user in 7 · 96 has the weekly batch: all are in one zone.
fn quarter_hour() -> [ZoneSpan; 2] {
    let first = |text: &str| text.parse().unwrap();
    [
        ZoneSpan { zone: "UTC", first: first("2027-01-15T07:46:00"), minutes: 15 },
        ZoneSpan { zone: "Europe/Berlin", first: first("2027-01-15T08:46:00"), minutes: 15 },
    ]
}
