//! Bulks: dead letters that are replayed or discarded at a rate. Each is a row with its members, so it survives the process that runs
//! it: [`Operations::run_bulk`] begins where the last one ended.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use catchup::queues;
use serde_json::{Value, json};
use shared::db::bulks::{Begun, Bulks, Lock, NewBulk, StoredBulk, StoredMember};
use shared::db::operator_actions::{Action, NewAction, Pace};
use shared::queue::Queue;
use shared::replay;
use shared::tasks::{Error, Tasks};
use tokio::sync::OnceCell;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use super::actions::Request;
use super::{Listed, Operations, UNCHANGED};

/// The most dead letters of one bulk.
pub(crate) const MAX_MEMBERS: u32 = 10_000;
/// Dead letters per second, unless another rate is asked for: what failed for them meets no more than a busy hour brings.
pub(crate) const DEFAULT_RATE: i32 = 50;
/// Cloud Tasks wants no more calls per second for a queue that was quiet.
pub(crate) const MAX_RATE: i32 = 500;
/// Dead letters that are changed at the same time; so many calls are repeated when a run is cut off.
const AT_A_TIME: u32 = 20;
/// Between two looks at how far a bulk is.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What each member may be, in the words of its outcome, and in those of a person.
const OUTCOMES: [(&str, &str); 7] = [
    ("replayed", "replayed"),
    ("discarded", "discarded"),
    ("replayed_before", "replayed before"),
    ("gone", "gone"),
    ("failed", "failed"),
    ("replaying", "begun and not ended"),
    ("waiting", "waiting"),
];

/// What is to be done with which dead letters.
pub(crate) struct Change {
    /// [`Action::Replay`] or [`Action::Discard`].
    pub(crate) action: Action,
    pub(crate) ids: Vec<String>,
    /// How they were found, as it is recorded.
    pub(crate) filter: Value,
    pub(crate) pace: Pace,
}

impl Operations {
    /// Writes that a bulk begins, under an id that may be used again for the same.
    pub(crate) async fn begin_bulk(
        &self,
        id: Uuid,
        mut change: Change,
        request: Request<'_>,
    ) -> anyhow::Result<()> {
        let mut seen = HashSet::new();
        change.ids.retain(|id| seen.insert(id.clone()));
        let new = NewBulk {
            id,
            action: change.action,
            via: request.via,
            filter: &change.filter,
            why: request.why,
            ids: &change.ids,
            pace: change.pace,
        };
        let begun = Bulks::from(self.database()?).begin(&new, self.clock.now()).await;
        begun.context("the action cannot be recorded").context(UNCHANGED)
    }

    /// The bulk of that id, if it is there.
    pub(crate) async fn find_bulk(&self, id: Uuid) -> anyhow::Result<Option<StoredBulk>> {
        Ok(Bulks::from(self.database()?).get(id).await?)
    }

    /// The same; without it, an error.
    pub(crate) async fn bulk(&self, id: Uuid) -> anyhow::Result<StoredBulk> {
        self.find_bulk(id).await?.with_context(|| format!("there is no bulk {id}"))
    }

    /// Those that have not ended, newest first.
    pub(crate) async fn open_bulks(&self, limit: u32) -> anyhow::Result<Listed<StoredBulk>> {
        let bulks = Bulks::from(self.database()?).list_open(limit.saturating_add(1)).await?;
        Ok(Listed::of(bulks, limit))
    }

    /// Its dead letters, those that failed first.
    pub(crate) async fn members(&self, id: Uuid, limit: u32) -> anyhow::Result<Listed<StoredMember>> {
        let members = Bulks::from(self.database()?).members(id, limit.saturating_add(1)).await?;
        Ok(Listed::of(members, limit))
    }

    /// From now on it runs at this rate.
    pub(crate) async fn change_rate(&self, id: Uuid, rate: i32, request: Request<'_>) -> anyhow::Result<()> {
        let bulk = self.bulk(id).await?;
        if bulk.ended_at.is_some() || bulk.rate == rate {
            return Ok(());
        }
        let filter = json!({ "bulk": id, "rate": rate, "before": bulk.rate });
        let action = self.begin(&of_bulk(Action::ChangeRate, &filter, request)).await.context(UNCHANGED)?;
        Bulks::from(self.database()?).set_rate(id, rate).await?;
        self.end(action, 1).await
    }

    /// Writes that a bulk is continued, unless it has ended, and returns what is to be ended with it. [`Operations::run_bulk`] then
    /// continues it.
    pub(crate) async fn continue_bulk(&self, id: Uuid, request: Request<'_>) -> anyhow::Result<Option<Uuid>> {
        if self.bulk(id).await?.ended_at.is_some() {
            return Ok(None);
        }
        let filter = json!({ "bulk": id });
        let action = self.begin(&of_bulk(Action::ContinueBulk, &filter, request)).await;
        action.context(UNCHANGED).map(Some)
    }

    /// Ends a bulk between two dead letters; returns it as it is then.
    pub(crate) async fn cancel_bulk(&self, id: Uuid, request: Request<'_>) -> anyhow::Result<StoredBulk> {
        let bulk = self.bulk(id).await?;
        if bulk.ended_at.is_some() {
            return Ok(bulk);
        }
        let filter = json!({ "bulk": id });
        let action = self.begin(&of_bulk(Action::Cancel, &filter, request)).await.context(UNCHANGED)?;
        let cancelled = Bulks::from(self.database()?).cancel(id, self.clock.now()).await?;
        self.end(action, usize::from(cancelled)).await?;
        self.run_bulk(id, |_| {}).await
    }

