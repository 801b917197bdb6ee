//! The operator's routes.

use axum::http::StatusCode;
use google_stand_in::{Call, FaultKind, Integration, Times};
use reqwest::Method;
use serde_json::{Value, json};

use crate::site::{Site, text};

#[tokio::test]
async fn faults_are_set_by_address_or_id_shown_and_taken_away() {
    let site = Site::open();
    let user = site.user();
    let by_address =
        json!({"user": user.email, "call": "events.list", "kind": "slow", "delay_ms": 5, "times": "forever"});
    site.admin(Method::POST, "/faults", Some(by_address)).await.ok();
    let for_all = json!({"user": "*", "kind": "too_many_requests", "after": 2});
    site.admin(Method::POST, "/faults", Some(for_all)).await.ok();
    let faults = site.world.faults();
    assert_eq!((faults[0].user, faults[0].call), (Some(user.id), Some(Call::EventsList)));
    assert_eq!((faults[0].kind, faults[0].times), (FaultKind::Slow { delay_ms: 5 }, Times::Forever));
    assert_eq!((faults[1].user, faults[1].after, faults[1].times), (None, 2, Times::Count(1)));
    assert_eq!(site.admin(Method::GET, "/faults", None).await.ok().as_array().map(Vec::len), Some(2));
    assert_eq!(site.admin(Method::DELETE, "/faults", None).await.status, StatusCode::NO_CONTENT);
    assert!(site.world.faults().is_empty());
    for (body, status) in [
        (json!({"user": "unknown@example.test", "kind": "reset"}), StatusCode::NOT_FOUND),
        (json!({"call": "nonsense", "kind": "reset"}), StatusCode::BAD_REQUEST),
        (json!({"kind": "nonsense"}), StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        assert_eq!(site.admin(Method::POST, "/faults", Some(body)).await.status, status);
    }
}

#[tokio::test]
async fn the_world_ticks_and_is_summed_up() {
    let site = Site::open();
    let happened = site.admin(Method::POST, "/tick", Some(json!({"changes": 10}))).await.ok();
    let total: u64 = happened.as_object().expect("counts").values().filter_map(Value::as_u64).sum();
    assert_eq!(total, 10);
    let world = site.admin(Method::GET, "/world", None).await.ok();
    assert_eq!(world["users"].as_array().map(Vec::len), Some(12));
    assert_eq!(text(&world["users"][0], "email"), site.user().email);
}

#[tokio::test]
async fn calls_are_shown_and_counted_anew() {
    let site = Site::open();
    let user = site.user().id.to_string();
    site.token(Integration::GoogleCalendar).await;
    let calls = site.admin(Method::GET, "/calls", None).await.ok();
    assert_eq!((&calls["total"]["token"], &calls["users"][&user]["token"]), (&json!(1), &json!(1)));
    site.admin(Method::DELETE, "/calls", None).await;
    assert!(site.world.total_calls().is_empty());
}

#[tokio::test]
async fn a_users_world_is_changed_by_route() {
    let site = Site::open();
    let user = site.user();
    let at = |path: &str| format!("/users/{}{path}", user.email);
    let event = json!({"summary": "x", "start": "2026-03-21T09:00:00Z", "minutes": 30});
    let added = site.admin(Method::POST, &at("/calendars/primary/events"), Some(event)).await.ok();
    let event = at(&format!("/calendars/primary/events/{}", text(&added, "id")));
    let moved = site.admin(Method::POST, &format!("{event}/move"), Some(json!({"minutes": 60}))).await.ok();
    assert_eq!(moved["time"]["timed"]["start"], "2026-03-21T10:00:00Z");
    assert_eq!(site.admin(Method::DELETE, &event, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(site.admin(Method::DELETE, &event, None).await.status, StatusCode::NOT_FOUND);

    let person = json!({"name": {"given": "Ada", "family": "Test"}});
    let added = site.admin(Method::POST, &at("/people"), Some(person)).await.ok();
    let person = at(&format!("/{}", text(&added, "resource_name")));
    assert_eq!(site.admin(Method::DELETE, &person, None).await.status, StatusCode::NO_CONTENT);
    site.admin(Method::POST, &at("/address-book"), Some(json!({"people": 321}))).await;
    assert_eq!(site.world.people_count(user.id), Ok(321));

    for (path, status) in [
        ("/expire-sync-tokens", StatusCode::NO_CONTENT),
        ("/grants/google_calendar/revoke", StatusCode::NO_CONTENT),
        ("/grants/google_calendar/restore", StatusCode::NO_CONTENT),
        ("/grants/google_contacts/rotate-refresh-token", StatusCode::NO_CONTENT),
        ("/grants/google_contacts/nonsense", StatusCode::BAD_REQUEST),
        ("/grants/nonsense/revoke", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(site.admin(Method::POST, &at(path), None).await.status, status, "{path}");
    }
}
