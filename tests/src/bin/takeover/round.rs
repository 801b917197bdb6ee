//! One queue, there and back: tasks wait and run, the queue changes hands, functions are killed, and each task is counted.

use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use catchup::queues;
use serde::Serialize;
use serde_json::Value;
use shared::queue::Queue;
use sqlx::PgTransaction;
use tokio::time::sleep;

use crate::people::State;
use crate::project::{Project, concurrent_dispatches};
use crate::tasks::{Tasks, drain, until};

/// A run takes its lease in less, and gives a lock up later.
const INTO_THE_RUN: Duration = Duration::from_secs(1);
const KILLS: usize = 2;
/// What every job reads first: while these are locked, its runs wait.
const LOCK: &str = "LOCK TABLE users, oauth_tokens, sync_schedule, calendar_webhook_subscriptions, suggestions,
    notification_preferences, token_health_notifications, calendar_events, jobs.swept_users IN ACCESS EXCLUSIVE MODE";
/// Harmless tasks of a take-over itself: its check's, and its last look's.
const TRIED: usize = 2;
/// Times of a hand-over here; the function is killed while it looks.
const TIMES: [&str; 2] = ["--quiet=3", "--settle=1"];
const LOOK: &str = "--timeout=180";

/// How many tasks there are when a queue changes hands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) waiting: usize,
    /// At most as many as the queue dispatches at a time.
    pub(crate) running: usize,
}

/// What became of a queue.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Proved {
    pub(crate) take_over: Round,
    pub(crate) give_back: Round,
    pub(crate) problems: Vec<String>,
}

/// One change of hands.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Round {
    pub(crate) tasks: usize,
    /// Created while the queue was paused.
    pub(crate) waiting: usize,
    /// In flight when the queue was paused.
    pub(crate) running: usize,
    pub(crate) done_there: usize,
    pub(crate) done_here: usize,
    /// Tasks that the give-back purged, which the old job would take for sweeps.
    pub(crate) purged: usize,
    pub(crate) done_twice: usize,
    pub(crate) lost: usize,
    pub(crate) kills: usize,
    pub(crate) seconds: u64,
    /// Why `scripts/ops` would not, while something was open.
    pub(crate) refused: Option<String>,
}

/// What both sides had done to people at some moment.
struct Looked {
    people: State,
    sweeps: u32,
    messages: i64,
}

/// Takes a queue over and gives it back. Whatever goes wrong is a problem of this queue.
pub(crate) async fn both(project: &Project, queue: Queue, load: Load) -> Proved {
    let mut proved = Proved::default();
    if let Err(error) = there_and_back(project, queue, load, &mut proved).await {
        proved.problems.push(format!("{error:#}"));
        project.predecessor.release();
        if let Err(error) = project.google_cloud.kill(queue.name()).await {
            proved.problems.push(format!("its function cannot be started again: {error:#}"));
        }
    }
    proved
}

async fn there_and_back(
    project: &Project,
    queue: Queue,
    load: Load,
    proved: &mut Proved,
) -> anyhow::Result<()> {
    let load = Load { running: load.running.min(concurrent_dispatches(queue)?), ..load };
    let Proved { take_over: there, give_back: back, problems } = proved;
    project.people.restore().await?;
    take_over(project, queue, load, there, problems).await.context("take-over")?;
    if let Some(refusal) = &there.refused {
        problems.push(format!("the take-over was refused: {refusal}"));
        return Ok(());
    }
    check(there, load, "take-over", problems);
    if queue == queues::TOKEN_REFRESH {
        heal(project, problems).await.context("the first sweep")?;
    }
    project.people.restore().await?;
    give_back(project, queue, load, back, problems).await.context("give-back")?;
    check(back, load, "give-back", problems);
    project.people.restore().await
}

/// Each task ended once, and there were as many as asked for.
fn check(round: &Round, load: Load, what: &str, problems: &mut Vec<String>) {
    for (count, how) in [(round.lost, "lost"), (round.done_twice, "done twice")] {
        if count > 0 {
            problems.push(format!("{what}: {count} of {} tasks are {how}", round.tasks));
        }
    }
    if round.running < load.running || round.waiting < load.waiting {
        let Round { waiting, running, .. } = round;
        problems.push(format!("{what}: only {waiting} tasks waited and {running} ran, of {load:?}"));
    }
    if round.kills == 0 {
        problems.push(format!("{what}: no function was killed"));
    }
}

async fn take_over(
    project: &Project,
    queue: Queue,
    load: Load,
    round: &mut Round,
    problems: &mut Vec<String>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let handover = project.handover(queue);
    let mut tasks = Tasks::of(project, queue).await?;
    project.predecessor.hold();
    tasks.create(project, queue, load.running, &Value::Null).await?;
    until("the old service runs them", || async { Ok(project.predecessor.record().running >= load.running) })
        .await?;
    let caller = format!("--caller={}", project.caller());
    let command = ["takeover", queue.name(), &caller, LOOK, TIMES[0], TIMES[1]];
    let mut child = project.ops(&command)?;
    while !handover.is_paused().await? && child.try_wait()?.is_none() {
        sleep(INTO_THE_RUN / 10).await;
    }
    if child.try_wait()?.is_some() {
        project.predecessor.release();
        round.refused = refusal(&child.wait_with_output().await?);
        return drain(project, queue).await;
    }
    round.running = handover.in_flight().await?;
    tasks.create(project, queue, load.waiting, &Value::Null).await?;
    round.waiting = load.waiting;
    project.predecessor.release();
    until("the old service has ended its runs", || async { Ok(handover.in_flight().await? == 0) }).await?;
    // What the old service did until now is its own; from here on, it and the function harm no person.
    let before = look(project).await?;
    ensure!(handover.is_paused().await?, "it was resumed before it was looked at");
    until("the queue runs again", || async { Ok(!handover.is_paused().await?) }).await?;
    for _ in 0..KILLS {
        let lock = lock(project).await?;
        until("some run", || async { Ok(handover.in_flight().await? > 0) }).await?;
        sleep(INTO_THE_RUN).await;
        project.google_cloud.kill(queue.name()).await?;
        lock.rollback().await?;
        round.kills += 1;
    }
    let output = child.wait_with_output().await?;
    round.refused = refusal(&output);
    tasks.except(TRIED);
    drain(project, queue).await?;
    count(project, queue, &tasks, round).await?;
    round.seconds = began.elapsed().as_secs();
    problems.extend(before.harm(&look(project).await?).map(|harm| format!("take-over: {harm}")));
    Ok(())
}

