//! Days in minutes: from one scheduled moment to the next, in a world that changes, in simulated time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::bail;
use catchup::queues;
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use google_stand_in::{Call, Fault, FaultKind, Integration};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::json;
use shared::queue::{Queue, Schedule};
use tokio::time::sleep;
use uuid::Uuid;

use crate::cron::Cron;
use crate::seed::works;
use crate::simulated_time::SimulatedTime;
use crate::stack::{LocalCloud, PendingWork, QueueStatus};
use crate::verify::{self, Difference, QUARTER};

/// As often something happens in the world, and so much.
const TICK: TimeDelta = TimeDelta::hours(1);
const CHANGES_PER_TICK: usize = 4;
/// How Google's calls fail that succeed when they are made again.
const FAULTS: [FaultKind; 8] = [
    FaultKind::ServerError { status: 500 },
    FaultKind::ServerError { status: 503 },
    FaultKind::RateLimit,
    FaultKind::TooManyRequests { retry_after_s: 20 },
    FaultKind::Unauthorized,
    FaultKind::Reset,
    FaultKind::AnswerLost,
    FaultKind::Garbage,
];
/// The calls that fail.
const FAILING: [Call; 4] =
    [Call::CalendarListList, Call::EventsList, Call::PeopleConnectionsList, Call::ContactGroupsList];
/// What is rescheduled for later than this at the end waits for another day.
const AFTERMATH: TimeDelta = TimeDelta::hours(2);
/// Tasks within this time are run together.
const SPREAD: TimeDelta = TimeDelta::seconds(1);
const POLL: Duration = Duration::from_millis(15);
/// Looks in a row that must find nothing to do: a notification may be under way between two queues.
const LOOKS: u32 = 3;

/// What there is to run.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// So many days.
    pub days: u32,
    /// So many calls to Google fail per hour.
    pub faults: u32,
    /// The same seed gives the same faults.
    pub seed: u64,
}

/// What happens.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// It is this time.
    Now(DateTime<Utc>),
    /// Everything ran, and is compared with what should be.
    Comparing,
}

/// Runs `days` days: every schedule when it is due, every task at its time, changes in the world in between. Returns what
/// is not as it should be.
pub async fn days(
    cloud: &mut LocalCloud,
    time: &mut SimulatedTime,
    Course { days, faults, seed }: Course,
    time_limit: Duration,
    mut tell: impl FnMut(Progress),
) -> anyhow::Result<Vec<Difference>> {
    let begin = cloud.world().now();
    let end = begin + TimeDelta::days(days.into());
    let mut days = Simulation {
        cloud,
        time,
        deadline: Instant::now() + time_limit,
        crowded: BTreeSet::new(),
        differences: Vec::new(),
    };
    let mut rng = StdRng::seed_from_u64(seed);
    // As an operator does who takes the queues over: what is known of tokens is old.
    days.cloud.run_schedules(queues::TOKEN_REFRESH).await?;
    days.until(begin, &[]).await?;
    let mut due = schedules(days.cloud, begin)?;
    let (mut ticked_at, mut told_at) = (begin, begin);
    while let Some(next) = due.iter().map(|due| due.at).min().filter(|next| *next < end) {
        days.until(next, &[]).await?;
        let now: Vec<Due> = due.extract_if(.., |due| due.at == next).collect();
        days.until(next, &now).await?;
        if now.iter().any(|due| due.queue == queues::BATCH_NOTIFICATIONS) {
            let cloud = &days.cloud;
            let since = next.duration_trunc(QUARTER)? - QUARTER;
            let (wrong, _) = verify::batches(cloud.database(), cloud.seeded(), since, next).await?;
            days.differences.extend(wrong);
        }
        due.extend(now.into_iter().map(|due| Due { at: due.cron.next(next), ..due }));
        if next - ticked_at >= TICK {
            days.cloud.world().tick(CHANGES_PER_TICK);
            days.inject_faults(faults, &mut rng);
            ticked_at = next;
        }
        if next.date_naive() != told_at.date_naive() {
            told_at = next;
            tell(Progress::Now(next));
        }
    }
    days.until(end, &[]).await?;
    days.cloud.world().clear_faults();
    days.last_syncs().await?;
    tell(Progress::Comparing);
    let Simulation { cloud, mut differences, crowded, .. } = days;
    differences.extend(crowded.into_iter().map(|(user, queue)| Difference {
        user: Some(user),
        what: format!("two tasks of {queue} waited at the same time"),
    }));
    differences
        .extend(verify::verify_days(cloud.database(), cloud.world(), cloud.inbox(), cloud.seeded()).await?);
    Ok(differences)
}

