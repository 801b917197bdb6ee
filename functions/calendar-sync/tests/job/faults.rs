//! One calendar that Google does not show as it should: the others arrive within the same run.

use catchup::queues;
use chrono::TimeDelta;
use google_stand_in::{Call, Event, Fault, FaultKind, Times};
use serde_json::json;

use crate::fixture::{Fixture, check_done};

const SICK: &str = "a@example.test";
const HEALTHY: &str = "b@example.test";

impl Fixture {
    /// A calendar that fails so, and one behind it, each with an event.
    async fn with_sick(kind: FaultKind) -> (Self, [Event; 2]) {
        let fixture = Self::new().await;
        for id in [SICK, HEALTHY] {
            fixture.add_calendar(id, true).await;
        }
        let events = [SICK, HEALTHY].map(|id| fixture.add_event(id, "Tea"));
        fixture.make_sick(kind);
        (fixture, events)
    }

    fn make_sick(&self, kind: FaultKind) {
        let fault = Fault::new(kind).call(Call::EventsList).calendar(SICK).times(Times::Forever);
        self.world().inject(fault);
    }

    /// Delivers the sync that is to try the calendar again.
    async fn try_again(&self) {
        let mut tasks = self.stack.take_tasks(queues::CALENDAR_SYNC).await;
        assert_eq!(tasks.len(), 1, "{tasks:?}");
        let task = tasks.remove(0);
        self.stack.advance_to(task.due);
        let answer = self.service.deliver(task).await;
        assert_eq!(answer.outcome(), "done", "{answer:?}");
        // So that the next sync is within the limit of Google's calls.
        self.stack.advance(61);
    }
}

