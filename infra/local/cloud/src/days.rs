//! Days in minutes: from one scheduled moment to the next, in a world that changes, in simulated time.

use std::collections::BTreeSet;
use std::time::Duration;

use catchup::queues;
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use google_stand_in::{Call, Fault, FaultKind, Integration, World};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::json;
use uuid::Uuid;

use crate::reports::CARELESS;
use crate::seed::works;
use crate::simulated_time::SimulatedTime;
use crate::simulation::{Moment, Simulation};
use crate::stack::LocalCloud;
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
    let mut simulation = Simulation::new(cloud, time, time_limit)?;
    let mut crowded = BTreeSet::new();
    let mut differences = Vec::new();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut reports = simulation.cloud.reports(CARELESS, seed)?;
    // As an operator does who takes the queues over: what is known of tokens is old.
    simulation.cloud.run_schedules(queues::TOKEN_REFRESH).await?;
    simulation.until(begin).await?;
    let (mut ticked_at, mut told_at) = (begin, begin);
    while let Some(Moment { at, queues }) = simulation.step(end).await? {
        let cloud = &simulation.cloud;
        crowded.extend(crowded_users(cloud).await?);
        if let Some(reports) = &mut reports {
            reports.look(cloud.inbox(), at).await?;
        }
        if queues.contains(&queues::BATCH_NOTIFICATIONS) {
            let since = at.duration_trunc(QUARTER)? - QUARTER;
            let (wrong, _) = verify::batches(cloud.database(), cloud.seeded(), since, at).await?;
            differences.extend(wrong);
        }
        if at - ticked_at >= TICK {
            cloud.world().tick(CHANGES_PER_TICK);
            inject_faults(cloud.world(), faults, &mut rng);
            ticked_at = at;
        }
        if at.date_naive() != told_at.date_naive() {
            told_at = at;
            tell(Progress::Now(at));
        }
    }
    simulation.cloud.world().clear_faults();
    last_syncs(&mut simulation).await?;
    if let Some(reports) = &mut reports {
        reports.finish(cloud.inbox()).await?;
    }
    tell(Progress::Comparing);
    differences.extend(crowded.into_iter().map(|(user, queue)| Difference {
        user: Some(user),
        what: format!("two tasks of {queue} waited at the same time"),
    }));
    differences.extend(verify::verify_days(cloud, reports.as_ref()).await?);
    Ok(differences)
}

/// Users for whom two syncs wait, and in which queue.
async fn crowded_users(cloud: &LocalCloud) -> anyhow::Result<Vec<(Uuid, &'static str)>> {
    let mut crowded = Vec::new();
    for queue in [queues::CALENDAR_SYNC, queues::GOOGLE_CONTACTS_SYNC] {
        let mut seen = BTreeSet::new();
        let users = cloud.users_waiting(queue).await?;
        crowded.extend(users.into_iter().filter(|user| !seen.insert(*user)).map(|user| (user, queue.name())));
    }
    Ok(crowded)
}

/// Lets the next call of some users fail, within the hour: what seldom calls does not meet all faults of days.
pub(crate) fn inject_faults(world: &World, faults: u32, rng: &mut StdRng) {
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
async fn last_syncs(simulation: &mut Simulation<'_>) -> anyhow::Result<()> {
    let cloud = &simulation.cloud;
    for user in cloud.world().users() {
        for integration in Integration::ALL.into_iter().filter(|one| user.grant(*one).is_some_and(works)) {
            let (queue, data) = match integration {
                Integration::GoogleCalendar => (queues::CALENDAR_SYNC, json!({ "userId": user.id })),
                Integration::GoogleContacts => {
                    (queues::GOOGLE_CONTACTS_SYNC, json!({ "userId": user.id, "syncType": "incremental" }))
                }
            };
            let envelope = json!({ "data": data, "jobName": queue.name() });
            cloud.tasks().create(queue, envelope.to_string().as_bytes()).await?;
        }
    }
    let end = cloud.world().now() + AFTERMATH;
    simulation.until(end).await
}
