//! Retention: what is deleted, what is not, and in which steps.

use std::cell::Cell;
use std::collections::BTreeSet;

use catchup::queues::DECLARATION;
use chrono::TimeDelta;
use shared::db::Error;
use shared::db::sweeps::Sweeps;
use tests::database::{Database, now};

use crate::db::plans::Reading;

const MANY: i64 = 200_000;
const STEP: i64 = 5_000;
/// Tables of the platform whose rows are deleted at an age.
const PLATFORMS_AGES: u32 = 6;

/// So many times there is time.
fn times(count: u32) -> impl Fn() -> bool {
    let left = Cell::new(count);
    move || left.replace(left.get().saturating_sub(1)) > 0
}

async fn pruned(db: &shared::db::Database, has_time: impl Fn() -> bool) -> Result<usize, Error> {
    Ok(usize::try_from(Sweeps::from(db.clone()).prune(&DECLARATION.retention, now(), has_time).await?)
        .unwrap())
}

fn reading(database: &Database) -> Reading<'_> {
    Reading { database, plans: "force_generic_plan" }
}

async fn count(database: &Database, of: &str) -> i64 {
    database.value(&format!("SELECT count(*) FROM jobs.{of}")).await
}

/// Failures of as many tasks, each so many days old.
async fn failures(database: &Database, key: &str, count: i64, days: i64) {
    database
        .run(format!(
            "INSERT INTO jobs.failures
                (function, key, life, run, kind, reason, error, fingerprint, revision, instance, alone, began_at, at)
             SELECT 'f', '{key}' || n, 0, gen_random_uuid(), 'failed', 'r', '', '', '', '', false, at, at
             FROM generate_series(1, {count}) n, (SELECT timestamptz '{}' - interval '{days} days' AS at) a",
            now()
        ))
        .await;
}

#[tokio::test]
async fn what_is_too_old_goes_in_bounded_steps_and_nothing_younger_does() {
    let database = Database::new().await;
    failures(&database, "old", MANY, 91).await;
    failures(&database, "young", 1_000, 89).await;
    failures(&database, "dead", 1, 91).await;
    let dead_letter = |days| {
        format!(
            "INSERT INTO jobs.dead_letters (id, function, key, deaths, state, reason, error, fingerprint, body, updated_at)
             VALUES ('{days}', 'f', 'dead1', 1, 'open', '', '', '', '', timestamptz '{}' - interval '{days} days')",
            now()
        )
    };
    database.run(dead_letter(89)).await;
    database.run("ANALYZE").await;
    // A look at dead letters, and two steps.
    let step = async |db: &shared::db::Database| pruned(db, times(3)).await;
    // Each row is found in two indexes at most, and looked for once among the dead letters.
    reading(&database).check("prune", 2 * 5 * STEP, step).await;
    assert_eq!(count(&database, "failures").await, MANY - 2 * STEP + 1_001);

    database.of::<Sweeps>().prune(&DECLARATION.retention, now(), || true).await.unwrap();
    assert_eq!(count(&database, "failures").await, 1_001, "a dead letter keeps its failures");
    database.of::<Sweeps>().prune(&DECLARATION.retention, now() + TimeDelta::days(1), || true).await.unwrap();
    assert_eq!(count(&database, "failures").await, 1_001);
    database.of::<Sweeps>().prune(&DECLARATION.retention, now() + TimeDelta::days(2), || true).await.unwrap();
    assert_eq!((count(&database, "failures").await, count(&database, "dead_letters").await), (0, 0));
}

#[tokio::test]
async fn deliveries_sweeps_and_channels_have_their_own_age() {
    let database = Database::new().await;
    let user = database.user(&[]).await;
    let at = |days: i64| now() - TimeDelta::days(days);
    for days in [399, 401] {
        database
            .run(format!(
                "INSERT INTO jobs.notification_deliveries (user_id, channel, subject, claimed_at)
                 VALUES ('{user}', 'sms', '{days}', '{}')",
                at(days)
            ))
            .await;
    }
    for days in [89, 91] {
        database
            .run(format!(
                "INSERT INTO jobs.sweeps (queue, sweep_id, started_at) VALUES ('q', '{days}', '{}')",
                at(days)
            ))
            .await;
    }
    for days in [-1, 1] {
        database
            .run(format!(
                "INSERT INTO jobs.push_channels (channel_id, user_id, state, ends_at)
                 VALUES ('{days}', '{user}', 'announced', '{}')",
                at(days)
            ))
            .await;
    }
    assert_eq!(database.of::<Sweeps>().prune(&DECLARATION.retention, now(), || true).await.unwrap(), 3);
    let left = "SELECT concat_ws(' ', (SELECT subject FROM jobs.notification_deliveries),
                    (SELECT sweep_id FROM jobs.sweeps), (SELECT channel_id FROM jobs.push_channels))";
    assert_eq!(database.value::<String>(left).await, "399 89 -1");
}

