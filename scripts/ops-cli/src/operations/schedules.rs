//! The schedules, and what became of their last sweeps.

use catchup::queues;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use shared::db::sweeps::{LastSweep, Sweeps};
use shared::queue::Queue;

use super::Operations;

/// A schedule, and the last sweep of its queue.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Scheduled {
    pub(crate) queue: &'static str,
    pub(crate) name: &'static str,
    /// Five fields, UTC.
    pub(crate) cron: &'static str,
    pub(crate) period_seconds: u32,
    /// None has begun, as far as is kept.
    pub(crate) last: Option<LastSweep>,
    /// None has begun for one and a half periods.
    pub(crate) is_missed: bool,
}

impl Operations {
    /// Every schedule, in the order of the declaration.
    pub(crate) async fn schedules(&self) -> anyhow::Result<Vec<Scheduled>> {
        let names: Vec<&str> = queues::all().map(Queue::name).collect();
        let last = &Sweeps::from(self.database()?).last(&names).await?;
        let now = self.clock.now();
        let schedules = queues::all().flat_map(|queue| {
            let schedules = queue.policy().schedules.iter();
            schedules.map(move |schedule| {
                let last = last.iter().find(|sweep| sweep.queue == queue.name()).cloned();
                Scheduled {
                    queue: queue.name(),
                    name: &schedule.name,
                    cron: &schedule.cron,
                    period_seconds: schedule.period_seconds,
                    is_missed: is_missed(last.as_ref(), schedule.period_seconds, now),
                    last,
                }
            })
        });
        Ok(schedules.collect())
    }
}

fn is_missed(last: Option<&LastSweep>, period_seconds: u32, now: DateTime<Utc>) -> bool {
    let longest = TimeDelta::seconds(i64::from(period_seconds) * 3 / 2);
    last.is_none_or(|sweep| sweep.started_at + longest < now)
}