    /// Runs a bulk to its end, or waits for its end while another process runs it; returns it as it is then. An error leaves what is
    /// left for the next run.
    pub(crate) async fn run_bulk(
        &self,
        id: Uuid,
        mut progress: impl FnMut(&StoredBulk),
    ) -> anyhow::Result<StoredBulk> {
        let db = Bulks::from(self.database()?);
        loop {
            let bulk = self.bulk(id).await?;
            if bulk.ended_at.is_some() {
                return Ok(bulk);
            }
            let Some(lock) = db.lock(id).await? else {
                progress(&bulk);
                sleep(LOOK_EVERY).await;
                continue;
            };
            db.set_problem(id, None).await?;
            if let Err(error) = self.process(&db, lock, &bulk, &mut progress).await {
                // Without the database it is not recorded, and said all the same.
                let _unrecorded = db.set_problem(id, Some(&format!("{error:#}"))).await;
                return Err(error.context(format!(
                    "the bulk is not done, and scripts/ops dead-letters resume {id} continues it"
                )));
            }
        }
    }

    async fn process(
        &self,
        db: &Bulks,
        mut lock: Lock,
        bulk: &StoredBulk,
        progress: &mut impl FnMut(&StoredBulk),
    ) -> anyhow::Result<()> {
        let producers = Producers::of(self);
        let (mut rate, mut looked) = (bulk.rate, Instant::now());
        let (mut limit, mut due) = paced(rate);
        while lock.has_more().await? {
            due.tick().await;
            let now = self.clock.now();
            if bulk.action == <&str>::from(Action::Replay) {
                replay::replay(db, bulk.id, limit, now, |begun| producers.create(begun)).await?;
            } else {
                db.discard(bulk.id, limit, now).await?;
            }
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                let bulk = self.bulk(bulk.id).await?;
                if bulk.rate != rate {
                    rate = bulk.rate;
                    (limit, due) = paced(rate);
                }
                progress(&bulk);
            }
        }
        Ok(db.end(bulk.id, self.clock.now()).await?)
    }
}

/// What is recorded of an action on one bulk.
fn of_bulk<'a>(action: Action, filter: &'a Value, request: Request<'a>) -> NewAction<'a> {
    let Request { via, why } = request;
    NewAction { action, via, function: None, user_id: None, filter, count: 1, why }
}

/// So many dead letters at the same time, each time the clock ticks, are `rate` per second.
fn paced(rate: i32) -> (u32, Interval) {
    let limit = rate.unsigned_abs().clamp(1, AT_A_TIME);
    let mut due = interval(Duration::from_secs(1) * limit / rate.unsigned_abs().max(1));
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    (limit, due)
}

/// What creates the tasks of each queue, found when the first task of the queue is created.
struct Producers<'a> {
    operations: &'a Operations,
    by_function: BTreeMap<&'static str, (Queue, OnceCell<Tasks>)>,
}

impl<'a> Producers<'a> {
    fn of(operations: &'a Operations) -> Self {
        let by_function = queues::all().map(|queue| (queue.name(), (queue, OnceCell::new()))).collect();
        Self { operations, by_function }
    }

    /// Creates the task, or says why this one cannot be created. An error is not this task's fault.
    async fn create(&self, begun: Begun) -> anyhow::Result<Result<(), String>> {
        let Some((queue, tasks)) = self.by_function.get(begun.function.as_str()) else {
            return Ok(Err(format!("there is no queue {}", begun.function)));
        };
        let tasks = tasks.get_or_try_init(|| self.operations.producer(*queue)).await?;
        let (name, body) = replay::task(*queue, &begun);
        let Err(error) = tasks.replay(*queue, name, body).await else { return Ok(Ok(())) };
        match remedy(&error) {
            Some(remedy) => Err(anyhow::Error::from(error).context(remedy)),
            None => Ok(Err(error.to_string())),
        }
    }
}

/// What to do about an error that every task would meet; none about one that is the task's own.
fn remedy(error: &Error) -> Option<&'static str> {
    match error {
        Error::Transport(_) => Some("Cloud Tasks does not respond; continue when it does"),
        Error::Credentials(_) | Error::NoCredentials => {
            Some("there are no credentials; gcloud auth application-default login makes some")
        }
        Error::Unavailable(429) => Some("Cloud Tasks limits the calls; continue with a lower --rate"),
        Error::Unavailable(_) => Some("Cloud Tasks is unavailable; continue when it is not"),
        Error::Refused { status: 401 | 403, .. } => {
            Some("these credentials may not create tasks; infra/gcp/operators.tf says who may")
        }
        Error::Refused { .. } | Error::Payload(_) => None,
    }
}

/// How many dead letters have which outcome, in words.
pub(crate) fn summary(bulk: &StoredBulk) -> String {
    let counts = OUTCOMES.iter().filter_map(|(outcome, words)| {
        let count = bulk.outcomes.get(*outcome)?;
        Some(format!("{count} {words}"))
    });
    counts.collect::<Vec<_>>().join(", ")
}

/// Whether a bulk has ended, or who continues it.
pub(crate) fn state(bulk: &StoredBulk) -> &'static str {
    match (bulk.ended_at, bulk.cancelled_at) {
        (Some(_), Some(_)) => "cancelled",
        (Some(_), None) => "ended",
        (None, Some(_)) => "is being cancelled",
        (None, None) if bulk.is_running => "is running",
        (None, None) => "stands still: no process runs it",
    }
}

/// Some of its dead letters failed.
pub(crate) fn has_failed(bulk: &StoredBulk) -> bool {
    bulk.outcomes.contains_key("failed")
}
