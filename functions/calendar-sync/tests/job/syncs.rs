//! Whole syncs that meet a limit, a failure or a user's choice: over real servers and the stand-in for Google.

use std::sync::atomic::Ordering;

use calendar_sync::CalendarSync;
use catchup::limits::GOOGLE_CALENDAR;
use catchup::queues;
use google_stand_in::{Call, Event, FaultKind, Integration, Times};
use serde_json::json;
use shared::job::Job;
use shared::rate_limit::Decision;
use tests::{Delivery, RedisProxy};
use uuid::Uuid;

use crate::fixture::{Fixture, WINDOW_SECONDS, check, check_done};

#[tokio::test(flavor = "multi_thread")]
async fn more_calendars_than_calls_are_synced_in_two_runs_and_none_twice() {
    const CALENDARS: u64 = 12;
    let fixture = Fixture::new().await;
    for number in 0..CALENDARS {
        let id = format!("calendar-{number:02}@example.test");
        fixture.add_calendar(&id, true).await;
        fixture.add_event(&id, "Tea");
    }
    let answer = fixture.deliver(&json!({ "userId": fixture.user })).await;
    check(&answer, 200, "snoozed", "");
    assert_eq!(fixture.count("calendar_events").await, 9, "the list was the tenth call");

    let answer = fixture.resume().await;
    check_done(&answer, 12);
    assert_eq!(fixture.count("calendar_events").await, 12);
    assert_eq!(fixture.calls(Call::EventsList), CALENDARS);
    // One row, over both runs: the calendars are listed once.
    let rows = fixture
        .stack
        .rows::<(String, i32, i32)>("SELECT result, items_processed, api_calls_made FROM sync_metrics");
    assert_eq!(rows.await, [("success".to_owned(), 12, 13)]);
    assert_eq!(fixture.count("jobs.calendar_sync_runs WHERE changed > 0 OR items > 0").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn calendars_that_cannot_be_read_are_asked_for_once() {
    let fixture = Fixture::new().await;
    for number in 0..6 {
        fixture.add_calendar(&format!("calendar-{number}@example.test"), true).await;
    }
    // The sync before this one passed them over, and had to wait.
    fixture
        .stack.run(&format!(
            "INSERT INTO jobs.calendar_sync_state (user_id, calendar_id, last_sync_at)
             SELECT user_id, calendar_id, now() + interval '1 hour' FROM google_calendars WHERE user_id = '{}'",
            fixture.user
        ))
        .await;
    check_done(&fixture.sync().await, 0);
    assert_eq!(fixture.calls(Call::EventsList), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_sync_notifies_of_what_a_stopped_one_wrote() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.sync().await.outcome(), "done");
    fixture.stack.take_tasks(queues::SUGGESTION_REGENERATION).await;
    fixture
        .stack
        .run(&format!(
            "INSERT INTO jobs.calendar_sync_runs (user_id, started_at, changed) VALUES ('{}', now(), 3)
             ON CONFLICT (user_id) DO UPDATE SET changed = excluded.changed",
            fixture.user
        ))
        .await;
    check_done(&fixture.sync().await, 3);
    assert_eq!(fixture.stack.take_tasks(queues::SUGGESTION_REGENERATION).await.len(), 1);
    check_done(&fixture.sync().await, 0);
    assert!(fixture.stack.take_tasks(queues::SUGGESTION_REGENERATION).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_met_between_two_pages_costs_neither_page_nor_event() {
    let fixture = Fixture::new().await;
    for number in 0..2600 {
        fixture.add_event(&fixture.primary, &number.to_string());
    }
    let spent = fixture.limiter.acquire_many(&GOOGLE_CALENDAR, fixture.user, GOOGLE_CALENDAR.max - 2).await;
    assert_eq!(spent, Decision::Allowed);
    check(&fixture.deliver(&json!({ "userId": fixture.user })).await, 200, "snoozed", "");
    // A page, but for events of the past year that are on it, too.
    let stored = fixture.count("calendar_events").await;
    assert!((2400..=2500).contains(&stored), "{stored}");

    let answer = fixture.resume().await;
    assert_eq!(answer.outcome(), "done", "{answer:?}");
    assert!(fixture.count("calendar_events WHERE summary ~ '^[0-9]+$'").await == 2600);
    assert_eq!(fixture.calls(Call::EventsList), 2);
    assert_eq!(fixture.count("jobs.calendar_positions").await, 0);
    check_done(&fixture.sync().await, 0);
    assert_eq!(fixture.calls(Call::EventsList), 3, "incremental");
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_own_limit_makes_the_task_wait_and_costs_no_attempt() {
    let fixture = Fixture::new().await;
    fixture.fail(Call::EventsList, FaultKind::TooManyRequests { retry_after_s: 30 }, Times::Count(1));
    check(&fixture.deliver(&json!({ "userId": fixture.user })).await, 200, "snoozed", "");
    assert_eq!(fixture.count("circuit_breaker_state WHERE failure_count > 0").await, 0);
    assert_eq!(fixture.resume().await.outcome(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_moves_between_selected_calendars_stays_one_row() {
    let fixture = Fixture::new().await;
    for (from, to) in [("a@example.test", "b@example.test"), ("d@example.test", "c@example.test")] {
        fixture.add_calendar(from, true).await;
        fixture.add_calendar(to, true).await;
        let event = fixture.add_event(from, "Choir");
        assert_eq!(fixture.sync().await.outcome(), "done");
        assert_eq!(fixture.calendar_of(&event).await.as_deref(), Some(from));
        fixture.world().move_event_to(fixture.user, from, &event.id, to).unwrap();
        assert_eq!(fixture.sync().await.outcome(), "done");
        assert_eq!(fixture.calendar_of(&event).await.as_deref(), Some(to));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_one_of_two_calendars_loses_stays_whichever_is_read_first() {
    let fixture = Fixture::new().await;
    fixture.add_calendar("unselected@example.test", false).await;
    for (loses, keeps) in [("a@example.test", "b@example.test"), ("d@example.test", "c@example.test")] {
        fixture.add_calendar(loses, true).await;
        fixture.add_calendar(keeps, true).await;
        let event = fixture.add_event(keeps, "Choir");
        assert_eq!(fixture.sync().await.outcome(), "done");
        fixture.world().add_event(fixture.user, loses, event.clone()).unwrap();
        assert_eq!(fixture.sync().await.outcome(), "done");
        assert_eq!(fixture.calendar_of(&event).await.as_deref(), Some(loses));
        fixture.world().move_event_to(fixture.user, loses, &event.id, "unselected@example.test").unwrap();
        assert_eq!(fixture.sync().await.outcome(), "done", "one run is enough");
        assert_eq!(fixture.calendar_of(&event).await.as_deref(), Some(keeps));
        fixture.check_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_choice_of_calendars_is_kept_and_followed() {
    let fixture = Fixture::new().await;
    let own = fixture.add_event(&fixture.primary, "Mine");
    fixture.add_calendar("choir@example.test", true).await;
    let choir = fixture.add_event("choir@example.test", "Choir");
    assert_eq!(fixture.sync().await.outcome(), "done");
    assert_eq!((fixture.calendar_of(&own).await, fixture.calendar_of(&choir).await.is_some()), (None, true));

    fixture.stack.run("UPDATE google_calendars SET selected = false").await;
    assert_eq!(fixture.sync().await.outcome(), "done");
    assert_eq!(
        (fixture.calendar_of(&own).await, fixture.calendar_of(&choir).await),
        (Some(fixture.primary.clone()), None)
    );

    fixture.stack.run("UPDATE google_calendars SET selected = NOT is_primary").await;
    assert_eq!(fixture.sync().await.outcome(), "done");
    assert!(fixture.calendar_of(&choir).await.is_some(), "it was read from its beginning again");
    fixture.world().delete_calendar(fixture.user, "choir@example.test").unwrap();
    assert_eq!(fixture.sync().await.outcome(), "done");
    assert_eq!(
        (fixture.calendar_of(&own).await, fixture.calendar_of(&choir).await),
        (Some(fixture.primary.clone()), None)
    );
    assert_eq!(fixture.count("google_calendars WHERE selected").await, 1, "what the user chose is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_event_that_is_changed_after_another_full_listing_stays() {
    let fixture = Fixture::new().await;
    let event = fixture.add_event(&fixture.primary, "Tea");
    assert_eq!(fixture.sync().await.outcome(), "done");
    fixture.stack.advance(10 * 24 * 3600);
    fixture.world().expire_sync_tokens(fixture.user).unwrap();
    assert_eq!(fixture.sync().await.outcome(), "done");
    assert!(fixture.calendar_of(&event).await.is_some(), "it ended a week ago");
    let change = |event: &mut Event| event.description = Some("It was good.".to_owned());
    fixture.world().change_event(fixture.user, &fixture.primary, &event.id, change).unwrap();
    assert_eq!(fixture.sync().await.outcome(), "done");
    assert!(fixture.calendar_of(&event).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_horizon_that_came_near_and_events_long_over_are_seen_to() {
    let fixture = Fixture::new().await;
    let event = fixture.add_event(&fixture.primary, "Tea");
    assert_eq!(fixture.sync().await.outcome(), "done");
    fixture.stack.run("UPDATE jobs.calendar_sync_state SET horizon = now() + interval '29 days'").await;
    // Google lists this one only when asked for everything.
    fixture.stack.run(&format!("DELETE FROM calendar_events WHERE google_event_id = '{}'", event.id)).await;
    fixture
        .stack.run(&format!(
            "INSERT INTO calendar_events (user_id, google_event_id, calendar_id, start_time, end_time, timezone)
             SELECT '{}', 'over-' || days, '{}', now() - days * interval '1 day', now() - days * interval '1 day', 'UTC'
             FROM (VALUES (29), (31)) AS v (days)",
            fixture.user, fixture.primary
        ))
        .await;
    assert_eq!(fixture.sync().await.outcome(), "done");
    assert!(fixture.calendar_of(&event).await.is_some());
    assert_eq!(fixture.count("jobs.calendar_sync_state WHERE horizon > now() + interval '59 days'").await, 1);
    let over = fixture
        .stack
        .rows::<(String,)>("SELECT google_event_id FROM calendar_events WHERE google_event_id LIKE 'over-%'");
    assert_eq!(over.await, [("over-29".to_owned(),)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_ask_for_other_suggestions_once_a_minute() {
    let fixture = Fixture::new().await;
    fixture.add_event(&fixture.primary, "Tea");
    assert_eq!(fixture.sync().await.outcome(), "done");
    let mut tasks = fixture.stack.take_tasks(queues::SUGGESTION_REGENERATION).await;
    assert_eq!(tasks.len(), 1);
    let envelope: serde_json::Value = serde_json::from_str(&tasks.remove(0).body).unwrap();
    assert_eq!(envelope["data"], json!({ "userId": fixture.user, "reason": "calendar_sync" }));

    check_done(&fixture.sync().await, 0);
    assert!(fixture.stack.take_tasks(queues::SUGGESTION_REGENERATION).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_response_of_google_deletes_nothing() {
    let fixture = Fixture::new().await;
    fixture.add_event(&fixture.primary, "Tea");
    assert_eq!(fixture.sync().await.outcome(), "done");
    let before = (fixture.count("calendar_events").await, fixture.count("google_calendars").await);
    for (call, outcome) in [(Call::CalendarListList, "retry"), (Call::EventsList, "done")] {
        fixture.fail(call, FaultKind::Garbage, Times::Count(1));
        assert_eq!(fixture.sync().await.outcome(), outcome);
        assert_eq!((fixture.count("calendar_events").await, fixture.count("google_calendars").await), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_failed_tasks_open_the_breaker_and_one_success_closes_it() {
    let fixture = Fixture::new().await;
    fixture.fail(Call::CalendarListList, FaultKind::ServerError { status: 500 }, Times::Count(4));
    assert_eq!(fixture.sync().await.outcome(), "retry", "an attempt, not a task");
    for _ in 0..3 {
        fixture.fail_to_sync().await;
    }
    check(&fixture.sync().await, 200, "skipped", "circuit_breaker_open");
    assert_eq!(fixture.calls(Call::CalendarListList), 4);
    fixture
        .stack
        .run("UPDATE circuit_breaker_state SET next_retry_at = next_retry_at - interval '1 hour'")
        .await;
    assert_eq!(fixture.sync().await.outcome(), "done");
    assert_eq!(fixture.count("circuit_breaker_state WHERE state = 'closed'").await, 1);
    let results: Vec<_> = fixture.results().await.into_iter().map(|(_, result, _)| result).collect();
    assert_eq!(results, ["failure", "failure", "failure", "failure", "skipped", "success"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_breaker_keeps_its_one_turn_for_a_sync_that_has_to_wait() {
    let fixture = Fixture::new().await;
    fixture
        .stack.run(&format!(
            "INSERT INTO circuit_breaker_state (user_id, integration_type, state, failure_count, next_retry_at)
             VALUES ('{}', 'google_calendar', 'open', 3, now() - interval '1 minute')",
            fixture.user
        ))
        .await;
    fixture.fail(Call::CalendarListList, FaultKind::RateLimit, Times::Count(1));
    check(&fixture.deliver(&json!({ "userId": fixture.user })).await, 200, "snoozed", "");
    assert_eq!(fixture.resume().await.outcome(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_scope_and_an_account_without_calendar_are_skipped_and_told_once() {
    let fixture = Fixture::new().await;
    fixture.fail(Call::CalendarListList, FaultKind::NotACalendarUser, Times::Count(1));
    for _ in 0..2 {
        check(&fixture.sync().await, 200, "skipped", "no_account");
    }
    assert_eq!(fixture.calls(Call::CalendarListList), 1, "it is asked again after a week");
    fixture.stack.run("DELETE FROM jobs.google_waits").await;

    fixture.world().untick_box(fixture.user, Integration::GoogleCalendar).unwrap();
    for _ in 0..2 {
        check(&fixture.sync().await, 200, "skipped", "missing_scope");
    }
    let told = fixture.stack.rows::<(String,)>(
        "SELECT message FROM token_health_notifications WHERE notification_type = 'token_invalid'",
    );
    assert_eq!(told.await.len(), 1);
    assert!(fixture.stack.dead_letters().await.is_empty());
    assert!(fixture.stack.rows::<(String,)>("SELECT state FROM circuit_breaker_state").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_switched_off_is_an_outage_and_no_failure_of_the_user() {
    let fixture = Fixture::new().await;
    fixture.fail(Call::CalendarListList, FaultKind::ApiDisabled, Times::Count(1));
    check(&fixture.sync().await, 503, "unavailable", "dependency");
    assert!(fixture.stack.failures().await.is_empty());
    assert!(fixture.results().await.is_empty(), "nothing is recorded against the user");
    check(&fixture.sync().await, 200, "done", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_cannot_be_synced_is_skipped_and_not_failed() {
    let fixture = Fixture::new().await;
    check(&fixture.deliver(&json!({ "userId": Uuid::new_v4() })).await, 200, "skipped", "unknown_user");
    // No one else is left to ask, so Google's word is believed.
    let others = format!(
        "DELETE FROM oauth_tokens WHERE user_id <> '{}' OR provider <> 'google_calendar'",
        fixture.user
    );
    fixture.stack.run(&others).await;
    fixture.world().revoke_grant(fixture.user, Integration::GoogleCalendar).unwrap();
    for _ in 0..2 {
        check(&fixture.sync().await, 200, "skipped", "token_revoked");
    }
    assert_eq!(fixture.calls(Call::Token), 1, "the second time its health is known");
    fixture.stack.run("DELETE FROM oauth_tokens").await;
    check(&fixture.sync().await, 200, "skipped", "not_connected");
    let results: Vec<_> =
        fixture.results().await.into_iter().map(|(_, result, reason)| (result, reason.unwrap())).collect();
    assert_eq!(
        results,
        ["token_revoked", "token_revoked", "not_connected"]
            .map(|reason| ("skipped".to_owned(), reason.to_owned()))
    );
    assert!(fixture.stack.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_whose_user_may_be_innocent_makes_the_task_wait_and_is_recorded_nowhere() {
    let fixture = Fixture::new().await;
    fixture.world().revoke_grant(fixture.user, Integration::GoogleCalendar).unwrap();
    check(&fixture.sync().await, 200, "snoozed", "");
    let task = fixture.stack.take_tasks(queues::CALENDAR_SYNC).await.remove(0);

    // As those of many are: the fault is ours.
    fixture
        .stack
        .run(
            "INSERT INTO jobs.refused_tokens (user_id, integration, since, refused_at)
             SELECT gen_random_uuid(), 'google_calendar', now(), now() FROM generate_series(1, 10)",
        )
        .await;
    fixture.stack.advance_to(task.due);
    let answer = fixture.service.deliver(task.clone()).await;
    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"), "{answer:?}");
    assert_eq!(fixture.count("sync_metrics").await, 0);

    fixture.world().restore_grant(fixture.user, Integration::GoogleCalendar).unwrap();
    assert_eq!(fixture.service.deliver(task.again(1)).await.outcome(), "done");
    assert_eq!(fixture.results().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trigger_of_a_sync_is_in_its_metrics() {
    let fixture = Fixture::new().await;
    for trigger in [json!(null), json!("webhook"), json!("manual"), json!("schedule")] {
        let answer = fixture.deliver(&json!({ "userId": fixture.user, "trigger": trigger })).await;
        assert_eq!(answer.outcome(), "done", "{answer:?}");
        fixture.stack.advance(WINDOW_SECONDS);
    }
    let kinds: Vec<_> = fixture.results().await.into_iter().map(|(kind, _, _)| kind).collect();
    assert_eq!(kinds, ["full", "webhook_triggered", "manual", "incremental"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_could_not_be_dropped_are_dropped_by_the_next_delivery_even_of_a_user_who_left_google() {
    for leaves in [false, true] {
        let fixture = Fixture::new().await;
        fixture.add_event(&fixture.primary, "new");
        let generation = format!("jobs:slots:{}:generation", fixture.user);
        let (proxy, fails) = RedisProxy::failing(&fixture.stack.gateway.url(), &generation);
        let redis = ("UPSTASH_REDIS_REST_URL", proxy.url("job"));
        let environment = fixture.google.environment().into_iter().chain([redis]);
        let job = CalendarSync::new(&mut fixture.stack.setup(environment)).unwrap();
        let service = fixture.stack.service_with(job, fixture.google.environment());
        let task = Delivery::of(queues::CALENDAR_SYNC, &json!({ "userId": fixture.user }));
        assert_eq!(service.deliver(task.clone()).await.status, 503);
        assert_eq!(fixture.count("calendar_events WHERE summary = 'new'").await, 1, "the event is here");
        assert_eq!(fixture.stack.take_tasks(queues::SUGGESTION_REGENERATION).await.len(), 0);

        fails.store(false, Ordering::SeqCst);
        if leaves {
            fixture.stack.run("DELETE FROM oauth_tokens").await;
        }
        fixture.stack.advance(WINDOW_SECONDS);
        let answer = service.deliver(task.again(1)).await;
        assert_eq!(answer.outcome(), if leaves { "skipped" } else { "done" }, "{answer:?}");
        assert_eq!(fixture.stack.redis(&["EXISTS", &generation]).await, redis::Value::Int(1), "dropped");
        assert_eq!(fixture.stack.take_tasks(queues::SUGGESTION_REGENERATION).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_of_calendars_that_are_known_acquires_its_calls_together() {
    let fixture = Fixture::new().await;
    for calendar in ["work", "sport"] {
        fixture.add_calendar(calendar, true).await;
    }
    assert_eq!(fixture.sync().await.outcome(), "done");
    fixture.billing_of_a_sync(1).await;
    assert_eq!(fixture.calls(Call::EventsList), 2 * 2, "the selected ones, in both syncs");
}