/// Runs every task, each at its time, until the queues are empty. With an `end`: runs those whose time comes before it, then
/// lets it be `end`, and runs what is due then.
pub(crate) async fn drain(
    cloud: &mut LocalCloud,
    time: &mut SimulatedTime,
    deadline: Instant,
    end: Option<DateTime<Utc>>,
    mut progress: impl FnMut(QueueStatus),
) -> anyhow::Result<()> {
    let is_before_end = |at: DateTime<Utc>| end.is_none_or(|end| at < end);
    while let Some(next) = quiet(cloud, deadline, &mut progress).await?.filter(|next| is_before_end(*next)) {
        // Sweeps spread their tasks over seconds: those of one are run together.
        let together = next + SPREAD;
        jump(cloud, time, end.map_or(together, |end| together.min(end))).await?;
    }
    if let Some(end) = end.filter(|end| cloud.world().now() < *end) {
        jump(cloud, time, end).await?;
        quiet(cloud, deadline, progress).await?;
    }
    Ok(())
}

/// Lets it be `to`, if that is ahead.
async fn jump(cloud: &LocalCloud, time: &mut SimulatedTime, to: DateTime<Utc>) -> anyhow::Result<()> {
    let by = to - cloud.world().now();
    if by > TimeDelta::zero() { cloud.advance(by, time).await } else { Ok(()) }
}

/// Waits until no task is due, and returns when the next one is.
async fn quiet(
    cloud: &mut LocalCloud,
    deadline: Instant,
    mut progress: impl FnMut(QueueStatus),
) -> anyhow::Result<Option<DateTime<Utc>>> {
    let (mut looks, mut before) = (0, None);
    loop {
        let pending: PendingWork = cloud.pending_work().await?;
        progress(QueueStatus { waiting: pending.waiting, dispatched: pending.dispatched });
        looks = if pending.due == 0 && before == Some(pending.dispatched) { looks + 1 } else { 0 };
        if looks == LOOKS {
            return Ok(pending.next);
        }
        cloud.check().await?;
        if Instant::now() > deadline {
            bail!(cloud.left().await?);
        }
        before = Some(pending.dispatched);
        sleep(POLL).await;
    }
}

/// A schedule and its next time.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: DateTime<Utc>,
    cron: Cron,
    queue: Queue,
    schedule: &'static Schedule,
}

fn schedules(cloud: &LocalCloud, now: DateTime<Utc>) -> anyhow::Result<Vec<Due>> {
    queues::all()
        .filter(|queue| cloud.serves(*queue))
        .flat_map(|queue| queue.policy().schedules.iter().map(move |schedule| (queue, schedule)))
        .map(|(queue, schedule)| {
            let cron: Cron = schedule.cron.parse()?;
            Ok(Due { at: cron.next(now), cron, queue, schedule })
        })
        .collect()
}

struct Simulation<'a> {
    cloud: &'a mut LocalCloud,
    time: &'a mut SimulatedTime,
    deadline: Instant,
    /// Users for whom two syncs waited at the same time, and in which queue.
    crowded: BTreeSet<(Uuid, &'static str)>,
    differences: Vec<Difference>,
}

impl Simulation<'_> {
    /// Creates the tasks of the schedules that are `due`, and runs all tasks until `end`.
    async fn until(&mut self, end: DateTime<Utc>, due: &[Due]) -> anyhow::Result<()> {
        for due in due {
            self.cloud.run_schedule(due.queue, due.schedule).await?;
        }
        drain(self.cloud, self.time, self.deadline, Some(end), |_| {}).await?;
        for queue in [queues::CALENDAR_SYNC, queues::GOOGLE_CONTACTS_SYNC] {
            let mut waiting: BTreeMap<Uuid, usize> = BTreeMap::new();
            for user in self.cloud.users_waiting(queue).await? {
                *waiting.entry(user).or_default() += 1;
            }
            let crowded = waiting.into_iter().filter(|(_, tasks)| *tasks > 1);
            self.crowded.extend(crowded.map(|(user, _)| (user, queue.name())));
        }
        Ok(())
    }

    /// Lets the next call of some users fail, within the hour: what seldom calls does not meet all faults of days.
    fn inject_faults(&self, faults: u32, rng: &mut StdRng) {
        let world = self.cloud.world();
        world.clear_faults();
        let users = world.users();
        for _ in 0..faults {
            if let (Some(user), Some(kind), Some(call)) =
                (users.choose(rng), FAULTS.choose(rng), FAILING.choose(rng))
            {
                world.inject(Fault::new(*kind).user(user.id).call(*call));
            }
        }
    }

    /// Syncs everybody once more, so that Postgres can be compared with a world in which nothing happens any more.
    async fn last_syncs(&mut self) -> anyhow::Result<()> {
        for user in self.cloud.world().users() {
            for integration in Integration::ALL.into_iter().filter(|one| user.grant(*one).is_some_and(works))
            {
                let (queue, data) = match integration {
                    Integration::GoogleCalendar => (queues::CALENDAR_SYNC, json!({ "userId": user.id })),
                    Integration::GoogleContacts => (
                        queues::GOOGLE_CONTACTS_SYNC,
                        json!({ "userId": user.id, "syncType": "incremental" }),
                    ),
                };
                let envelope = json!({ "data": data, "jobName": queue.name() });
                self.cloud.tasks().create(queue, envelope.to_string().as_bytes()).await?;
            }
        }
        self.until(self.cloud.world().now() + AFTERMATH, &[]).await
    }
}
