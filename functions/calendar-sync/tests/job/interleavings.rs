//! Any order of changes, notifications, syncs, crashes and delays: when all is quiet, Postgres has what Google has, and what
//! was changed before a sync was asked for is there when that sync is done.

use calendar_sync::CalendarSync;
use catchup::payload::Trigger;
use catchup::queues;
use chrono::{DateTime, TimeDelta, Utc};
use google_stand_in::{Call, Event, Fault, FaultKind};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use shared::job::Job;
use tests::{Answer, Delivery, Process, eventually};

use crate::fixture::Fixture;

const HISTORIES: usize = 12;
const STEPS: std::ops::Range<usize> = 15..40;
const CALENDARS: [&str; 2] = ["a@example.test", "b@example.test"];
const UNSELECTED: &str = "unselected@example.test";
/// Longer than any lease and any lock.
const EXPIRED: i64 = 600;
/// Of a calendar.
const LONGEST_BACKOFF: i64 = 43_200;
/// More would be a task that never ends.
const MAX_DELIVERIES: usize = 200;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Something changes in a calendar, and Google notifies.
    Change(Change, usize),
    /// The schedule asks for a sync, or a person.
    Ask(Trigger),
    Advance(i64),
    /// The first task that is due is delivered.
    Deliver,
    /// The first two are, at the same time.
    DeliverTwo,
    /// The first one is, and its process is killed with so many more calls.
    Crash(u64),
    /// The first one is, and stands still for so long that the next one overtakes it.
    Freeze,
    /// The next call about a calendar fails.
    Fail(FaultKind, usize),
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Add,
    Delete,
    Shift,
    MoveToTheOther,
    /// It is in both calendars.
    CopyToTheOther,
    /// What is in both leaves this one.
    LeaveOneOfTwo,
    MakeSeries,
    SplitSeries,
}

fn step() -> impl Strategy<Value = Step> {
    let change = prop_oneof![
        4 => Just(Change::Add),
        2 => Just(Change::Delete),
        2 => Just(Change::Shift),
        2 => Just(Change::MoveToTheOther),
        2 => Just(Change::CopyToTheOther),
        1 => Just(Change::LeaveOneOfTwo),
        1 => Just(Change::MakeSeries),
        1 => Just(Change::SplitSeries),
    ];
    let fault = prop_oneof![
        Just(FaultKind::Gone),
        Just(FaultKind::ServerError { status: 503 }),
        Just(FaultKind::Garbage),
        Just(FaultKind::NoSyncToken),
        Just(FaultKind::TooManyRequests { retry_after_s: 7 }),
    ];
    prop_oneof![
        8 => (change, 0..2_usize).prop_map(|(change, calendar)| Step::Change(change, calendar)),
        1 => Just(Step::Ask(Trigger::Schedule)),
        1 => Just(Step::Ask(Trigger::Manual)),
        6 => (1..40_i64).prop_map(Step::Advance),
        6 => Just(Step::Deliver),
        1 => Just(Step::DeliverTwo),
        1 => (0..4_u64).prop_map(Step::Crash),
        1 => Just(Step::Freeze),
        1 => (fault, 0..2_usize).prop_map(|(kind, calendar)| Step::Fail(kind, calendar)),
    ]
}

struct History {
    fixture: Fixture,
    waiting: Vec<Delivery>,
    changed_at: DateTime<Utc>,
    number: usize,
    /// Ended deliveries, of which there are at most [`MAX_DELIVERIES`].
    deliveries: usize,
    /// Syncs that stood still in the middle while another one began.
    overtaken: usize,
}

