//! Sweeps: a page of due users becomes one task each, and the rest a continuation task.
//!
//! All names derive from the sweep's period, so a sweep that runs twice creates nothing twice. The tasks' times are spread,
//! so that a task that a person waits for is not behind them.

use std::fmt;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::db::sweeps::{BeginningPage, Sweeps};
use crate::db::{Error, Page};
use crate::envelope::sha256_hex;
use crate::failure::Failure;
use crate::job::{Context, Outcome};
use crate::payload::{Payload, Position, Target, UserTask};
use crate::queue::{Declaration, Queue};
use crate::tasks::{Options, Tasks};
use crate::telemetry;

/// Users that one task of a sweep reads.
pub const PAGE: u32 = 500;

/// How a sweep ends that another one covers.
pub const SUPERSEDED: Outcome = Outcome::Skipped("superseded");

/// Tasks that a sweep may schedule ahead of its pace: a small one begins immediately.
const BURST: u32 = 50;
/// Cloud Tasks takes no time further ahead than 30 days.
const FURTHEST: TimeDelta = TimeDelta::days(29);
/// Time in which the tasks of a page are created.
const CREATING: TimeDelta = TimeDelta::minutes(10);
/// A user's task that has not ended so long after its time is taken for lost, or dead: the user gets another.
const LOST_AFTER: TimeDelta = TimeDelta::days(2);
/// Time that a finished sweep spends on retention; the next one continues.
const PRUNE_BUDGET: Duration = Duration::from_secs(20);
/// Left of the job's time when it stops: longer than a statement may take.
const PRUNE_RESERVE: Duration = Duration::from_secs(45);

/// One task of a sweep.
#[derive(Debug)]
pub struct Sweep<'a> {
    /// Names the sweep, of all sweeps whose tasks go to the same queues.
    pub id: String,
    /// Users up to this one were looked at.
    pub after: Uuid,
    /// What the ids of all sweeps of the schedule begin with.
    prefix: String,
    scheduled_until: Option<DateTime<Utc>>,
    context: &'a Context,
}

/// What one page of a sweep did.
#[derive(Debug, Serialize)]
struct Swept {
    due: usize,
    created: u64,
    /// Users whose task was there already, of this sweep or of an earlier one.
    existing: u64,
    /// A continuation task reads the next users.
    continued: bool,
}

impl<'a> Sweep<'a> {
    /// The sweep of a schedule's period, or the one that a continuation task continues.
    #[must_use]
    pub fn of(position: &Position, context: &'a Context) -> Self {
        Self::named(|| context.scheduled_for.to_rfc3339(), position, context)
    }

    /// As [`Sweep::of`], for a queue with several schedules: `part` tells their sweeps of one period apart.
    #[must_use]
    pub fn of_part(part: &str, position: &Position, context: &'a Context) -> Self {
        let prefix = format!("{part}:");
        let name = || format!("{prefix}{}", context.scheduled_for.to_rfc3339());
        let sweep = Self::named(name, position, context);
        Self { prefix, ..sweep }
    }

    /// As [`Sweep::of`], for a sweep that is named after something else than its period.
    #[must_use]
    pub fn named(name: impl FnOnce() -> String, position: &Position, context: &'a Context) -> Self {
        Self {
            id: position.sweep_id.clone().unwrap_or_else(name),
            after: position.cursor.unwrap_or(Uuid::nil()),
            prefix: String::new(),
            scheduled_until: position.scheduled_until,
            context,
        }
    }

    /// Begins the page; `false` when the sweep is [`SUPERSEDED`]. It loses no user: each sweep finds users by their
    /// state, and the batch sweep by a window that begins where the last finished one ended.
    pub async fn begin(&self, sweeps: &Sweeps, queue: Queue) -> Result<bool, Error> {
        let period = queue.policy().period().unwrap_or_default();
        let page = BeginningPage {
            queue,
            sweep_id: &self.id,
            prefix: &self.prefix,
            period_end: self.context.scheduled_for + period,
            continues: !self.after.is_nil(),
        };
        sweeps.begin_page(page, self.context.now()).await
    }

