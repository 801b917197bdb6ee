//! One task by its key: what it went through, what holds it now, and what its next delivery would do.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use catchup::queues;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use shared::db::dead_letters::{DeadLetters, StoredDeadLetter};
use shared::db::failures::{Failures, RecordedRun, TaskRef, TaskState};
use shared::db::operator_actions::{Action, NewAction};
use shared::envelope;
use shared::idempotency::Seen;
use shared::queue::Queue;
use uuid::Uuid;

use super::actions::Request;
use super::cloud_tasks::FoundTask;
use super::dead_letters::summary;
use super::{Asked, Operations, Source, UNCHANGED, holds};
use crate::moment;
use crate::queue::Found;

/// A task in its present life.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Task {
    pub(crate) queue: &'static str,
    pub(crate) key: String,
    /// How often it was replayed.
    pub(crate) life: u32,
    pub(crate) user: Option<Uuid>,
    /// Every recorded run of every life; a task that succeeds immediately records none.
    pub(crate) runs: Vec<RecordedRun>,
    /// Without its body.
    pub(crate) dead_letter: Option<Value>,
    /// The failures of its present life that count, and with how many it is dead.
    pub(crate) failures: u32,
    pub(crate) attempts: u32,
    /// The lease, in words; nothing when Redis did not say.
    pub(crate) lease: Option<String>,
    /// The run that has the lease.
    pub(crate) held_by: Option<Uuid>,
    /// That run may be at work.
    pub(crate) is_live: bool,
    /// Where it waits, in words, if a task of that name is in its queue.
    pub(crate) waiting: Option<String>,
    /// What its next delivery would do.
    pub(crate) next: String,
    /// The same as `queue`.
    #[serde(skip)]
    pub(crate) of: Option<Queue>,
}

/// The tasks that have a key: usually one.
#[derive(Debug, Serialize)]
pub(crate) struct Tasks {
    pub(crate) sources: Vec<Asked>,
    pub(crate) tasks: Vec<Task>,
}

/// What Postgres knows of a key.
struct Recorded {
    runs: Vec<RecordedRun>,
    dead_letters: Vec<StoredDeadLetter>,
}

impl Operations {
    /// The tasks with this key, of one queue or of all: those of which Postgres or Redis knows something, and if neither does, of
    /// the queue that the key names.
    pub(crate) async fn tasks_of_key(&self, key: &str, queue: Option<Queue>) -> anyhow::Result<Tasks> {
        ensure!(!key.is_empty() && !key.contains('\0'), "a key is some text");
        let asked_for: Vec<Queue> = queue.map_or_else(|| queues::all().collect(), |queue| vec![queue]);
        let (recorded, postgres) = self.ask(Source::Postgres, self.recorded(&asked_for, key)).await;
        let recorded = recorded.unwrap_or(Recorded { runs: Vec::new(), dead_letters: Vec::new() });
        let lives: Vec<u32> = asked_for.iter().map(|queue| life(*queue, &recorded)).collect();
        let lease_keys: Vec<String> = lives.iter().map(|life| lease_key(key, *life)).collect();
        let names: Vec<_> =
            asked_for.iter().zip(&lease_keys).map(|(queue, key)| (queue.name(), key.as_str())).collect();
        let (seen, redis) = self.ask(Source::Redis, async { Ok(self.leases()?.look(&names).await?) }).await;
        let mut sources = vec![postgres, redis];
        let mut tasks = Vec::new();
        for (index, of) in asked_for.iter().enumerate() {
            let seen = seen.as_ref().map(|seen| &seen[index]);
            let is_known = recorded.runs.iter().any(|run| run.function == of.name())
                || recorded.dead_letters.iter().any(|it| it.function == of.name())
                || seen.is_some_and(|seen| *seen != Seen::Free);
            if is_known || queue.is_some() || key.ends_with(of.name()) {
                let task = self.task(*of, key, lives[index], &recorded, seen, &mut sources);
                tasks.push(Box::pin(task).await);
            }
        }
        Ok(Tasks { sources, tasks })
    }

    async fn recorded(&self, queues: &[Queue], key: &str) -> anyhow::Result<Recorded> {
        let functions: Vec<&str> = queues.iter().map(|queue| queue.name()).collect();
        let database = self.database()?;
        Ok(Recorded {
            runs: Failures::from(database.clone()).of_key(&functions, key).await?,
            dead_letters: DeadLetters::from(database).of_key(&functions, key).await?,
        })
    }

