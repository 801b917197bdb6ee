//! Every schedule once, and then what a change in a calendar leads to.

use std::time::{Duration, Instant};

use catchup::queues;
use chrono::{DateTime, TimeDelta, Utc};
use google_stand_in::{Event, World};
use shared::queue::Queue;
use sqlx::PgConnection;
use tokio::time::sleep;
use uuid::Uuid;

use crate::postgres::connect;
use crate::reports::PROMPT;
use crate::simulated_time::SimulatedTime;
use crate::simulation;
use crate::stack::{LocalCloud, QueueStatus};
use crate::verify::{self, Difference};

/// Users whose calendars change; their notifications stay within the limit of one address.
const MAX_CHANGES: usize = 10;
const DELIVERY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// What happens.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// The schedules of a queue are due.
    Schedules(Queue),
    /// The queues are looked at.
    Queues(QueueStatus),
    /// Everything ran, and is compared with what should be.
    Comparing,
    /// So many users enter an event at a time that is suggested to them for a meeting.
    Changing(usize),
}

/// Runs the schedules one queue after the other, as the night does: tokens come first, since what depends on their health
/// then finds it; channels are renewed before they are examined. With a `time` that can be moved, nothing waits for
/// debounces, limits and backoffs. Returns what is not as it should be.
pub async fn once(
    cloud: &mut LocalCloud,
    mut time: Option<&mut SimulatedTime>,
    time_limit: Duration,
    mut tell: impl FnMut(Progress),
) -> anyhow::Result<Vec<Difference>> {
    let scheduled = |queue: &Queue| cloud.serves(*queue) && !queue.policy().schedules.is_empty();
    let queues: Vec<Queue> = queues::all().filter(scheduled).collect();
    let mut differences = Vec::new();
    let swept_before = verify::swept_before(cloud.database(), cloud.seeded()).await?;
    for queue in queues {
        tell(Progress::Schedules(queue));
        let at = cloud.world().now();
        cloud.run_schedules(queue).await?;
        until_idle(cloud, time.as_deref_mut(), time_limit, &mut tell).await?;
        if queue == queues::BATCH_NOTIFICATIONS {
            let (wrong, sent) = verify::batches(cloud.database(), cloud.seeded(), swept_before, at).await?;
            differences.extend(wrong);
            if sent == 0 {
                let what =
                    "no batch of suggestions was sent: the world is too small, or batches are not found";
                differences.push(Difference { user: None, what: what.to_owned() });
            }
        }
    }
    let mut reports = cloud.reports(PROMPT, 0)?;
    if let Some(reports) = &mut reports {
        reports.finish(cloud.inbox()).await?;
    }
    tell(Progress::Comparing);
    differences.extend(verify::verify(cloud, reports.as_ref()).await?);
    differences.extend(change(cloud, time, time_limit, tell).await?);
    Ok(differences)
}

async fn until_idle(
    cloud: &mut LocalCloud,
    time: Option<&mut SimulatedTime>,
    time_limit: Duration,
    tell: &mut impl FnMut(Progress),
) -> anyhow::Result<()> {
    let progress = |status| tell(Progress::Queues(status));
    match time {
        Some(time) => simulation::drain(cloud, time, Instant::now() + time_limit, None, progress).await,
        None => cloud.until_idle(time_limit, progress).await,
    }
}

/// A suggestion that loses its time.
struct Change {
    user: Uuid,
    suggestion: Uuid,
    start: DateTime<Utc>,
    event: String,
}

