//! The local cloud in simulated time: from one scheduled moment to the next.

use std::time::{Duration, Instant};

use anyhow::bail;
use catchup::queues;
use chrono::{DateTime, TimeDelta, Utc};
use shared::cron::Cron;
use shared::queue::{Queue, Schedule};
use tokio::time::sleep;

use crate::simulated_time::SimulatedTime;
use crate::stack::{LocalCloud, PendingWork, QueueStatus};

/// Tasks within this time are run together.
const SPREAD: TimeDelta = TimeDelta::seconds(1);
const POLL: Duration = Duration::from_millis(10);

/// A local cloud whose time moves as far as there is nothing to do.
pub(crate) struct Simulation<'a> {
    pub(crate) cloud: &'a mut LocalCloud,
    time: &'a mut SimulatedTime,
    deadline: Instant,
    due: Vec<Due>,
}

/// A schedule and its next time.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: DateTime<Utc>,
    cron: Cron,
    queue: Queue,
    schedule: &'static Schedule,
}

/// A moment for which something was scheduled.
#[derive(Debug)]
pub(crate) struct Moment {
    /// When.
    pub(crate) at: DateTime<Utc>,
    /// The queues that got a task.
    pub(crate) queues: Vec<Queue>,
}

impl<'a> Simulation<'a> {
    /// Its schedules are due from now on. All of it may take `time_limit` of the real time.
    pub(crate) fn new(
        cloud: &'a mut LocalCloud,
        time: &'a mut SimulatedTime,
        time_limit: Duration,
    ) -> anyhow::Result<Self> {
        let now = cloud.world().now();
        let due = queues::all()
            .filter(|queue| cloud.serves(*queue))
            .flat_map(|queue| queue.policy().schedules.iter().map(move |schedule| (queue, schedule)))
            .map(|(queue, schedule)| {
                let cron: Cron = schedule.cron.parse()?;
                Ok(Due { at: cron.next(now), cron, queue, schedule })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { cloud, time, deadline: Instant::now() + time_limit, due })
    }

    /// Runs every task at its time until something is scheduled, and that, too. `None` when it is `end` first.
    pub(crate) async fn step(&mut self, end: DateTime<Utc>) -> anyhow::Result<Option<Moment>> {
        let Some(at) = self.due.iter().map(|due| due.at).min().filter(|at| *at < end) else {
            self.until(end).await?;
            return Ok(None);
        };
        self.until(at).await?;
        let mut queues = Vec::new();
        for due in self.due.iter_mut().filter(|due| due.at == at) {
            self.cloud.run_schedule(due.queue, due.schedule).await?;
            due.at = due.cron.next(at);
            queues.push(due.queue);
        }
        self.until(at).await?;
        Ok(Some(Moment { at, queues }))
    }

    /// Runs every task at its time, until it is `end`.
    pub(crate) async fn until(&mut self, end: DateTime<Utc>) -> anyhow::Result<()> {
        drain(self.cloud, self.time, self.deadline, Some(end), |_| {}).await
    }
}

/// Runs every task, each at its time, until the queues are empty. With an `end`: runs those whose time comes before it, then
/// lets it be `end`, and runs what is due then.
pub(crate) async fn drain(
    cloud: &mut LocalCloud,
    time: &mut SimulatedTime,
    deadline: Instant,
    end: Option<DateTime<Utc>>,
    mut progress: impl FnMut(QueueStatus),
) -> anyhow::Result<()> {
    loop {
        let PendingWork { next, queues, .. } = quiet(cloud, deadline, &mut progress).await?;
        let now = cloud.world().now();
        let to = match (next, end) {
            // Sweeps spread their tasks over seconds: those of one are run together.
            (Some(next), None) => next + SPREAD,
            (Some(next), Some(end)) if next < end => (next + SPREAD).min(end),
            (_, Some(end)) if now < end => end,
            (_, Some(_)) | (None, None) => return Ok(()),
        };
        if now < to {
            cloud.advance(to - now, time, &queues).await?;
        }
    }
}

/// Waits until no task is due, and returns what waits for its time.
async fn quiet(
    cloud: &mut LocalCloud,
    deadline: Instant,
    mut progress: impl FnMut(QueueStatus),
) -> anyhow::Result<PendingWork> {
    // While one queue is looked at, a task of another may create one in it: two looks must find the same.
    let mut before = None;
    loop {
        let pending = cloud.pending_work().await?;
        let undelivered = cloud.world().undelivered();
        progress(QueueStatus { waiting: pending.waiting, dispatched: pending.dispatched });
        let is_quiet = pending.due == 0 && undelivered == 0;
        if is_quiet && before == Some(pending.dispatched) {
            return Ok(pending);
        }
        cloud.check().await?;
        if Instant::now() > deadline {
            bail!(cloud.left().await?);
        }
        before = is_quiet.then_some(pending.dispatched);
        if !is_quiet {
            sleep(POLL).await;
        }
    }
}
