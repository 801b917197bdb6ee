//! Sweeps: a page of users becomes one task each, and the rest a continuation task.
//!
//! All names derive from the occasion, so a sweep that runs twice creates nothing twice.

use uuid::Uuid;

use crate::payload::Payload;
use crate::tasks::{Error, Options, Summary, Tasks};

/// Users that one task of a sweep looks at.
pub const PAGE: u32 = 500;

/// Creates a task for each user, and one that goes on behind `after` when this page is not the last.
///
/// `sweep_id` names the sweep, of all sweeps whose tasks go to these queues.
pub async fn fan_out<U: Payload, C: Payload>(
    tasks: &Tasks,
    sweep_id: &str,
    users: impl IntoIterator<Item = (Uuid, U), IntoIter: Send> + Send,
    rest: Option<(Uuid, C)>,
) -> Result<Summary, Error> {
    let named = users.into_iter().map(|(user_id, payload)| {
        (payload, Options::default().named(format_args!("sweep:{sweep_id}:{user_id}")))
    });
    let summary = tasks.enqueue_many(named).await?;
    if let Some((after, payload)) = rest {
        let name = format!("sweep:{sweep_id}:after:{after}");
        tasks.enqueue_with(&payload, Options::default().named(name)).await?;
    }
    Ok(summary)
}
