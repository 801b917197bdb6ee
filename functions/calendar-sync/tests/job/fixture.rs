//! A user with a primary calendar, in a world whose faults are on demand.

use std::collections::BTreeSet;

use calendar_sync::CalendarSync;
use catchup::queues;
use chrono::{DateTime, TimeDelta, Utc};
use google_stand_in::{Calendar, Call, Event, Fault, FaultKind, SeedOptions, Times, World};
use serde_json::json;
use shared::job::Job;
use shared::rate_limit::Limiter;
use tests::{Answer, Delivery, Google, Service, Stack};
use uuid::Uuid;

/// Longer than the window of Google's limit.
pub(crate) const WINDOW_SECONDS: i64 = 61;

pub(crate) struct Fixture {
    pub(crate) stack: Stack,
    pub(crate) google: Google,
    pub(crate) service: Service,
    pub(crate) limiter: Limiter,
    pub(crate) user: Uuid,
    pub(crate) primary: String,
}

impl Fixture {
    /// A user with a primary calendar who was never synced.
    pub(crate) async fn new() -> Self {
        let stack = Stack::start().await;
        let google =
            Google::start(&stack, SeedOptions { users: 1, max_contacts: 1, ..SeedOptions::default() }).await;
        let user = google.world.users()[0].id;
        let primary = google.world.calendars(user).unwrap()[0].id.clone();
        let mut setup = stack.setup(google.environment());
        let limiter = setup.limiter().unwrap();
        let job = CalendarSync::new(&mut setup).unwrap();
        let service = stack.service_with(job, google.environment());
        let fixture = Self { stack, google, service, limiter, user, primary };
        // What the seed made of the calendars is of no interest here.
        for calendar in
            fixture.world().calendars(user).unwrap().into_iter().filter(|calendar| !calendar.primary)
        {
            fixture.world().delete_calendar(user, &calendar.id).unwrap();
        }
        fixture
    }

    pub(crate) fn world(&self) -> &World {
        &self.google.world
    }

    pub(crate) async fn sync(&self) -> Answer {
        let answer = self.deliver(&json!({ "userId": self.user })).await;
        // So that the next sync of the test is not kept waiting.
        self.stack.advance(WINDOW_SECONDS);
        answer
    }

    /// A sync that fails for good.
    pub(crate) async fn fail_to_sync(&self) {
        let task = Delivery::of(queues::CALENDAR_SYNC, &json!({ "userId": self.user }));
        let last = self.stack.but_for_one(queues::CALENDAR_SYNC, task).await;
        let answer = self.service.deliver(last).await;
        self.stack.advance(WINDOW_SECONDS);
        assert_eq!(answer.outcome(), "dead", "{answer:?}");
    }

    pub(crate) async fn deliver(&self, data: &serde_json::Value) -> Answer {
        self.service.deliver(Delivery::of(queues::CALENDAR_SYNC, data)).await
    }

    /// Delivers the task that waits, when its time has come.
    pub(crate) async fn resume(&self) -> Answer {
        let mut tasks = self.stack.take_tasks(queues::CALENDAR_SYNC).await;
        assert_eq!(tasks.len(), 1, "{tasks:?}");
        self.stack.advance(WINDOW_SECONDS);
        self.stack.advance_to(tasks[0].due);
        self.service.deliver(tasks.remove(0)).await
    }

    /// A calendar of the user, selected or not.
    pub(crate) async fn add_calendar(&self, id: &str, selected: bool) {
        let like = self.world().calendars(self.user).unwrap().remove(0);
        let calendar = Calendar { id: id.to_owned(), primary: false, ..like };
        self.world().add_calendar(self.user, calendar).unwrap();
        sqlx::query(
            "INSERT INTO google_calendars (user_id, calendar_id, name, selected) VALUES ($1, $2, $2, $3)",
        )
        .bind(self.user)
        .bind(id)
        .bind(selected)
        .execute(&mut self.stack.connect().await)
        .await
        .unwrap();
    }

    pub(crate) fn add_event(&self, calendar: &str, summary: &str) -> Event {
        let event = Event::timed(summary, self.world().now() + TimeDelta::days(3), TimeDelta::hours(1));
        self.world().add_event(self.user, calendar, event).unwrap()
    }

    pub(crate) fn calls(&self, call: Call) -> u64 {
        self.world().calls(self.user).get(&call).copied().unwrap_or_default()
    }

    pub(crate) fn fail(&self, call: Call, kind: FaultKind, times: Times) {
        self.world().inject(Fault::new(kind).call(call).times(times));
    }

    /// A sync without changes, which costs so many commands besides the two of its lease.
    pub(crate) async fn billing_of_a_sync(&self, commands: u64) {
        self.stack.billing.reset();
        check_done(&self.sync().await, 0);
        assert_eq!(self.stack.billing.reset().billed, 2 + commands);
    }

    pub(crate) async fn count(&self, what: &str) -> i64 {
        self.stack.rows::<(i64,)>(&format!("SELECT count(*) FROM {what}")).await[0].0
    }

    /// Where an event's only row is.
    pub(crate) async fn calendar_of(&self, event: &Event) -> Option<String> {
        let mut rows = self
            .stack
            .rows::<(String,)>(&format!(
                "SELECT calendar_id FROM calendar_events WHERE google_event_id = '{}'",
                event.id
            ))
            .await;
        assert!(rows.len() <= 1);
        rows.pop().map(|row| row.0)
    }

    /// Compares the events of the selected calendars with Google's.
    pub(crate) async fn check_equal(&self) {
        let (from, until) = (self.stack.now() - TimeDelta::days(1), self.stack.now() + TimeDelta::days(59));
        let selected: Vec<(String,)> =
            self.stack.rows("SELECT calendar_id FROM google_calendars WHERE selected").await;
        let mut expected = BTreeSet::new();
        for (calendar,) in selected {
            for event in self.world().events(self.user, &calendar).unwrap_or_default() {
                let (start, end) = event.instants();
                if end > from && start < until {
                    expected.insert((event.id.clone(), start.timestamp()));
                }
            }
        }
        let stored = format!(
            "SELECT google_event_id, start_time FROM calendar_events WHERE end_time > '{from}' AND start_time < '{until}'"
        );
        let stored: Vec<(String, DateTime<Utc>)> = self.stack.rows(&stored).await;
        let stored: BTreeSet<_> = stored.into_iter().map(|(id, start)| (id, start.timestamp())).collect();
        let missing: Vec<_> = expected.difference(&stored).collect();
        let wrong: Vec<_> = stored.difference(&expected).collect();
        assert_eq!((missing, wrong), (Vec::new(), Vec::new()), "missing, and not as Google has it");
    }

    pub(crate) async fn check_equal_after_a_sync(&self) {
        let answer = self.sync().await;
        assert_eq!(answer.outcome(), "done", "{answer:?}");
        self.check_equal().await;
    }

    /// The results of all syncs, in their order.
    pub(crate) async fn results(&self) -> Vec<(String, String, Option<String>)> {
        self.stack.rows("SELECT sync_type, result, skip_reason FROM sync_metrics ORDER BY created_at").await
    }
}

#[track_caller]
pub(crate) fn check_done(answer: &Answer, changed: u64) {
    assert_eq!((answer.status, answer.outcome()), (200, "done"), "{answer:?}");
    assert_eq!(answer.body["result"]["changed"], json!(changed), "{answer:?}");
}

#[track_caller]
pub(crate) fn check(answer: &Answer, status: u16, outcome: &str, reason: &str) {
    assert_eq!((answer.status, answer.outcome(), answer.reason()), (status, outcome, reason), "{answer:?}");
}
