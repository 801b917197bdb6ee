//! Schedules, the sweep over those who are due, and the rows that syncs leave.

use std::time::Duration;

use catchup::db::sync_schedule::SyncSchedules;
use catchup::payload::Integration::{self, GoogleCalendar, GoogleContacts};
use catchup::sync::{self, Admission, Admitted, Entry, Refusal, SyncKind, SyncRun, Syncs};
use chrono::{NaiveDateTime, TimeDelta};
use tests::database::{Database, now};
use uuid::Uuid;

use super::admission;

async fn admitted(database: &Database, user: Uuid, integration: Integration) -> Admitted {
    match admission(database, user, integration, Entry::Check, now()).await {
        Admission::Admitted(admitted) => admitted,
        Admission::Refused(refusal) => panic!("{refusal:?}"),
    }
}

fn run(user_id: Uuid, integration: Integration, kind: SyncKind) -> SyncRun {
    SyncRun {
        user_id,
        integration,
        kind,
        duration: Duration::from_millis(1234),
        items: 7,
        api_calls: 2,
        api_calls_saved: Some(3),
    }
}

async fn due(database: &Database, integration: Integration) -> Vec<Uuid> {
    sync::due(&database.of::<SyncSchedules>(), integration, now(), Uuid::nil(), 500).await.unwrap().users
}

async fn hours_to_next(database: &Database) -> i64 {
    let next: NaiveDateTime = database.value("SELECT next_sync_at FROM sync_schedule").await;
    (next.and_utc() - now()).num_hours()
}

#[tokio::test]
async fn a_user_with_a_token_and_no_schedule_gets_one_and_is_due() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    assert_eq!(due(&database, GoogleContacts).await, [user]);
    assert!(due(&database, GoogleCalendar).await.is_empty());
    let day = 24 * 3_600_000_i64;
    let row = "SELECT current_frequency_ms, default_frequency_ms, min_frequency_ms, max_frequency_ms FROM sync_schedule";
    assert_eq!(database.rows::<(i64, i64, i64, i64)>(row).await, [(5 * day, 5 * day, 6 * day, day)]);
}

#[tokio::test]
async fn no_user_is_due_early_revoked_disconnected_or_with_an_open_breaker() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    assert_eq!(due(&database, GoogleContacts).await, [user]);

    let breaker = |state: &str, minutes: i64| {
        let retry = (now() + TimeDelta::minutes(minutes)).naive_utc();
        database.run(format!(
            "INSERT INTO circuit_breaker_state (user_id, integration_type, state, next_retry_at)
             VALUES ('{user}', 'google_contacts', '{state}', '{retry}')
             ON CONFLICT (user_id, integration_type) DO UPDATE SET state = '{state}', next_retry_at = '{retry}'"
        ))
    };
    for (state, minutes, expected) in
        [("open", 1, false), ("half_open", 1, false), ("open", 0, true), ("closed", 1, true)]
    {
        breaker(state, minutes).await;
        assert_eq!(!due(&database, GoogleContacts).await.is_empty(), expected, "{state} {minutes}");
    }

    let future = (now() + TimeDelta::seconds(1)).naive_utc();
    database.run(format!("UPDATE sync_schedule SET next_sync_at = '{future}'")).await;
    assert!(due(&database, GoogleContacts).await.is_empty());
    database.run("UPDATE sync_schedule SET next_sync_at = '2001-01-01'").await;
    assert_eq!(due(&database, GoogleContacts).await, [user]);

    database
        .run(
            "INSERT INTO token_health (user_id, integration_type, status)
              SELECT user_id, provider, 'revoked' FROM oauth_tokens",
        )
        .await;
    assert!(due(&database, GoogleContacts).await.is_empty());
    let entry = Entry::Check;
    let admission_now = async || admission(&database, user, GoogleContacts, entry, now()).await;
    assert_eq!(admission_now().await, Admission::Refused(Refusal::TokenRevoked));
    database.run("UPDATE token_health SET last_checked = '2026-01-01'; UPDATE oauth_tokens SET access_token = 'new'").await;
    assert_eq!(due(&database, GoogleContacts).await, [user], "the user has connected again since");
    assert!(matches!(admission_now().await, Admission::Admitted(_)));
    database.run("DELETE FROM token_health; DELETE FROM oauth_tokens").await;
    assert!(due(&database, GoogleContacts).await.is_empty());
}

#[tokio::test]
async fn a_sync_that_the_running_application_put_off_beyond_our_longest_interval_is_due() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    due(&database, GoogleContacts).await;
    for (days, expected) in [(5, false), (6, false), (7, true), (30, true)] {
        let next = (now() + TimeDelta::days(days)).naive_utc();
        database.run(format!("UPDATE sync_schedule SET next_sync_at = '{next}'")).await;
        assert_eq!(due(&database, GoogleContacts).await == [user], expected, "{days}");
    }
}

#[tokio::test]
async fn pages_of_the_sync_sweep_list_every_user_once() {
    let database = Database::new().await;
    let mut users = Vec::new();
    for _ in 0..7 {
        users.push(database.user(&[GoogleContacts]).await);
    }
    users.sort();
    // New users who are not due must not end the sweep: others may come behind them.
    for user in &users[..3] {
        database
            .run(format!(
                "INSERT INTO token_health (user_id, integration_type, status) VALUES ('{user}', 'google_contacts', 'revoked')"
            ))
            .await;
    }
    let (mut met, mut after) = (Vec::new(), Some(Uuid::nil()));
    while let Some(cursor) = after {
        let page =
            sync::due(&database.of::<SyncSchedules>(), GoogleContacts, now(), cursor, 2).await.unwrap();
        met.extend(page.users);
        after = page.next;
    }
    assert_eq!(met, users[3..]);
}

