//! Queues are held, and let go again: which, by whom and why is remembered, so that the end of one trouble does not let go what
//! is held because of another.

use std::collections::BTreeMap;

use anyhow::anyhow;
use serde_json::json;
use shared::db::operator_actions::{Action, Hold, NewAction, OperatorActions};
use shared::queue::Queue;

use super::Operations;
use super::actions::Request;
use crate::moment;
use crate::queue::Found;

/// What became of one queue.
pub(crate) enum Outcome {
    /// It is as it was asked for. What could not be recorded is a warning.
    Changed { unrecorded: Option<String> },
    /// It was so before.
    Unchanged,
    /// It stays paused: it was paused by itself, for a reason of its own.
    Left { why: String },
    /// It is not.
    Failed(anyhow::Error),
}

/// Which queues, in what way.
pub(crate) struct Change<'a> {
    pub(crate) queues: &'a [Queue],
    /// `--all`, so that none was meant in particular.
    pub(crate) is_of_all: bool,
    /// [`Action::Pause`] or [`Action::Resume`].
    pub(crate) action: Action,
    pub(crate) dry_run: bool,
}

impl Operations {
    /// Pauses or resumes queues. One that fails does not stop the others; and since a queue may have to be held while Postgres is
    /// unavailable, what cannot be recorded is done all the same.
    pub(crate) async fn change_holds(
        &self,
        change: &Change<'_>,
        request: Request<'_>,
        mut progress: impl FnMut(Queue, Outcome),
    ) -> anyhow::Result<()> {
        let found = self.cloud_tasks()?.queues().await?;
        let holds = self.holds().await.unwrap_or_default();
        for queue in change.queues {
            let outcome = self.change_hold(*queue, change, request, &found, &holds).await;
            progress(*queue, outcome.unwrap_or_else(Outcome::Failed));
        }
        Ok(())
    }

    async fn change_hold(
        &self,
        queue: Queue,
        change: &Change<'_>,
        request: Request<'_>,
        found: &BTreeMap<String, Found>,
        holds: &BTreeMap<String, Hold>,
    ) -> anyhow::Result<Outcome> {
        let found = found.get(&queue.cloud_name()).ok_or_else(|| anyhow!("Cloud Tasks has no such queue"))?;
        let pauses = change.action == Action::Pause;
        if found.is_paused() == pauses {
            return Ok(Outcome::Unchanged);
        }
        if let Some(hold) = holds.get(queue.name())
            && change.is_of_all
            && !pauses
            && is_held(hold)
            && !hold.is_of_all
        {
            return Ok(Outcome::Left { why: reason(hold) });
        }
        if change.dry_run {
            return Ok(Outcome::Changed { unrecorded: None });
        }
        let new = NewAction {
            action: change.action,
            via: request.via,
            function: Some(queue.name()),
            user_id: None,
            filter: &json!({ "queue": queue.name(), "all": change.is_of_all }),
            count: 1,
            why: request.why,
        };
        let begun = self.begin(&new).await;
        let tasks = self.cloud_tasks()?;
        if pauses { tasks.pause(queue).await } else { tasks.resume(queue).await }?;
        let unrecorded = match begun {
            Ok(action) => self.end(action, 1).await.err(),
            Err(error) => Some(error.context("it is done, but not recorded")),
        };
        Ok(Outcome::Changed { unrecorded: unrecorded.map(|error| format!("{error:#}")) })
    }

    /// The last word on each queue, by its function.
    pub(crate) async fn holds(&self) -> anyhow::Result<BTreeMap<String, Hold>> {
        let functions: Vec<&str> = catchup::queues::all().map(Queue::name).collect();
        let holds = OperatorActions::from(self.database()?).holds(&functions).await?;
        Ok(holds.into_iter().map(|hold| (hold.function.clone(), hold)).collect())
    }
}

/// An operator holds the queue.
fn is_held(hold: &Hold) -> bool {
    hold.action == <&str>::from(Action::Pause)
}

/// Why a queue that is paused is so, as far as is recorded.
pub(crate) fn why_paused(holds: &BTreeMap<String, Hold>, queue: Queue) -> String {
    let hold = holds.get(queue.name()).filter(|hold| is_held(hold));
    hold.map_or_else(|| "paused, and not by scripts/ops pause as far as is recorded".to_owned(), reason)
}

/// Who holds a queue, since when, and why.
fn reason(hold: &Hold) -> String {
    let why = if hold.why.is_empty() { "no reason given" } else { &hold.why };
    format!("paused by {} at {}: {why}", hold.who, moment::text(hold.at))
}
