//! How long it takes until a change at Google is in Postgres, when all is well and when it is not.

use ::tests::Delivery;
use anyhow::ensure;
use catchup::payload::{self, Trigger};
use catchup::queues;
use catchup::webhooks::SYNC_WINDOW;
use chrono::{DateTime, TimeDelta, Utc};
use google_stand_in::{Call, Event, Fault, FaultKind};
use local_cloud::simulated_time::SimulatedTime;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use serde::Serialize;
use shared::tasks::{Options, Tasks};

use super::{Bench, POLL, calendar_id};

/// As many as leave room for faults in the ten calls that a user has in a minute, with two syncs.
pub(super) const CALENDARS: u32 = 2;
/// Longest time between two changes: bursts, and times of quiet.
const LONGEST_PAUSE_S: i64 = 40;
/// A killed run has made at most so many calls.
const CALLS_BEFORE_A_KILL: u64 = 3;
const FAULTS: [FaultKind; 4] =
    [FaultKind::Gone, FaultKind::ServerError { status: 503 }, FaultKind::Garbage, FaultKind::NoSyncToken];
/// The window of notifications, its grace, and one sync.
const USUAL_WAIT_S: f64 = 30.0 + 2.0 + 3.0;
/// Upper ends of the histogram's classes, in seconds.
const CLASSES: [u32; 6] = [10, 20, 32, 60, 120, 300];

/// What goes wrong meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, strum::EnumIter, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(super) enum Scenario {
    /// Nothing.
    Healthy,
    /// A list of events fails, or breaks off.
    Faults,
    /// The process is killed in the middle of a sync.
    Kills,
}

impl Scenario {
    /// It happens with one change in so many.
    fn one_in(self) -> u32 {
        match self {
            Self::Healthy => u32::MAX,
            // More meet our own limit of calls: each costs one, and a sync of its own when it comes twice.
            Self::Faults => 10,
            // The next one is not to meet the redelivery.
            Self::Kills => 20,
        }
    }

    /// No change takes longer.
    fn longest_wait_s(self) -> f64 {
        USUAL_WAIT_S
            + match self {
                Self::Healthy => 0.0,
                // The first backoff of a calendar that fails a second time in the same run, and its grace.
                Self::Faults => 15.0,
                // The task's lease, and two of the queue's shortest backoffs.
                Self::Kills => 60.0 + 20.0,
            }
    }
}

/// Times from a change to its row.
#[derive(Serialize)]
pub(super) struct Visible {
    pub(super) scenario: Scenario,
    pub(super) changes: usize,
    pub(super) p50_s: f64,
    pub(super) p99_s: f64,
    pub(super) max_s: f64,
    /// Changes that took at most so many seconds, and longer than the class before.
    pub(super) histogram: Vec<(String, usize)>,
}

impl Visible {
    pub(super) fn is_late(&self) -> bool {
        self.max_s > self.scenario.longest_wait_s()
    }
}

struct Run<'a> {
    bench: Bench,
    time: &'a mut SimulatedTime,
    tasks: Tasks,
    waiting: Vec<Delivery>,
    pending: Vec<(String, DateTime<Utc>)>,
    seconds: Vec<f64>,
    /// The next run is killed when it has made so many calls, or has ended before.
    kill_after: Option<u64>,
}

/// Changes calendars, each time with a notification, and waits until all is there.
pub(super) async fn visible(
    mut bench: Bench,
    changes: u32,
    scenario: Scenario,
    time: &mut SimulatedTime,
) -> anyhow::Result<Visible> {
    bench.sync(time).await?;
    let tasks = bench.stack.setup(bench.google.environment()).tasks().expect("the configuration is complete");
    let (waiting, pending, seconds) = (Vec::new(), Vec::new(), Vec::new());
    let mut run = Run { bench, time, tasks, waiting, pending, seconds, kill_after: None };
    let mut rng = StdRng::seed_from_u64(1);
    for number in 0..changes {
        let pause = TimeDelta::seconds(rng.random_range(1..=LONGEST_PAUSE_S));
        run.until(Some(run.now() + pause)).await?;
        let calendar = calendar_id(rng.random_range(0..CALENDARS));
        if rng.random_ratio(1, scenario.one_in()) {
            let fault = match scenario {
                Scenario::Healthy => None,
                Scenario::Faults => Some(FAULTS[rng.random_range(0..FAULTS.len())]),
                Scenario::Kills => {
                    run.kill_after = Some(rng.random_range(0..=CALLS_BEFORE_A_KILL));
                    None
                }
            };
            if let Some(kind) = fault {
                run.bench.google.world.inject(Fault::new(kind).call(Call::EventsList).calendar(&calendar));
            }
        }
        run.change(&calendar, number).await?;
    }
    run.until(None).await?;
    ensure!(run.pending.is_empty(), "{} changes never arrived", run.pending.len());
    Ok(report(scenario, run.seconds))
}

