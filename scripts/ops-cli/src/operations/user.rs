//! One user: connections, the last syncs, what failed, and messages. Shows nothing that the user or a contact wrote.

use catchup::db::deliveries::{LedgerFilter, LedgerMessage};
use catchup::db::user_overview::{Overview, UserOverview};
use serde::Serialize;
use serde_json::Value;
use shared::db::errors::{Errors, UserFailure};
use uuid::Uuid;

use super::dead_letters::{Selection, summary};
use super::{Asked, Listed, Operations, Source};

/// Rows of each list.
const ROWS: u32 = 10;

/// What is known of a user. What is not known is not there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    #[serde(rename = "user")]
    pub(crate) id: Uuid,
    pub(crate) sources: Vec<Asked>,
    /// Of the application's tables; operators need rights on them.
    pub(crate) overview: Option<Overview>,
    /// The application has no such user.
    pub(crate) is_missing: bool,
    pub(crate) failures: Option<Listed<UserFailure>>,
    pub(crate) dead_letters: Option<Listed<Value>>,
    pub(crate) messages: Option<Listed<LedgerMessage>>,
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
        let (overview, application) = self.ask(Source::Postgres, self.user_overview(user)).await;
        let (own, ours) = self.ask(Source::Postgres, self.own_rows(user)).await;
        // The database is one source: what it did not say is said once.
        let is_refused = application.problem.is_some() && ours.problem.is_none();
        let mut sources = vec![if is_refused { application } else { ours }];
        if is_refused && let Some(problem) = &mut sources[0].problem {
            *problem = format!("the application's tables: {problem}");
        }
        let is_missing = matches!(overview, Some(None));
        let (failures, dead_letters, messages) = match own {
            Some(own) => (Some(own.failures), Some(own.dead_letters), Some(own.messages)),
            None => (None, None, None),
        };
        User { id: user, sources, overview: overview.flatten(), is_missing, failures, dead_letters, messages }
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
            failures: Listed::of(Errors::from(database).of_user(user, ROWS + 1).await?, ROWS),
            dead_letters: Listed {
                items: dead_letters.items.iter().map(summary).collect(),
                is_cut: dead_letters.is_cut,
            },
            messages: self.messages(&ledger, ROWS).await?,
        })
    }
}
