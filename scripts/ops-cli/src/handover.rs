//! A queue changes hands while it is paused and idle: the steps that a take-over and a give-back share.
//!
//! The queue itself records who serves it, so each step looks first at what is there: a command that was cut off continues
//! when it is called again.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use shared::clock::Clock;

use crate::gcloud::Gcloud;
use crate::queue::{Declared, Found, cloud_name};

/// Cloud Tasks' own dispatch deadline, which a task that shows none has.
const DEFAULT_DEADLINE_SECONDS: i64 = 600;
/// Between two looks at a queue.
const POLL: Duration = Duration::from_secs(5);
/// What is read of each task: there may be many.
const FIELDS: &str = "dispatchDeadline,lastAttempt.dispatchTime,lastAttempt.responseTime";

/// How long the steps wait.
#[derive(Args, Clone, Copy)]
pub(crate) struct Times {
    /// For how long nothing may be in flight: longer than a pause takes to reach every server of Cloud Tasks, and than a lease
    /// that no run renews any more.
    #[arg(long = "quiet", default_value_t = 65, value_name = "SECONDS")]
    quiet_seconds: u64,
    /// How long Cloud Tasks takes to use a changed setting everywhere.
    #[arg(long = "settle", default_value_t = 60, value_name = "SECONDS")]
    settle_seconds: u64,
}

#[cfg(test)]
impl Times {
    /// None: what is not in flight has been so for long.
    pub(crate) fn none() -> Self {
        Self { quiet_seconds: 0, settle_seconds: 0 }
    }
}

/// One queue, and how it is changed.
pub(crate) struct Handover<'a> {
    pub(crate) gcloud: &'a Gcloud,
    pub(crate) queue: String,
    pub(crate) schedules: Vec<String>,
    location: String,
    times: Times,
    steps: u32,
    step: std::cell::Cell<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dispatched {
    dispatch_deadline: Option<String>,
    last_attempt: Option<Attempt>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    dispatch_time: Option<DateTime<Utc>>,
    response_time: Option<DateTime<Utc>>,
}

impl Dispatched {
    /// Whether Cloud Tasks still waits for the answer: after the dispatch deadline it does not.
    fn is_in_flight(&self, now: DateTime<Utc>) -> bool {
        let Some(Attempt { dispatch_time: Some(since), response_time: None }) = &self.last_attempt else {
            return false;
        };
        let deadline = self.dispatch_deadline.as_deref().and_then(|it| it.strip_suffix('s')?.parse().ok());
        (now - since).num_seconds() < deadline.unwrap_or(DEFAULT_DEADLINE_SECONDS)
    }
}

impl<'a> Handover<'a> {
    pub(crate) fn new(
        gcloud: &'a Gcloud,
        function: &str,
        declared: &Declared,
        times: Times,
        steps: u32,
    ) -> Self {
        let schedules = declared.schedules.iter().map(|schedule| format!("{function}-{}", schedule.name));
        Self {
            gcloud,
            queue: cloud_name(function),
            schedules: schedules.collect(),
            location: format!("--location={}", gcloud.place().region),
            times,
            steps,
            step: std::cell::Cell::new(0),
        }
    }

    /// Announces the next step.
    pub(crate) fn say(&self, what: &str) {
        self.step.set(self.step.get() + 1);
        eprintln!("{}/{} {what}", self.step.get(), self.steps);
    }

    /// The queue as it is now.
    pub(crate) fn found(&self) -> anyhow::Result<Found> {
        self.gcloud.read(&["tasks", "queues", "describe", &self.queue, &self.location])
    }

