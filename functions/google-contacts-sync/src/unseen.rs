//! The end of a full sync: what becomes of the contacts that it did not list.

use catchup::db::contacts::{ContactsPage, Duplicates, StoredContact};
use catchup::payload::{self, SyncType};
use chrono::TimeDelta;
use shared::tasks::Options;

use crate::WRITE_RESERVE;
use crate::apply::Candidates;
use crate::duplicates;
use crate::page::shown;
use crate::sync::{Part, Stop};

/// Up to so many contacts, a full sync is believed that misses most of them.
const FEW_CONTACTS: u64 = 20;
/// After this time a full sync is repeated that missed more than half of the contacts ...
const CONFIRM_AFTER: TimeDelta = TimeDelta::hours(1);
/// ... and one that begins this long after it confirms it.
const CONFIRMED_AFTER: TimeDelta = TimeDelta::minutes(30);

impl Part<'_> {
    /// Archives the contacts that a full sync did not list, unless it inserted the same person. `false` when it would archive
    /// so many that another sync has to confirm it.
    pub(crate) async fn settle_unseen(&mut self) -> Result<bool, Stop> {
        let run = self.listing;
        let mut page = self.end().await?;
        if page.gather_unseen(run).await? == 0 {
            page.commit().await?;
            return Ok(true);
        }
        let missed = page.missed(run).await?;
        let pages = page.pages_with_matches(run).await?;
        page.commit().await?;
        self.candidates = Candidates::Gathered;
        let unseen = missed.unseen.saturating_sub(self.take_over_unseen(&pages).await?);
        let confirmed = self
            .doubted_at
            .is_some_and(|doubted_at| self.progress.started_at >= doubted_at + CONFIRMED_AFTER);
        if missed.before > FEW_CONTACTS && unseen * 2 > missed.before && !confirmed {
            return self.doubt(unseen).await.map(|()| false);
        }
        loop {
            let mut page = self.end().await?;
            let Some(archived) = page.archive_unseen(self.context.now()).await? else { return Ok(true) };
            page.commit().await?;
            if !archived.is_empty() {
                self.progress.changed += archived.len() as u64;
                self.job.cache.contacts_changed(self.user_id, &archived).await?;
            }
        }
    }

    /// Contacts that were not listed, or were archived before, take over the people whom the sync inserted. Returns how many
    /// were in use.
    async fn take_over_unseen(&mut self, pages: &[i32]) -> Result<u64, Stop> {
        let is_in_use = |contact: &StoredContact| !contact.archived_by_sync && !contact.archived_by_user;
        let mut in_use = 0;
        for number in pages {
            let mut page = self.end().await?;
            let inserted = page.inserted(self.listing, *number).await?;
            let people: Vec<_> = inserted.iter().map(shown).collect();
            let matches = duplicates::matches(&mut page, &people.iter().collect::<Vec<_>>(), &[]).await?;
            if matches.is_empty() {
                continue;
            }
            let pairs: Vec<_> = matches
                .into_iter()
                .map(|(index, old)| Duplicates { old, new: inserted[index].clone() })
                .collect();
            let concerned = duplicates::take_over(&mut page, &pairs, self.context.now()).await?;
            page.commit().await?;
            in_use += pairs.iter().filter(|pair| is_in_use(&pair.old)).count() as u64;
            self.progress.changed += pairs.len() as u64;
            self.job.cache.contacts_changed(self.user_id, &concerned).await?;
        }
        Ok(in_use)
    }

    /// A step after the last page of a full listing, while there is time for it.
    async fn end(&self) -> Result<ContactsPage, Stop> {
        if self.context.is_cancelled() || self.context.time_left() < WRITE_RESERVE {
            return Err(Stop::Later(self.context.now()));
        }
        let mut page = self.job.contacts.page(self.user_id).await?;
        if page.hold_end(self.listing, true).await? { Ok(page) } else { Err(Stop::Superseded) }
    }

    /// Asks for another full sync, instead of believing that so many people are gone.
    async fn doubt(&mut self, unseen: u64) -> Result<(), Stop> {
        let now = self.context.now();
        tracing::warn!(
            contacts = unseen,
            "a full sync of contacts misses more than half of them: another one has to confirm it"
        );
        let again = payload::GoogleContactsSync {
            user_id: self.user_id,
            sync_type: SyncType::Full,
            trigger: None,
            resume: None,
        };
        // One task, however many syncs see the same in between.
        let since = self.doubted_at.unwrap_or(now).timestamp_micros();
        let options = Options::default().named(format_args!("{}:confirm:{since}", self.user_id));
        // Before the transaction, which holds locks.
        self.job.tasks.enqueue(&again, options.at(now + CONFIRM_AFTER)).await?;
        let mut page = self.end().await?;
        page.doubt(now).await?;
        page.commit().await?;
        self.job.contacts.forget_pages(self.user_id).await?;
        Ok(())
    }
}
