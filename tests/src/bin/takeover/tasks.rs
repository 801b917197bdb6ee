//! Tasks of the application's producers, and where each of them ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use catchup::payload;
use serde_json::Value;
use shared::queue::Queue;
use tokio::time::sleep;
use uuid::Uuid;

use crate::project::Project;

const POLL: Duration = Duration::from_millis(200);
/// Each call of gcloud starts a program, which takes seconds on a busy machine.
const LIMIT: Duration = Duration::from_mins(15);
/// Ends of a task in a function, if it is about no user that exists.
const ENDS: [&str; 2] = ["done", "skipped"];

/// Tasks of one queue.
#[derive(Default)]
pub(crate) struct Tasks {
    /// The user in each, if it names one, by its key.
    users: BTreeMap<String, Option<String>>,
    /// Tasks without a user that ended in the function before.
    before: usize,
}

/// What became of some tasks.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub(crate) there: usize,
    pub(crate) here: usize,
    pub(crate) twice: usize,
    pub(crate) lost: usize,
}

impl Tasks {
    /// None yet.
    pub(crate) async fn of(project: &Project, queue: Queue) -> anyhow::Result<Self> {
        Ok(Self { users: BTreeMap::new(), before: unnamed_ends(project, queue).await? })
    }

    pub(crate) fn len(&self) -> usize {
        self.users.len()
    }

    /// Creates some as the application does, with what its own job reads besides.
    pub(crate) async fn create(
        &mut self,
        project: &Project,
        queue: Queue,
        count: usize,
        other: &Value,
    ) -> anyhow::Result<()> {
        let kind = payload::ALL.iter().find(|kind| kind.queue == queue).context("a queue has a payload")?;
        let handover = project.handover(queue);
        for _ in 0..count {
            let mut data = (kind.dry_run)()?;
            let user = (!data["userId"].is_null()).then(|| Uuid::new_v4().to_string());
            if let Some(user) = &user {
                data["userId"] = user.as_str().into();
            }
            for (name, value) in other.as_object().into_iter().flatten() {
                data[name] = value.clone();
            }
            // Its producers name their jobs after the user and the time.
            let job = match (queue.name(), &user) {
                ("google-contacts-sync", Some(user)) => format!("google-contacts-sync-{user}-1700000000000"),
                ("suggestion-regeneration", Some(user)) => format!("suggestion-regen-{user}-1700000000000"),
                (name, _) => name.to_owned(),
            };
            let key = Uuid::new_v4().to_string();
            handover.create(&job, Some(&key), &data).await?;
            self.users.insert(key, user);
        }
        Ok(())
    }

    /// A harmless task of `scripts/ops` ended in the function, too.
    pub(crate) fn except(&mut self, count: usize) {
        self.before += count;
    }

    /// Where they ended: by their users where they name one, else by the number of ends.
    pub(crate) async fn ends(&self, project: &Project, queue: Queue) -> anyhow::Result<Ends> {
        let here = ends(project, queue).await?;
        let there = project.predecessor.record().done;
        let done_there: BTreeSet<_> = self.users.keys().filter(|key| there.contains(*key)).collect();
        let mut ends = Ends { there: done_there.len(), ..Ends::default() };
        if self.users.values().all(Option::is_none) {
            ends.here = here.get("").copied().unwrap_or_default().saturating_sub(self.before);
            let done = ends.here + ends.there;
            (ends.lost, ends.twice) = (self.len().saturating_sub(done), done.saturating_sub(self.len()));
            return Ok(ends);
        }
        for (key, user) in &self.users {
            let ends_here = user.as_ref().and_then(|user| here.get(user)).copied().unwrap_or_default();
            let all = ends_here + usize::from(done_there.contains(key));
            ends.here += ends_here;
            ends.twice += usize::from(all > 1);
            ends.lost += usize::from(all == 0);
        }
        Ok(ends)
    }
}

/// Waits until the queue holds no task.
pub(crate) async fn drain(project: &Project, queue: Queue) -> anyhow::Result<()> {
    until(&format!("{} is empty", queue.name()), || async {
        Ok(project.cloud.tasks().count(queue).await? == 0)
    })
    .await
}

/// Waits for a condition.
pub(crate) async fn until<F: Future<Output = anyhow::Result<bool>>>(
    what: &str,
    mut holds: impl FnMut() -> F,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "after {LIMIT:?} still not: {what}");
        sleep(POLL).await;
    }
    Ok(())
}

/// How often a task ended here, by its user; the empty name is for those without one.
async fn ends(project: &Project, queue: Queue) -> anyhow::Result<BTreeMap<String, usize>> {
    let log = project.google_cloud.log(queue.name()).await?;
    let mut ends = BTreeMap::new();
    for user in log.lines().filter_map(ended) {
        *ends.entry(user).or_default() += 1;
    }
    Ok(ends)
}

/// Whether the entry of the log says that a task has ended.
pub(crate) fn is_end(entry: &str) -> bool {
    ended(entry).is_some()
}

/// The user of the task that ended; empty for one without.
fn ended(entry: &str) -> Option<String> {
    let entry: Value = serde_json::from_str(entry).ok()?;
    let is_end = ENDS.contains(&entry["task.outcome"].as_str()?);
    is_end.then(|| entry["user.id"].as_str().unwrap_or_default().to_owned())
}

async fn unnamed_ends(project: &Project, queue: Queue) -> anyhow::Result<usize> {
    Ok(ends(project, queue).await?.get("").copied().unwrap_or_default())
}
