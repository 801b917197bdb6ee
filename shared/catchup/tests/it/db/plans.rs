//! What sweeps read of a million rows in every table: counted by Postgres itself, while the sweeps' own methods run.

use std::collections::BTreeMap;
use std::time::Duration;

use catchup::db::batches::{Batches, SPAN, ZoneSpan};
use catchup::db::oauth_tokens::OauthTokens;
use catchup::db::reminders::TokenNotices;
use catchup::db::suggestions::Suggestions;
use catchup::db::sync_schedule::SyncSchedules;
use catchup::db::token_health::NoticeKind;
use catchup::db::webhook_channels::Channels;
use catchup::payload::Integration;
use catchup::sync;
use shared::db::Error;
use tests::database::{Database, now};
use tests::within;
use uuid::Uuid;

const ROWS: u32 = 1_000_000;
/// For each sweep one user of so many is due.
const ONE_IN: u32 = 50;
const PAGE: u32 = 500;
/// Name of the connections whose reading is counted.
const READER: &str = "reader";
const LIMIT: Duration = Duration::from_secs(20);
/// The second user.
const QUIET: u128 = 0x4000_8000_0000_0000_0002;

/// References are dropped: to check them would take longer than all the rest.
const PREPARE: &str = "
    DO $$
    DECLARE
        reference record;
        big text;
    BEGIN
        FOR reference IN SELECT conrelid::regclass AS of, conname FROM pg_constraint WHERE contype = 'f' LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', reference.of, reference.conname);
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
        "INSERT INTO notification_preferences (id, user_id, batch_day, batch_time, timezone)
         SELECT id, id, number % 7, to_char(number % 96 * interval '15 minutes', 'HH24:MI'), 'UTC' FROM u",
        "INSERT INTO token_health (id, user_id, integration_type, status, last_checked)
         SELECT id, id, 'google_calendar', 'valid', today - interval '1 hour' FROM u",
    ],
    &[
        "INSERT INTO oauth_tokens (id, user_id, provider, access_token, expires_at)
         SELECT id, id, 'google_calendar', '',
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
    ],
];

async fn fill(database: &Database) {
    database.run(PREPARE).await;
    let with_users = |statement: &&str| {
        let (target, rows) = statement.split_once("SELECT").expect("each inserts what it selects");
        let now = now();
        format!(
            "{target} WITH u AS (
                SELECT number, number % {ONE_IN} = 0 AS is_due, timestamptz '{now}' AS now,
                    timestamptz '{now}' AT TIME ZONE 'UTC' AS today,
                    ('00000000-0000-4000-8000-' || lpad(to_hex(number), 12, '0'))::uuid AS id
                FROM generate_series(1, {ROWS}) number
             ) SELECT {rows}"
        )
    };
    let [one, other] =
        HALVES.map(|half| database.run(half.iter().map(with_users).collect::<Vec<_>>().join(";")));
    tokio::join!(one, other);
    database.run("ANALYZE").await;
}

/// What was read of each table: scans of the whole, and rows or entries of its indexes.
async fn read_so_far(database: &Database) -> BTreeMap<String, (i64, i64)> {
    let rows = database.rows::<(String, i64, i64)>(
        "SELECT t.relname::text, t.seq_scan,
            t.seq_tup_read + (SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes i WHERE i.relid = t.relid)::bigint
         FROM pg_stat_user_tables t WHERE EXISTS (SELECT FROM pg_stat_user_indexes i WHERE i.relid = t.relid)",
    );
    rows.await.into_iter().map(|(table, scans, rows)| (table, (scans, rows))).collect()
}

pub(crate) struct Reading<'a> {
    pub(crate) database: &'a Database,
    /// Postgres makes a plan for the values of a statement, or, when it was asked often, one for all.
    pub(crate) plans: &'static str,
}

impl Reading<'_> {
    /// Runs what a sweep runs, and looks at what that read.
    pub(crate) async fn check(
        &self,
        what: &str,
        most: i64,
        run: impl AsyncFnOnce(&shared::db::Database) -> Result<usize, Error>,
    ) {
        let before = read_so_far(self.database).await;
        let options = self.database.options.clone().application_name(READER);
        let db = shared::db::Database::connect_lazily(options.options([("plan_cache_mode", self.plans)]), 1);
        let found = run(&db).await.unwrap();
        assert!(found > 0, "{what} finds no user");
        drop(db);
        // A connection that ends leaves its counts behind.
        let readers = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{READER}' AND datname = current_database()"
        );
        let have_ended = || async { self.database.value::<i64>(&readers).await == 0 };
        within(LIMIT, "the reader's connection has ended", have_ended).await;
        let after = read_so_far(self.database).await;
        let mut rows = 0;
        for (table, (scans, read)) in after {
            let (scans_before, read_before) = before[&table];
            assert_eq!(scans, scans_before, "{what} scans {table} ({})", self.plans);
            rows += read - read_before;
        }
        assert!(rows > 0, "{what} is not counted");
        assert!(rows <= most, "{what} reads {rows} rows and entries instead of {most} ({})", self.plans);
    }
}

