//! One part of a sync: page by page, each page committed before the next is asked for.

use std::collections::HashMap;

use catchup::db::contact_groups::Overlap;
use catchup::google::people::Person;
use catchup::google::{self, Calls, Error, Next};
use catchup::payload::{ContactsResume, ContactsStep, SyncType};
use catchup::sync::Refusal;
use chrono::{DateTime, Utc};
use shared::cache;
use shared::db;
use shared::job::{Context, Failure};
use uuid::Uuid;

use crate::apply::apply;
use crate::group::UserGroup;
use crate::page::People;
use crate::{GoogleContactsSync, mapping};

/// Why a part ends before the sync does.
pub(crate) enum Stop {
    /// The rest may begin at that time, in a task of its own.
    Later(DateTime<Utc>),
    /// The user may not be synced any more.
    Refused(Refusal),
    /// Another task has brought this run to its end.
    Superseded,
    /// It failed.
    Failed(Failure),
}

impl From<db::Error> for Stop {
    fn from(error: db::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<cache::Error> for Stop {
    fn from(error: cache::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<google::Stop> for Stop {
    fn from(stop: google::Stop) -> Self {
        match stop {
            google::Stop::Wait(until) => Self::Later(until),
            google::Stop::Disconnected(reason) => Self::Refused(reason.into()),
            google::Stop::Google(error) => Self::Failed(error.into()),
            google::Stop::Database(error) => error.into(),
        }
    }
}

/// A sync on its way: what is done for one user, what is handed on, and what is needed to continue.
pub(crate) struct Part<'a> {
    pub(crate) job: &'a GoogleContactsSync,
    pub(crate) context: &'a Context,
    pub(crate) user_id: Uuid,
    pub(crate) progress: &'a mut ContactsResume,
    /// Calls that the whole sync is expected to make.
    pub(crate) expected_calls: u32,
    /// Whom a full sync did not meet any more.
    pub(crate) archived: Vec<Uuid>,
}

impl Part<'_> {
    /// Continues until the end, or until it must stop; `progress` then says where the next part begins.
    pub(crate) async fn run(&mut self) -> Result<(), Stop> {
        let mut calls = self.job.gate.calls(self.user_id, self.context).await?;
        calls.expect(self.expected_calls);
        match self.progress.step {
            ContactsStep::People => {
                self.people(&mut calls).await?;
                self.progress.step = ContactsStep::Groups;
                self.groups(&mut calls).await
            }
            ContactsStep::Groups => self.groups(&mut calls).await,
        }
    }

    async fn people(&mut self, calls: &mut Calls<'_>) -> Result<(), Stop> {
        // A page token that was handed on may have grown too old on the way.
        let mut handed_on = self.progress.page_token.is_some();
        if self.progress.sync_type == SyncType::Full && !handed_on {
            self.job.contacts.begin_run(self.progress.run, self.user_id, self.context.now()).await?;
        }
        loop {
            let (made, access) = (calls.made(), calls.acquire().await?);
            let ContactsResume { sync_token, page_token, .. } = &*self.progress;
            let answer =
                self.job.people.connections(access, sync_token.as_deref(), page_token.as_deref()).await;
            self.progress.api_calls += u64::from(calls.made() - made);
            let page = match answer {
                Ok(page) => page,
                // Google refuses a token without saying so, too: one that was given out for other parameters.
                Err(Error::SyncTokenExpired | Error::Refused { .. })
                    if self.progress.sync_token.is_some() || handed_on =>
                {
                    handed_on = false;
                    self.start_over().await?;
                    continue;
                }
                Err(error) => return Err(calls.stop(error).into()),
            };
            handed_on = false;
            self.apply(page.items).await?;
            match page.next {
                Next::Page(token) => self.progress.page_token = Some(token),
                Next::Sync(token) => return self.finish_people(&token).await,
            }
        }
    }

    /// Begins anew, with everybody.
    async fn start_over(&mut self) -> Result<(), Stop> {
        let given_up = std::mem::replace(&mut self.progress.run, Uuid::new_v4());
        self.progress.sync_type = SyncType::Full;
        self.progress.sync_token = None;
        self.progress.page_token = None;
        self.progress.gathered = false;
        self.job.contacts.end_run(given_up).await?;
        self.job.contacts.begin_run(self.progress.run, self.user_id, self.context.now()).await?;
        Ok(())
    }

    async fn apply(&mut self, page: Vec<Person>) -> Result<(), Stop> {
        let people = People::of(page);
        if people.is_empty() {
            return Ok(());
        }
        let page = self.job.contacts.page(self.user_id).await?;
        let applied = apply(page, &people, self.progress, self.context.now()).await?;
        self.progress.gathered = applied.gathered;
        self.progress.items += people.len();
        self.progress.changed += applied.rows;
        // All that were met, whether or not this run changed them: an earlier one may have been stopped here.
        if !applied.met.is_empty() {
            self.job.cache.contacts_changed(self.user_id, &applied.met).await?;
        }
        Ok(())
    }

    /// All pages are in the database: whom a full sync did not meet is archived, and the next sync may begin here.
    async fn finish_people(&mut self, sync_token: &str) -> Result<(), Stop> {
        let now = self.context.now();
        let mut page = self.job.contacts.page(self.user_id).await?;
        let archived = match self.progress.sync_type {
            SyncType::Full => page.archive_unseen(self.progress.run, now).await?.ok_or(Stop::Superseded)?,
            SyncType::Incremental => Vec::new(),
        };
        self.progress.changed += archived.len() as u64;
        let recount = self.progress.sync_type == SyncType::Full || self.progress.changed > 0;
        page.store_sync_state(self.progress.sync_type, Some(sync_token), recount, now).await?;
        page.commit().await?;
        if self.progress.gathered && self.progress.sync_type == SyncType::Incremental {
            self.job.contacts.end_run(self.progress.run).await?;
        }
        self.archived = archived;
        Ok(())
    }

    async fn groups(&mut self, calls: &mut Calls<'_>) -> Result<(), Stop> {
        let stored = &self.job.groups;
        let mut seen = Vec::new();
        let mut changed = 0;
        let mut page_token: Option<String> = None;
        loop {
            let (made, access) = (calls.made(), calls.acquire().await?);
            let answer = self.job.people.contact_groups(access, page_token.as_deref()).await;
            self.progress.api_calls += u64::from(calls.made() - made);
            let page = answer.map_err(|error| calls.stop(error))?;
            let groups: Vec<_> =
                page.items.into_iter().filter_map(UserGroup::of).map(|UserGroup(group)| group).collect();
            changed += stored.upsert_google(self.user_id, &groups, self.context.now()).await?;
            seen.extend(groups.into_iter().map(|group| group.resource_name));
            match page.next {
                Next::Page(token) => page_token = Some(token),
                Next::Sync(_) => break,
            }
        }
        changed += stored.remove_unseen_google(self.user_id, &seen).await?;
        self.suggest_mappings().await?;
        changed += stored.fill_mapped(self.user_id).await?;
        self.progress.changed += changed;
        Ok(())
    }

    async fn suggest_mappings(&self) -> Result<(), Stop> {
        let groups = &self.job.groups;
        let unmapped = groups.unmapped_google(self.user_id).await?;
        if unmapped.is_empty() {
            return Ok(());
        }
        let own = groups.own(self.user_id).await?;
        let names: Vec<&str> = unmapped.iter().map(|group| group.resource_name.as_str()).collect();
        let overlaps: HashMap<(String, Uuid), u64> = groups
            .overlaps(self.user_id, &names)
            .await?
            .into_iter()
            .map(|Overlap { resource_name, group_id, common }| ((resource_name, group_id), common))
            .collect();
        let suggestions: Vec<_> = unmapped
            .iter()
            .map(|group| {
                mapping::suggest(group, &own, |own| {
                    overlaps.get(&(group.resource_name.clone(), own.id)).copied().unwrap_or(0)
                })
            })
            .collect();
        groups.suggest_mappings(self.user_id, &suggestions).await?;
        Ok(())
    }
}