async fn give_back(
    project: &Project,
    queue: Queue,
    load: Load,
    round: &mut Round,
    problems: &mut Vec<String>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let handover = project.handover(queue);
    let command = ["giveback", queue.name(), TIMES[0], TIMES[1]];
    let tried = project.ops(&[command[0], command[1], "--dry-run"])?.wait_with_output().await?;
    round.refused = refusal(&tried);
    if round.refused.is_some() {
        project.people.close().await?;
    }
    let before = look(project).await?;
    let mut tasks = Tasks::of(project, queue).await?;
    // The function stops in the middle of its runs, and is killed once the queue is paused.
    let lock = lock(project).await?;
    tasks.create(project, queue, load.running, &Value::Null).await?;
    until("the function runs them", || async { Ok(handover.in_flight().await? >= load.running) }).await?;
    sleep(INTO_THE_RUN).await;
    project.google_cloud.freeze(queue.name()).await?;
    lock.rollback().await?;
    let mut child = project.ops(&command)?;
    while !handover.is_paused().await? && child.try_wait()?.is_none() {
        sleep(INTO_THE_RUN / 10).await;
    }
    round.running = handover.in_flight().await?;
    tasks.create(project, queue, load.waiting, &Value::Null).await?;
    round.waiting = load.waiting;
    project.google_cloud.kill(queue.name()).await?;
    round.kills += 1;
    let output = child.wait_with_output().await?;
    if let Some(refusal) = refusal(&output) {
        problems.push(format!("the give-back was refused: {refusal}"));
    }
    let is_purged = String::from_utf8_lossy(&output.stderr).contains("+ gcloud tasks queues purge");
    let left = project.cloud.tasks().count(queue).await?;
    drain(project, queue).await?;
    count(project, queue, &tasks, round).await?;
    if is_purged {
        // Nothing waits after a purge; what neither side has done was purged.
        ensure!(left == 0, "{left} tasks are left after a purge");
        (round.purged, round.lost) = (round.lost, 0);
    }
    round.seconds = began.elapsed().as_secs();
    problems.extend(before.harm(&look(project).await?).map(|harm| format!("give-back: {harm}")));
    Ok(())
}

async fn count(project: &Project, queue: Queue, tasks: &Tasks, round: &mut Round) -> anyhow::Result<()> {
    let ends = tasks.ends(project, queue).await?;
    round.tasks = tasks.len();
    (round.done_there, round.done_here) = (ends.there, ends.here);
    (round.done_twice, round.lost) = (ends.twice, ends.lost);
    Ok(())
}

/// While this is held, runs wait in the middle.
async fn lock(project: &Project) -> anyhow::Result<PgTransaction<'static>> {
    let mut lock = project.database.begin().await?;
    sqlx::query(LOCK).execute(&mut *lock).await?;
    Ok(lock)
}

/// The sweep after a take-over tries the tokens that only the old job calls revoked.
async fn heal(project: &Project, problems: &mut Vec<String>) -> anyhow::Result<()> {
    let queue = queues::TOKEN_REFRESH;
    let marks = project.people.false_marks().await?;
    ensure!(marks > 0, "the old job marked no token, so that nothing shows that a sweep heals them");
    for schedule in &queue.policy().schedules {
        project.cloud.tasks().create_scheduled(queue, schedule).await?;
    }
    drain(project, queue).await?;
    let left = project.people.false_marks().await?;
    if left > 0 {
        problems.push(format!("take-over: {left} of {marks} tokens are still revoked after a sweep"));
    }
    Ok(())
}

async fn look(project: &Project) -> anyhow::Result<Looked> {
    let record = project.predecessor.record();
    Ok(Looked {
        people: project.people.state().await?,
        sweeps: record.sweeps.values().sum(),
        messages: record.messages.values().sum(),
    })
}

impl Looked {
    /// What happened to people since then.
    fn harm(&self, later: &Self) -> Option<String> {
        let (sweeps, messages) = (later.sweeps - self.sweeps, later.messages - self.messages);
        let mut harm: Vec<_> = self.people.harm(&later.people).into_iter().collect();
        harm.extend((sweeps > 0).then(|| format!("whole sweeps of the old job: {sweeps}")));
        harm.extend((messages > 0).then(|| format!("messages of the old job to contacts: {messages}")));
        (!harm.is_empty()).then(|| harm.join(", "))
    }
}

/// Why a command would not; what it said otherwise is shown.
fn refusal(output: &Output) -> Option<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    eprintln!("{}", said.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n"));
    let last = said.lines().rfind(|line| line.starts_with("scripts/ops: ") || line.starts_with("WRONG"));
    (!output.status.success())
        .then(|| last.unwrap_or("it failed").trim_start_matches("scripts/ops: ").to_owned())
}