impl History {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        for id in CALENDARS {
            fixture.add_calendar(id, true).await;
        }
        fixture.add_calendar(UNSELECTED, false).await;
        let changed_at = fixture.stack.now();
        Self { fixture, waiting: Vec::new(), changed_at, number: 0, deliveries: 0, overtaken: 0 }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Change(change, calendar) => {
                self.change(change, calendar);
                self.changed_at = self.fixture.stack.now();
                self.fixture.notify().await;
            }
            Step::Ask(trigger) => self.fixture.ask(trigger).await,
            Step::Advance(seconds) => self.fixture.stack.advance(seconds),
            Step::Deliver => {
                if let Some(task) = self.due().await {
                    self.deliver(task).await;
                }
            }
            Step::DeliverTwo => {
                let (Some(first), second) = (self.due().await, self.due().await) else { return };
                let Some(second) = second else { return self.deliver(first).await };
                let service = &self.fixture.service;
                let answers = tokio::join!(service.deliver(first.clone()), service.deliver(second.clone()));
                self.ended(first, &answers.0).await;
                self.ended(second, &answers.1).await;
            }
            Step::Crash(calls) => self.crash(calls).await,
            Step::Freeze => self.freeze().await,
            Step::Fail(kind, calendar) => {
                let fault = Fault::new(kind).call(Call::EventsList).calendar(CALENDARS[calendar]);
                self.fixture.world().inject(fault);
            }
        }
    }

    fn change(&mut self, change: Change, calendar: usize) {
        self.number += 1;
        let (world, user) = (self.fixture.world(), self.fixture.user);
        let (id, other) = (CALENDARS[calendar], CALENDARS[1 - calendar]);
        let events = world.events(user, id).unwrap();
        let pick = |is_wanted: &dyn Fn(&Event) -> bool| {
            let wanted: Vec<_> = events.iter().filter(|event| is_wanted(event)).collect();
            (!wanted.is_empty()).then(|| wanted[self.number % wanted.len()].clone())
        };
        let single = |event: &Event| !event.id.contains('_');
        let others = world.events(user, other).unwrap();
        let here_alone = |event: &Event| single(event) && !others.iter().any(|other| other.id == event.id);
        match change {
            Change::Add => {
                self.fixture.add_event(id, "Tea");
            }
            Change::Delete => {
                if let Some(event) = pick(&|_| true) {
                    world.delete_event(user, id, &event.id).unwrap();
                }
            }
            Change::Shift => {
                if let Some(event) = pick(&single) {
                    world.move_event(user, id, &event.id, TimeDelta::hours(1)).unwrap();
                }
            }
            Change::MoveToTheOther => {
                if let Some(event) = pick(&here_alone) {
                    world.move_event_to(user, id, &event.id, other).unwrap();
                }
            }
            Change::CopyToTheOther => {
                if let Some(event) = pick(&here_alone) {
                    world.add_event(user, other, event).unwrap();
                }
            }
            Change::LeaveOneOfTwo => {
                if let Some(event) = pick(&|event| single(event) && !here_alone(event)) {
                    world.move_event_to(user, id, &event.id, UNSELECTED).unwrap();
                }
            }
            Change::MakeSeries => {
                if let Some(event) = pick(&single) {
                    world.make_series(user, id, &event.id, 4, TimeDelta::days(1)).unwrap();
                }
            }
            Change::SplitSeries => {
                if let Some(event) = pick(&|event| event.id.contains('_')) {
                    let series = event.id.rsplit_once('_').unwrap().0;
                    let from = event.instants().0;
                    // An instance that was moved has another start than its series says.
                    let _ = world.split_series(user, id, series, from, TimeDelta::minutes(30));
                }
            }
        }
    }

    /// The first task that is due.
    async fn due(&mut self) -> Option<Delivery> {
        self.waiting.extend(self.fixture.stack.take_tasks(queues::CALENDAR_SYNC).await);
        self.waiting.sort_by_key(|task| task.due);
        let now = self.fixture.stack.now();
        let is_due = self.waiting.first()?.due.is_none_or(|due| due <= now);
        is_due.then(|| self.waiting.remove(0))
    }

    async fn deliver(&mut self, task: Delivery) {
        let answer = self.fixture.service.deliver(task.clone()).await;
        self.ended(task, &answer).await;
    }

    /// What was changed before a sync was asked for is there when it is done.
    async fn ended(&mut self, task: Delivery, answer: &Answer) {
        self.deliveries += 1;
        assert!(self.deliveries < MAX_DELIVERIES, "{answer:?}");
        if answer.status >= 300 {
            return self.again(task);
        }
        let asked_at: DateTime<Utc> = task.envelope()["enqueuedAt"].as_str().unwrap().parse().unwrap();
        let is_whole = answer.outcome() == "done" && answer.body["result"]["skipped"] == 0;
        if is_whole && asked_at >= self.changed_at {
            self.fixture.check_equal().await;
        }
    }

    /// Cloud Tasks delivers what was not answered once more.
    fn again(&mut self, task: Delivery) {
        let due = Some(self.fixture.stack.now() + TimeDelta::seconds(10));
        let count = task.retry_count + 1;
        self.waiting.push(Delivery { due, ..task.again(count) });
    }

    fn calls(&self) -> u64 {
        self.fixture.world().calls(self.fixture.user).values().sum()
    }

    async fn crash(&mut self, calls: u64) {
        let Some(task) = self.due().await else { return };
        let until = self.calls() + calls;
        let environment = self.fixture.google.environment();
        let process =
            Process::start_with(&self.fixture.stack, |setup| CalendarSync::new(setup).unwrap(), environment);
        tokio::select! {
            _ = process.deliver(task.clone()) => {}
            () = eventually("the calls are made", || self.calls() >= until) => {}
        }
        drop(process);
        self.again(task);
    }

    async fn freeze(&mut self) {
        let Some(first) = self.due().await else { return };
        let slow = Fault::new(FaultKind::Slow { delay_ms: 300 }).call(Call::EventsList);
        self.fixture.world().inject(slow);
        let before = self.fixture.world().calls(self.fixture.user).get(&Call::EventsList).copied();
        let is_frozen =
            || self.fixture.world().calls(self.fixture.user).get(&Call::EventsList).copied() > before;
        let mut frozen = Box::pin(self.fixture.service.deliver(first.clone()));
        let answer = tokio::select! {
            answer = &mut frozen => Some(answer),
            () = eventually("it stands still", is_frozen) => None,
        };
        if let Some(answer) = answer {
            // It had nothing to ask for.
            drop(frozen);
            return self.ended(first, &answer).await;
        }
        self.overtaken += 1;
        let overtaking = async {
            self.fixture.stack.advance(EXPIRED);
            self.fixture.ask(Trigger::Manual).await;
            let tasks = self.fixture.stack.take_tasks(queues::CALENDAR_SYNC).await;
            let mut answers = Vec::new();
            for task in tasks {
                answers.push((task.clone(), self.fixture.service.deliver(task).await));
            }
            answers
        };
        let (answer, others) = tokio::join!(frozen, overtaking);
        for (task, answer) in others {
            if answer.status >= 300 {
                self.again(task);
            }
        }
        if answer.status >= 300 {
            self.again(first);
        }
    }

    /// Delivers what waits until nothing does.
    async fn until_quiet(&mut self) {
        self.fixture.world().clear_faults();
        loop {
            if let Some(task) = self.due().await {
                self.deliver(task).await;
            } else if let Some(next) = self.waiting.first() {
                self.fixture.stack.advance_to(next.due);
            } else if self.fixture.count("jobs.calendar_sync_state WHERE is_refused").await > 0 {
                // A calendar that was refused waits for the user's next sync.
                self.fixture.stack.advance(LONGEST_BACKOFF);
                self.fixture.ask(Trigger::Schedule).await;
            } else {
                break;
            }
        }
        self.fixture.check_equal().await;
        assert_eq!(self.fixture.count("jobs.calendar_positions").await, 0);
        assert!(self.fixture.stack.dead_letters().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_history_ends_with_what_google_has() {
    let histories = proptest::collection::vec(step(), STEPS);
    let mut runner = TestRunner::deterministic();
    let mut overtaken = 0;
    for _ in 0..HISTORIES {
        let steps = histories.new_tree(&mut runner).unwrap().current();
        println!("{steps:?}");
        let mut history = History::new().await;
        for step in steps {
            history.step(step).await;
        }
        history.until_quiet().await;
        overtaken += history.overtaken;
    }
    assert!(overtaken > 0);
}
