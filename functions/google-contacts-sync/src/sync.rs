//! One part of a sync: page by page, each page committed before the next is asked for.

use std::collections::HashMap;

use catchup::db::contact_groups::Overlap;
use catchup::db::contacts::{BegunWith, GivenToken, ListedPage, Place};
use catchup::google::people::parameters;
use catchup::google::{self, Calls, Error, Next};
use catchup::payload::{ContactsResume, ContactsStep, SyncType};
use catchup::sync::Refusal;
use chrono::{DateTime, Utc};
use shared::cache;
use shared::db;
use shared::job::{Context, Failure};
use shared::tasks;
use uuid::Uuid;

use crate::apply::{Candidates, apply};
use crate::group::UserGroup;
use crate::page::People;
use crate::{GoogleContactsSync, mapping};

/// Why a part ends before the sync does.
pub(crate) enum Stop {
    /// The rest may begin at that time, in a task of its own.
    Later(DateTime<Utc>),
    /// The user may not be synced any more.
    Refused(Refusal),
    /// Another sync has begun or ended meanwhile.
    Superseded,
    /// It failed.
    Failed(Failure),
}

impl From<db::Error> for Stop {
    fn from(error: db::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<tasks::Error> for Stop {
    fn from(error: tasks::Error) -> Self {
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
    /// Names the listing: one chain of pages, from the first to the last.
    pub(crate) listing: Uuid,
    /// The sync token that an incremental listing begins with.
    pub(crate) since: Option<String>,
    /// When a full sync first missed too many contacts to be believed.
    pub(crate) doubted_at: Option<DateTime<Utc>>,
    /// What is stored while no other sync begins or ends.
    pub(crate) begun_with: BegunWith,
    /// The match candidates among the user's contacts, as far as this part has looked for them.
    pub(crate) candidates: Candidates,
}

/// A page of people, read.
struct Listed {
    people: People,
    next: Place,
}

/// Asks for a page: what Google answers, unless no call may be made.
async fn list(
    client: &google::People,
    calls: &mut Calls<'_>,
    since: Option<&str>,
    page_token: Option<&str>,
) -> Result<Result<Listed, Error>, google::Stop> {
    let access = calls.acquire().await?;
    let answer = client.connections(access, since, page_token).await;
    Ok(answer.map(|page| {
        let next = match page.next {
            Next::Page(token) => Place::Page(token),
            Next::Sync(token) => Place::End(token),
        };
        Listed { people: People::of(page.items), next }
    }))
}

impl Part<'_> {
    /// Continues until the end, or until it must stop; `progress` then says where the next part begins.
    pub(crate) async fn run(&mut self) -> Result<(), Stop> {
        let mut calls = self.job.gate.calls(self.user_id, self.context).await?;
        calls.expect(self.expected_calls);
        let made_before = self.progress.api_calls;
        // Boxed: nested in one another, the futures of a whole job are more than the compiler lays out.
        let ended = Box::pin(self.steps(&mut calls)).await;
        self.progress.api_calls = made_before + u64::from(calls.made());
        if self.candidates == Candidates::Gathered
            && let Some(run) = self.begun_with.run
        {
            self.job.contacts.forget_candidates(self.user_id, run).await?;
        }
        ended
    }

    async fn steps(&mut self, calls: &mut Calls<'_>) -> Result<(), Stop> {
        match self.progress.step {
            ContactsStep::People => {
                Box::pin(self.people(calls)).await?;
                self.progress.step = ContactsStep::Groups;
                self.groups(calls).await
            }
            ContactsStep::Groups => self.groups(calls).await,
        }
    }

    async fn people(&mut self, calls: &mut Calls<'_>) -> Result<(), Stop> {
        let job = self.job;
        let (mut number, page_token) = match self.place().await? {
            None => (0, None),
            Some((number, Place::Page(token))) => (number, Some(token)),
            Some((number, Place::End(token))) => return self.finish_people(number, token).await,
        };
        // A page token that was handed on may have grown too old on the way.
        let mut handed_on = page_token.is_some();
        let mut answer = list(&job.people, calls, self.since.as_deref(), page_token.as_deref()).await?;
        loop {
            let page = match answer {
                Ok(page) => page,
                // Google refuses a token without saying so, too: one that was given out for other parameters.
                Err(Error::SyncTokenExpired | Error::Refused { .. }) if self.since.is_some() || handed_on => {
                    handed_on = false;
                    number = 0;
                    self.start_over();
                    answer = list(&job.people, calls, None, None).await?;
                    continue;
                }
                Err(error) => return Err(calls.stop(error).into()),
            };
            handed_on = false;
            match &page.next {
                Place::Page(token) => {
                    // The next page is on its way while this one is written.
                    let since = self.since.clone();
                    let next = list(&job.people, calls, since.as_deref(), Some(token));
                    let (written, next) = tokio::join!(self.write(number, &page), next);
                    written?;
                    answer = next?;
                    number += 1;
                }
                Place::End(token) => {
                    // An incremental sync that finds nothing writes nothing.
                    if number > 0 || self.progress.sync_type == SyncType::Full || !page.people.is_empty() {
                        self.write(number, &page).await?;
                        number += 1;
                    }
                    return self.finish_people(number, token.clone()).await;
                }
            }
        }
    }

    /// Where the listing continues that an earlier part began; `None` begins it.
    async fn place(&mut self) -> Result<Option<(i32, Place)>, Stop> {
        if self.progress.listing.is_none() {
            return Ok(None);
        }
        let place = self.job.contacts.place(self.user_id, self.listing).await?;
        let lost = self.progress.sync_type == SyncType::Incremental && self.since.is_none();
        place.filter(|_| !lost).ok_or(Stop::Superseded).map(Some)
    }

    /// Begins anew, with everybody.
    fn start_over(&mut self) {
        self.since = None;
        self.listing = Uuid::new_v4();
        self.candidates = Candidates::Unknown;
        self.progress.sync_type = SyncType::Full;
        self.progress.listing = None;
    }

    async fn write(&mut self, number: i32, page: &Listed) -> Result<(), Stop> {
        let listed = ListedPage { run: self.listing, number, begun_with: &self.begun_with, next: &page.next };
        let transaction = self.job.contacts.page(self.user_id).await?;
        let sync_type = self.progress.sync_type;
        let now = self.context.now();
        let applied = apply(transaction, &page.people, sync_type, listed, &mut self.candidates, now).await?;
        self.begun_with.run = Some(self.listing);
        self.progress.listing = Some(self.listing);
        self.progress.items += page.people.len();
        self.progress.changed += applied.rows;
        if number == 0 {
            self.job.contacts.forget_pages(self.user_id).await?;
        }
        // Whether or not this run changed them: an earlier one may have been stopped here.
        if !applied.affected.is_empty() {
            self.job.cache.contacts_changed(self.user_id, &applied.affected).await?;
        }
        Ok(())
    }

    /// All `pages` are in the database: contacts that a full sync did not list are archived, and the next sync may begin here.
    async fn finish_people(&mut self, pages: i32, sync_token: String) -> Result<(), Stop> {
        let is_full = self.progress.sync_type == SyncType::Full;
        if is_full && !self.settle_unseen().await? {
            return Ok(());
        }
        let now = self.context.now();
        let mut page = self.job.contacts.page(self.user_id).await?;
        let held = if pages > 0 {
            page.hold_end(self.listing, is_full).await?
        } else {
            page.hold_begin(&self.begun_with).await?
        };
        if !held {
            return Err(Stop::Superseded);
        }
        let token = GivenToken { token: sync_token, given_at: now, parameters: parameters() };
        let recount = is_full || self.progress.changed > 0;
        page.store_sync_state(self.progress.sync_type, &token, recount, now).await?;
        page.commit().await?;
        if is_full {
            self.job.contacts.forget_pages(self.user_id).await?;
        }
        Ok(())
    }

    async fn groups(&mut self, calls: &mut Calls<'_>) -> Result<(), Stop> {
        let stored = &self.job.groups;
        let mut seen = Vec::new();
        let mut changed = 0;
        let mut page_token: Option<String> = None;
        loop {
            let answer = self.job.people.contact_groups(calls.acquire().await?, page_token.as_deref()).await;
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