#[tokio::test]
async fn rows_of_deleted_users_go_in_bounded_steps_and_those_of_others_stay() {
    let database = Database::new().await;
    let user = database.user(&[]).await;
    let half = MANY / 2;
    // Of a thousand users who are deleted, and one who is not.
    database
        .run(format!(
            "INSERT INTO jobs.calendar_event_copies (user_id, google_event_id, calendar_id)
             SELECT CASE WHEN n <= {half} THEN md5((n % 1000)::text)::uuid ELSE '{user}' END, n, ''
             FROM generate_series(1, {MANY}) n;
             ANALYZE"
        ))
        .await;
    let prune = async |count| {
        database.of::<Sweeps>().prune(&DECLARATION.retention, now(), times(count)).await.unwrap()
    };
    // Looks at each age, then the table, and so many steps in it.
    let steps = 4;
    let looks = PLATFORMS_AGES + u32::try_from(DECLARATION.retention.aged.len()).unwrap() + 1;
    let step = async |db: &shared::db::Database| pruned(db, times(looks + steps)).await;
    // Each step finds a thousand users, and the rows that it deletes.
    let most = (3 * STEP + 5 * 1_000) * i64::from(steps);
    reading(&database).check("erasure", most, step).await;
    let left = count(&database, "calendar_event_copies").await;
    assert!((MANY - i64::from(steps) * STEP..MANY).contains(&left), "{left}");
    let mut calls = 0;
    while prune(looks + steps).await > 0 {
        calls += 1;
    }
    assert!(calls > 2, "the next one continues");
    database.of::<Sweeps>().prune(&DECLARATION.retention, now(), || true).await.unwrap();
    assert_eq!(count(&database, "calendar_event_copies").await, half);
    let others = format!("calendar_event_copies WHERE user_id <> '{user}'");
    assert_eq!(count(&database, &others).await, 0);

    database.run(format!("DELETE FROM users WHERE id = '{user}'")).await;
    assert_eq!(
        database
            .of::<Sweeps>()
            .prune(&DECLARATION.retention, now() + TimeDelta::hours(11), || true)
            .await
            .unwrap(),
        0,
        "searched already"
    );
    database
        .of::<Sweeps>()
        .prune(&DECLARATION.retention, now() + TimeDelta::hours(13), || true)
        .await
        .unwrap();
    assert_eq!(count(&database, "calendar_event_copies").await, 0);
}

#[tokio::test]
async fn one_user_with_more_rows_than_a_step_is_deleted_whole() {
    let database = Database::new().await;
    database
        .run(
            "INSERT INTO jobs.calendar_event_copies (user_id, google_event_id, calendar_id)
             SELECT '00000000-0000-4000-8000-000000000001', n, '' FROM generate_series(1, 12000) n",
        )
        .await;
    assert_eq!(database.of::<Sweeps>().prune(&DECLARATION.retention, now(), || true).await.unwrap(), 12_000);
}

#[tokio::test]
async fn every_table_with_a_user_is_searched_by_an_index_for_deleted_ones() {
    let database = Database::new().await;
    let user = database.user(&[]).await;
    database
        .run(format!(
            "INSERT INTO jobs.calendar_positions (user_id, calendar_id, page_token, horizon, began_at, seen)
             VALUES ('{user}', '', '', now(), now(), '{{}}'), (gen_random_uuid(), '', '', now(), now(), '{{}}')"
        ))
        .await;
    let whole = async |db: &shared::db::Database| pruned(db, || true).await;
    reading(&database).check("erasure", 100, whole).await;
    assert_eq!(count(&database, "calendar_positions").await, 1);
    let with_users: Vec<(String,)> = database
        .rows(
            "SELECT table_name::text FROM information_schema.columns
             WHERE table_schema = 'jobs' AND column_name = 'user_id'",
        )
        .await;
    let searched: Vec<(String,)> = database.rows("SELECT table_name FROM jobs.erasures").await;
    assert_eq!(searched.into_iter().collect::<BTreeSet<_>>(), with_users.into_iter().collect());
}
