//! What a sync covers, and what it waits for.

use catchup::limits::GOOGLE_CALENDAR;
use catchup::payload::{CalendarSync, Trigger};
use catchup::queues;
use catchup::webhooks::enqueue_sync;
use google_stand_in::Call;
use serde_json::json;
use shared::rate_limit::Decision;
use shared::tasks::{Options, Tasks};
use uuid::Uuid;

use crate::fixture::{Fixture, check, check_done};

impl Fixture {
    pub(crate) fn tasks(&self) -> Tasks {
        self.stack.setup(self.google.environment()).tasks().unwrap()
    }

    /// A notification of Google's.
    pub(crate) async fn notify(&self) {
        let _covered = enqueue_sync(&self.tasks(), self.user).await.unwrap();
    }

    /// The schedule, or a person, asks for a sync.
    pub(crate) async fn ask(&self, trigger: Trigger) {
        let sync = CalendarSync { user_id: self.user, trigger: Some(trigger) };
        self.tasks().enqueue(&sync, Options::default()).await.unwrap();
    }

    async fn hold(&self, minutes: i64) {
        self.stack
            .run(&format!(
                "INSERT INTO jobs.sync_locks (user_id, integration, run, since, held_until)
                 VALUES ('{}', 'google_calendar', '{}', now(), now() + interval '{minutes} minutes')",
                self.user,
                Uuid::new_v4()
            ))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_begins_inside_the_window_does_not_stand_for_the_one_at_its_end() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.sync().await.outcome(), "done");
    fixture.notify().await;
    fixture.stack.advance(1);
    check_done(&fixture.sync().await, 0);
    fixture.stack.advance(-61);
    let event = fixture.add_event(&fixture.primary, "Tea");
    fixture.notify().await;
    let mut tasks = fixture.stack.take_tasks(queues::CALENDAR_SYNC).await;
    assert_eq!(tasks.len(), 1, "one task for the window");
    let task = tasks.remove(0);
    fixture.stack.advance_to(task.due);
    let answer = fixture.service.deliver(task).await;
    check_done(&answer, 1);
    assert!(fixture.calendar_of(&event).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_every_four_seconds_the_last_one_is_there_at_the_end_of_its_window() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.sync().await.outcome(), "done");
    for number in 0..20 {
        let event = fixture.add_event(&fixture.primary, &number.to_string());
        fixture.notify().await;
        if number % 6 == 5 {
            // The hour's sync comes in between.
            let answer = fixture.deliver(&json!({ "userId": fixture.user, "trigger": "schedule" })).await;
            assert_eq!(answer.outcome(), "done", "{answer:?}");
            assert!(fixture.calendar_of(&event).await.is_some());
        }
        fixture.stack.advance(4);
    }
    let mut tasks = fixture.stack.take_tasks(queues::CALENDAR_SYNC).await;
    tasks.sort_by_key(|task| task.due);
    assert!(tasks.len() <= 4, "{tasks:?}");
    for task in tasks {
        fixture.stack.advance_to(task.due);
        let answer = fixture.service.deliver(task).await;
        assert_eq!(answer.outcome(), "done", "{answer:?}");
    }
    fixture.check_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_another_one_keeps_waiting_is_rescheduled_and_recorded_nowhere() {
    let fixture = Fixture::new().await;
    fixture.hold(5).await;
    check(&fixture.sync().await, 200, "snoozed", "");
    assert_eq!(fixture.count("sync_metrics").await, 0);
    assert_eq!(fixture.calls(Call::CalendarListList), 0);
    check(&fixture.resume().await, 200, "snoozed", "");
    fixture.stack.run("DELETE FROM jobs.sync_locks").await;
    assert_eq!(fixture.resume().await.outcome(), "done");
    assert_eq!(fixture.results().await.len(), 1);
    assert_eq!(fixture.count("jobs.sync_locks").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_waited_for_what_another_one_has_read_makes_no_call() {
    let fixture = Fixture::new().await;
    let event = fixture.add_event(&fixture.primary, "Tea");
    for trigger in [Trigger::Manual, Trigger::Schedule] {
        fixture.ask(trigger).await;
    }
    let tasks = fixture.stack.take_tasks(queues::CALENDAR_SYNC).await;
    fixture.stack.advance(1);
    for task in tasks {
        let answer = fixture.service.deliver(task).await;
        assert_eq!(answer.outcome(), "done", "{answer:?}");
    }
    assert!(fixture.calendar_of(&event).await.is_some());
    assert_eq!((fixture.calls(Call::CalendarListList), fixture.calls(Call::EventsList)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_another_task_began_does_not_stand_for_what_changed_since() {
    let fixture = Fixture::new().await;
    for number in 0..2600 {
        fixture.add_event(&fixture.primary, &number.to_string());
    }
    let spent = fixture.limiter.acquire_many(&GOOGLE_CALENDAR, fixture.user, GOOGLE_CALENDAR.max - 2).await;
    assert_eq!(spent, Decision::Allowed);
    check(&fixture.deliver(&json!({ "userId": fixture.user })).await, 200, "snoozed", "");
    fixture.stack.advance(61);
    let event = fixture.add_event(&fixture.primary, "new");
    let answer = fixture.sync().await;
    assert_eq!(answer.outcome(), "done", "{answer:?}");
    assert!(fixture.calendar_of(&event).await.is_some());
    assert_eq!(fixture.calls(Call::EventsList), 3, "what was read before is not read again");
    fixture.check_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_whose_token_does_not_stand_any_more_is_not_returned_to() {
    let fixture = Fixture::new().await;
    let event = fixture.add_event(&fixture.primary, "Tea");
    assert_eq!(fixture.sync().await.outcome(), "done");
    let (user, calendar) = (fixture.user, &fixture.primary);
    fixture
        .stack
        .run(&format!(
            "INSERT INTO jobs.calendar_positions
                 (user_id, calendar_id, page_token, sync_token, horizon, began_at, seen)
             VALUES ('{user}', '{calendar}', 'old', 'old', now() + interval '60 days', now(), '{{}}')"
        ))
        .await;
    let other = fixture.add_event(&fixture.primary, "Coffee");
    check_done(&fixture.sync().await, 1);
    for event in [event, other] {
        assert!(fixture.calendar_of(&event).await.is_some());
    }
    assert_eq!(
        fixture.calls(Call::EventsList),
        2,
        "the second asked for changes, and for no page of the old listing"
    );
}
