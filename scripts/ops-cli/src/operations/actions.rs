//! Actions are written down before they change anything, and again when they have ended.

use anyhow::Context as _;
use shared::db::operator_actions::{NewAction, OperatorActions, StoredAction, Via};
use uuid::Uuid;

use super::{Listed, Operations};

/// Who asks for an action, and why.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) via: Via<'a>,
    pub(crate) why: &'a str,
}

impl Operations {
    /// Writes that an action begins.
    pub(crate) async fn begin(&self, new: &NewAction<'_>) -> anyhow::Result<Uuid> {
        let begun = OperatorActions::from(self.database()?).begin(new, self.clock.now()).await;
        begun.context("the action cannot be recorded")
    }

    /// Writes that it has ended. It has, whether or not that can be written.
    pub(crate) async fn end(&self, action: Uuid, changed: usize) -> anyhow::Result<()> {
        let ended = OperatorActions::from(self.database()?).end(action, changed, self.clock.now()).await;
        ended.context("it is done, but its end cannot be recorded")
    }

    /// The last actions, newest first.
    pub(crate) async fn actions(&self, limit: u32) -> anyhow::Result<Listed<StoredAction>> {
        let actions = OperatorActions::from(self.database()?).list(limit.saturating_add(1)).await?;
        Ok(Listed::of(actions, limit))
    }
}
