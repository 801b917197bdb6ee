//! The tasks that wait in a queue: found, dispatched before their time, deleted, created.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use catchup::{payload, queues};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};
use shared::db::operator_actions::{Action, NewAction};
use shared::envelope::{self, Envelope};
use shared::queue::Queue;
use shared::tasks::{Options, task_name};
use uuid::Uuid;

use super::actions::Request;
use super::cloud_tasks::{FoundTask, PAGE, View};
use super::dead_letters::{exact, quoted};
use super::{Listed, Operations, UNCHANGED};
use crate::said;

/// Tasks of a queue that are looked at for those that match a filter.
pub(crate) const LOOKED_AT: usize = 10_000;

/// Which tasks of a queue are meant; each condition that is given must be true.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TaskFilter<'a> {
    pub(crate) user: Option<Uuid>,
    pub(crate) key: Option<&'a str>,
    /// Created from then on.
    pub(crate) since: Option<DateTime<Utc>>,
    /// Created until then.
    pub(crate) until: Option<DateTime<Utc>>,
}

impl TaskFilter<'_> {
    fn is_all(&self) -> bool {
        self.user.is_none() && self.key.is_none() && self.since.is_none() && self.until.is_none()
    }

    /// Each condition by its name, as the options of the command spell it.
    fn conditions(&self) -> impl Iterator<Item = (&'static str, String)> {
        let conditions = [
            ("user", self.user.map(|user| user.to_string())),
            ("key", self.key.map(str::to_owned)),
            ("since", self.since.map(exact)),
            ("until", self.until.map(exact)),
        ];
        conditions.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// In words: ` with key …`, or nothing when all are meant.
    pub(crate) fn words(&self) -> String {
        said::conditions(self.conditions().map(|(name, value)| format!("{name} {value}")))
    }

    /// The command that lists the same, as it can be pasted into a shell.
    pub(crate) fn command(&self, queue: Option<Queue>) -> String {
        let mut text = "tasks".to_owned();
        if let Some(queue) = queue {
            let _infallible = write!(text, " {}", queue.name());
        }
        for (name, value) in self.conditions() {
            let _infallible = write!(text, " --{name} {}", quoted(&value));
        }
        text
    }

    fn matches(&self, task: &WaitingTask) -> bool {
        self.user.is_none_or(|user| task.user == Some(user))
            && self.key.is_none_or(|key| task.key.as_deref() == Some(key) || task.name == key)
            && self.since.is_none_or(|since| task.created_at >= since)
            && self.until.is_none_or(|until| task.created_at <= until)
    }
}

/// A task that waits, without its body.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WaitingTask {
    pub(crate) queue: &'static str,
    pub(crate) name: String,
    /// What its leases and failures are recorded under; none, if its body is no envelope.
    pub(crate) key: Option<String>,
    pub(crate) user: Option<Uuid>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) due_at: DateTime<Utc>,
    pub(crate) dispatches: u32,
    pub(crate) is_in_flight: bool,
    /// What Cloud Tasks says about the last answer to a dispatch.
    pub(crate) last_answer: Option<String>,
}

/// Tasks of a queue, or of all.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WaitingTasks {
    #[serde(flatten)]
    pub(crate) tasks: Listed<WaitingTask>,
    /// Queues that have more tasks than were looked at, which are so many.
    pub(crate) unfinished: Vec<&'static str>,
    pub(crate) looked_at: usize,
}

impl WaitingTasks {
    /// That not all tasks were looked at, if so.
    pub(crate) fn unfinished(&self) -> Option<String> {
        let queues = self.unfinished.join(", ");
        (!self.unfinished.is_empty())
            .then(|| format!("only the first {} tasks of {queues} were looked at", self.looked_at))
    }
}

impl WaitingTask {
    /// What leads to its life.
    pub(crate) fn key_or_name(&self) -> &str {
        self.key.as_deref().unwrap_or(&self.name)
    }

    fn of(queue: Queue, found: &FoundTask) -> Self {
        let (name, body) = (found.name().to_owned(), found.body());
        let envelope = Envelope::parse(queue, None, &body).ok();
        Self {
            queue: queue.name(),
            key: envelope.map(|it| {
                let created = it.enqueued_at.unwrap_or(found.create_time);
                it.key(queue, Some(&name), created).text
            }),
            user: envelope::user_of(&body),
            created_at: found.create_time,
            due_at: found.schedule_time,
            dispatches: found.dispatch_count,
            is_in_flight: found.is_in_flight(),
            last_answer: found.last_answer().map(str::to_owned),
            name,
        }
    }
}

