//! All queues change hands at random under load, between the old service and functions of two releases.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use catchup::queues;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use serde_json::json;
use shared::queue::Queue;

use crate::project::Project;
use crate::tasks::{Tasks, drain};

/// Tasks of each queue that are created before each flip, at most.
const MAX_TASKS: usize = 8;

/// What became of the tasks.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Flips {
    changes_of_hands: usize,
    tasks: usize,
    done_there: usize,
    done_here: usize,
    /// By the newest of the revisions, which is the last release.
    done_by_last_release: usize,
    seconds: u64,
}

/// Lets queues change hands so often, and counts each task.
pub(crate) async fn flip(
    project: &Project,
    flips: usize,
    last_release: &Path,
    seed: u64,
) -> anyhow::Result<(Flips, Vec<String>)> {
    let began = Instant::now();
    project.mix_with(last_release).await.context("the last release")?;
    let mut rng = StdRng::seed_from_u64(seed);
    let queues: Vec<_> = queues::all().collect();
    let mut tasks = BTreeMap::new();
    let mut before = BTreeMap::new();
    for queue in &queues {
        project.handover(*queue).give_back().await?;
        tasks.insert(queue.name(), Tasks::of(project, *queue).await?);
        before.insert(queue.name(), by_revision(project, *queue)?);
    }
    // The old job would harm people, and some cannot work: it only counts its tasks here.
    let succeeds = json!({ "acts": ["succeed"] });
    let mut ours = BTreeSet::new();
    for _ in 0..flips {
        for queue in &queues {
            let tasks = tasks.get_mut(queue.name()).context("all queues have tasks")?;
            tasks.create(project, *queue, rng.random_range(0..=MAX_TASKS), &succeeds).await?;
        }
        let queue = *queues.choose(&mut rng).context("there are queues")?;
        let handover = project.handover(queue);
        if ours.remove(queue.name()) {
            handover.give_back().await?;
        } else {
            handover.take_over(project.function(queue)?).await?;
            ours.insert(queue.name());
        }
    }
    let mut result = Flips { changes_of_hands: flips, ..Flips::default() };
    let mut problems = Vec::new();
    for queue in queues {
        drain(project, queue).await?;
        let tasks = &tasks[queue.name()];
        let ends = tasks.ends(project, queue).await?;
        for (count, how) in [(ends.lost, "lost"), (ends.twice, "done twice")] {
            if count > 0 {
                problems.push(format!("{}: {count} of {} tasks are {how}", queue.name(), tasks.len()));
            }
        }
        result.tasks += tasks.len();
        result.done_there += ends.there;
        result.done_here += ends.here;
        result.done_by_last_release += by_revision(project, queue)? - before[queue.name()];
    }
    result.seconds = began.elapsed().as_secs();
    if result.done_by_last_release == 0 || result.done_by_last_release == result.done_here {
        problems.push(format!("only one release ran: {result:?}"));
    }
    if result.done_there == 0 {
        problems.push("the old service ran nothing".to_owned());
    }
    Ok((result, problems))
}

/// Ends in the newest revision of a function.
fn by_revision(project: &Project, queue: Queue) -> anyhow::Result<usize> {
    Ok(project.ends_by_revision(queue)?.pop_last().map_or(0, |(_, ends)| ends))
}
