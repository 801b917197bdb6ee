//! Lists a user's calendars and the pages of their events.
//!
//! Each page is in the database before the next is asked for, and a calendar's sync token after its last page, so a sync
//! may end anywhere and the next one continues. Only the list of calendars, the token and the API as a whole end a sync: a
//! calendar that fails is skipped, and has a backoff of its own.

use std::collections::{BTreeSet, VecDeque};

use catchup::db::calendar_events::Written;
use catchup::db::calendars::{
    CalendarCursor, CalendarEntry, CalendarFailure, CalendarPosition, CalendarToSync, ListedScope,
};
use catchup::google::calendar::{CalendarListEntry, EventPage, NextEvents, SyncScope};
use catchup::google::{Calls, Error, Next, Stop};
use chrono::{DateTime, Utc};
use shared::job::Context;
use uuid::Uuid;

use crate::CalendarSync;
use crate::event_row::{Page, read};
use crate::listing::{EventListing, RETENTION, smaller};

mod meetings;

/// Calls for the list of calendars, which is seldom longer than a page.
const LIST_CALLS: u32 = 1;
/// So many refusals in a row, and a calendar's events do not stay.
const MAX_REFUSALS: i32 = 5;
/// So many failures in a row may be chance: after them, smaller pages perhaps come in time, and backoffs are kept.
const CHANCE_FAILURES: i32 = 2;

/// How far a sync came in this run. What it changed is counted where it is written.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) calendars: u64,
    /// Calendars that were skipped: they fail, or failed a short while ago.
    pub(crate) skipped: u64,
    /// Events that Google listed.
    pub(crate) events: u64,
    pub(crate) unusable: u64,
    pub(crate) api_calls: u32,
    /// A calendar was read from its beginning.
    pub(crate) full: bool,
    /// Contacts whose last meeting is another one now.
    pub(crate) met: Vec<Uuid>,
}

/// Syncs all calendars of a user that need it: those not synced since the task was created, or, if it is debounced, since
/// the end of its window. `run` names the sync.
pub(crate) async fn sync(
    job: &CalendarSync,
    user_id: Uuid,
    run: Uuid,
    context: &Context,
) -> (Progress, Result<(), Stop>) {
    let calls = match job.gate.calls(user_id, context).await {
        Ok(calls) => calls,
        Err(stop) => return (Progress::default(), Err(stop)),
    };
    let mut sync = Sync {
        job,
        user_id,
        run,
        context,
        calls,
        own_addresses: Vec::new(),
        outdated: BTreeSet::new(),
        skipped: BTreeSet::new(),
        progress: Progress::default(),
    };
    let result = sync.run().await;
    let (api_calls, skipped) = (sync.calls.made(), sync.skipped.len() as u64);
    let progress = Progress { skipped, api_calls, ..sync.progress };
    (progress, result)
}

struct Sync<'a> {
    job: &'a CalendarSync,
    user_id: Uuid,
    run: Uuid,
    context: &'a Context,
    calls: Calls<'a>,
    /// The user's, in lower case.
    own_addresses: Vec<String>,
    /// Calendars whose rows are others by now than those that were read.
    outdated: BTreeSet<String>,
    skipped: BTreeSet<String>,
    progress: Progress,
}