impl Operations {
    /// The tasks that wait in a queue, those that are due first: of its first [`PAGE`], or with a filter those of its first
    /// [`LOOKED_AT`] that match. Of all queues, those that match of the first [`PAGE`] of each: one call per queue. Cloud Tasks lists
    /// them in any order.
    pub(crate) async fn waiting_tasks(
        &self,
        queue: Option<Queue>,
        filter: TaskFilter<'_>,
        limit: u32,
    ) -> anyhow::Result<WaitingTasks> {
        let looked_at = if queue.is_none() || filter.is_all() { PAGE } else { LOOKED_AT };
        let cloud_tasks = self.cloud_tasks()?;
        let queues: Vec<_> = if let Some(queue) = queue {
            vec![queue]
        } else {
            let found = cloud_tasks.queues().await?;
            queues::all().filter(|queue| found.contains_key(&queue.cloud_name())).collect()
        };
        let look = async |queue: Queue| {
            let mut tasks = Vec::new();
            let take = |found: FoundTask| {
                let task = WaitingTask::of(queue, &found);
                if filter.matches(&task) {
                    tasks.push(task);
                }
            };
            let has_more = cloud_tasks.tasks(queue, View::Full, looked_at, take).await?;
            anyhow::Ok((tasks, has_more.then_some(queue.name())))
        };
        let looked: Vec<_> =
            join_all(queues.into_iter().map(look)).await.into_iter().collect::<anyhow::Result<_>>()?;
        let (tasks, unfinished): (Vec<_>, Vec<_>) = looked.into_iter().unzip();
        let mut tasks = tasks.concat();
        tasks.sort_by_key(|task| task.due_at);
        let unfinished = unfinished.into_iter().flatten().collect();
        Ok(WaitingTasks { tasks: Listed::of(tasks, limit), looked_at, unfinished })
    }

    /// A task that waits, by its name in its queue.
    pub(crate) async fn waiting_task(&self, queue: Queue, name: &str) -> anyhow::Result<WaitingTask> {
        let found = self.cloud_tasks()?.task(queue, name).await?;
        Ok(WaitingTask::of(queue, &found.with_context(|| has_ended(queue, name))?))
    }

    /// Dispatches a task immediately, whatever its time, the rate of its queue, and whether that is paused.
    pub(crate) async fn run_task(
        &self,
        queue: Queue,
        task: &WaitingTask,
        request: Request<'_>,
    ) -> anyhow::Result<()> {
        self.change_task(Action::RunTask, queue, task, request).await
    }

    /// Deletes a task: its work is not done, and it is no dead letter.
    pub(crate) async fn delete_task(
        &self,
        queue: Queue,
        task: &WaitingTask,
        request: Request<'_>,
    ) -> anyhow::Result<()> {
        self.change_task(Action::DeleteTask, queue, task, request).await
    }

    /// Creates a task about a user, which runs not before `at`, and returns its name.
    pub(crate) async fn enqueue(
        &self,
        queue: Queue,
        user: Uuid,
        at: Option<DateTime<Utc>>,
        request: Request<'_>,
    ) -> anyhow::Result<String> {
        let data = data_for_user(queue).context("all tasks of the queue are sweeps")?(user)?;
        let new = NewAction {
            action: Action::Enqueue,
            via: request.via,
            function: Some(queue.name()),
            user_id: Some(user),
            filter: &json!({ "queue": queue.name(), "user": user, "at": at }),
            count: 1,
            why: request.why,
        };
        self.create_task(queue, data, at, &new).await
    }

    /// Creates a task with this data. Its name, which is returned, is made of the action that is recorded.
    pub(super) async fn create_task(
        &self,
        queue: Queue,
        data: Value,
        at: Option<DateTime<Utc>>,
        new: &NewAction<'_>,
    ) -> anyhow::Result<String> {
        let kind =
            payload::ALL.iter().find(|kind| kind.queue == queue).context("the queue has no payload")?;
        let producer = self.producer(queue).await?;
        let action = self.begin(new).await.context(UNCHANGED)?;
        let text = format!("operator:{action}");
        let options = Options::default().named(&text);
        let options = if let Some(at) = at { options.at(at) } else { options };
        (kind.enqueue)(producer, data, options).await.context("the task is not created")?;
        self.end(action, 1).await?;
        Ok(task_name(queue, &text))
    }

    async fn change_task(
        &self,
        action: Action,
        queue: Queue,
        task: &WaitingTask,
        request: Request<'_>,
    ) -> anyhow::Result<()> {
        let tasks = self.cloud_tasks()?;
        let new = NewAction {
            action,
            via: request.via,
            function: Some(queue.name()),
            user_id: task.user,
            filter: &json!({ "queue": queue.name(), "task": task.name }),
            count: 1,
            why: request.why,
        };
        let begun = self.begin(&new).await.context(UNCHANGED)?;
        let changed = match action {
            Action::DeleteTask => tasks.delete(queue, &task.name).await?,
            _ => tasks.run(queue, &task.name).await?,
        };
        self.end(begun, usize::from(changed)).await?;
        ensure!(changed, has_ended(queue, &task.name));
        Ok(())
    }
}

/// What makes the data of a task about one user; none, if all tasks of the queue are sweeps.
pub(crate) fn data_for_user(queue: Queue) -> Option<fn(Uuid) -> serde_json::Result<Value>> {
    payload::ALL.iter().find(|kind| kind.queue == queue)?.for_user
}

fn has_ended(queue: Queue, name: &str) -> String {
    format!("no task {name} waits in {}: it has ended, or there was none", queue.cloud_name())
}