/// A calendar that fails so is skipped, and read as soon as it works again.
async fn check_skipped(kind: FaultKind) {
    let (fixture, [sick, healthy]) = Fixture::with_sick(kind).await;
    let answer = fixture.sync().await;
    check_done(&answer, 1);
    assert_eq!(answer.body["result"]["skipped"], json!(1), "{kind:?}");
    assert!(fixture.calendar_of(&healthy).await.is_some(), "{kind:?}");
    assert_eq!(fixture.calendar_of(&sick).await, None, "{kind:?}");
    assert_eq!(fixture.count("circuit_breaker_state WHERE failure_count > 0").await, 0, "{kind:?}");
    assert!(fixture.stack.dead_letters().await.is_empty(), "{kind:?}");

    fixture.world().clear_faults();
    if matches!(kind, FaultKind::Refused { .. }) {
        // It waits for the user's next sync.
        assert_eq!(fixture.sync().await.outcome(), "done");
    } else {
        fixture.try_again().await;
    }
    assert!(fixture.calendar_of(&sick).await.is_some(), "{kind:?}");
    assert!(fixture.stack.take_tasks(queues::CALENDAR_SYNC).await.is_empty(), "{kind:?}");
    assert_eq!(fixture.count("jobs.calendar_sync_state WHERE failures > 0").await, 0, "{kind:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_that_google_refuses_to_show_stops_no_other() {
    for status in [400, 403, 404] {
        check_skipped(FaultKind::Refused { status }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_that_google_cannot_show_stops_no_other() {
    for kind in [FaultKind::ServerError { status: 500 }, FaultKind::ServerError { status: 503 }] {
        check_skipped(kind).await;
    }
    for kind in [FaultKind::Garbage, FaultKind::Reset, FaultKind::Huge, FaultKind::Gone] {
        check_skipped(kind).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_failure_costs_a_calendar_no_time() {
    for kind in [FaultKind::ServerError { status: 503 }, FaultKind::Garbage, FaultKind::Gone] {
        let (fixture, _) = Fixture::with_sick(FaultKind::Slow { delay_ms: 0 }).await;
        check_done(&fixture.sync().await, 2);
        let event = fixture.add_event(SICK, "Coffee");
        fixture.world().clear_faults();
        fixture.world().inject(Fault::new(kind).call(Call::EventsList).calendar(SICK));
        let answer = fixture.sync().await;
        check_done(&answer, 1);
        assert_eq!(answer.body["result"]["skipped"], json!(0), "{kind:?}");
        assert!(fixture.calendar_of(&event).await.is_some(), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_may_be_chance_keeps_no_later_sync_from_asking() {
    let (fixture, [sick, _]) = Fixture::with_sick(FaultKind::ServerError { status: 503 }).await;
    let task = json!({ "userId": fixture.user });
    let answer = fixture.deliver(&task).await;
    assert_eq!(answer.body["result"]["skipped"], json!(1), "{answer:?}");
    fixture.world().clear_faults();
    fixture.stack.advance(1);
    let answer = fixture.deliver(&task).await;
    assert_eq!(answer.body["result"]["skipped"], json!(0), "{answer:?}");
    assert!(fixture.calendar_of(&sick).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_calendars_that_fail_transiently_each_is_tried_again_in_its_time() {
    let (fixture, [sick, _]) = Fixture::with_sick(FaultKind::ServerError { status: 503 }).await;
    fixture.sync().await;
    fixture.try_again().await;
    // It fails for the third time, and the other one in the same run for the first.
    let other = fixture.add_event(HEALTHY, "Coffee");
    fixture.world().inject(
        Fault::new(FaultKind::ServerError { status: 503 })
            .call(Call::EventsList)
            .calendar(HEALTHY)
            .times(Times::Count(2)),
    );
    fixture.try_again().await;
    assert_eq!(fixture.count("jobs.calendar_sync_state WHERE failures > 0").await, 2);
    fixture.try_again().await;
    assert!(fixture.calendar_of(&other).await.is_some());
    fixture.world().clear_faults();
    fixture.try_again().await;
    assert!(fixture.calendar_of(&sick).await.is_some());
    assert!(fixture.stack.take_tasks(queues::CALENDAR_SYNC).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_five_refusals_a_calendar_blocks_nobodys_time_until_it_works_again() {
    let (fixture, [sick, healthy]) = Fixture::with_sick(FaultKind::Slow { delay_ms: 0 }).await;
    check_done(&fixture.sync().await, 2);
    fixture.world().clear_faults();
    fixture.make_sick(FaultKind::Refused { status: 403 });
    assert_eq!(fixture.sync().await.outcome(), "done");
    for minutes in [1, 4, 16, 64] {
        assert!(fixture.calendar_of(&sick).await.is_some(), "not yet");
        // The sync before has moved the clock by a minute.
        fixture.stack.advance((minutes - 1) * 60);
        let calls = fixture.calls(Call::EventsList);
        assert_eq!(fixture.sync().await.outcome(), "done");
        assert_eq!(fixture.calls(Call::EventsList), calls + 2, "after {minutes} minutes");
    }
    assert_eq!(fixture.calendar_of(&sick).await, None);
    assert!(fixture.calendar_of(&healthy).await.is_some());
    let waiting = fixture.stack.take_tasks(queues::CALENDAR_SYNC).await;
    assert!(waiting.is_empty(), "the user's schedule is often enough");
    let calls = fixture.calls(Call::EventsList);
    let answer = fixture.sync().await;
    assert_eq!(answer.body["result"]["skipped"], json!(1));
    assert_eq!(fixture.calls(Call::EventsList), calls + 1, "of the other calendar");

    fixture.world().clear_faults();
    fixture.stack.advance(13 * 3600);
    assert_eq!(fixture.sync().await.outcome(), "done");
    assert!(fixture.calendar_of(&sick).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transient_failure_costs_a_calendar_no_event_however_long_it_takes() {
    let (fixture, [sick, _]) = Fixture::with_sick(FaultKind::Slow { delay_ms: 0 }).await;
    check_done(&fixture.sync().await, 2);
    fixture.world().clear_faults();
    fixture.make_sick(FaultKind::ServerError { status: 503 });
    fixture.sync().await;
    for _ in 0..4 {
        fixture.try_again().await;
    }
    for _ in 0..3 {
        fixture.stack.advance(13 * 3600);
        fixture.sync().await;
    }
    assert!(fixture.calendar_of(&sick).await.is_some());
    let calls = fixture.calls(Call::EventsList);
    fixture.world().clear_faults();
    fixture.stack.advance(13 * 3600);
    check_done(&fixture.sync().await, 0);
    assert_eq!(fixture.calls(Call::EventsList), calls + 2, "its sync token is as good as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_whose_pages_are_too_large_is_read_in_smaller_ones() {
    for (page_size, pages) in [(250, 2), (50, 6)] {
        let (fixture, _) = Fixture::with_sick(FaultKind::HugeAbove { page_size }).await;
        for _ in 0..259 {
            fixture.add_event(SICK, "Tea");
        }
        assert_eq!(fixture.sync().await.outcome(), "done");
        assert_eq!(fixture.count(&format!("calendar_events WHERE calendar_id = '{SICK}'")).await, 260);
        let too_large = if page_size == 250 { 1 } else { 2 };
        assert_eq!(fixture.calls(Call::EventsList), 1 + too_large + pages);

        // Incremental ones, too: Google takes the token with pages of no other size.
        fixture.add_event(SICK, "Coffee");
        check_done(&fixture.sync().await, 1);
        assert_eq!(fixture.calls(Call::EventsList), 1 + too_large + pages + 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_without_sync_tokens_keeps_its_rows_and_is_read_in_full() {
    let (fixture, [sick, _]) = Fixture::with_sick(FaultKind::NoSyncToken).await;
    check_done(&fixture.sync().await, 2);
    check_done(&fixture.sync().await, 0);
    assert!(fixture.calendar_of(&sick).await.is_some());
    let other = fixture.add_event(SICK, "Coffee");
    fixture.world().delete_event(fixture.user, SICK, &sick.id).unwrap();
    check_done(&fixture.sync().await, 2);
    assert_eq!(fixture.calendar_of(&sick).await, None);
    assert!(fixture.calendar_of(&other).await.is_some());

    fixture.world().clear_faults();
    fixture.make_sick(FaultKind::NoSyncToken);
    fixture.make_sick(FaultKind::Empty);
    fixture.world().inject(Fault::new(FaultKind::Empty).call(Call::EventsList).calendar(SICK));
    assert_eq!(fixture.sync().await.outcome(), "done");
    assert!(fixture.calendar_of(&other).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_a_primary_calendar_or_without_any_wipes_nothing() {
    let fixture = Fixture::new().await;
    let event = fixture.add_event(&fixture.primary, "Tea");
    assert_eq!(fixture.sync().await.outcome(), "done");
    for kind in [FaultKind::NoPrimary, FaultKind::Empty] {
        let before = fixture.count("calendar_events").await;
        fixture.fail(Call::CalendarListList, kind, Times::Count(1));
        check_done(&fixture.sync().await, 0);
        assert!(fixture.calendar_of(&event).await.is_some());
        assert_eq!(fixture.count("calendar_events").await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_list_never_has_a_primary_calendar_is_synced_all_the_same() {
    let fixture = Fixture::new().await;
    let event = fixture.add_event(&fixture.primary, "Tea");
    fixture.stack.run("DELETE FROM google_calendars").await;
    fixture.fail(Call::CalendarListList, FaultKind::NoPrimary, Times::Forever);
    assert_eq!(fixture.sync().await.outcome(), "done");
    assert_eq!(fixture.calendar_of(&event).await.as_deref(), Some("primary"));
    fixture.world().clear_faults();
    assert_eq!(fixture.sync().await.outcome(), "done");
    assert_eq!(fixture.calendar_of(&event).await.as_ref(), Some(&fixture.primary));
    assert_eq!(fixture.count("google_calendars WHERE selected AND is_primary").await, 1);
    assert_eq!(fixture.count("google_calendars").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_calendar_keeps_its_events_and_one_that_was_taken_away_does_not() {
    let fixture = Fixture::new().await;
    fixture.add_calendar(HEALTHY, true).await;
    let event = fixture.add_event(HEALTHY, "Tea");
    assert_eq!(fixture.sync().await.outcome(), "done");
    fixture.world().hide_calendar(fixture.user, HEALTHY, true).unwrap();
    check_done(&fixture.sync().await, 0);
    assert!(fixture.calendar_of(&event).await.is_some());
    fixture.world().delete_calendar(fixture.user, HEALTHY).unwrap();
    assert_eq!(fixture.sync().await.outcome(), "done");
    assert_eq!(fixture.calendar_of(&event).await, None);
    assert_eq!(
        fixture.count(&format!("google_calendars WHERE selected AND calendar_id = '{HEALTHY}'")).await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_series_leaves_no_event_that_google_does_not_have() {
    let fixture = Fixture::new().await;
    let event = fixture.add_event(&fixture.primary, "Choir");
    let (world, user, calendar) = (fixture.world(), fixture.user, &fixture.primary);
    fixture.check_equal_after_a_sync().await;
    let instances = world.make_series(user, calendar, &event.id, 5, TimeDelta::days(1)).unwrap();
    fixture.check_equal_after_a_sync().await;
    let third = instances[2].instants().0;
    let rest = world.split_series(user, calendar, &event.id, third, TimeDelta::hours(1)).unwrap();
    fixture.check_equal_after_a_sync().await;
    let later = third + TimeDelta::days(1);
    world.split_series(user, calendar, &rest, later, TimeDelta::hours(1)).unwrap();
    fixture.check_equal_after_a_sync().await;
    world.make_single(user, calendar, &rest).unwrap();
    fixture.check_equal_after_a_sync().await;
    world.make_single(user, calendar, &event.id).unwrap();
    fixture.check_equal_after_a_sync().await;
    assert_eq!(fixture.calls(Call::EventsList), 6, "each time by sync token");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_for_the_list_do_not_grow_with_the_runs_of_a_sync() {
    const CALENDARS: usize = 25;
    let fixture = Fixture::new().await;
    for number in 0..CALENDARS {
        fixture.add_calendar(&format!("calendar-{number:02}@example.test"), true).await;
    }
    let mut runs = 1;
    let mut answer = fixture.deliver(&json!({ "userId": fixture.user })).await;
    while answer.outcome() == "snoozed" {
        answer = fixture.resume().await;
        runs += 1;
    }
    assert_eq!(answer.outcome(), "done", "{answer:?}");
    assert_eq!(runs, 3, "ten calls a minute, and the list was one of them");
    assert_eq!(fixture.calls(Call::CalendarListList), 1);
    assert_eq!(fixture.calls(Call::EventsList), 25);
}