#[tokio::test]
async fn a_success_moves_the_schedule_and_leaves_a_row() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let admitted = admitted(&database, user, GoogleContacts).await;
    database
        .of::<Syncs>()
        .succeeded(&run(user, GoogleContacts, SyncKind::Full), &admitted, true, now())
        .await
        .unwrap();
    assert_eq!(hours_to_next(&database).await, 5 * 24);
    let row = "SELECT sync_type, result, duration_ms, items_processed, api_calls_made, api_calls_saved FROM sync_metrics";
    let expected = ("full".to_owned(), "success".to_owned(), 1234, 7, 2, 3);
    assert_eq!(database.rows::<(String, String, i32, i32, i32, i32)>(row).await, [expected]);
}

#[tokio::test]
async fn five_syncs_without_a_change_make_the_interval_longer() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let run = run(user, GoogleContacts, SyncKind::Incremental);
    for expected in [120, 120, 120, 120, 144, 144] {
        let admitted = admitted(&database, user, GoogleContacts).await;
        database.of::<Syncs>().succeeded(&run, &admitted, false, now()).await.unwrap();
        assert_eq!(hours_to_next(&database).await, expected);
    }
    let admitted = admitted(&database, user, GoogleContacts).await;
    database.of::<Syncs>().succeeded(&run, &admitted, true, now()).await.unwrap();
    assert_eq!(hours_to_next(&database).await, 120);
}

#[tokio::test]
async fn an_active_push_channel_makes_it_twelve_hours_for_calendars_alone() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar, GoogleContacts]).await;
    for (integration, days, expected) in
        [(GoogleCalendar, 1, 12), (GoogleCalendar, -1, 24), (GoogleContacts, 1, 5 * 24)]
    {
        let run = run(user, integration, SyncKind::Incremental);
        let expiration = (now() + TimeDelta::days(days)).naive_utc();
        database
            .run(format!(
                "DELETE FROM sync_schedule;
                 INSERT INTO calendar_webhook_subscriptions
                     (user_id, channel_id, resource_id, resource_uri, expiration, token)
                 VALUES ('{user}', 'c', 'r', 'u', '{expiration}', 't')
                 ON CONFLICT (user_id) DO UPDATE SET expiration = excluded.expiration"
            ))
            .await;
        let admitted = admitted(&database, user, integration).await;
        database.of::<Syncs>().succeeded(&run, &admitted, false, now()).await.unwrap();
        assert_eq!(hours_to_next(&database).await, expected);
    }
}

#[tokio::test]
async fn the_onboarding_interval_holds_for_a_day_after_the_first_connection() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar]).await;
    database.run(format!("UPDATE oauth_tokens SET created_at = '{}'", now() - TimeDelta::hours(23))).await;
    assert_eq!(due(&database, GoogleCalendar).await, [user]);
    let admitted = admitted(&database, user, GoogleCalendar).await;
    database
        .of::<Syncs>()
        .succeeded(&run(user, GoogleCalendar, SyncKind::Full), &admitted, false, now())
        .await
        .unwrap();
    assert_eq!(hours_to_next(&database).await, 2);
}

#[tokio::test]
async fn failures_back_off_and_a_success_starts_over() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let run = run(user, GoogleContacts, SyncKind::Incremental);
    let admitted = admitted(&database, user, GoogleContacts).await;
    for minutes in [5, 10, 20] {
        database.of::<Syncs>().failed(&run, &admitted, "google answers 500", true, now()).await.unwrap();
        let next: NaiveDateTime = database.value("SELECT next_sync_at FROM sync_schedule").await;
        assert_eq!((next.and_utc() - now()).num_minutes(), minutes);
    }
    assert_eq!(database.value::<String>("SELECT state FROM circuit_breaker_state").await, "open");
    database.of::<Syncs>().succeeded(&run, &admitted, true, now()).await.unwrap();
    let breaker = "SELECT state, failure_count FROM circuit_breaker_state";
    assert_eq!(database.rows::<(String, i32)>(breaker).await, [("closed".to_owned(), 0)]);
}

#[tokio::test]
async fn what_a_person_asks_for_leaves_the_schedule_alone() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let admitted = admitted(&database, user, GoogleContacts).await;
    let run = run(user, GoogleContacts, SyncKind::Manual);
    database.of::<Syncs>().succeeded(&run, &admitted, true, now()).await.unwrap();
    database.of::<Syncs>().failed(&run, &admitted, "", true, now()).await.unwrap();
    assert_eq!(database.value::<i64>("SELECT count(*) FROM sync_schedule").await, 0);
    assert_eq!(
        database.value::<i64>("SELECT count(*) FROM sync_metrics WHERE sync_type = 'manual'").await,
        2
    );
    assert_eq!(database.value::<i32>("SELECT failure_count FROM circuit_breaker_state").await, 1);
}

#[tokio::test]
async fn a_skipped_sync_leaves_a_row_and_nothing_else() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    database
        .of::<Syncs>()
        .skipped(&run(user, GoogleContacts, SyncKind::Full), "circuit_open", now())
        .await
        .unwrap();
    let rows = database.rows::<(String, String)>("SELECT result, skip_reason FROM sync_metrics").await;
    assert_eq!(rows, [("skipped".to_owned(), "circuit_open".to_owned())]);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM sync_schedule").await, 0);
}
