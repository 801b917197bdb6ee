//! Lists a user's calendars and the pages of their events.
//!
//! Each page is in the database before the next is asked for, and a calendar's sync token after its last page, so a sync
//! may end anywhere and the next one continues.

use catchup::db::calendars::{CalendarCursor, CalendarEntry, CalendarPosition, CalendarToSync, ListedScope};
use catchup::google::calendar::{CalendarListEntry, EventPage, SyncScope};
use catchup::google::{Calls, Error, Next, Stop};
use chrono::{DateTime, TimeDelta, Utc};
use shared::job::Context;
use uuid::Uuid;

use crate::CalendarSync;
use crate::event_row::{Changes, Window};

mod meetings;

/// How far back a full sync looks.
const LOOKBACK: TimeDelta = TimeDelta::days(1);
/// How far ahead a full sync looks.
const HORIZON: TimeDelta = TimeDelta::days(60);
/// Instances that enter the window later are not reported, so a horizon nearer than this asks for a full sync.
const MIN_HORIZON: TimeDelta = TimeDelta::days(30);
/// Events are kept for this time after their end.
const RETENTION: TimeDelta = TimeDelta::days(30);

/// Calls for the list of calendars, which is seldom longer than a page.
const LIST_CALLS: u32 = 1;

/// How far a sync came in this run. What it changed is counted where it is written.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) calendars: u64,
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
/// the end of its window.
pub(crate) async fn sync(
    job: &CalendarSync,
    user_id: Uuid,
    context: &Context,
) -> (Progress, Result<(), Stop>) {
    let calls = match job.gate.calls(user_id, context).await {
        Ok(calls) => calls,
        Err(stop) => return (Progress::default(), Err(stop)),
    };
    let mut sync = Sync { job, user_id, context, calls, progress: Progress::default() };
    let result = sync.run().await;
    let progress = Progress { api_calls: sync.calls.made(), ..sync.progress };
    (progress, result)
}

struct Sync<'a> {
    job: &'a CalendarSync,
    user_id: Uuid,
    context: &'a Context,
    calls: Calls<'a>,
    progress: Progress,
}

/// A listing of one calendar's events, page by page.
struct EventListing {
    scope: SyncScope,
    /// Where the last full sync ended, or where this one will.
    horizon: DateTime<Utc>,
    /// What changes later than this may not be on the pages.
    began_at: DateTime<Utc>,
    page_token: Option<String>,
    /// Ids met by a full sync: others are gone.
    seen: Vec<String>,
}

