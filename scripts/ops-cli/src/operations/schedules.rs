//! The schedules, and what became of their last sweeps.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::json;
use shared::cron::Cron;
use shared::db::operator_actions::{Action, NewAction};
use shared::db::sweeps::{PastSweep, Sweeps};
use shared::queue::{Queue, Schedule};

use super::actions::Request;
pub(crate) use super::cloud_scheduler::{State, Verb};
use super::{Asked, Listed, Operations, Source, UNCHANGED};

/// Periods of a schedule whose sweeps are shown.
pub(crate) const PERIODS: i32 = 60;
/// Sweeps of a queue that are read for them: a queue may have two schedules.
const SWEEPS: u32 = 2 * PERIODS.unsigned_abs();

/// A schedule, and the last sweeps of its queue.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Scheduled {
    pub(crate) queue: &'static str,
    pub(crate) name: &'static str,
    /// Its name in Cloud Scheduler.
    pub(crate) cloud_name: String,
    /// Five fields, UTC.
    pub(crate) cron: &'static str,
    /// The same in words, UTC, if it has any.
    pub(crate) words: Option<String>,
    /// When it is due; none of a form that is not read.
    pub(crate) next: Option<DateTime<Utc>>,
    pub(crate) period_seconds: u32,
    /// None has begun, as far as is kept.
    pub(crate) last: Option<PastSweep>,
    /// None has begun for one and a half periods; not known without Postgres.
    pub(crate) is_missed: Option<bool>,
    /// The last [`PERIODS`], the oldest first, the present one last; none without Postgres.
    pub(crate) periods: Vec<Period>,
}

/// A period of a schedule, and the sweeps of its queue that began in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Period {
    pub(crate) begins_at: DateTime<Utc>,
    pub(crate) state: PeriodState,
    pub(crate) tasks: i64,
    pub(crate) failed: i64,
}

/// What became of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "lowercase")]
pub(crate) enum PeriodState {
    /// It is before the first sweep of which there is a record.
    Unrecorded,
    /// No sweep began.
    Missed,
    /// No sweep has begun yet.
    Awaited,
    /// A sweep has not gone through all its pages.
    Unfinished,
    Finished,
}

impl PeriodState {
    pub(crate) fn is_recorded(self) -> bool {
        self != Self::Unrecorded
    }

    pub(crate) fn is_missed(self) -> bool {
        self == Self::Missed
    }
}

impl Scheduled {
    /// When it is due, in words.
    pub(crate) fn when(&self) -> &str {
        self.words.as_deref().unwrap_or(self.cron)
    }

    /// How many of the last periods had no sweep.
    pub(crate) fn missed(&self) -> usize {
        self.periods.iter().filter(|period| period.state.is_missed()).count()
    }
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
    pub(crate) async fn sweeps(&self, queues: &[Queue], limit: u32) -> anyhow::Result<Listed<PastSweep>> {
        let names: Vec<&str> = queues.iter().copied().map(Queue::name).collect();
        let sweeps = Sweeps::from(self.database()?).newest(&names, limit.saturating_add(1)).await?;
        Ok(Listed::of(sweeps, limit))
    }

    /// The schedules of these queues, and what is to be said of Postgres, which has their sweeps.
    pub(crate) async fn schedules(&self, queues: &[Queue]) -> (Vec<Scheduled>, Asked) {
        let (sweeps, asked) = self.ask(Source::Postgres, self.recent_sweeps(queues)).await;
        let sweeps = sweeps.as_deref();
        let now = self.clock.now();
        let schedules = queues.iter().flat_map(|queue| {
            let schedules = queue.policy().schedules.iter();
            schedules.map(move |schedule| {
                let is_its = |sweep: &&PastSweep| sweep.queue == queue.name();
                let sweeps = sweeps.map(|all| all.iter().filter(is_its).collect::<Vec<_>>());
                let last = sweeps.as_ref().and_then(|sweeps| sweeps.first().copied());
                let cron = schedule.cron.parse::<Cron>().ok();
                let period = TimeDelta::seconds(schedule.period_seconds.into());
                Scheduled {
                    queue: queue.name(),
                    name: &schedule.name,
                    cloud_name: cloud_name(*queue, schedule),
                    cron: &schedule.cron,
                    words: cron.and_then(Cron::words),
                    next: cron.map(|cron| cron.next(now)),
                    period_seconds: schedule.period_seconds,
                    is_missed: sweeps.as_ref().map(|_| is_missed(last, period, now)),
                    last: last.cloned(),
                    periods: match (cron, sweeps) {
                        (Some(cron), Some(sweeps)) => periods(cron, period, &sweeps, now),
                        _ => Vec::new(),
                    },
                }
            })
        });
        (schedules.collect(), asked)
    }

