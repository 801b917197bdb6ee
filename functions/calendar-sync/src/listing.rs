//! A listing of one calendar's events, page by page.

use catchup::db::calendars::{CalendarPosition, CalendarToSync, Listing};
use catchup::google::calendar::{EVENTS_PER_PAGE, SyncScope};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::event_row::Window;

/// How far back a full sync looks.
const LOOKBACK: TimeDelta = TimeDelta::days(1);
/// How far back the first full sync looks, for meetings alone.
const MEETINGS_LOOKBACK: TimeDelta = TimeDelta::days(365);
/// How far ahead a full sync looks.
const HORIZON: TimeDelta = TimeDelta::days(60);
/// Instances that enter the window later are not reported, so a horizon nearer than this asks for a full sync.
const MIN_HORIZON: TimeDelta = TimeDelta::days(30);
/// Events are kept for this time after their end.
pub(crate) const RETENTION: TimeDelta = TimeDelta::days(30);
/// Events on a page, where larger ones are too large or too slow.
const SMALLER_PAGES: [i32; 2] = [250, 50];

/// The next smaller size of pages.
pub(crate) fn smaller(page_size: i32) -> Option<i32> {
    SMALLER_PAGES.into_iter().find(|&size| size < page_size)
}

fn lookback(looks_back: bool) -> TimeDelta {
    if looks_back { MEETINGS_LOOKBACK } else { LOOKBACK }
}

/// A listing of one calendar's events, page by page.
pub(crate) struct EventListing {
    pub(crate) scope: SyncScope,
    /// Events on a page: the same for all pages, and for the listings that continue from its token.
    pub(crate) page_size: i32,
    /// Where the last full sync ended, or where this one will.
    pub(crate) horizon: DateTime<Utc>,
    /// What changes later than this may not be on the pages.
    pub(crate) began_at: DateTime<Utc>,
    pub(crate) page_token: Option<String>,
    /// Ids met by a full sync: others are gone.
    pub(crate) seen: Vec<String>,
    /// When the full listing began that it is, or for the calendar's changes, its first one.
    listed_at: DateTime<Utc>,
    /// It reaches further back than what is stored of it.
    looks_back: bool,
    /// The sync token that was stored when it began.
    begun_with: Option<String>,
    /// It began in another run.
    is_resumed: bool,
}

impl EventListing {
    /// Continues where a listing waits, or from the sync token, or begins anew: that also when the horizon has come near, and
    /// to look back.
    pub(crate) fn of(
        calendar: &CalendarToSync,
        position: Option<CalendarPosition>,
        now: DateTime<Utc>,
    ) -> Self {
        let begun_with = calendar.sync_token.clone();
        let listed_at = calendar.first_listed_at.unwrap_or(now);
        if let Some(position) = position {
            return Self::resume(position, begun_with, listed_at);
        }
        let is_far = |horizon: &DateTime<Utc>| *horizon >= now + MIN_HORIZON && !calendar.looks_back;
        match (begun_with, calendar.horizon.filter(is_far)) {
            (Some(sync_token), Some(horizon)) => {
                let page_size = calendar.page_size.unwrap_or(EVENTS_PER_PAGE);
                Self::since(sync_token, page_size, horizon, listed_at, now)
            }
            // Perhaps the pages are not as large any more.
            (Some(sync_token), None) => Self::full(Some(sync_token), None, calendar.looks_back, now),
            (None, _) => Self::full(None, calendar.page_size, calendar.looks_back, now),
        }
    }

    /// Lists everything.
    fn full(
        begun_with: Option<String>,
        page_size: Option<i32>,
        looks_back: bool,
        now: DateTime<Utc>,
    ) -> Self {
        let horizon = now + HORIZON;
        Self {
            scope: SyncScope::Full { from: now - lookback(looks_back), until: horizon },
            page_size: page_size.unwrap_or(EVENTS_PER_PAGE),
            horizon,
            began_at: now,
            page_token: None,
            seen: Vec::new(),
            listed_at: now,
            looks_back,
            begun_with,
            is_resumed: false,
        }
    }

    fn since(
        sync_token: String,
        page_size: i32,
        horizon: DateTime<Utc>,
        listed_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            scope: SyncScope::Since(sync_token.clone()),
            page_size,
            horizon,
            began_at: now,
            page_token: None,
            seen: Vec::new(),
            listed_at,
            looks_back: false,
            begun_with: Some(sync_token),
            is_resumed: false,
        }
    }

    /// Whether a listing may continue there: an incremental one only while the token that it began with is stored.
    pub(crate) fn stands(position: &CalendarPosition, calendar: &CalendarToSync) -> bool {
        position.sync_token.is_none() || position.sync_token == calendar.sync_token
    }

    fn resume(position: CalendarPosition, begun_with: Option<String>, listed_at: DateTime<Utc>) -> Self {
        Self {
            listed_at: if position.sync_token.is_some() { listed_at } else { position.began_at },
            scope: match position.sync_token {
                Some(sync_token) => SyncScope::Since(sync_token),
                None => SyncScope::Full {
                    from: position.began_at - lookback(position.looks_back),
                    until: position.horizon,
                },
            },
            page_size: position.page_size,
            horizon: position.horizon,
            began_at: position.began_at,
            page_token: Some(position.page_token),
            seen: position.seen,
            looks_back: position.looks_back,
            begun_with,
            is_resumed: true,
        }
    }

    /// Where the listing continues, which ends here; `None` before its second page.
    pub(crate) fn position(&mut self, calendar_id: &str) -> Option<CalendarPosition> {
        Some(CalendarPosition {
            calendar_id: calendar_id.to_owned(),
            page_token: self.page_token.clone()?,
            sync_token: match &self.scope {
                SyncScope::Since(sync_token) => Some(sync_token.clone()),
                SyncScope::Full { .. } => None,
            },
            page_size: self.page_size,
            horizon: self.horizon,
            began_at: self.began_at,
            seen: std::mem::take(&mut self.seen),
            looks_back: self.looks_back,
        })
    }

    /// The events that are stored of it, as it is `now`.
    pub(crate) fn window(&self, now: DateTime<Utc>) -> Window {
        let from = self.stored_from().max(now - RETENTION);
        Window { from, until: self.horizon, looks_back: self.looks_back }
    }

    /// Where what is stored begins, however far a listing reaches back.
    pub(crate) fn stored_from(&self) -> DateTime<Utc> {
        self.listed_at - LOOKBACK
    }

    pub(crate) fn looks_back(&self) -> bool {
        self.looks_back
    }

    pub(crate) fn is_full(&self) -> bool {
        matches!(self.scope, SyncScope::Full { .. })
    }

    /// It began in another run.
    pub(crate) fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// A refusal may be about the token, which may be of another day.
    pub(crate) fn began_with_a_token(&self) -> bool {
        !self.is_full() || self.is_resumed
    }

    /// What its statements look whether it stands.
    pub(crate) fn known<'a>(&'a self, user_id: Uuid, run: Uuid, calendar_id: &'a str) -> Listing<'a> {
        Listing { user_id, run, calendar_id, begun_with: self.begun_with.as_deref() }
    }
}
