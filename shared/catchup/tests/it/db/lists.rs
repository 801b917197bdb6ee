//! What the lists of operators read when very much has failed: counted by Postgres itself.

use catchup::db::deliveries::{Deliveries, LedgerFilter};
use chrono::TimeDelta;
use shared::clock::Clock;
use shared::db::dead_letters::{DeadLetters, Filter};
use shared::db::errors::{self, Errors};
use shared::db::operator_actions::OperatorActions;
use tests::Incident;
use tests::database::Database;
use uuid::Uuid;

use crate::db::plans::Reading;

const INCIDENT: Incident =
    Incident { failures: 200_000, dead_letters: 1_000, deliveries: 200_000, error_chars: 1 };
/// Rows of a page, and one more.
const ROWS: u32 = 41;
/// The runs that a list of errors looks at, and what finds the errors.
const MOST_OF_ERRORS: i64 = 20_000;
/// Of a ledger: several rows per message, each found twice.
const MOST_OF_MESSAGES: i64 = 5_000;
/// Of any other list: each dead letter, and what is counted for those that are shown.
const MOST: i64 = 3_000;

#[tokio::test]
async fn no_list_reads_a_whole_table_however_much_has_failed() {
    let database = Database::new().await;
    for statement in INCIDENT.statements() {
        database.run(statement).await;
    }
    let reading = Reading { database: &database, plans: "force_custom_plan" };
    let now = Clock::system().now();
    let day = errors::Filter { since: now - TimeDelta::days(1), ..errors::Filter::default() };
    let user_id = Some(Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0007));
    for (what, filter) in [
        ("errors", day),
        (
            "errors of 90 days",
            errors::Filter { since: now - TimeDelta::days(90), ..errors::Filter::default() },
        ),
        ("errors of a queue", errors::Filter { function: Some("calendar-sync"), ..day }),
        ("errors with a reason", errors::Filter { reason: Some("reason-1"), ..day }),
        ("errors of a user", errors::Filter { user_id, since: now - TimeDelta::days(90), ..day }),
    ] {
        let list = async |db: &shared::db::Database| {
            Ok(Errors::from(db.clone()).list(&filter, now, ROWS).await?.len())
        };
        reading.check(what, MOST_OF_ERRORS, list).await;
    }
    for (what, state, user_id) in [
        ("messages", None, None),
        ("messages of unknown status", Some("unknown"), None),
        ("messages in a rare state", Some("complained"), None),
        ("messages of a user", None, user_id),
    ] {
        let filter = LedgerFilter { state, user_id, ..LedgerFilter::default() };
        let list = async |db: &shared::db::Database| {
            Ok(Deliveries::from(db.clone()).ledger(&filter, ROWS).await?.len())
        };
        reading.check(what, MOST_OF_MESSAGES, list).await;
    }
    for (what, filter) in [
        ("dead letters", Filter::default()),
        ("dead letters of a queue", Filter { function: Some("calendar-sync"), ..Filter::default() }),
        ("dead letters with a reason", Filter { reason: Some("reason-1"), ..Filter::default() }),
        ("dead letters of a user", Filter { user_id, ..Filter::default() }),
    ] {
        let list = async |db: &shared::db::Database| {
            Ok(DeadLetters::from(db.clone()).list_open(&filter, ROWS).await?.len())
        };
        reading.check(what, MOST, list).await;
    }
    let actions =
        async |db: &shared::db::Database| Ok(OperatorActions::from(db.clone()).list(ROWS).await?.len());
    reading.check("actions", MOST, actions).await;
}

#[tokio::test]
async fn an_error_with_very_many_runs_hides_no_other_and_says_that_it_has_more() {
    let database = Database::new().await;
    for statement in (Incident { failures: 30_000, dead_letters: 60, ..INCIDENT }).statements() {
        database.run(statement).await;
    }
    database
        .run(
            "INSERT INTO jobs.failures (function, key, life, run, kind, reason, error, fingerprint, revision, instance, alone,
                began_at, at)
             SELECT 'calendar-sync', 'k', 0, gen_random_uuid(), 'failed', 'many', '', 'many', 'r', 'i', false, at, at
             FROM generate_series(1, 20000) n, LATERAL (SELECT now() - n * interval '1 millisecond' AS at) a;
             INSERT INTO jobs.failures (function, key, life, run, kind, reason, error, fingerprint, revision, instance, alone,
                began_at, at)
             SELECT 'calendar-sync', 'one', 0, gen_random_uuid(), 'failed', 'one', '', 'one', 'r', 'i', false, at, at
             FROM (SELECT now() - interval '90 minutes' AS at) a",
        )
        .await;
    let now = Clock::system().now();
    let filter = errors::Filter { since: now - TimeDelta::days(1), ..errors::Filter::default() };
    let groups = database.of::<Errors>().list(&filter, now, 1_000).await.unwrap();
    let of = |reason: &str| groups.iter().find(|it| it.reason == reason).unwrap();
    assert!(of("many").is_cut && of("many").failures < 20_000, "{:?}", of("many"));
    assert_eq!((of("one").is_cut, of("one").failures, of("one").tasks), (false, 1, 1), "{:?}", of("one"));
    // An hour and a half ago is the last part but one of twenty-four hours.
    assert_eq!(of("one").bars[of("one").bars.len() - 2..], [1, 0], "{:?}", of("one"));
}

#[tokio::test]
async fn an_error_is_described_by_the_newest_of_the_runs_that_are_asked_for() {
    let database = Database::new().await;
    for function in ["adaptive-sync", "calendar-sync", "token-refresh"] {
        for (kind, hours, error) in
            [("failed", 30, "before"), ("failed", 3, "old"), ("permanent", 1, "new"), ("started", 0, "begun")]
        {
            database
                .run(format!(
                    "INSERT INTO jobs.failures (function, key, life, run, kind, reason, error, fingerprint, revision, instance,
                        alone, began_at, at)
                     SELECT '{function}', 'k', 0, gen_random_uuid(), '{kind}', 'r', '{error}', 'f', 'r', 'i', false, at, at
                     FROM (SELECT now() - interval '{hours} hours' AS at) a"
                ))
                .await;
        }
    }
    let now = Clock::system().now();
    let hours = TimeDelta::hours;
    let check = async |function, since, until, expected: &[(&str, &str, i64)]| {
        let filter = errors::Filter { function, since, until, ..errors::Filter::default() };
        let groups = database.of::<Errors>().list(&filter, now, 10).await.unwrap();
        let mut found: Vec<_> =
            groups.iter().map(|it| (it.function.as_str(), it.error.as_str(), it.failures)).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{function:?} {since} {until:?}");
    };
    let all = |error, failures| {
        ["adaptive-sync", "calendar-sync", "token-refresh"].map(|function| (function, error, failures))
    };
    // A run that has begun may be under way.
    check(None, now - hours(24), None, &all("new", 2)).await;
    check(None, now - hours(24), Some(now - hours(2)), &all("old", 1)).await;
    check(None, now - hours(24), Some(now - hours(12)), &[]).await;
    check(None, now - hours(48), Some(now - hours(12)), &all("before", 1)).await;
    check(Some("calendar-sync"), now - hours(24), None, &[("calendar-sync", "new", 2)]).await;
    check(Some("contacts"), now - hours(24), None, &[]).await;
    check(Some("aaa"), now - hours(24), None, &[]).await;
    check(Some("zzz"), now - hours(24), None, &[]).await;
}