    /// Pauses the queue, unless it is.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.say(&format!("pause: tasks wait, and none is lost (back: scripts/ops resume {})", self.queue));
        if self.found()?.is_paused() {
            eprintln!("  is paused already");
            return Ok(());
        }
        self.gcloud.change(&["tasks", "queues", "pause", &self.queue, &self.location])
    }

    /// Waits until nothing has been in flight for a while, so that every lease has expired as well.
    pub(crate) fn until_idle(&self) -> anyhow::Result<()> {
        let quiet = Duration::from_secs(self.times.quiet_seconds);
        self.say(&format!("wait until nothing has been in flight for {} s", quiet.as_secs()));
        if self.gcloud.is_dry_run() {
            return Ok(());
        }
        let mut quiet_for = Duration::ZERO;
        let mut shown = None;
        loop {
            let in_flight = self.in_flight()?;
            if in_flight > 0 {
                if shown != Some(in_flight) {
                    eprintln!("  {in_flight} tasks in flight");
                    shown = Some(in_flight);
                }
                quiet_for = Duration::ZERO;
            } else if quiet_for >= quiet {
                return Ok(());
            }
            let pause = if in_flight > 0 { POLL } else { POLL.min(quiet.saturating_sub(quiet_for)) };
            sleep(if quiet.is_zero() { Duration::ZERO } else { pause });
            quiet_for += if in_flight > 0 { Duration::ZERO } else { pause };
        }
    }

    fn in_flight(&self) -> anyhow::Result<usize> {
        let in_queue = format!("--queue={}", self.queue);
        let list = ["tasks", "list", &in_queue, &self.location];
        let tasks: Vec<Dispatched> = self.gcloud.read_fields(&list, FIELDS)?;
        let now = Clock::system().now();
        Ok(tasks.iter().filter(|task| task.is_in_flight(now)).count())
    }

    /// Changes the queue's setting, and waits until Cloud Tasks uses it everywhere.
    pub(crate) fn switch(&self, is_done: bool, what: &str, changes: &[String]) -> anyhow::Result<()> {
        self.say(what);
        if is_done {
            eprintln!("  is so already");
        } else {
            let mut call = vec!["tasks", "queues", "update", &self.queue, &self.location];
            call.extend(changes.iter().map(String::as_str));
            self.gcloud.change(&call)?;
        }
        self.say(&format!(
            "wait {} s, until Cloud Tasks uses the setting everywhere",
            self.times.settle_seconds
        ));
        if !self.gcloud.is_dry_run() {
            sleep(Duration::from_secs(self.times.settle_seconds));
        }
        Ok(())
    }

    /// Pauses or resumes (`verb`) our schedules, those that are not so already.
    pub(crate) fn schedules(&self, verb: &str, state: &str) -> anyhow::Result<()> {
        let names =
            if self.schedules.is_empty() { "it has none".to_owned() } else { self.schedules.join(", ") };
        self.say(&format!("{verb} our schedules of the queue: {names}"));
        for schedule in &self.schedules {
            let job: Value = self
                .gcloud
                .read(&["scheduler", "jobs", "describe", schedule, &self.location])
                .with_context(|| format!("cannot read the schedule {schedule}"))?;
            if job["state"] != state {
                self.gcloud.change(&["scheduler", "jobs", verb, schedule, &self.location])?;
            }
        }
        Ok(())
    }

    /// Deletes the tasks that wait, if the service that gets the queue would take each of them for a sweep.
    pub(crate) fn purge(&self, is_needed: bool) -> anyhow::Result<()> {
        if !is_needed {
            self.say("purge: not needed, the tasks that wait stay");
            return Ok(());
        }
        self.say(
            "purge: all tasks here are ours, and each would be a whole sweep of the old job. Our next sweep after a take-over \
             finds the same users",
        );
        self.gcloud.change(&["tasks", "queues", "purge", &self.queue, &self.location])
    }

    /// Lets the queue run.
    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        self.say("resume");
        self.gcloud.change(&["tasks", "queues", "resume", &self.queue, &self.location])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_is_in_flight_until_it_is_answered_or_its_deadline_has_passed() {
        let now = "2027-01-15T08:00:00Z".parse().unwrap();
        let check = |is_in_flight, task: Value| {
            let task: Dispatched = serde_json::from_value(task).unwrap();
            assert_eq!(task.is_in_flight(now), is_in_flight);
        };
        check(false, json!({ "name": "t" }));
        check(false, json!({ "lastAttempt": { "scheduleTime": "2027-01-15T07:59:00Z" } }));
        check(true, json!({ "lastAttempt": { "dispatchTime": "2027-01-15T07:51:00Z" } }));
        check(false, json!({ "lastAttempt": { "dispatchTime": "2027-01-15T07:50:00Z" } }));
        check(
            true,
            json!({ "dispatchDeadline": "180s", "lastAttempt": { "dispatchTime": "2027-01-15T07:58:00Z" } }),
        );
        check(
            false,
            json!({ "dispatchDeadline": "180s", "lastAttempt": { "dispatchTime": "2027-01-15T07:56:00Z" } }),
        );
        let answered =
            json!({ "dispatchTime": "2027-01-15T07:59:00Z", "responseTime": "2027-01-15T07:59:01Z" });
        check(false, json!({ "lastAttempt": answered }));
    }
}
