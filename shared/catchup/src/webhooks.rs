//! What a changed calendar leads to: one sync for all that Google announces within a window.

use std::time::Duration;

use shared::tasks::{self, Coverage, Tasks};
use uuid::Uuid;

use crate::payload::{CalendarSync, Trigger};

/// Notifications of one user within this time lead to one sync, at its end. A user who tidies up a calendar causes a
/// notification every few seconds; two syncs a minute of some calendars stay within Google's ten calls.
pub const SYNC_WINDOW: Duration = Duration::from_secs(30);

/// Enqueues a sync of a user's calendars, one for all of [`SYNC_WINDOW`]: for notifications, and for jobs that may have lost
/// some. What it returns says which later changes that sync is sure to see.
pub async fn enqueue_sync(tasks: &Tasks, user_id: Uuid) -> Result<Coverage, tasks::Error> {
    let sync = CalendarSync { user_id, trigger: Some(Trigger::Webhook) };
    tasks.debounce(&sync, &format!("push:{user_id}"), SYNC_WINDOW).await
}
