//! One queue, there and back: tasks wait and run, the queue changes hands, functions are killed, and each task is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use catchup::payload;
use serde::Serialize;
use serde_json::Value;
use shared::queue::Queue;
use tokio::time::sleep;
use uuid::Uuid;

use crate::Proved;
use crate::project::Project;

const POLL: Duration = Duration::from_millis(200);
/// Shorter than the time after which a run gives a lock up.
const LOCKED_FOR: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_mins(5);
const KILLS: usize = 2;
/// What every job reads first: while these are locked, its runs wait.
const LOCK: &str = "LOCK TABLE users, oauth_tokens, sync_schedule, calendar_webhook_subscriptions, suggestions,
    notification_preferences, token_health_notifications, calendar_events, jobs.swept_users IN ACCESS EXCLUSIVE MODE";
/// Ends of a task here.
const ENDS: [&str; 2] = ["done", "skipped"];

/// One change of hands.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Round {
    tasks: usize,
    /// In flight when the queue was paused.
    running: usize,
    done_there: usize,
    done_here: usize,
    /// Tasks that the give-back purged, which the old job would take for sweeps.
    pub(crate) purged: usize,
    done_twice: usize,
    lost: usize,
    kills: usize,
    seconds: u64,
    /// Why `scripts/ops` would not.
    pub(crate) refused: Option<String>,
}

/// Harmless tasks of a take-over itself: its check's, and its last look's.
const TRIED: usize = 2;

/// A task by its key, and the user in it, if it names one.
type Tasks = BTreeMap<String, Option<String>>;

pub(crate) async fn both(
    project: &Project,
    queue: Queue,
    waiting: usize,
    running: usize,
) -> anyhow::Result<Proved> {
    let mut problems = Vec::new();
    let take_over = take_over(project, queue, waiting, running).await?;
    check(&take_over, "take-over", &mut problems);
    if let Some(refusal) = &take_over.refused {
        problems.push(format!("the take-over was refused: {refusal}"));
        return Ok(Proved { take_over, give_back: Round::default(), problems });
    }
    let give_back = give_back(project, queue, waiting, running).await?;
    check(&give_back, "give-back", &mut problems);
    Ok(Proved { take_over, give_back, problems })
}

fn check(round: &Round, what: &str, problems: &mut Vec<String>) {
    for (count, how) in [(round.lost, "lost"), (round.done_twice, "done twice")] {
        if count > 0 {
            problems.push(format!("{what}: {count} of {} tasks are {how}", round.tasks));
        }
    }
}

async fn take_over(project: &Project, queue: Queue, waiting: usize, running: usize) -> anyhow::Result<Round> {
    let began = Instant::now();
    let before = unnamed_ends(project, queue).await?;
    let handover = project.handover(queue);
    project.predecessor.hold();
    let mut tasks = fill(project, queue, running).await?;
    until("the old service runs some", || async { Ok(project.predecessor.record().running >= running) })
        .await?;
    let caller = format!("--caller={}", project.caller());
    let mut child = project.ops(&["takeover", queue.name(), &caller, "--quiet=3", "--settle=1"])?;
    while !handover.is_paused().await? && child.try_wait()?.is_none() {
        sleep(POLL).await;
    }
    let running = handover.in_flight().await?;
    tasks.extend(fill(project, queue, waiting).await?);
    project.predecessor.release();
    let output = child.wait_with_output().await?;
    let refused = refusal(&output);
    let mut kills = 0;
    if refused.is_none() {
        for _ in 0..KILLS {
            kill_in_the_middle(project, queue).await?;
            kills += 1;
        }
    }
    drain(project, queue).await?;
    let tried = if refused.is_none() { TRIED } else { 0 };
    let round = count(project, queue, &tasks, before + tried).await?;
    Ok(Round { running, kills, refused, seconds: began.elapsed().as_secs(), ..round })
}

async fn give_back(project: &Project, queue: Queue, waiting: usize, running: usize) -> anyhow::Result<Round> {
    let began = Instant::now();
    let before = unnamed_ends(project, queue).await?;
    let handover = project.handover(queue);
    let mut tasks = Tasks::new();
    let mut child = project.ops(&["giveback", queue.name(), "--quiet=3", "--settle=1"])?;
    let mut in_flight = 0;
    let mut kills = 0;
    // Runs are under way, and wait for a lock, most of the time until the queue is paused; then they are killed.
    while child.try_wait()?.is_none() {
        let mut lock = project.database.begin().await?;
        sqlx::query(LOCK).execute(&mut *lock).await?;
        tasks.extend(fill(project, queue, running).await?);
        sleep(LOCKED_FOR).await;
        let is_paused = handover.is_paused().await?;
        if is_paused {
            in_flight = handover.in_flight().await?;
            project.google_cloud.kill(queue.name()).await?;
            kills += 1;
        }
        lock.rollback().await?;
        if is_paused {
            tasks.extend(fill(project, queue, waiting).await?);
            break;
        }
    }
    let output = child.wait_with_output().await?;
    let refused = refusal(&output);
    let left = tasks_left(project, queue).await?;
    let is_purged = String::from_utf8_lossy(&output.stderr).contains("+ gcloud tasks queues purge");
    drain(project, queue).await?;
    let mut round = count(project, queue, &tasks, before).await?;
    if is_purged {
        // Nothing waits after a purge; what neither side has done was purged.
        ensure!(left == 0, "{left} tasks are left after a purge");
        (round.purged, round.lost) = (round.lost, 0);
    }
    let seconds = began.elapsed().as_secs();
    Ok(Round { running: in_flight, kills, refused, seconds, ..round })
}

