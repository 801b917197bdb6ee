//! Every schedule once, and then what a change in a calendar leads to.

use std::time::{Duration, Instant};

use anyhow::ensure;
use chrono::{DateTime, TimeDelta, Utc};
use google_stand_in::{Event, World};
use shared::queue::Queue;
use sqlx::PgConnection;
use tokio::time::sleep;
use uuid::Uuid;

use crate::postgres::connect;
use crate::stack::{LocalCloud, Standing};
use crate::verify::{self, Difference};

/// So far a sweep looks back.
const QUARTER: TimeDelta = TimeDelta::minutes(15);
/// Users whose calendars change; their notifications stay within the limit of one address.
const MOST_CHANGES: usize = 10;
const DELIVERY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// What goes on.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// The schedules of a queue are due.
    Schedules(Queue),
    /// The queues are looked at.
    Queues(Standing),
    /// Everything ran, and is compared with what should be.
    Comparing,
    /// So many users enter an event at a time for which somebody was suggested to them.
    Changing(usize),
}

/// Runs the schedules one queue after the other, as the night does: tokens come first, since what depends on their health
/// then finds it; channels are renewed before they are examined. Answers what is not as it should be.
pub async fn once(
    cloud: &mut LocalCloud,
    patience: Duration,
    mut tell: impl FnMut(Progress),
) -> anyhow::Result<Vec<Difference>> {
    let scheduled = |queue: &Queue| cloud.serves(*queue) && !queue.policy().schedules.is_empty();
    let queues: Vec<Queue> = Queue::all().filter(scheduled).collect();
    let mut differences = Vec::new();
    for queue in queues {
        tell(Progress::Schedules(queue));
        let at = cloud.world().now();
        cloud.run_schedules(queue).await?;
        cloud.until_idle(patience, |standing| tell(Progress::Queues(standing))).await?;
        if queue == Queue::BatchNotifications {
            differences.extend(verify::batches(cloud.database(), cloud.seeded(), at - QUARTER, at).await?);
        }
    }
    tell(Progress::Comparing);
    differences.extend(verify::verify(cloud.database(), cloud.world(), cloud.inbox(), cloud.seeded()).await?);
    differences.extend(change(cloud, patience, tell).await?);
    Ok(differences)
}

/// A suggestion that loses its time.
struct Change {
    user: Uuid,
    suggestion: Uuid,
    event: String,
}

/// Lets users enter events at times for which somebody was suggested to them: Google tells, the calendar is synced, and
/// the suggestion is dismissed, all by itself.
async fn change(
    cloud: &mut LocalCloud,
    patience: Duration,
    mut tell: impl FnMut(Progress),
) -> anyhow::Result<Vec<Difference>> {
    let mut db = connect(cloud.database()).await?;
    let at = cloud.world().now();
    let mut changes = Vec::new();
    for user in cloud.seeded().users.iter().map(|user| user.id) {
        if changes.len() < MOST_CHANGES
            && let Some(change) = conflict(&mut db, cloud.world(), user).await?
        {
            changes.push(change);
        }
    }
    tell(Progress::Changing(changes.len()));
    notified(&mut db, &changes, at).await?;
    cloud.until_idle(patience, |standing| tell(Progress::Queues(standing))).await?;
    let mut differences = Vec::new();
    for change in &changes {
        let (is_known, is_dismissed, conflicts): (bool, bool, i64) = sqlx::query_as(
            "SELECT EXISTS (SELECT FROM calendar_events WHERE user_id = $1 AND google_event_id = $2),
                    EXISTS (SELECT FROM suggestions WHERE id = $3 AND status = 'dismissed'),
                    (SELECT count(*) FROM suggestions s JOIN calendar_events e ON e.user_id = s.user_id
                     WHERE s.user_id = $1 AND e.google_event_id = $2 AND s.status = 'pending'
                       AND s.proposed_timeslot_start < e.end_time AND e.start_time < s.proposed_timeslot_end)",
        )
        .bind(change.user)
        .bind(&change.event)
        .bind(change.suggestion)
        .fetch_one(&mut db)
        .await?;
        if !(is_known && is_dismissed && conflicts == 0) {
            let what = format!(
                "an event was entered: known {is_known}, suggestion dismissed {is_dismissed}, conflicts {conflicts}"
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
    Ok(Some(Change { user, suggestion, event: event.id }))
}

/// Waits until Google's notifications have arrived.
async fn notified(db: &mut PgConnection, changes: &[Change], at: DateTime<Utc>) -> anyhow::Result<()> {
    let users: Vec<Uuid> = changes.iter().map(|change| change.user).collect();
    let deadline = Instant::now() + DELIVERY;
    loop {
        let heard: i64 = sqlx::query_scalar(
            "SELECT count(DISTINCT user_id) FROM webhook_notifications
             WHERE user_id = ANY($1) AND created_at >= $2 AND resource_state = 'exists' AND result = 'success'",
        )
        .bind(&users)
        .bind(at.naive_utc())
        .fetch_one(&mut *db)
        .await?;
        if usize::try_from(heard) == Ok(changes.len()) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{heard} of {} notifications arrived", changes.len());
        sleep(POLL).await;
    }
}