    async fn task(
        &self,
        queue: Queue,
        key: &str,
        life: u32,
        recorded: &Recorded,
        seen: Option<&Seen>,
        sources: &mut Vec<Asked>,
    ) -> Task {
        let runs: Vec<_> = recorded.runs.iter().filter(|run| run.function == queue.name()).cloned().collect();
        let dead_letter = recorded.dead_letters.iter().find(|it| it.function == queue.name());
        let now = self.clock.now();
        // A connection that cannot be made is waited for, once.
        let is_connected = !sources.iter().any(|it| it.source == Source::Postgres && it.problem.is_some());
        let state =
            async { if is_connected { self.state(queue, key, life).await.map(Some) } else { Ok(None) } };
        let ((state, postgres), (waiting, cloud_tasks)) = tokio::join!(
            self.ask(Source::Postgres, Box::pin(state)),
            self.ask(Source::CloudTasks, self.waiting(queue, key, is_connected)),
        );
        let state = state.flatten();
        for asked in [postgres, cloud_tasks] {
            if asked.problem.is_some()
                && !sources.iter().any(|it| it.source == asked.source && it.problem.is_some())
            {
                sources.push(asked);
            }
        }
        let failures = match state {
            Some(TaskState::Go { failures, .. }) => failures,
            _ => u32::try_from(runs.iter().filter(|run| counts(run, life)).count()).unwrap_or(u32::MAX),
        };
        let user = runs.iter().find_map(|run| run.user_id).or_else(|| dead_letter.and_then(|it| it.user_id));
        Task {
            queue: queue.name(),
            key: key.to_owned(),
            life,
            user,
            dead_letter: dead_letter.map(summary),
            failures,
            attempts: queue.policy().attempts,
            lease: seen.map(|seen| lease(seen, now)),
            held_by: match seen {
                Some(Seen::Held { run, .. }) => Some(*run),
                _ => None,
            },
            is_live: matches!(seen, Some(Seen::Held { is_live: true, .. })),
            waiting: waiting.flatten(),
            next: next(queue, seen, state.as_ref(), dead_letter.is_some(), now),
            runs,
            of: Some(queue),
        }
    }

    /// Where the task waits, in words, if its key is made of its name, and what keeps it there.
    async fn waiting(&self, queue: Queue, key: &str, is_connected: bool) -> anyhow::Result<Option<String>> {
        let name = envelope::name_in(queue, key);
        let is_name = name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_');
        let cloud_tasks = self.cloud_tasks()?;
        let found = if is_name { cloud_tasks.task(queue, name).await? } else { None };
        let Some(found) = found else { return Ok(None) };
        let mut words = waiting(&found, self.clock.now());
        if cloud_tasks.queues().await?.get(&queue.cloud_name()).is_some_and(Found::is_paused) {
            let holds = if is_connected { self.holds().await } else { Ok(BTreeMap::new()) };
            let holds = holds.unwrap_or_default();
            words = format!("{words}; its queue is {}", holds::why_paused(&holds, queue));
        }
        Ok(Some(words))
    }

    /// As a delivery of the task would see it; writes nothing.
    async fn state(&self, queue: Queue, key: &str, life: u32) -> anyhow::Result<TaskState> {
        let task_ref = TaskRef {
            function: queue.name(),
            key,
            life,
            attempts: queue.policy().attempts,
            timeout: self.pace.end_of_run(queue),
            company_window: self.pace.company_window(),
            user_id: None,
            body: &[],
            task_name: None,
            trace: None,
        };
        Ok(Failures::from(self.database()?).look(&task_ref, self.clock.now()).await?)
    }

    /// Takes the lease of its run from a task, so that its next delivery need not wait for the end of the lease. Returns whether
    /// that run still had it.
    pub(crate) async fn release(&self, task: &Task, request: Request<'_>) -> anyhow::Result<bool> {
        let run = task.held_by.context("no run has a lease of this task")?;
        let Some(queue) = task.of else { bail!("the task has no queue") };
        let new = NewAction {
            action: Action::Release,
            via: request.via,
            function: Some(queue.name()),
            user_id: task.user,
            filter: &json!({ "queue": queue.name(), "key": task.key, "run": run }),
            count: 1,
            why: request.why,
        };
        let action = self.begin(&new).await.context(UNCHANGED)?;
        let released = self.leases()?.take_away(queue.name(), &lease_key(&task.key, task.life), run).await;
        let released = released.context("Redis does not release the lease")?;
        self.end(action, usize::from(released)).await?;
        Ok(released)
    }
}

/// The life that a delivery would be of: as many as its dead letter counts deaths, or the newest of which a run is recorded.
fn life(queue: Queue, recorded: &Recorded) -> u32 {
    let is_ours = |function: &str| function == queue.name();
    // A dead letter that is open counts one more than the life that died: no delivery is of the next one before a replay.
    let of_dead_letter = recorded.dead_letters.iter().filter(|it| is_ours(&it.function));
    let of_dead_letter = of_dead_letter.map(|it| if it.state == "open" { it.deaths - 1 } else { it.deaths });
    let of_runs = recorded.runs.iter().filter(|run| is_ours(&run.function)).map(|run| run.life);
    of_dead_letter.chain(of_runs).max().unwrap_or_default().unsigned_abs()
}

fn lease_key(key: &str, life: u32) -> String {
    if life == 0 { key.to_owned() } else { format!("{key}#{life}") }
}