/// A quarter hour in which one user in 7 · 96 has the weekly batch: all are in one zone.
fn quarter_hour() -> [ZoneSpan; 2] {
    let first = |text: &str| text.parse().unwrap();
    [
        ZoneSpan { zone: "UTC", first: first("2027-01-15T07:46:00"), minutes: 15 },
        ZoneSpan { zone: "Europe/Berlin", first: first("2027-01-15T08:46:00"), minutes: 15 },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_million_rows_each_page_of_each_sweep_reads_its_part_by_an_index() {
    let database = Database::new().await;
    fill(&database).await;
    // A page finds its users among as many rows of each table that it looks at. A merge join, which the planner takes
    // or not by a sample of the rows, and the planner itself read a little further: seen once, by 1 %.
    let page = |tables: i64| i64::from(PAGE) * (tables * i64::from(ONE_IN) + 1) * 105 / 100;
    // Resolved ones are in none of its indexes; of the others the planner may take the old ones first.
    let open_notifications = i64::from(ROWS / ONE_IN);
    let middle = Uuid::from_u128((0x4000 << 64) | 0x8000_0000_0000_0000 | u128::from(ROWS / 2));
    for plans in ["force_custom_plan", "force_generic_plan"] {
        let reading = Reading { database: &database, plans };
        for after in [Uuid::nil(), middle] {
            reading
                .check("tokens_due", page(2), async |db| {
                    Ok(OauthTokens::from(db.clone()).due(now(), after, PAGE).await?.users.len())
                })
                .await;
            reading
                .check("syncs_due", page(4), async |db| {
                    Ok(sync::due(
                        &SyncSchedules::from(db.clone()),
                        Integration::GoogleCalendar,
                        now(),
                        after,
                        PAGE,
                    )
                    .await?
                    .users
                    .len())
                })
                .await;
            reading
                .check("channels_due", page(3), async |db| {
                    Ok(Channels::from(db.clone()).due(now(), after, PAGE).await?.users.len())
                })
                .await;
            reading
                .check("stale_candidates", page(4), async |db| {
                    Ok(Channels::from(db.clone()).stale_candidates(now(), after, PAGE).await?.users.len())
                })
                .await;
            reading
                .check("calendar_users", 2 * i64::from(PAGE), async |db| {
                    Ok(Suggestions::from(db.clone()).calendar_users(after, PAGE).await?.users.len())
                })
                .await;
            reading
                .check("batches_due", 4 * i64::from(SPAN), async |db| {
                    Ok(Batches::from(db.clone()).due(&quarter_hour(), after, PAGE).await?.due.len())
                })
                .await;
            reading
                .check("reminders_due", open_notifications, async |db| {
                    Ok(TokenNotices::from(db.clone())
                        .due(NoticeKind::TokenInvalid, now(), after, PAGE)
                        .await?
                        .users
                        .len())
                })
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_reads_no_notifications_but_those_of_the_users_it_looks_at() {
    const CHANNELS: i64 = 3_000;
    const NOTIFICATIONS: i64 = 100;
    const SMALL_PAGE: u32 = 50;
    let database = Database::new().await;
    database.run(PREPARE).await;
    let today = now().naive_utc();
    let users = format!(
        "SELECT number, ('00000000-0000-4000-8000-' || lpad(to_hex(number), 12, '0'))::uuid AS id
         FROM generate_series(1, {CHANNELS}) number"
    );
    database
        .run(format!(
            "INSERT INTO users (id, email, password_hash) SELECT id, number, '' FROM ({users}) u;
             INSERT INTO oauth_tokens (user_id, provider, access_token) SELECT id, 'google_calendar', '' FROM ({users}) u;
             INSERT INTO calendar_webhook_subscriptions
                (user_id, channel_id, resource_id, resource_uri, token, created_at, expiration)
             SELECT id, id, '', '', '', timestamp '{today}' - interval '5 days', timestamp '{today}' + interval '2 days'
             FROM ({users}) u;
             -- One in two was not heard of for days; all were before.
             INSERT INTO webhook_notifications (user_id, channel_id, resource_id, resource_state, result, created_at)
             SELECT id, id, '', 'exists', 'success',
                timestamp '{today}' - n * interval '1 hour' - CASE number % 2 WHEN 0 THEN interval '3 days' ELSE '0' END
             FROM ({users}) u, generate_series(1, {NOTIFICATIONS}) n;
             ANALYZE"
        ))
        .await;
    // One in two is found, and each one's notifications are read twice at most.
    let looked_at = 4 * i64::from(SMALL_PAGE) + 1;
    for plans in ["force_custom_plan", "force_generic_plan"] {
        let reading = Reading { database: &database, plans };
        reading
            .check("stale_candidates", looked_at * (NOTIFICATIONS + 8), async |db| {
                Ok(Channels::from(db.clone())
                    .stale_candidates(now(), Uuid::nil(), SMALL_PAGE)
                    .await?
                    .users
                    .len())
            })
            .await;
        reading
            .check("quiet_since", 2 * (NOTIFICATIONS + 8), async |db| {
                let quiet = Channels::from(db.clone()).quiet_since(Uuid::from_u128(QUIET), now()).await?;
                Ok(usize::from(quiet.is_some()))
            })
            .await;
    }
}