    /// Creates a task for each user of the page whose task of an earlier sweep has ended, and one that continues behind it
    /// when it is not the last, both with a `payload` of the sweep's own queue. The user's task ends in [`user_task`].
    ///
    /// A page that runs again, in whole or in part, creates what is missing.
    pub async fn fan_out<P: Payload, D: Default>(
        &self,
        sweeps: &Sweeps,
        tasks: &Tasks,
        page: Page,
        payload: impl Fn(Target<D>) -> P + Send + Sync,
    ) -> Result<Outcome, Failure> {
        let user = |user_id| {
            let task = UserTask { sweep_id: Some(self.id.clone()), ..UserTask::new(user_id) };
            payload(Target::User(task))
        };
        self.fan_out_to(sweeps, tasks, page, user, |rest| payload(Target::Sweep(rest))).await
    }

    /// As [`Sweep::fan_out`], for users' tasks that go to another queue than the sweep's.
    pub async fn fan_out_to<U: Payload, S: Payload>(
        &self,
        sweeps: &Sweeps,
        tasks: &Tasks,
        page: Page,
        user: impl Fn(Uuid) -> U + Send + Sync,
        rest: impl FnOnce(Position) -> S + Send,
    ) -> Result<Outcome, Failure> {
        let (now, due) = (self.context.now(), page.users.len());
        // Not longer than it takes to create the tasks: if that fails, another sweep may.
        let creating_until = now + CREATING;
        let users = sweeps.sweep_users(U::QUEUE, &self.id, &page.users, creating_until, now).await?;
        let named =
            users.iter().map(|&user_id| (user(user_id), format!("sweep:{}:{user_id}", self.id))).collect();
        let outcome = self.create(sweeps, tasks, due, named, page.next, rest).await?;
        let until = self.pace(U::QUEUE, now).at(due) + LOST_AFTER;
        sweeps.users_swept(U::QUEUE, &self.id, &users, creating_until, until, self.context.now()).await?;
        Ok(outcome)
    }

    /// As [`Sweep::fan_out`], for tasks that are named after something else than this sweep: another sweep does not
    /// create them again.
    pub async fn fan_out_named<U: Payload, S: Payload>(
        &self,
        sweeps: &Sweeps,
        tasks: &Tasks,
        named: Vec<(U, String)>,
        next: Option<Uuid>,
        rest: impl FnOnce(Position) -> S + Send,
    ) -> Result<Outcome, Failure> {
        self.create(sweeps, tasks, named.len(), named, next, rest).await
    }

    async fn create<U: Payload, S: Payload>(
        &self,
        sweeps: &Sweeps,
        tasks: &Tasks,
        due: usize,
        named: Vec<(U, String)>,
        next: Option<Uuid>,
        rest: impl FnOnce(Position) -> S + Send,
    ) -> Result<Outcome, Failure> {
        let now = self.context.now();
        let (pace, count) = (self.pace(U::QUEUE, now), named.len());
        let spread = named.into_iter().enumerate().map(|(place, (payload, name))| {
            let at = pace.at(place) + pace.jitter(&name);
            (payload, Options::default().named(name).at(at.clamp(now, now + FURTHEST)))
        });
        let created = tasks.enqueue_many(spread).await?.created;
        if let Some(after) = next {
            let position = Position {
                cursor: Some(after),
                sweep_id: Some(self.id.clone()),
                scheduled_until: Some(pace.at(count)),
            };
            let name = format!("sweep:{}:after:{after}", self.id);
            tasks.enqueue(&rest(position), Options::default().named(name)).await?;
        }
        let finished = next.is_none();
        sweeps.add_page(S::QUEUE, &self.id, created, finished, self.context.now()).await?;
        if finished {
            telemetry::sweep_finished(S::QUEUE.name(), self.prefix.trim_end_matches(':'));
            self.prune(sweeps, S::QUEUE.declaration()).await;
        }
        Ok(Outcome::done(Swept { due, created, existing: due as u64 - created, continued: !finished }))
    }

    fn pace(&self, queue: Queue, now: DateTime<Utc>) -> Pace {
        Pace::new(queue.policy().max_dispatches_per_second, self.scheduled_until, now)
    }

