//! The token endpoint and what an access token opens.

use axum::http::{StatusCode, header};
use chrono::TimeDelta;
use google_stand_in::{Config, GrantState, Integration};

use crate::site::{Api, Refusal, Site};

const CALENDAR_LIST: &str = "/calendar/v3/users/me/calendarList";
const CONNECTIONS: &str = "/v1/people/me/connections";

#[tokio::test]
async fn refresh_token_returns_an_access_token_for_an_hour() {
    let site = Site::open();
    let grant = site.user().calendar_grant.expect("a grant");
    let answer = site.refresh(&grant.refresh_token.expect("a refresh token")).await.ok();
    assert_eq!(answer["expires_in"], 3599);
    assert_eq!(answer["token_type"], "Bearer");
    assert!(answer["refresh_token"].is_null());
    let api = Api { site: &site, token: answer["access_token"].as_str().expect("a token").to_owned() };
    api.get(CALENDAR_LIST, &[]).await.ok();
    site.time.pass(TimeDelta::minutes(61));
    let refused = api.get(CALENDAR_LIST, &[]).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.reason(), "authError");
    assert!(refused.headers.contains_key(header::WWW_AUTHENTICATE));
}

#[tokio::test]
async fn access_token_of_one_api_is_refused_by_the_other() {
    let site = Site::open();
    let refused = site.calendar().await.get(CONNECTIONS, &[("personFields", "names")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(refused.info(), "ACCESS_TOKEN_SCOPE_INSUFFICIENT");
    let refused = site.contacts().await.get(CALENDAR_LIST, &[]).await;
    assert_eq!(refused.reason(), "insufficientPermissions");
}

#[tokio::test]
async fn token_endpoint_returns_the_error_code_of_each_invalid_request() {
    let site = Site::open();
    let config = Config::default();
    let good = site.user().calendar_grant.and_then(|grant| grant.refresh_token).expect("a refresh token");
    let (id, secret) = (config.client_id.as_str(), config.client_secret.as_str());
    for (client_id, client_secret, grant_type, refresh_token, status, error) in [
        ("other", secret, "refresh_token", good.as_str(), 401, "invalid_client"),
        (id, "other", "refresh_token", &good, 401, "invalid_client"),
        (id, secret, "password", &good, 400, "unsupported_grant_type"),
        (id, secret, "refresh_token", "1//unknown", 400, "invalid_grant"),
    ] {
        let answer = site
            .form(&[
                ("client_id", client_id),
                ("client_secret", client_secret),
                ("grant_type", grant_type),
                ("refresh_token", refresh_token),
            ])
            .await;
        assert_eq!((answer.status.as_u16(), answer.body["error"].as_str()), (status, Some(error)));
    }
    let answer =
        site.form(&[("client_id", id), ("client_secret", secret), ("grant_type", "refresh_token")]).await;
    assert_eq!(answer.body["error"], "invalid_request");
}

#[tokio::test]
async fn a_revoked_grant_stops_refreshing_and_its_access_tokens_until_it_is_restored() {
    let site = Site::open();
    let api = site.calendar().await;
    let user = site.user();
    let refresh_token = user.calendar_grant.and_then(|grant| grant.refresh_token).expect("a refresh token");
    site.world.revoke_grant(user.id, Integration::GoogleCalendar).expect("a grant");
    assert_eq!(api.get(CALENDAR_LIST, &[]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(site.refresh(&refresh_token).await.body["error"], "invalid_grant");
    site.world.restore_grant(user.id, Integration::GoogleCalendar).expect("a grant");
    site.refresh(&refresh_token).await.ok();
}

#[tokio::test]
async fn a_rotated_refresh_token_ends_when_its_successor_is_first_used() {
    let site = Site::open();
    let user = site.user();
    let old = user.calendar_grant.and_then(|grant| grant.refresh_token).expect("a refresh token");
    site.world.rotate_refresh_token(user.id, Integration::GoogleCalendar).expect("a grant");
    let new = site.refresh(&old).await.ok()["refresh_token"].as_str().expect("a new token").to_owned();
    assert_eq!(site.user().calendar_grant.and_then(|grant| grant.refresh_token), Some(new.clone()));
    site.refresh(&old).await.ok();
    assert!(site.refresh(&new).await.ok()["refresh_token"].is_null());
    assert_eq!(site.refresh(&old).await.body["error"], "invalid_grant");
    site.refresh(&new).await.ok();
}

#[tokio::test]
async fn the_seeded_access_tokens_work_until_they_expire_and_never_for_a_revoked_grant() {
    let site = Site::open();
    for user in site.world.users() {
        let Some(grant) = user.calendar_grant else { continue };
        let works = grant.state == GrantState::Granted && grant.access_token_expires_at > site.world.now();
        let api = Api { site: &site, token: grant.access_token };
        let expected = if works { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(api.get(CALENDAR_LIST, &[]).await.status, expected, "{}", user.email);
    }
}