impl Sync<'_> {
    async fn run(&mut self) -> Result<(), Stop> {
        self.expect_calls(LIST_CALLS, &self.calendars_to_sync().await?);
        self.list_calendars().await?;
        let calendars = self.calendars_to_sync().await?;
        self.expect_calls(0, &calendars);
        self.progress.calendars = calendars.len() as u64;
        self.drop_other_calendars(&calendars).await?;
        self.sync_calendars(calendars).await?;
        self.sync_reset_calendars().await?;
        self.remove_ended_events().await?;
        self.note_meetings().await
    }

    async fn calendars_to_sync(&self) -> Result<Vec<CalendarToSync>, Stop> {
        Ok(self.job.calendars.to_sync(self.user_id).await?)
    }

    async fn drop_other_calendars(&self, calendars: &[CalendarToSync]) -> Result<(), Stop> {
        let ids: Vec<String> = calendars.iter().map(|calendar| calendar.calendar_id.clone()).collect();
        self.job.events.retain_calendars(self.user_id, &ids, self.context.now()).await?;
        Ok(())
    }

    /// Syncs each calendar that is not done, also when one of them fails.
    async fn sync_calendars(&mut self, mut calendars: Vec<CalendarToSync>) -> Result<(), Stop> {
        let mut position = self.job.calendars.take_position(self.user_id).await?;
        // There is one place, so its calendar comes before any that may need one.
        calendars.sort_by_key(|calendar| {
            position.as_ref().is_none_or(|position| position.calendar_id != calendar.calendar_id)
        });
        let mut failed = None;
        for calendar in calendars {
            let position = position.take_if(|position| position.calendar_id == calendar.calendar_id);
            if position.is_none() && self.is_done(&calendar) {
                continue;
            }
            match self.sync_calendar(&calendar, position).await {
                // Perhaps it concerns this calendar alone: the others need not wait until it has passed.
                Err(Stop::Google(error @ (Error::Unavailable(_) | Error::Truncated | Error::Garbage(_)))) => {
                    failed = Some(error);
                }
                // A sync that waited instead of failing would meet the same error for ever.
                Err(Stop::Wait(_)) if failed.is_some() => break,
                result => result?,
            }
        }
        failed.map_or(Ok(()), |error| Err(Stop::Google(error)))
    }

    /// An event that left one calendar may still be in another, whose sync was made not to count for that.
    async fn sync_reset_calendars(&mut self) -> Result<(), Stop> {
        for calendar in self.calendars_to_sync().await? {
            if calendar.synced_at.is_none() {
                self.sync_calendar(&calendar, None).await?;
            }
        }
        Ok(())
    }

    async fn remove_ended_events(&self) -> Result<(), Stop> {
        self.job.events.remove_ended(self.user_id, self.context.now() - RETENTION).await?;
        Ok(())
    }

    /// One page of each calendar, and at least of one, on top of `others`.
    fn expect_calls(&mut self, others: u32, calendars: &[CalendarToSync]) {
        let left = calendars.iter().filter(|calendar| !self.is_done(calendar)).count();
        let pages = u32::try_from(left.max(usize::from(calendars.is_empty()))).unwrap_or(u32::MAX);
        self.calls.expect(others.saturating_add(pages));
    }

    /// Synced since the task was created: by this task before it had to wait, or by another.
    fn is_done(&self, calendar: &CalendarToSync) -> bool {
        calendar.synced_at.is_some_and(|at| at >= self.context.scheduled_for)
    }

    async fn list_calendars(&mut self) -> Result<(), Stop> {
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
        self.job.calendars.replace(self.user_id, &entries).await?;
        Ok(())
    }

    async fn sync_calendar(
        &mut self,
        calendar: &CalendarToSync,
        position: Option<CalendarPosition>,
    ) -> Result<(), Stop> {
        let id = &calendar.calendar_id;
        let now = self.context.now();
        let listing = position.map(EventListing::resume).or_else(|| EventListing::incremental(calendar, now));
        let result = match listing {
            Some(listing) => match self.list_events(id, listing).await {
                // 410 says that a token has expired; a token that is refused otherwise is of no more use.
                Err(Stop::Google(Error::SyncTokenExpired | Error::Refused { .. })) => {
                    self.job.calendars.forget_cursor(self.user_id, id).await?;
                    self.list_events(id, EventListing::full(now)).await
                }
                result => result,
            },
            None => self.list_events(id, EventListing::full(now)).await,
        };
        match result {
            // It left between the list and now, or shares no events: no reason to let the others wait.
            Err(Stop::Google(error @ (Error::NotFound | Error::Forbidden { .. }))) => {
                tracing::warn!(user_id = %self.user_id, %error, "calendar skipped: it is not found or not readable");
                Ok(self.job.calendars.skip(self.user_id, id, now).await?)
            }
            result => result,
        }
    }

    async fn list_events(&mut self, calendar_id: &str, mut listing: EventListing) -> Result<(), Stop> {
        let job = self.job;
        let is_full = matches!(listing.scope, SyncScope::Full { .. });
        self.progress.full |= is_full;
        loop {
            let page = match self.next_page(calendar_id, &listing).await {
                Ok(page) => page,
                Err(stop) => {
                    if let (Stop::Wait(_), Some(position)) = (&stop, listing.position(calendar_id)) {
                        job.calendars.store_position(self.user_id, &position).await?;
                    }
                    return Err(stop);
                }
            };
            let now = self.context.now();
            let window = Window { from: now - RETENTION, until: listing.horizon };
            self.progress.events += page.events.len() as u64;
            let changes = Changes::read(page.events, page.time_zone.as_deref(), window);
            self.progress.unusable += changes.unusable;
            job.events.apply(self.user_id, calendar_id, &changes.rows, &changes.gone, now).await?;
            if is_full {
                listing.seen.extend(changes.rows.into_iter().map(|row| row.google_event_id));
            }
            match page.next {
                Next::Page(token) => listing.page_token = Some(token),
                Next::Sync(sync_token) => return self.finish(calendar_id, &listing, &sync_token).await,
            }
        }
    }

    async fn next_page(&mut self, calendar_id: &str, listing: &EventListing) -> Result<EventPage, Stop> {
        let access = self.calls.acquire().await?;
        let page_token = listing.page_token.as_deref();
        let page = self.job.calendar.events(access, calendar_id, &listing.scope, page_token).await;
        page.map_err(|error| self.calls.stop(error))
    }

    async fn finish(&self, calendar_id: &str, listing: &EventListing, sync_token: &str) -> Result<(), Stop> {
        let job = self.job;
        let listed = match &listing.scope {
            &SyncScope::Full { from, until } => {
                let (seen, began_at) = (&listing.seen, listing.began_at);
                job.events.remove_unseen(self.user_id, calendar_id, from, until, seen, began_at).await?;
                ListedScope::Full(until)
            }
            SyncScope::Since(begun_with) => ListedScope::Since(begun_with),
        };
        let cursor = CalendarCursor { calendar_id, sync_token, listed };
        Ok(job.calendars.store_cursor(self.user_id, &cursor, listing.began_at).await?)
    }
}