    /// What remains is left to the next sweep.
    async fn prune(&self, sweeps: &Sweeps, declaration: &Declaration) {
        let begun_at = Instant::now();
        let has_time = || {
            begun_at.elapsed() < PRUNE_BUDGET
                && self.context.time_left() > PRUNE_RESERVE
                && !self.context.is_cancelled()
        };
        match sweeps.prune(&declaration.retention, self.context.now(), has_time).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "rows were deleted after their retention"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "retention could not be applied");
            }
        }
    }
}

/// Runs a user's task. When it has ended, sweeps may create another one for the user: `user_id` is `None` for a task that
/// no sweep created.
pub fn user_task(
    sweeps: &Sweeps,
    queue: Queue,
    user_id: Option<Uuid>,
    context: &Context,
    run: impl Future<Output = Result<Outcome, Failure>> + Send,
) -> impl Future<Output = Result<Outcome, Failure>> + Send {
    // Boxed: nested in one another, the futures of a whole job are large.
    let run = Box::pin(run);
    async move {
        let result = run.await;
        // The runtime does the same when it has recorded that the task is dead.
        let has_ended = matches!(result, Ok(Outcome::Done(_) | Outcome::Skipped(_)));
        if let Some(user_id) = user_id.filter(|_| has_ended)
            && let Err(error) = sweeps.user_task_ended(queue, user_id, context.now()).await
        {
            tracing::warn!(
                %user_id,
                error = &error as &dyn std::error::Error,
                "end of the user's task not recorded; the next sweep may skip this user"
            );
        }
        result
    }
}

/// The times of a page's tasks: at most half as many as their queue dispatches, behind those of the pages before.
#[derive(Debug, Clone, Copy)]
struct Pace {
    begin: DateTime<Utc>,
    interval: TimeDelta,
}

impl Pace {
    fn new(per_second: u32, scheduled_until: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Self {
        let interval = TimeDelta::seconds(2) / per_second.max(1).cast_signed();
        let earliest = now - interval * BURST.cast_signed();
        Self { begin: scheduled_until.map_or(earliest, |until| until.max(earliest)), interval }
    }

    fn at(&self, place: usize) -> DateTime<Utc> {
        self.begin + self.interval * i32::try_from(place).unwrap_or(i32::MAX)
    }

    /// Less than an interval, the same whenever a task of that name is created.
    fn jitter(&self, name: impl fmt::Display) -> TimeDelta {
        let hash = sha256_hex([name.to_string()]);
        let byte = u8::from_str_radix(&hash[..2], 16).expect("a hash is hexadecimal");
        self.interval / 256 * i32::from(byte)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    /// When the tasks of pages of these lengths begin, each page looked at so many seconds after the one before.
    fn times(per_second: u32, pages: &[(usize, u32)]) -> Vec<Vec<DateTime<Utc>>> {
        let (mut now, mut until) = (now(), None);
        let pages = pages.iter().map(|&(length, later)| {
            now += TimeDelta::seconds(later.into());
            let pace = Pace::new(per_second, until, now);
            until = Some(pace.at(length));
            (0..length).map(|place| (pace.at(place) + pace.jitter(place)).max(now)).collect()
        });
        pages.collect()
    }

    #[test]
    fn a_small_sweep_begins_immediately() {
        for per_second in [1, 10, 500] {
            let times = times(per_second, &[(50, 0)]);
            let last = times.into_iter().flatten().max().unwrap();
            assert!(last <= now() + TimeDelta::seconds(1), "{per_second}: {last}");
        }
    }

    proptest! {
        #[test]
        fn tasks_take_up_half_their_queue_in_the_order_of_their_pages(
            per_second in prop::sample::select(vec![1_u32, 10, 20, 50, 500]),
            pages in prop::collection::vec((0_usize..=500, 0_u32..100), 1..8),
            window in 1_u32..100,
        ) {
            let times = times(per_second, &pages);
            let all: Vec<_> = times.iter().flatten().copied().collect();
            prop_assert!(all.is_sorted());
            let most = BURST + window * per_second / 2 + 1;
            for (first, begin) in all.iter().enumerate() {
                let end = *begin + TimeDelta::seconds(window.into());
                let within = all[first..].iter().take_while(|at| **at < end).count();
                prop_assert!(within <= most as usize + 1, "{within} in {window} s instead of {most}");
            }
        }
    }
}
