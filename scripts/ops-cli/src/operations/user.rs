//! One user: connections, the last syncs, what waits, what failed, and messages. Shows nothing that the user or a contact wrote.

use anyhow::{Context as _, ensure};
use catchup::db::deliveries::{LedgerFilter, LedgerMessage};
use catchup::db::user_overview::{Overview, UserOverview};
use catchup::queues::DECLARATION;
use serde::Serialize;
use serde_json::{Value, json};
use shared::db::errors::{Errors, UserFailure};
use shared::db::operator_actions::{Action, NewAction};
use shared::db::sweeps::Sweeps;
use uuid::Uuid;

use super::actions::Request;
use super::dead_letters::{Selection, summary};
use super::tasks::{TaskFilter, WaitingTasks};
use super::{Asked, Listed, Operations, Source, UNCHANGED};

/// Rows of each list.
const ROWS: u32 = 10;

/// What is known of a user. What is not known is not there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    #[serde(rename = "user")]
    pub(crate) id: Uuid,
    pub(crate) sources: Vec<Asked>,
    /// Of the application's tables.
    pub(crate) overview: Option<Overview>,
    /// The application has no such user.
    pub(crate) is_missing: bool,
    pub(crate) failures: Option<Listed<UserFailure>>,
    pub(crate) dead_letters: Option<Listed<Value>>,
    pub(crate) messages: Option<Listed<LedgerMessage>>,
    /// The user's tasks in all queues.
    pub(crate) waiting: Option<WaitingTasks>,
}

/// What is ours.
struct Own {
    failures: Listed<UserFailure>,
    dead_letters: Listed<Value>,
    messages: Listed<LedgerMessage>,
}

impl Operations {
    /// What is known of a user.
    pub(crate) async fn user(&self, user: Uuid) -> User {
        let filter = TaskFilter { user: Some(user), ..TaskFilter::default() };
        let ((overview, application), (own, ours), (waiting, cloud_tasks)) = tokio::join!(
            self.ask(Source::Postgres, self.user_overview(user)),
            self.ask(Source::Postgres, self.own_rows(user)),
            self.ask(Source::CloudTasks, self.waiting_tasks(None, filter, ROWS)),
        );
        // The database is one source: what it did not say is said once.
        let is_refused = application.problem.is_some() && ours.problem.is_none();
        let mut sources = vec![if is_refused { application } else { ours }, cloud_tasks];
        if is_refused && let Some(problem) = &mut sources[0].problem {
            *problem = format!("the application's tables: {problem}");
        }
        let is_missing = matches!(overview, Some(None));
        let (failures, dead_letters, messages) = match own {
            Some(own) => (Some(own.failures), Some(own.dead_letters), Some(own.messages)),
            None => (None, None, None),
        };
        let overview = overview.flatten();
        User { id: user, sources, overview, is_missing, failures, dead_letters, messages, waiting }
    }

    /// The tables of ours that have rows of a user who is gone, and how many. The rows of one who is not are not to be deleted: the
    /// functions would work with half of them, and make the rest again.
    pub(crate) async fn left_of(&self, user: Uuid) -> anyhow::Result<Vec<(&'static str, i64)>> {
        let sweeps = Sweeps::from(self.database()?);
        let exists = sweeps.has_user(&DECLARATION.retention, user).await;
        let exists = exists.context("it is not known whether the application still has the user")?;
        ensure!(!exists, "the application still has the user {user}: it deletes the user first");
        Ok(sweeps.rows_of(&DECLARATION.retention, user).await?)
    }

    /// Deletes the rows of ours of a user who is gone, and returns how many.
    pub(crate) async fn forget(&self, user: Uuid, request: Request<'_>) -> anyhow::Result<u64> {
        let left = self.left_of(user).await?;
        let rows: i64 = left.iter().map(|(_, rows)| rows).sum();
        let new = NewAction {
            action: Action::Forget,
            via: request.via,
            function: None,
            // What is recorded of a user goes with the user; that the user was forgotten stays.
            user_id: None,
            filter: &json!({ "user": user }),
            count: usize::try_from(rows).unwrap_or_default(),
            why: request.why,
        };
        let action = self.begin(&new).await.context(UNCHANGED)?;
        let deleted = Sweeps::from(self.database()?).forget(&DECLARATION.retention, user).await;
        let deleted = deleted.context("not all is deleted; the same again continues")?;
        self.end(action, usize::try_from(deleted).unwrap_or(usize::MAX)).await?;
        Ok(deleted)
    }

    async fn user_overview(&self, user: Uuid) -> anyhow::Result<Option<Overview>> {
        Ok(UserOverview::from(self.database()?).of(user, ROWS).await?)
    }

    async fn own_rows(&self, user: Uuid) -> anyhow::Result<Own> {
        let database = self.database()?;
        let ledger = LedgerFilter { user_id: Some(user), ..LedgerFilter::default() };
        let selection = Selection { user: Some(user), ..Selection::default() };
        let dead_letters = self.dead_letters(&selection, ROWS).await?;
        Ok(Own {
            failures: Listed::of(
                Errors::from(database).of_user(user, self.clock.now(), ROWS + 1).await?,
                ROWS,
            ),
            dead_letters: Listed {
                items: dead_letters.items.iter().map(summary).collect(),
                is_cut: dead_letters.is_cut,
            },
            messages: self.messages(&ledger, ROWS).await?,
        })
    }
}
