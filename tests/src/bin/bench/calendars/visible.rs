//! How long it takes until a change at Google is in Postgres, without and with faults.

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

use super::{Bench, calendar_id};

pub(super) const CALENDARS: u32 = 4;
/// Longest time between two changes: bursts, and times of quiet.
const LONGEST_PAUSE_S: i64 = 40;
/// One change in so many meets a fault, and one in so many a killed process.
const FAULT_IN: u32 = 5;
const KILL_IN: u32 = 40;
const FAULTS: [FaultKind; 5] = [
    FaultKind::Gone,
    FaultKind::ServerError { status: 503 },
    FaultKind::Garbage,
    FaultKind::NoSyncToken,
    FaultKind::TooManyRequests { retry_after_s: 7 },
];
/// Upper ends of the histogram's classes, in seconds.
const CLASSES: [u32; 6] = [10, 20, 32, 60, 120, 300];

/// Times from a change to its row.
#[derive(Serialize)]
pub(super) struct Visible {
    pub(super) faults: bool,
    pub(super) changes: usize,
    pub(super) p50_s: f64,
    pub(super) p99_s: f64,
    pub(super) max_s: f64,
    /// Changes that took at most so many seconds, and longer than the class before.
    pub(super) histogram: Vec<(String, usize)>,
}

struct Run<'a> {
    bench: Bench,
    time: &'a mut SimulatedTime,
    tasks: Tasks,
    waiting: Vec<Delivery>,
    pending: Vec<(String, DateTime<Utc>)>,
    seconds: Vec<f64>,
}

/// Changes calendars, each time with a notification, and waits until all is there.
pub(super) async fn visible(
    mut bench: Bench,
    changes: u32,
    faults: bool,
    time: &mut SimulatedTime,
) -> anyhow::Result<Visible> {
    bench.sync(time).await?;
    let tasks = bench.stack.setup(bench.google.environment()).tasks().expect("the configuration is complete");
    let mut run = Run { bench, time, tasks, waiting: Vec::new(), pending: Vec::new(), seconds: Vec::new() };
    let mut rng = StdRng::seed_from_u64(1);
    for number in 0..changes {
        let pause = TimeDelta::seconds(rng.random_range(1..=LONGEST_PAUSE_S));
        run.until(Some(run.now() + pause)).await?;
        let calendar = calendar_id(rng.random_range(0..CALENDARS));
        if faults && rng.random_ratio(1, FAULT_IN) {
            let kind = FAULTS[rng.random_range(0..FAULTS.len())];
            run.bench.google.world.inject(Fault::new(kind).call(Call::EventsList).calendar(&calendar));
        }
        if faults && rng.random_ratio(1, KILL_IN) {
            run.bench.process.kill()?;
            run.bench.process.respawn()?;
            run.bench.process.ready().await?;
        }
        run.change(&calendar, number).await?;
    }
    run.until(None).await?;
    ensure!(run.pending.is_empty(), "{} changes never arrived", run.pending.len());
    Ok(report(faults, run.seconds))
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
            let (is_answered, _) = self.bench.deliver(&task).await?;
            if !is_answered {
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

fn report(faults: bool, mut seconds: Vec<f64>) -> Visible {
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
        faults,
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
        let visible = report(false, vec![400.0, 1.0, 31.0, 32.0, 33.0]);
        let counts: Vec<usize> = visible.histogram.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [1, 0, 2, 1, 0, 0, 1]);
        assert!((visible.p50_s - 32.0).abs() < 1e-9 && (visible.max_s - 400.0).abs() < 1e-9);
    }
}
