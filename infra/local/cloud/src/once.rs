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
use crate::stack::{LocalCloud, Standing};
use crate::verify::{self, Difference};

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
    let queues: Vec<Queue> = queues::all().filter(scheduled).collect();
    let mut differences = Vec::new();
    for queue in queues {
        tell(Progress::Schedules(queue));
        let at = cloud.world().now();
        cloud.run_schedules(queue).await?;
        cloud.until_idle(patience, |standing| tell(Progress::Queues(standing))).await?;
        if queue == queues::BATCH_NOTIFICATIONS {
            differences.extend(verify::batches(cloud.database(), cloud.seeded(), at).await?);
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
    let unheard = unheard(&mut db, &changes, at).await?;
    cloud.until_idle(patience, |standing| tell(Progress::Queues(standing))).await?;
    let unheard = unheard.into_iter().map(|user| Difference {
        user: Some(user),
        what: "an event was entered, and no push notification was taken".to_owned(),
    });
    let mut differences: Vec<Difference> = unheard.collect();
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

/// Waits until Google's notifications have arrived, and answers who heard none.
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
