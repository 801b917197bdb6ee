//! What sweeps read of a million rows in every table: counted by Postgres itself, while the sweeps' own methods run.

use std::collections::BTreeMap;
use std::time::Duration;

use catchup::db::batches::SPAN;
use catchup::db::webhook_channels::Channels;
use shared::db::Error;
use strum::IntoEnumIterator as _;
use tests::database::{Database, now};
use tests::million::{ONE_IN, PAGE, PREPARE, Question, ROWS, fill, middle};
use tests::within;
use uuid::Uuid;

/// Name of the connections whose reading is counted.
const READER: &str = "reader";
const LIMIT: Duration = Duration::from_secs(20);
/// The second user.
const QUIET: u128 = 0x4000_8000_0000_0000_0002;

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

/// The most rows and entries that one page of a sweep may read.
fn most(question: Question) -> i64 {
    // A page finds its users among as many rows of each table that it looks at, and each user has two connections. A merge
    // join, which the planner takes or not by a sample of the rows, and the planner itself read a little further: seen once,
    // by 1 %.
    let page = |tables: i64| i64::from(PAGE) * (tables * i64::from(ONE_IN) + 1) * 105 / 100;
    let due = i64::from(ROWS / ONE_IN);
    match question {
        Question::TokensDue | Question::ChannelsDue => page(4),
        Question::CalendarSyncsDue | Question::ContactsSyncsDue => page(6),
        Question::CountEnding => due * 105 / 100,
        Question::StaleCandidates => page(5),
        Question::BatchesDue => 4 * i64::from(SPAN),
        // Resolved ones are in none of its indexes; of the others, of both kinds, the planner may take the old ones first.
        Question::InvalidReminders => 2 * due,
        Question::ExpiringReminders => 4 * due,
        Question::CalendarUsers | Question::SweepUsers | Question::UsersSwept => 3 * i64::from(PAGE),
        Question::TasksCreated => 5 * i64::from(PAGE),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_million_rows_each_page_of_each_sweep_reads_its_part_by_an_index() {
    let database = Database::new().await;
    fill(&database, ROWS).await;
    // Those that change something are the last.
    for question in Question::iter() {
        for plans in ["force_custom_plan", "force_generic_plan"] {
            let reading = Reading { database: &database, plans };
            for after in [Uuid::nil(), middle(ROWS)] {
                reading
                    .check(question.name(), most(question), async |db| question.ask(db, after).await)
                    .await;
            }
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
