//! The schedules, and what became of their last sweeps.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use catchup::queues;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::json;
use shared::db::operator_actions::{Action, NewAction};
use shared::db::sweeps::{LastSweep, Sweeps};
use shared::queue::{Queue, Schedule};

use super::actions::Request;
pub(crate) use super::cloud_scheduler::{State, Verb};
use super::{Listed, Operations, UNCHANGED};

/// A schedule, and the last sweep of its queue.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Scheduled {
    pub(crate) queue: &'static str,
    pub(crate) name: &'static str,
    /// Its name in Cloud Scheduler.
    pub(crate) cloud_name: String,
    /// Five fields, UTC.
    pub(crate) cron: &'static str,
    pub(crate) period_seconds: u32,
    /// None has begun, as far as is kept.
    pub(crate) last: Option<LastSweep>,
    /// None has begun for one and a half periods.
    pub(crate) is_missed: bool,
}

/// What became of a schedule that was to be changed.
pub(crate) enum Changed {
    /// It is as it was asked for.
    Done,
    /// It was so before.
    Unchanged(State),
    /// There is no Cloud Scheduler: the task of this name was created, as the schedule creates it.
    Created { task: String },
}

impl Operations {
    /// Whether the schedules create tasks, by their names in Cloud Scheduler; none on a machine without that.
    pub(crate) async fn schedule_states(&self) -> anyhow::Result<Option<BTreeMap<String, State>>> {
        match self.cloud_scheduler()? {
            Some(scheduler) => scheduler.states().await.map(Some),
            None => Ok(None),
        }
    }

    /// Pauses or resumes a schedule, or lets it create its task now.
    pub(crate) async fn change_schedule(
        &self,
        queue: Queue,
        schedule: &Schedule,
        verb: Verb,
        request: Request<'_>,
    ) -> anyhow::Result<Changed> {
        let name = cloud_name(queue, schedule);
        let new = NewAction {
            action: match verb {
                Verb::Run => Action::RunSchedule,
                Verb::Pause => Action::PauseSchedule,
                Verb::Resume => Action::ResumeSchedule,
            },
            via: request.via,
            function: Some(queue.name()),
            user_id: None,
            filter: &json!({ "queue": queue.name(), "schedule": name }),
            count: 1,
            why: request.why,
        };
        let Some(scheduler) = self.cloud_scheduler()? else {
            if verb == Verb::Run {
                let task = self.create_task(queue, schedule.payload.clone(), None, &new).await?;
                return Ok(Changed::Created { task });
            }
            bail!(
                "this machine has no Cloud Scheduler: scripts/up runs the schedules itself, and does not pause them"
            );
        };
        let state = scheduler.state(&name).await?;
        let state = state
            .with_context(|| format!("Cloud Scheduler has no schedule {name}; terraform apply creates it"))?;
        if matches!((verb, state), (Verb::Pause, State::Paused) | (Verb::Resume, State::Enabled)) {
            return Ok(Changed::Unchanged(state));
        }
        let action = self.begin(&new).await.context(UNCHANGED)?;
        scheduler.change(&name, verb).await?;
        self.end(action, 1).await?;
        Ok(Changed::Done)
    }

    /// The sweeps of these queues, newest first.
    pub(crate) async fn sweeps(&self, queues: &[Queue], limit: u32) -> anyhow::Result<Listed<LastSweep>> {
        let names: Vec<&str> = queues.iter().copied().map(Queue::name).collect();
        let sweeps = Sweeps::from(self.database()?).last(&names, limit.saturating_add(1)).await?;
        Ok(Listed::of(sweeps, limit))
    }

    /// Every schedule, in the order of the declaration.
    pub(crate) async fn schedules(&self) -> anyhow::Result<Vec<Scheduled>> {
        let names: Vec<&str> = queues::all().map(Queue::name).collect();
        let last = &Sweeps::from(self.database()?).last(&names, 1).await?;
        let now = self.clock.now();
        let schedules = queues::all().flat_map(|queue| {
            let schedules = queue.policy().schedules.iter();
            schedules.map(move |schedule| {
                let last = last.iter().find(|sweep| sweep.queue == queue.name()).cloned();
                Scheduled {
                    queue: queue.name(),
                    name: &schedule.name,
                    cloud_name: cloud_name(queue, schedule),
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

/// Name of a schedule in Cloud Scheduler, as `infra/gcp` gives it.
pub(crate) fn cloud_name(queue: Queue, schedule: &Schedule) -> String {
    format!("{}-{}", queue.name(), schedule.name)
}

fn is_missed(last: Option<&LastSweep>, period_seconds: u32, now: DateTime<Utc>) -> bool {
    let longest = TimeDelta::seconds(i64::from(period_seconds) * 3 / 2);
    last.is_none_or(|sweep| sweep.started_at + longest < now)
}