fn counts(run: &RecordedRun, life: u32) -> bool {
    run.life.unsigned_abs() == life
        && ["failed", "permanent", "killed", "started"].contains(&run.kind.as_str())
}

fn lease(seen: &Seen, now: DateTime<Utc>) -> String {
    match seen {
        Seen::Free => "none".to_owned(),
        Seen::Held { run, instance, began_at, until, is_live } => {
            let state = if *is_live { "expires" } else { "has expired" };
            format!(
                "of run {run} on instance {instance}, which began {}; {state} at {} ({})",
                moment::distance(*began_at, now),
                moment::text(*until),
                moment::distance(*until, now)
            )
        }
        Seen::Done => "none: the task is marked as done".to_owned(),
        Seen::Dead => "none: the task is marked as dead".to_owned(),
        Seen::Unreadable => "written by a revision that knows more than this program".to_owned(),
    }
}

fn waiting(found: &FoundTask, now: DateTime<Utc>) -> String {
    let state = if found.is_in_flight() {
        "is dispatched at present".to_owned()
    } else {
        let due = found.schedule_time;
        format!("is due {} ({})", moment::distance(due, now), moment::text(due))
    };
    format!(
        "created {}, {state}, {} dispatches so far",
        moment::distance(found.create_time, now),
        found.dispatch_count
    )
}

/// What a delivery would do: as `shared::runtime::process` decides it.
fn next(
    queue: Queue,
    seen: Option<&Seen>,
    state: Option<&TaskState>,
    has_dead_letter: bool,
    now: DateTime<Utc>,
) -> String {
    let attempts = queue.policy().attempts;
    match seen {
        Some(Seen::Done) => return "a delivery is a duplicate: the task is done".to_owned(),
        Some(Seen::Dead) => {
            return format!("a delivery is a duplicate: the task is dead{}", replay(has_dead_letter));
        }
        Some(Seen::Held { until, is_live: true, .. }) => {
            return format!(
                "a delivery waits until the lease expires, which is {} unless its run renews it",
                moment::distance(*until, now)
            );
        }
        Some(Seen::Unreadable) => return "a delivery waits: what Redis has cannot be read".to_owned(),
        Some(Seen::Free | Seen::Held { .. }) | None => {}
    }
    let lease = match seen {
        Some(Seen::Held { .. }) => "a delivery takes the expired lease, counts its run as killed, and then ",
        Some(_) => "a delivery ",
        None => "Redis does not say who has the lease; a delivery without one ",
    };
    let then = match state {
        Some(TaskState::Go { failures, alone }) => format!(
            "runs: attempt {} of {attempts}{}",
            failures.saturating_add(1),
            if *alone { ", alone on its instance, since the last run was killed" } else { "" }
        ),
        Some(TaskState::Wait(until)) => format!(
            "waits until {}: a run may be at work, or it is not yet known what a kill proves",
            moment::text(*until)
        ),
        Some(TaskState::Done) => "is a duplicate: Postgres has the task as done".to_owned(),
        Some(TaskState::Dead) => format!("is a duplicate: the task is dead{}", replay(has_dead_letter)),
        None => "does what its recorded failures say, which Postgres does not tell".to_owned(),
    };
    format!("{lease}{then}")
}

fn replay(has_dead_letter: bool) -> &'static str {
    if has_dead_letter { "; a replay of its dead letter begins a new life with all attempts" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_delivery_would_do_follows_from_lease_and_failures() {
        let now: DateTime<Utc> = "2026-11-27T03:00:00Z".parse().unwrap();
        let check = |seen: Option<Seen>, state: Option<TaskState>, expected: &str| {
            let next = next(queues::TOKEN_REFRESH, seen.as_ref(), state.as_ref(), true, now);
            assert!(next.contains(expected), "{next}");
        };
        let held = |seconds: i64, is_live| Seen::Held {
            run: Uuid::nil(),
            instance: "i".to_owned(),
            began_at: now,
            until: now + chrono::TimeDelta::seconds(seconds),
            is_live,
        };
        let go = TaskState::Go { failures: 1, alone: false };
        check(Some(Seen::Free), Some(go), "a delivery runs: attempt 2 of 3");
        check(Some(Seen::Done), Some(go), "duplicate: the task is done");
        check(Some(held(40, true)), Some(go), "waits until the lease expires, which is in 40 s");
        check(
            Some(held(-9, false)),
            Some(go),
            "takes the expired lease, counts its run as killed, and then runs",
        );
        check(Some(Seen::Free), Some(TaskState::Dead), "the task is dead; a replay of its dead letter");
        check(Some(Seen::Free), Some(TaskState::Wait(now)), "waits until 2026-11-27T03:00:00Z");
        check(None, Some(go), "Redis does not say who has the lease; a delivery without one runs");
        check(Some(Seen::Free), None, "which Postgres does not tell");
    }
}