impl Sync<'_> {
    async fn run(&mut self) -> Result<(), Stop> {
        let known = self.calendars_to_sync().await?;
        // Read once per sync, however many runs it takes.
        let is_listed = known.first().is_some_and(|calendar| self.is_covered(calendar.listed_at));
        let calendars = if is_listed {
            known
        } else {
            self.expect_calls(LIST_CALLS, &known);
            self.list_calendars().await?;
            self.calendars_to_sync().await?
        };
        self.own_addresses = self.job.meetings.own_addresses(self.user_id).await?;
        self.expect_calls(0, &calendars);
        self.progress.calendars = calendars.len() as u64;
        self.drop_other_calendars(&calendars).await?;
        let position = self.job.calendars.take_position(self.user_id, self.run).await?;
        self.sync_calendars(calendars, position).await?;
        while !self.outdated.is_empty() {
            let outdated = std::mem::take(&mut self.outdated);
            let mut calendars = self.calendars_to_sync().await?;
            calendars.retain(|calendar| outdated.contains(&calendar.calendar_id));
            self.sync_calendars(calendars, None).await?;
        }
        self.job.events.remove_ended(self.user_id, self.context.now() - RETENTION).await?;
        self.note_meetings().await
    }

    async fn calendars_to_sync(&self) -> Result<Vec<CalendarToSync>, Stop> {
        Ok(self.job.calendars.to_sync(self.user_id).await?)
    }

    async fn drop_other_calendars(&mut self, calendars: &[CalendarToSync]) -> Result<(), Stop> {
        if calendars.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = calendars.iter().map(|calendar| calendar.calendar_id.clone()).collect();
        let now = self.context.now();
        let removed = self.job.events.retain_calendars(self.user_id, self.run, &ids, now).await?;
        self.written(removed)
    }

    /// What a statement wrote whose sync still stands.
    fn written(&mut self, written: Option<Written>) -> Result<(), Stop> {
        let Some(Written { reset, .. }) = written else { return Err(self.overtaken()) };
        self.outdated.extend(reset);
        Ok(())
    }

    /// Syncs each calendar that is not done; those that failed before come last.
    async fn sync_calendars(
        &mut self,
        mut calendars: Vec<CalendarToSync>,
        mut position: Option<CalendarPosition>,
    ) -> Result<(), Stop> {
        // There is one place, so its calendar comes before any that may need one.
        let waits = |calendar: &CalendarToSync| {
            position.as_ref().is_some_and(|position| position.calendar_id == calendar.calendar_id)
        };
        calendars.sort_by_key(|calendar| (!waits(calendar), calendar.failures > 0));
        let mut calendars = VecDeque::from(calendars);
        while let Some(calendar) = calendars.pop_front() {
            let position = position
                .take_if(|position| position.calendar_id == calendar.calendar_id)
                .filter(|position| EventListing::stands(position, &calendar));
            if self.outdated.contains(&calendar.calendar_id) {
                continue;
            }
            if self.is_backing_off(&calendar) {
                self.skipped.insert(calendar.calendar_id);
            } else if position.is_some() || !self.is_covered(calendar.synced_at) {
                let listing = EventListing::of(&calendar, position, self.context.now());
                calendars.extend(self.sync_calendar(calendar, listing).await?);
            }
        }
        Ok(())
    }

    /// One page of each calendar, and at least of one, on top of `others`.
    fn expect_calls(&mut self, others: u32, calendars: &[CalendarToSync]) {
        let is_left = |calendar: &&CalendarToSync| {
            !self.is_covered(calendar.synced_at) && !self.is_backing_off(calendar)
        };
        let left = calendars.iter().filter(is_left).count();
        let pages = u32::try_from(left.max(usize::from(calendars.is_empty()))).unwrap_or(u32::MAX);
        self.calls.expect(others.saturating_add(pages));
    }

    /// What began then has met all that the task was created for.
    fn is_covered(&self, began_at: Option<DateTime<Utc>>) -> bool {
        began_at.is_some_and(|at| at >= self.context.scheduled_for)
    }

    /// What may be chance keeps no later sync from asking.
    fn is_backing_off(&self, calendar: &CalendarToSync) -> bool {
        calendar.failures > CHANCE_FAILURES && calendar.retry_at.is_some_and(|at| at > self.context.now())
    }

    async fn list_calendars(&mut self) -> Result<(), Stop> {
        let listed_at = self.context.now();
        let mut calendars: Vec<CalendarListEntry> = Vec::new();
        let mut page_token = None;
        loop {
            let access = self.calls.acquire().await?;
            let page = self.job.calendar.calendars(access, page_token.as_deref()).await;
            let page = page.map_err(|error| self.calls.stop(error))?;
            calendars.extend(page.items);
            match page.next {
                Next::Page(token) => page_token = Some(token),
                Next::Sync(_) => break,
            }
        }
        // A list that changes while it is read may show a calendar twice.
        calendars.sort_by(|a, b| a.id.cmp(&b.id));
        calendars.dedup_by(|a, b| a.id == b.id);
        let entries: Vec<_> = calendars.iter().filter_map(entry).collect();
        let replaced = self.job.calendars.replace(self.user_id, self.run, &entries, listed_at).await?;
        replaced.map(|_| ()).ok_or_else(|| self.overtaken())
    }

    /// Brings a calendar up to date, or skips it. Returns what is to be tried behind the others: after a transient failure, or
    /// from its beginning with smaller pages.
    async fn sync_calendar(
        &mut self,
        mut calendar: CalendarToSync,
        mut listing: EventListing,
    ) -> Result<Option<CalendarToSync>, Stop> {
        loop {
            let error = match self.list_events(&calendar.calendar_id, &mut listing).await {
                Ok(()) => {
                    // What changed since its first page, before this task was created, is not on its pages.
                    if listing.is_resumed() && !self.is_covered(Some(listing.began_at)) {
                        self.outdated.insert(calendar.calendar_id);
                    }
                    return Ok(None);
                }
                Err(Stop::Google(error)) => error,
                Err(stop) => return Err(stop),
            };
            match &error {
                // 410 says that a token has expired; a token that is refused otherwise is of no more use.
                Error::SyncTokenExpired | Error::Refused { .. } if listing.began_with_a_token() => {
                    let size = calendar.page_size;
                    self.forget_cursor(&listing, &mut calendar, size).await?;
                    listing = EventListing::of(&calendar, None, self.context.now());
                    continue;
                }
                Error::TooLarge | Error::Timeout => {
                    // A few changes that come late are no large page.
                    let may_be_large = !matches!(error, Error::Timeout)
                        || listing.is_full()
                        || calendar.failures >= CHANCE_FAILURES;
                    if let Some(size) = smaller(listing.page_size).filter(|_| may_be_large) {
                        self.forget_cursor(&listing, &mut calendar, Some(size)).await?;
                        calendar.synced_at = None;
                        return Ok(Some(calendar));
                    }
                }
                _ => {}
            }
            return match whose_fault(&error) {
                Fault::Everything => Err(Stop::Google(error)),
                Fault::Calendar => self.skip(&calendar, &listing, &error, true).await,
                // Once more behind the others: most failures are short.
                Fault::Chance if calendar.failures == 0 => {
                    calendar.failures = 1;
                    return Ok(Some(calendar));
                }
                Fault::Chance => self.skip(&calendar, &listing, &error, false).await,
            }
            .map(|()| None);
        }
    }

    /// The calendar's next listing is a full one, with pages of this size.
    async fn forget_cursor(
        &self,
        listing: &EventListing,
        calendar: &mut CalendarToSync,
        page_size: Option<i32>,
    ) -> Result<(), Stop> {
        let known = listing.known(self.user_id, self.run, &calendar.calendar_id);
        if !self.job.calendars.forget_cursor(known, page_size).await? {
            return Err(self.overtaken());
        }
        (calendar.sync_token, calendar.page_size) = (None, page_size);
        Ok(())
    }

    /// Records that a calendar failed. One that is refused time and again does not block the user's time.
    async fn skip(
        &mut self,
        calendar: &CalendarToSync,
        listing: &EventListing,
        error: &Error,
        is_refusal: bool,
    ) -> Result<(), Stop> {
        let now = self.context.now();
        let reason = error.to_string();
        let known = listing.known(self.user_id, self.run, &calendar.calendar_id);
        let failure = CalendarFailure { reason: &reason, is_refusal, at: now };
        let failed = self.job.calendars.failed(known, failure).await?;
        let failed = failed.ok_or_else(|| self.overtaken())?;
        tracing::warn!(user_id = %self.user_id, %error, failures = failed.failures, "calendar skipped");
        if failed.refusals >= MAX_REFUSALS {
            let removed = self.job.events.remove_refused(known, now).await?;
            self.written(removed)?;
        }
        self.skipped.insert(calendar.calendar_id.clone());
        Ok(())
    }

    /// Reads a listing to its end.
    async fn list_events(&mut self, calendar_id: &str, listing: &mut EventListing) -> Result<(), Stop> {
        self.progress.full |= listing.is_full();
        loop {
            let page = match self.next_page(calendar_id, listing).await {
                Ok(page) => page,
                Err(stop) => {
                    if let (Stop::Wait(_), Some(position)) = (&stop, listing.position(calendar_id)) {
                        self.job.calendars.store_position(self.user_id, self.run, &position).await?;
                    }
                    return Err(stop);
                }
            };
            let next = page.next.clone();
            self.apply(calendar_id, listing, page).await?;
            match next {
                NextEvents::Page(token) => listing.page_token = Some(token),
                NextEvents::Sync(token) => return self.finish(calendar_id, listing, Some(&token)).await,
                NextEvents::Anew => return self.finish(calendar_id, listing, None).await,
            }
        }
    }

    async fn next_page(&mut self, calendar_id: &str, listing: &EventListing) -> Result<EventPage, Stop> {
        let access = self.calls.acquire().await?;
        let (scope, size, page_token) = (&listing.scope, listing.page_size, listing.page_token.as_deref());
        let page = self.job.calendar.events(access, calendar_id, scope, size, page_token).await;
        page.map_err(|error| self.calls.stop(error))
    }

    /// Applies a page of events.
    async fn apply(
        &mut self,
        calendar_id: &str,
        listing: &mut EventListing,
        page: EventPage,
    ) -> Result<(), Stop> {
        let now = self.context.now();
        self.progress.events += page.events.len() as u64;
        let Page { mut changes, past, unusable } =
            read(page.events, page.time_zone.as_deref(), listing.window(now));
        self.progress.unusable += unusable;
        self.note_past_meetings(calendar_id, &past).await?;
        if listing.is_full() {
            // What its end does not find is removed then.
            changes.superseded.clear();
        }
        if !(changes.rows.is_empty() && changes.gone.is_empty()) {
            let known = listing.known(self.user_id, self.run, calendar_id);
            let written = self.job.events.apply(known, &changes, now).await?;
            self.written(written)?;
        }
        if listing.is_full() {
            listing.seen.extend(changes.rows.into_iter().map(|row| row.google_event_id));
        }
        Ok(())
    }

    async fn finish(
        &mut self,
        calendar_id: &str,
        listing: &EventListing,
        sync_token: Option<&str>,
    ) -> Result<(), Stop> {
        let known = listing.known(self.user_id, self.run, calendar_id);
        let listed = match listing.scope {
            SyncScope::Full { until, .. } => {
                let from = listing.stored_from();
                // An empty list to which Google gave no token may be no list.
                if sync_token.is_some() || !listing.seen.is_empty() {
                    let (seen, began_at) = (&listing.seen, listing.began_at);
                    let removed = self.job.events.remove_unseen(known, from, until, seen, began_at).await?;
                    self.written(removed)?;
                }
                ListedScope::Full { until, looked_back: listing.looks_back() }
            }
            SyncScope::Since(_) => ListedScope::Since,
        };
        let cursor = CalendarCursor { sync_token, page_size: listing.page_size, listed };
        let is_stored = self.job.calendars.store_cursor(known, cursor, listing.began_at).await?;
        if is_stored { Ok(()) } else { Err(self.overtaken()) }
    }

    /// The lock expired while this process stood still, and another sync took it: this one has written nothing since, and
    /// begins again.
    fn overtaken(&self) -> Stop {
        tracing::warn!(user_id = %self.user_id, "sync was overtaken by another one");
        Stop::Wait(self.context.now())
    }
}