impl Run<'_> {
    fn now(&self) -> DateTime<Utc> {
        self.bench.google.world.now()
    }

    async fn change(&mut self, calendar: &str, number: u32) -> anyhow::Result<()> {
        let (world, user_id) = (&self.bench.google.world, self.bench.user);
        let event = Event::timed(&number.to_string(), self.now() + TimeDelta::days(3), TimeDelta::hours(1));
        let event = world.add_event(user_id, calendar, event)?;
        self.pending.push((event.id, self.now()));
        let sync = payload::CalendarSync { user_id, trigger: Some(Trigger::Webhook) };
        let options = Options::default().debounced(format_args!("push:{user_id}"), SYNC_WINDOW);
        self.tasks.enqueue(&sync, options).await?;
        Ok(())
    }

    /// Delivers each task at its time, until then, or until none waits.
    async fn until(&mut self, end: Option<DateTime<Utc>>) -> anyhow::Result<()> {
        loop {
            self.waiting.extend(self.bench.stack.take_tasks(queues::CALENDAR_SYNC).await);
            self.waiting.sort_by_key(|task| task.due);
            let next = self.waiting.first().map(|task| task.due.unwrap_or_default());
            let Some(due) = next.filter(|due| end.is_none_or(|end| *due < end)) else { break };
            self.jump(due).await?;
            let task = self.waiting.remove(0);
            if !self.is_taken(&task).await? {
                let (due, count) = (self.now() + TimeDelta::seconds(10), task.retry_count + 1);
                self.waiting.push(Delivery { due: Some(due), ..task.again(count) });
            }
            self.look().await;
        }
        if let Some(end) = end {
            self.jump(end).await?;
        }
        Ok(())
    }

    async fn is_taken(&mut self, task: &Delivery) -> anyhow::Result<bool> {
        let Some(calls) = self.kill_after.take() else { return Ok(self.bench.deliver(task).await?.0) };
        let until = self.bench.calls() + calls;
        let killed = async {
            while self.bench.calls() < until {
                tokio::time::sleep(POLL).await;
            }
        };
        let answer = tokio::select! {
            answer = self.bench.deliver(task) => Some(answer?.0),
            () = killed => None,
        };
        if answer.is_none() {
            self.bench.process.kill()?;
            self.bench.process.respawn()?;
            self.bench.process.ready().await?;
        }
        Ok(answer.unwrap_or(false))
    }

    async fn jump(&mut self, to: DateTime<Utc>) -> anyhow::Result<()> {
        let by = to - self.now();
        self.bench.advance(by, self.time).await
    }

    async fn look(&mut self) {
        let ids: Vec<_> = self.pending.iter().map(|(id, _)| format!("'{id}'")).collect();
        if ids.is_empty() {
            return;
        }
        let query = format!(
            "SELECT google_event_id FROM calendar_events WHERE google_event_id IN ({})",
            ids.join(",")
        );
        let found: Vec<(String,)> = self.bench.stack.rows(&query).await;
        let now = self.now();
        let arrived = self.pending.extract_if(.., |(id, _)| found.iter().any(|(found,)| found == id));
        self.seconds.extend(arrived.map(|(_, at)| (now - at).as_seconds_f64()));
    }
}

fn report(scenario: Scenario, mut seconds: Vec<f64>) -> Visible {
    seconds.sort_by(f64::total_cmp);
    let percentile = |percent: usize| seconds[(seconds.len() * percent).div_ceil(100).max(1) - 1];
    let mut histogram = Vec::new();
    let mut below = 0;
    for class in CLASSES {
        let count = seconds.iter().filter(|&&time| time <= f64::from(class)).count();
        histogram.push((format!("≤ {class} s"), count - below));
        below = count;
    }
    histogram.push(("longer".to_owned(), seconds.len() - below));
    Visible {
        scenario,
        changes: seconds.len(),
        p50_s: percentile(50),
        p99_s: percentile(99),
        max_s: percentile(100),
        histogram,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_in_one_class() {
        let visible = report(Scenario::Healthy, vec![400.0, 1.0, 31.0, 32.0, 33.0]);
        let counts: Vec<usize> = visible.histogram.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [1, 0, 2, 1, 0, 0, 1]);
        assert!((visible.p50_s - 32.0).abs() < 1e-9 && (visible.max_s - 400.0).abs() < 1e-9);
    }
}
