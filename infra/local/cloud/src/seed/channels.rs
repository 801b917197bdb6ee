//! Push channels that are open before the first sweep, at Google and in the database.

use chrono::{DateTime, TimeDelta, Utc};
use google_stand_in::{Integration, User, World};
use sqlx::PgConnection;
use uuid::Uuid;

use super::works;

/// Longer than a channel may say nothing without becoming a stale candidate.
const QUIET_FOR: TimeDelta = TimeDelta::hours(49);
/// Sooner than a channel is replaced.
const ENDS_SOON: TimeDelta = TimeDelta::hours(12);
const AGE: TimeDelta = TimeDelta::days(3);
const LIFE_LEFT: TimeDelta = TimeDelta::days(4);

/// A channel from before.
#[derive(Debug)]
pub struct OwnChannel {
    /// The id that both sides know.
    pub id: String,
    /// What has to become of it.
    pub condition: Condition,
}

/// What is the matter with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Told something an hour ago.
    Speaking,
    /// Ends in twelve hours.
    Ending,
    /// No notification for two days, and no change.
    Quiet,
    /// No notification for two days, in spite of a change.
    Broken,
}

impl Condition {
    /// Whether it must be replaced.
    #[must_use]
    pub fn is_due(self) -> bool {
        match self {
            Self::Ending | Self::Broken => true,
            Self::Speaking | Self::Quiet => false,
        }
    }
}

/// Opens a channel that notifies `address`, or none, by the user's place in the world.
pub(super) async fn open(
    db: &mut PgConnection,
    world: &World,
    user: &User,
    place: usize,
    address: &str,
    at: DateTime<Utc>,
) -> anyhow::Result<Option<OwnChannel>> {
    let connected = user.grant(Integration::GoogleCalendar).is_some_and(works);
    let calendars = world.calendars(user.id)?;
    let Some(primary) = calendars.iter().find(|calendar| calendar.primary && connected) else {
        return Ok(None);
    };
    let heard_at = at - QUIET_FOR;
    let condition = match place % 5 {
        0 => return Ok(None),
        1 => Condition::Speaking,
        2 => Condition::Ending,
        _ if world.changed_since(user.id, &primary.id, heard_at)? => Condition::Broken,
        _ => Condition::Quiet,
    };
    let left = if condition == Condition::Ending { ENDS_SOON } else { LIFE_LEFT };
    let (id, token, expiration) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string(), at + left);
    let channel = world.open_channel(user.id, &id, address, &token, expiration)?;
    if condition == Condition::Broken {
        world.silence_channels(user.id)?;
    }
    sqlx::query(
        "INSERT INTO calendar_webhook_subscriptions
            (user_id, channel_id, resource_id, resource_uri, expiration, token, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
    )
    .bind(user.id)
    .bind(&id)
    .bind(&channel.resource_id)
    .bind(&channel.resource_uri)
    .bind(expiration.naive_utc())
    .bind(&token)
    .bind((at - AGE).naive_utc())
    .execute(&mut *db)
    .await?;
    let heard_at = if condition == Condition::Speaking { at - TimeDelta::hours(1) } else { heard_at };
    sqlx::query(
        "INSERT INTO webhook_notifications (user_id, channel_id, resource_id, resource_state, result, created_at)
         VALUES ($1, $2, $3, 'exists', 'success', $4)",
    )
    .bind(user.id)
    .bind(&id)
    .bind(&channel.resource_id)
    .bind(heard_at.naive_utc())
    .execute(db)
    .await?;
    Ok(Some(OwnChannel { id, condition }))
}
