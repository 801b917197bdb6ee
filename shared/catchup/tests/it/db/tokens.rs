//! Tokens, their health, and the sweep over those that are due.

use catchup::db::oauth_tokens::{NewToken, OauthTokens, StoredToken};
use catchup::db::token_health::{HealthReport, Notice, NoticeKind, TokenHealth, TokenStatus};
use catchup::payload::Integration::{self, GoogleCalendar, GoogleContacts};
use chrono::TimeDelta;
use futures_util::future::join_all;
use sqlx::{Connection, Executor, PgConnection};
use tests::database::{Database, now};
use uuid::Uuid;

const BOTH: [Integration; 2] = [GoogleCalendar, GoogleContacts];

const INVALID: HealthReport<'_> = HealthReport {
    status: TokenStatus::Revoked,
    expires_at: None,
    error: Some("invalid_grant"),
    notice: Some(Notice {
        kind: NoticeKind::TokenInvalid,
        message: "connect again",
        re_auth_link: "https://app/",
    }),
};

fn renewed() -> NewToken<'static> {
    NewToken {
        access_token: "new access",
        refresh_token: None,
        expires_at: now() + TimeDelta::hours(1),
        is_sufficient: true,
    }
}

async fn stored(database: &Database, user: Uuid) -> StoredToken {
    database.of::<OauthTokens>().get(user, GoogleCalendar).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_user_has_the_integrations_that_have_tokens_not_known_to_be_revoked() {
    let database = Database::new().await;
    let user = database.user(&BOTH).await;
    database
        .run(format!("INSERT INTO oauth_tokens (user_id, provider, access_token) VALUES ('{user}', 'x', '')"))
        .await;
    assert_eq!(database.of::<OauthTokens>().working_integrations(user).await.unwrap(), BOTH);
    let old = stored(&database, user).await;
    assert!(database.of::<TokenHealth>().report(user, GoogleCalendar, &old, &INVALID, now()).await.unwrap());
    assert_eq!(database.of::<OauthTokens>().working_integrations(user).await.unwrap(), [GoogleContacts]);
    assert_eq!(database.of::<OauthTokens>().get(Uuid::new_v4(), GoogleCalendar).await.unwrap(), None);
}

#[tokio::test]
async fn a_renewed_token_is_stored_valid_and_resolves_what_was_open() {
    let database = Database::new().await;
    let user = database.user(&BOTH).await;
    let old = stored(&database, user).await;
    assert!(database.of::<TokenHealth>().report(user, GoogleCalendar, &old, &INVALID, now()).await.unwrap());
    assert!(
        database
            .of::<OauthTokens>()
            .store_refreshed(user, GoogleCalendar, &old, renewed(), now())
            .await
            .unwrap()
    );
    let token = stored(&database, user).await;
    assert_eq!(
        (token.access_token.as_str(), token.refresh_token.as_deref()),
        ("new access", Some("refresh"))
    );
    assert_eq!(database.value::<String>("SELECT status FROM token_health").await, "valid");
    assert!(database.value::<bool>("SELECT resolved_at IS NOT NULL FROM token_health_notifications").await);

    let rotated = NewToken { refresh_token: Some("rotated"), ..renewed() };
    assert!(
        database
            .of::<OauthTokens>()
            .store_refreshed(user, GoogleCalendar, &token, rotated, now())
            .await
            .unwrap()
    );
    assert_eq!(stored(&database, user).await.refresh_token.as_deref(), Some("rotated"));
}

#[tokio::test]
async fn a_token_that_was_replaced_meanwhile_is_neither_overwritten_nor_blamed() {
    let database = Database::new().await;
    let user = database.user(&BOTH).await;
    let old = stored(&database, user).await;
    database.run("UPDATE oauth_tokens SET access_token = 'connected again'").await;
    assert!(
        !database
            .of::<OauthTokens>()
            .store_refreshed(user, GoogleCalendar, &old, renewed(), now())
            .await
            .unwrap()
    );
    assert!(!database.of::<TokenHealth>().report(user, GoogleCalendar, &old, &INVALID, now()).await.unwrap());
    assert_eq!(stored(&database, user).await.access_token, "connected again");
    assert_eq!(database.value::<i64>("SELECT count(*) FROM token_health").await, 0);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM token_health_notifications").await, 0);
}

#[tokio::test]
async fn a_refresh_that_is_about_to_commit_is_waited_for_and_not_overwritten() {
    let database = Database::new().await;
    let user = database.user(&BOTH).await;
    let old = stored(&database, user).await;
    let mut refresh = PgConnection::connect_with(&database.options).await.unwrap();
    refresh.execute("BEGIN; UPDATE oauth_tokens SET access_token = 'new access'").await.unwrap();
    let db = database.db.clone();
    let report = tokio::spawn(async move {
        TokenHealth::from(db.clone()).report(user, GoogleCalendar, &old, &INVALID, now()).await
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while !report.is_finished() && database.value::<i64>(waiting).await == 0 {}
    refresh.execute("COMMIT").await.unwrap();
    assert!(!report.await.unwrap().unwrap());
    assert_eq!(database.value::<i64>("SELECT count(*) FROM token_health").await, 0);
}

#[tokio::test]
async fn twenty_concurrent_reports_open_one_notification() {
    let database = Database::new().await;
    let user = database.user(&BOTH).await;
    let old = stored(&database, user).await;
    let report =
        async || database.of::<TokenHealth>().report(user, GoogleCalendar, &old, &INVALID, now()).await;
    for result in join_all((0..20).map(|_| report())).await {
        assert!(result.unwrap());
    }
    assert_eq!(database.value::<i64>("SELECT count(*) FROM token_health_notifications").await, 1);
    database.run("UPDATE token_health_notifications SET resolved_at = now()").await;
    report().await.unwrap();
    assert_eq!(database.value::<i64>("SELECT count(*) FROM token_health_notifications").await, 2);
}

#[tokio::test]
async fn a_report_of_health_resolves_what_no_longer_holds() {
    let database = Database::new().await;
    let user = database.user(&BOTH).await;
    let old = stored(&database, user).await;
    let open = "SELECT count(*) FROM token_health_notifications WHERE resolved_at IS NULL";
    let soon = HealthReport {
        status: TokenStatus::ExpiringSoon,
        notice: Some(Notice { kind: NoticeKind::TokenExpiringSoon, message: "", re_auth_link: "" }),
        ..INVALID
    };
    let kind = "SELECT notification_type FROM token_health_notifications WHERE resolved_at IS NULL";
    for (report, expected) in [(&soon, "token_expiring_soon"), (&INVALID, "token_invalid")] {
        database.of::<TokenHealth>().report(user, GoogleCalendar, &old, report, now()).await.unwrap();
        assert_eq!(database.value::<String>(kind).await, expected);
        assert_eq!(database.value::<i64>(open).await, 1);
    }
    let valid = HealthReport { status: TokenStatus::Valid, expires_at: None, error: None, notice: None };
    database.of::<TokenHealth>().report(user, GoogleCalendar, &old, &valid, now()).await.unwrap();
    assert_eq!(database.value::<i64>(open).await, 0);
}

async fn due(database: &Database) -> Vec<Uuid> {
    database.of::<OauthTokens>().due(now(), Uuid::nil(), 500).await.unwrap().users
}

/// Tokens that last, checked an hour ago.
async fn healthy(database: &Database) -> Uuid {
    let user = database.user(&BOTH).await;
    for integration in BOTH {
        database
            .run(format!(
                "INSERT INTO token_health (user_id, integration_type, status, last_checked)
                 VALUES ('{user}', '{}', 'valid', '{}')",
                integration.as_str(),
                (now() - TimeDelta::hours(1)).naive_utc(),
            ))
            .await;
    }
    user
}

#[tokio::test]
async fn a_token_is_due_when_it_ends_soon_or_was_not_checked_for_a_day() {
    let database = Database::new().await;
    let user = healthy(&database).await;
    assert!(due(&database).await.is_empty());

    let ends = now() + TimeDelta::hours(47);
    database
        .run(format!("UPDATE oauth_tokens SET expires_at = '{ends}' WHERE provider = 'google_contacts'"))
        .await;
    assert_eq!(due(&database).await, [user]);

    let checked = (now() - TimeDelta::hours(25)).naive_utc();
    database
        .run(format!(
            "UPDATE token_health SET last_checked = '{checked}' WHERE integration_type = 'google_calendar'"
        ))
        .await;
    assert_eq!(due(&database).await, [user]);

    let revoked = "UPDATE token_health SET status = 'revoked', last_checked = '2100-01-01', error_message = ";
    for (error, believed) in [("'invalid_grant'", true), ("'something else'", false), ("NULL", false)] {
        database.run(format!("{revoked}{error}")).await;
        assert_eq!(due(&database).await.is_empty(), believed, "{error}");
    }
    database.run("DELETE FROM token_health").await;
    assert_eq!(due(&database).await, [user]);
}

#[tokio::test]
async fn pages_of_the_token_sweep_list_every_user_once() {
    let database = Database::new().await;
    let mut users = Vec::new();
    for _ in 0..7 {
        users.push(database.user(&BOTH).await);
    }
    users.sort();
    let (mut met, mut after) = (Vec::new(), Uuid::nil());
    loop {
        let page = database.of::<OauthTokens>().due(now(), after, 3).await.unwrap();
        met.extend(page.users);
        let Some(next) = page.next else { break };
        after = next;
    }
    assert_eq!(met, users);
}
