//! What fails, grouped by how it looks.

use chrono::{DateTime, Utc};
use shared::db::errors::{ErrorGroup, Errors, Filter};
use shared::queue::Queue;
use uuid::Uuid;

use super::{Listed, Operations};

/// Which failures are meant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    pub(crate) queue: Option<Queue>,
    pub(crate) reason: Option<String>,
    pub(crate) user: Option<Uuid>,
    pub(crate) since: Option<DateTime<Utc>>,
    pub(crate) until: Option<DateTime<Utc>>,
}

impl Operations {
    /// What failed, the newest first.
    pub(crate) async fn errors(&self, question: &Question, limit: u32) -> anyhow::Result<Listed<ErrorGroup>> {
        let filter = Filter {
            function: question.queue.map(Queue::name),
            reason: question.reason.as_deref(),
            user_id: question.user,
            since: question.since,
            until: question.until,
        };
        let groups =
            Errors::from(self.database()?).list(&filter, self.clock.now(), limit.saturating_add(1)).await?;
        Ok(Listed::of(groups, limit))
    }
}