impl EventListing {
    fn full(now: DateTime<Utc>) -> Self {
        let horizon = now + HORIZON;
        Self {
            scope: SyncScope::Full { from: now - LOOKBACK, until: horizon },
            horizon,
            began_at: now,
            page_token: None,
            seen: Vec::new(),
        }
    }

    /// `None` when a full sync is due.
    fn incremental(calendar: &CalendarToSync, now: DateTime<Utc>) -> Option<Self> {
        let sync_token = calendar.sync_token.clone()?;
        let horizon = calendar.horizon.filter(|&horizon| horizon >= now + MIN_HORIZON)?;
        Some(Self {
            scope: SyncScope::Since(sync_token),
            horizon,
            began_at: now,
            page_token: None,
            seen: Vec::new(),
        })
    }

    fn resume(position: CalendarPosition) -> Self {
        Self {
            scope: match position.sync_token {
                Some(sync_token) => SyncScope::Since(sync_token),
                None => SyncScope::Full { from: position.began_at - LOOKBACK, until: position.horizon },
            },
            horizon: position.horizon,
            began_at: position.began_at,
            page_token: Some(position.page_token),
            seen: position.seen,
        }
    }

    /// Where the listing continues; `None` before its second page.
    fn position(&self, calendar_id: &str) -> Option<CalendarPosition> {
        Some(CalendarPosition {
            calendar_id: calendar_id.to_owned(),
            page_token: self.page_token.clone()?,
            sync_token: match &self.scope {
                SyncScope::Since(sync_token) => Some(sync_token.clone()),
                SyncScope::Full { .. } => None,
            },
            horizon: self.horizon,
            began_at: self.began_at,
            seen: self.seen.clone(),
        })
    }
}

fn entry(calendar: &CalendarListEntry) -> Option<CalendarEntry<'_>> {
    let calendar_id = calendar.id.as_deref()?;
    Some(CalendarEntry {
        calendar_id,
        name: calendar.summary_override.as_deref().or(calendar.summary.as_deref()).unwrap_or(calendar_id),
        description: calendar.description.as_deref(),
        is_primary: calendar.primary == Some(true),
    })
}