/// Lets users enter events at times that are suggested to them for a meeting: Google notifies, the calendar is synced,
/// and the suggestion gets another time, or is dismissed, all by itself.
async fn change(
    cloud: &mut LocalCloud,
    time: Option<&mut SimulatedTime>,
    time_limit: Duration,
    mut tell: impl FnMut(Progress),
) -> anyhow::Result<Vec<Difference>> {
    let mut db = connect(cloud.database()).await?;
    let at = cloud.world().now();
    let mut changes = Vec::new();
    for user in cloud.seeded().users.iter().map(|user| user.id) {
        if changes.len() < MAX_CHANGES
            && let Some(change) = conflict(&mut db, cloud.world(), user).await?
        {
            changes.push(change);
        }
    }
    tell(Progress::Changing(changes.len()));
    if changes.is_empty() {
        let what = "no user has a suggestion, a followed primary calendar and a push channel, \
                    so no change of a calendar was tried: the world is too small, or suggestions are not made"
            .to_owned();
        return Ok(vec![Difference { user: None, what }]);
    }
    let unheard = unheard(&mut db, &changes, at).await?;
    until_idle(cloud, time, time_limit, &mut tell).await?;
    let unheard = unheard.into_iter().map(|user| Difference {
        user: Some(user),
        what: "an event was entered, and no push notification was accepted".to_owned(),
    });
    let mut differences: Vec<Difference> = unheard.collect();
    for change in &changes {
        let (is_known, has_lost_its_time, conflicts): (bool, bool, i64) = sqlx::query_as(
            "SELECT EXISTS (SELECT FROM calendar_events WHERE user_id = $1 AND google_event_id = $2),
                    EXISTS (SELECT FROM suggestions WHERE id = $3
                            AND (status = 'dismissed' OR proposed_timeslot_start <> $4)),
                    (SELECT count(*) FROM suggestions s JOIN calendar_events e ON e.user_id = s.user_id
                     WHERE s.user_id = $1 AND e.google_event_id = $2 AND s.status = 'pending'
                       AND s.proposed_timeslot_start < e.end_time AND e.start_time < s.proposed_timeslot_end)",
        )
        .bind(change.user)
        .bind(&change.event)
        .bind(change.suggestion)
        .bind(change.start)
        .fetch_one(&mut db)
        .await?;
        if !(is_known && has_lost_its_time && conflicts == 0) {
            let what = format!(
                "an event was entered: known {is_known}, suggestion moved or dismissed {has_lost_its_time}, conflicts {conflicts}"
            );
            differences.push(Difference { user: Some(change.user), what });
        }
    }
    Ok(differences)
}

/// Enters an event at the time of the user's first pending suggestion, if the database follows the user's primary
/// calendar, and hears from it.
async fn conflict(db: &mut PgConnection, world: &World, user: Uuid) -> anyhow::Result<Option<Change>> {
    let found: Option<(Uuid, DateTime<Utc>, String)> = sqlx::query_as(
        "SELECT s.id, s.proposed_timeslot_start, c.calendar_id
         FROM suggestions s
         JOIN google_calendars c ON c.user_id = s.user_id AND c.is_primary
         JOIN jobs.calendar_sync_state t ON t.user_id = c.user_id AND t.calendar_id = c.calendar_id
         JOIN calendar_webhook_subscriptions w ON w.user_id = s.user_id
         WHERE s.user_id = $1 AND s.status = 'pending' AND s.proposed_timeslot_start > now() + interval '1 hour'
         ORDER BY s.proposed_timeslot_start LIMIT 1",
    )
    .bind(user)
    .fetch_optional(db)
    .await?;
    let Some((suggestion, start, calendar)) = found else { return Ok(None) };
    let event = world.add_event(user, &calendar, Event::timed("Dentist", start, TimeDelta::minutes(45)))?;
    Ok(Some(Change { user, suggestion, start, event: event.id }))
}

/// Waits until Google's notifications have arrived, and returns the users who got none.
async fn unheard(db: &mut PgConnection, changes: &[Change], at: DateTime<Utc>) -> anyhow::Result<Vec<Uuid>> {
    let users: Vec<Uuid> = changes.iter().map(|change| change.user).collect();
    let deadline = Instant::now() + DELIVERY;
    loop {
        let unheard: Vec<Uuid> = sqlx::query_scalar(
            "SELECT u FROM unnest($1::uuid[]) AS u
             WHERE NOT EXISTS (SELECT FROM webhook_notifications n WHERE n.user_id = u AND n.created_at >= $2
                               AND n.resource_state = 'exists' AND n.result = 'success')",
        )
        .bind(&users)
        .bind(at.naive_utc())
        .fetch_all(&mut *db)
        .await?;
        if unheard.is_empty() || Instant::now() > deadline {
            return Ok(unheard);
        }
        sleep(POLL).await;
    }
}