    async fn recent_sweeps(&self, queues: &[Queue]) -> anyhow::Result<Vec<PastSweep>> {
        let names: Vec<&str> = queues.iter().copied().map(Queue::name).collect();
        Ok(Sweeps::from(self.database()?).newest(&names, SWEEPS).await?)
    }
}

/// Name of a schedule in Cloud Scheduler, as `infra/gcp` gives it.
pub(crate) fn cloud_name(queue: Queue, schedule: &Schedule) -> String {
    format!("{}-{}", queue.name(), schedule.name)
}

fn is_missed(last: Option<&PastSweep>, period: TimeDelta, now: DateTime<Utc>) -> bool {
    last.is_none_or(|sweep| sweep.started_at + period * 3 / 2 < now)
}

/// The last [`PERIODS`] up to now, of a schedule whose periods are all as long; `sweeps` are its queue's, the newest first.
fn periods(cron: Cron, period: TimeDelta, sweeps: &[&PastSweep], now: DateTime<Utc>) -> Vec<Period> {
    let present = cron.next(now - period);
    let begins = (0..PERIODS).rev().map(|ago| present - period * ago);
    begins.map(|begins_at| period_of(begins_at, begins_at + period, sweeps, now)).collect()
}

fn period_of(
    begins_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    sweeps: &[&PastSweep],
    now: DateTime<Utc>,
) -> Period {
    let began: Vec<_> =
        sweeps.iter().filter(|sweep| (begins_at..ends_at).contains(&sweep.started_at)).collect();
    let is_recorded = sweeps.last().is_some_and(|oldest| oldest.started_at < ends_at);
    let state = if began.iter().any(|sweep| sweep.finished_at.is_none()) {
        PeriodState::Unfinished
    } else if !began.is_empty() {
        PeriodState::Finished
    } else if ends_at > now {
        PeriodState::Awaited
    } else if is_recorded {
        PeriodState::Missed
    } else {
        PeriodState::Unrecorded
    };
    Period {
        begins_at,
        state,
        tasks: began.iter().map(|sweep| sweep.tasks).sum(),
        failed: began.iter().map(|sweep| sweep.failed).sum(),
    }
}

#[cfg(test)]
mod tests {
    use catchup::queues;

    use super::*;

    #[test]
    fn every_schedule_of_the_declaration_has_words_and_its_declared_period() {
        for schedule in queues::all().flat_map(|queue| &queue.policy().schedules) {
            let cron: Cron = schedule.cron.parse().unwrap();
            let first = cron.next(DateTime::UNIX_EPOCH);
            let period = cron.next(first) - first;
            assert_eq!(period, TimeDelta::seconds(schedule.period_seconds.into()), "{}", schedule.cron);
            assert!(cron.words().is_some(), "{}", schedule.cron);
        }
    }

    #[test]
    fn a_period_without_a_sweep_is_missed_if_an_earlier_one_is_recorded() {
        let now: DateTime<Utc> = "2026-11-27T03:20:00Z".parse().unwrap();
        let sweep = |hours_ago: i64, is_finished: bool| {
            let started_at = now - TimeDelta::hours(hours_ago) - TimeDelta::minutes(19);
            PastSweep {
                queue: "q".to_owned(),
                id: String::new(),
                started_at,
                finished_at: is_finished.then_some(started_at),
                tasks: 7,
                succeeded: 5,
                failed: 2,
            }
        };
        let sweeps = [sweep(1, false), sweep(3, true), sweep(3, true)];
        let periods = periods(
            "0 * * * *".parse().unwrap(),
            TimeDelta::hours(1),
            &sweeps.iter().collect::<Vec<_>>(),
            now,
        );
        assert_eq!(periods.len(), 60);
        let shown: Vec<_> = periods[55..].iter().map(|it| (it.state, it.tasks, it.failed)).collect();
        assert_eq!(
            shown,
            [
                (PeriodState::Unrecorded, 0, 0),
                (PeriodState::Finished, 14, 4),
                (PeriodState::Missed, 0, 0),
                (PeriodState::Unfinished, 7, 2),
                (PeriodState::Awaited, 0, 0),
            ]
        );
        assert_eq!(periods[59].begins_at.to_rfc3339(), "2026-11-27T03:00:00+00:00");
    }
}
