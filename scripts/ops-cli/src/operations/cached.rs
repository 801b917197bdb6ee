//! What the running application has cached of one user, and how it is dropped.

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;
use shared::cache::Lifetime;
use shared::db::operator_actions::{Action, NewAction};
use uuid::Uuid;

use super::actions::Request;
use super::{Operations, UNCHANGED};

/// A key under which something may be cached.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) is_cached: bool,
    /// Nothing when it stays until it is dropped.
    pub(crate) expires_in_seconds: Option<u64>,
}

impl Operations {
    /// What is cached of the user and of these contacts.
    pub(crate) async fn cached(&self, user: Uuid, contacts: &[Uuid]) -> anyhow::Result<Vec<Entry>> {
        let found = self.cache()?.look(user, contacts).await.context("Redis does not say what is cached")?;
        let entry = |(key, lifetime): (String, Option<Lifetime>)| Entry {
            key,
            is_cached: lifetime.is_some(),
            expires_in_seconds: match lifetime {
                Some(Lifetime::Expires(after)) => Some(after.as_secs()),
                Some(Lifetime::UntilDropped) | None => None,
            },
        };
        Ok(found.into_iter().map(entry).collect())
    }

    /// Drops what is cached of the user and of these contacts, of which so many values were there.
    pub(crate) async fn drop_cached(
        &self,
        user: Uuid,
        contacts: &[Uuid],
        count: usize,
        request: Request<'_>,
    ) -> anyhow::Result<()> {
        let cache = self.cache()?;
        let new = NewAction {
            action: Action::DropCache,
            via: request.via,
            function: None,
            user_id: Some(user),
            filter: &json!({ "user": user, "contacts": contacts }),
            count,
            why: request.why,
        };
        let action = self.begin(&new).await.context(UNCHANGED)?;
        cache.drop_all(user, contacts).await?;
        self.end(action, count).await
    }
}
