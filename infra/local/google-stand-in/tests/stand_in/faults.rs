//! Faults: each kind as its caller sees it, for whom and how often.

use axum::http::StatusCode;
use google_stand_in::{Call, Fault, FaultKind, Integration, Times};

use tests::http::Answer;

use crate::site::{Api, Refusal, Site};

const CALENDAR_LIST: &str = "/calendar/v3/users/me/calendarList";
const CONNECTIONS: &str = "/v1/people/me/connections";

async fn calendar_list(api: &Api<'_>) -> Answer {
    api.get(CALENDAR_LIST, &[]).await
}

async fn connections(api: &Api<'_>) -> Answer {
    api.get(CONNECTIONS, &[("personFields", "names")]).await
}

#[tokio::test]
async fn each_kind_is_answered_as_google_answers_it() {
    let site = Site::open();
    let (calendar, contacts) = (site.calendar().await, site.contacts().await);
    for (kind, status, reason, info) in [
        (FaultKind::Unauthorized, 401, "authError", "ACCESS_TOKEN_EXPIRED"),
        (FaultKind::Revoked, 401, "authError", "ACCESS_TOKEN_EXPIRED"),
        (FaultKind::RateLimit, 403, "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"),
        (FaultKind::TooManyRequests { retry_after_s: 7 }, 429, "rateLimitExceeded", "RATE_LIMIT_EXCEEDED"),
        (FaultKind::DayQuota, 403, "rateLimitExceeded", "RATE_LIMIT_EXCEEDED"),
        (FaultKind::FirstPageQuota, 429, "rateLimitExceeded", "RATE_LIMIT_EXCEEDED"),
        (FaultKind::ApiDisabled, 403, "accessNotConfigured", "SERVICE_DISABLED"),
        (FaultKind::NotACalendarUser, 403, "notACalendarUser", ""),
        (FaultKind::AddressUnauthorized, 401, "push.webhookUrlUnauthorized", ""),
        (FaultKind::PushNotSupported, 400, "pushNotSupportedForRequestedResource", ""),
        (FaultKind::Gone, 410, "fullSyncRequired", ""),
        (FaultKind::ExpiredSyncToken, 400, "failedPrecondition", "EXPIRED_SYNC_TOKEN"),
        (FaultKind::ServerError { status: 503 }, 503, "backendError", ""),
    ] {
        site.world.inject(Fault::new(kind).times(Times::Count(2)));
        let answer = calendar_list(&calendar).await;
        assert_eq!((answer.status.as_u16(), answer.reason()), (status, reason));
        assert_eq!(answer.body["error"]["code"], status);
        let names_a_time = matches!(kind, FaultKind::TooManyRequests { .. });
        assert_eq!(answer.headers.contains_key("retry-after"), names_a_time);
        let answer = connections(&contacts).await;
        assert_eq!((answer.status.as_u16(), answer.info()), (status, info));
        assert!(answer.body["error"]["status"].is_string());
    }
    calendar_list(&calendar).await.ok();
}