/// Why a command would not; what it said otherwise is shown.
fn refusal(output: &std::process::Output) -> Option<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    eprintln!("{}", said.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n"));
    let last = said.lines().rfind(|line| line.starts_with("scripts/ops: ") || line.starts_with("WRONG"));
    (!output.status.success())
        .then(|| last.unwrap_or("it failed").trim_start_matches("scripts/ops: ").to_owned())
}

/// Creates tasks of the application's producers.
async fn fill(project: &Project, queue: Queue, count: usize) -> anyhow::Result<Tasks> {
    let kind = payload::ALL.iter().find(|kind| kind.queue == queue).context("a queue has a payload")?;
    let handover = project.handover(queue);
    let mut tasks = Tasks::new();
    for _ in 0..count {
        let mut data = (kind.dry_run)()?;
        let user = (!data["userId"].is_null()).then(|| Uuid::new_v4().to_string());
        if let Some(user) = &user {
            data["userId"] = user.as_str().into();
        }
        // Its producers name their jobs after the user and the time.
        let job = match (queue.name(), &user) {
            ("google-contacts-sync", Some(user)) => format!("google-contacts-sync-{user}-1700000000000"),
            ("suggestion-regeneration", Some(user)) => format!("suggestion-regen-{user}-1700000000000"),
            (name, _) => name.to_owned(),
        };
        let key = Uuid::new_v4().to_string();
        handover.create(&job, Some(&key), &data).await?;
        tasks.insert(key, user);
    }
    Ok(tasks)
}

async fn kill_in_the_middle(project: &Project, queue: Queue) -> anyhow::Result<()> {
    let mut lock = project.database.begin().await?;
    sqlx::query(LOCK).execute(&mut *lock).await?;
    let deadline = Instant::now() + Duration::from_secs(2);
    // Some queues are empty by now.
    while project.handover(queue).in_flight().await? == 0 && Instant::now() < deadline {
        sleep(POLL).await;
    }
    project.google_cloud.kill(queue.name()).await?;
    lock.rollback().await?;
    Ok(())
}

async fn tasks_left(project: &Project, queue: Queue) -> anyhow::Result<usize> {
    project.cloud.tasks().count(queue).await
}

async fn drain(project: &Project, queue: Queue) -> anyhow::Result<()> {
    until("the queue is empty", || async { Ok(tasks_left(project, queue).await? == 0) }).await
}

async fn until<F: Future<Output = anyhow::Result<bool>>>(
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
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut ends = BTreeMap::new();
    for line in lines {
        if line["task.outcome"].as_str().is_some_and(|outcome| ENDS.contains(&outcome)) {
            *ends.entry(line["user.id"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    Ok(ends)
}

async fn unnamed_ends(project: &Project, queue: Queue) -> anyhow::Result<usize> {
    Ok(ends(project, queue).await?.get("").copied().unwrap_or_default())
}

/// What became of the tasks: by their users where they name one, else by the number of ends since `before`.
async fn count(project: &Project, queue: Queue, tasks: &Tasks, before: usize) -> anyhow::Result<Round> {
    let here = ends(project, queue).await?;
    let there = project.predecessor.record().done;
    let done_there: BTreeSet<_> = tasks.keys().filter(|key| there.contains(*key)).collect();
    let mut round = Round { tasks: tasks.len(), done_there: done_there.len(), ..Round::default() };
    if tasks.values().all(Option::is_none) {
        round.done_here = here.get("").copied().unwrap_or_default().saturating_sub(before);
        let done = round.done_here + round.done_there;
        (round.lost, round.done_twice) = (tasks.len().saturating_sub(done), done.saturating_sub(tasks.len()));
        return Ok(round);
    }
    for (key, user) in tasks {
        let ends_here = user.as_ref().and_then(|user| here.get(user)).copied().unwrap_or_default();
        let ends = ends_here + usize::from(done_there.contains(key));
        round.done_here += ends_here;
        round.done_twice += usize::from(ends > 1);
        round.lost += usize::from(ends == 0);
    }
    Ok(round)
}