/// Whom an error of `events.list` concerns.
enum Fault {
    /// All calendars: the token, the account, the API.
    Everything,
    /// This calendar, as Google says.
    Calendar,
    /// Perhaps this calendar alone; it may pass.
    Chance,
}

fn whose_fault(error: &Error) -> Fault {
    match error {
        Error::Token(_)
        | Error::Unauthorized
        | Error::Limited { .. }
        | Error::MissingScope
        | Error::NoCalendarAccount
        | Error::ApiDisabled
        | Error::AddressRefused { .. } => Fault::Everything,
        Error::NotFound | Error::Forbidden { .. } | Error::Refused { .. } => Fault::Calendar,
        // Of a full listing, which has no token: nonsense.
        Error::SyncTokenExpired
        | Error::Unavailable(_)
        | Error::Timeout
        | Error::TooLarge
        | Error::Client(_)
        | Error::Transport(_)
        | Error::Truncated
        | Error::Garbage(_) => Fault::Chance,
    }
}

fn entry(calendar: &CalendarListEntry) -> Option<CalendarEntry<'_>> {
    let calendar_id = calendar.id.as_deref().filter(|_| calendar.deleted != Some(true))?;
    Some(CalendarEntry {
        calendar_id,
        name: calendar.summary_override.as_deref().or(calendar.summary.as_deref()).unwrap_or(calendar_id),
        description: calendar.description.as_deref(),
        is_primary: calendar.primary == Some(true),
    })
}