#[tokio::test]
async fn a_call_without_its_scope_is_refused_in_googles_own_words() {
    let site = Site::open();
    let (calendar, contacts) = (site.calendar().await, site.contacts().await);
    for integration in Integration::ALL {
        site.world.untick_box(site.user().id, integration).expect("a grant");
    }
    let challenge = |answer: &Answer, scope: &str| {
        let value = answer.headers["www-authenticate"].to_str().expect("text").to_owned();
        value.contains("error=\"insufficient_scope\"") && value.contains(scope)
    };
    let answer = calendar_list(&calendar).await;
    assert_eq!((answer.status.as_u16(), answer.reason()), (403, "insufficientPermissions"));
    assert_eq!(answer.info(), "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "Calendar says it in both forms");
    assert!(challenge(&answer, "calendar.readonly"));
    let answer = connections(&contacts).await;
    assert_eq!((answer.status.as_u16(), answer.info()), (403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT"));
    assert_eq!(answer.body["error"]["status"], "PERMISSION_DENIED");
    assert!(challenge(&answer, "contacts.readonly"));

    site.world.tick_box(site.user().id, Integration::GoogleCalendar).expect("a user");
    calendar_list(&calendar).await.ok();
}

#[tokio::test]
async fn a_reset_breaks_the_connection_and_only_that_one() {
    let site = Site::open();
    let api = site.calendar().await;
    site.world.inject(Fault::new(FaultKind::Reset));
    assert!(api.try_get(CALENDAR_LIST, &[]).await.is_err());
    calendar_list(&api).await.ok();
}

#[tokio::test]
async fn garbage_is_a_good_status_with_a_body_that_is_no_json() {
    let site = Site::open();
    let api = site.calendar().await;
    site.world.inject(Fault::new(FaultKind::Garbage));
    let answer = calendar_list(&api).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.is_string());
}

#[tokio::test]
async fn a_slow_answer_is_the_right_one() {
    let site = Site::open();
    let api = site.calendar().await;
    site.world.inject(Fault::new(FaultKind::Slow { delay_ms: 1 }));
    calendar_list(&api).await.ok();
    assert!(site.world.faults().is_empty());
}

#[tokio::test]
async fn a_huge_body_continues_for_longer_than_any_client_reads() {
    use http_body_util::BodyExt as _;
    let site = Site::open();
    let api = site.calendar().await;
    site.world.inject(Fault::new(FaultKind::Huge));
    let client: hyper_util::client::legacy::Client<_, axum::body::Body> =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let request = axum::http::Request::get(format!("{}{CALENDAR_LIST}", site.base))
        .header("authorization", format!("Bearer {}", api.token))
        .body(axum::body::Body::empty())
        .expect("a request");
    let mut body = client.request(request).await.expect("an answer").into_body();
    let mut read = 0;
    while read < 4 << 20 {
        let frame = body.frame().await.expect("more").expect("data");
        read += frame.into_data().map_or(0, |data| data.len());
    }
}

#[tokio::test]
async fn the_token_endpoint_has_its_own_words() {
    let site = Site::open();
    let refresh_token =
        site.user().calendar_grant.and_then(|grant| grant.refresh_token).expect("a refresh token");
    for (kind, status, error) in [
        (FaultKind::Revoked, 400, "invalid_grant"),
        (FaultKind::Unauthorized, 401, "invalid_client"),
        (FaultKind::RateLimit, 403, "rate_limit_exceeded"),
        (FaultKind::TooManyRequests { retry_after_s: 1 }, 429, "rate_limit_exceeded"),
        (FaultKind::ServerError { status: 500 }, 500, "internal_failure"),
    ] {
        site.world.inject(Fault::new(kind).call(Call::Token));
        let answer = site.refresh(&refresh_token).await;
        assert_eq!((answer.status.as_u16(), answer.body["error"].as_str()), (status, Some(error)));
    }
    site.refresh(&refresh_token).await.ok();
}

#[tokio::test]
async fn a_fault_strikes_its_user_and_its_call_only() {
    let site = Site::open();
    let api = site.calendar().await;
    let other = site.world.users().swap_remove(1);
    site.world.inject(Fault::new(FaultKind::Gone).user(other.id).times(Times::Forever));
    site.world.inject(Fault::new(FaultKind::Gone).user(site.user().id).call(Call::EventsList).after(1));
    calendar_list(&api).await.ok();
    let events = "/calendar/v3/calendars/primary/events";
    assert_eq!(api.get(events, &[]).await.status, StatusCode::OK);
    assert_eq!(api.get(events, &[]).await.status, StatusCode::GONE);
    assert_eq!(api.get(events, &[]).await.status, StatusCode::OK);
    assert_eq!(site.world.faults().len(), 1, "the other user's is still armed");
    site.world.clear_faults();
    assert!(site.world.faults().is_empty());
}

#[tokio::test]
async fn every_call_is_counted_for_its_user_refused_ones_too() {
    let site = Site::open();
    let user = site.user().id;
    let api = site.calendar().await;
    let contacts = Api { site: &site, token: site.token(Integration::GoogleContacts).await };
    site.world.reset_calls();
    calendar_list(&api).await.ok();
    site.world.inject(Fault::new(FaultKind::Unauthorized));
    calendar_list(&api).await;
    connections(&contacts).await.ok();
    Api { site: &site, token: "unknown".to_owned() }.get(CALENDAR_LIST, &[]).await;
    let counts = site.world.calls(user);
    assert_eq!(counts.get(&Call::CalendarListList), Some(&2));
    assert_eq!(counts.get(&Call::PeopleConnectionsList), Some(&1));
    assert_eq!(counts.get(&Call::Token), None);
    assert_eq!(site.world.total_calls().get(&Call::CalendarListList), Some(&3));
}
