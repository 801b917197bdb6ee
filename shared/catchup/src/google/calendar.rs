//! Calendar v3: calendars and events, read a page at a time, and push channels.

use chrono::{DateTime, TimeDelta, Utc};
use google_calendar3::CalendarHub;
use google_calendar3::api::Channel;
pub use google_calendar3::api::{CalendarListEntry, Event, EventAttendee, EventDateTime};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use shared::config::InvalidConfig;
use shared::job::Setup;
use url::Url;

use super::transport::{self, Connector, Pool};
use super::{Calls, Error, Page, Session, Stop, api_url};

/// Events on a page: the most that Google gives.
pub const EVENTS_PER_PAGE: i32 = 2500;
const CALENDARS_PER_PAGE: i32 = 250;
/// A page must stay small also when a company's all-hands meeting is on it.
const MAX_ATTENDEES: i32 = 100;

const CALENDAR_FIELDS: &str =
    "nextPageToken,nextSyncToken,items(id,summary,summaryOverride,description,primary,deleted,timeZone)";
const EVENT_FIELDS: &str = "nextPageToken,nextSyncToken,timeZone,items(id,status,summary,description,location,start,end,\
                            transparency,eventType,recurringEventId,updated,attendees(email,displayName,responseStatus,self,organizer))";

const CHANGE_FIELDS: &str = "items(id),nextPageToken";
/// Pages of [`Calendar::changed_since`]: Google may leave a page empty although another one follows.
const MAX_CHANGE_PAGES: usize = 5;

const CHANNEL_FIELDS: &str = "resourceId,resourceUri,expiration";
/// The calendar of the account itself.
/// <https://developers.google.com/workspace/calendar/api/v3/reference/events/watch>
pub const PRIMARY: &str = "primary";
/// Deletions are forgotten after about four weeks, and with them what changed before:
/// <https://developers.google.com/workspace/calendar/api/v3/reference/events/list> (`updatedMinTooLongAgo`).
pub const CHANGES_KEPT: TimeDelta = TimeDelta::days(27);

/// The calendars of users. Clones share their connections.
#[derive(Clone)]
pub struct Calendar {
    pool: Pool,
    endpoint: Option<Url>,
}

/// What to ask for of a calendar's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncScope {
    /// Everything that ends after `from` and begins before `until`.
    Full {
        /// Lower bound of the end.
        from: DateTime<Utc>,
        /// Upper bound of the start.
        until: DateTime<Utc>,
    },
    /// What changed since the sync token was given, cancelled events included.
    Since(String),
}

/// Some of a calendar's events.
#[derive(Debug)]
pub struct EventPage {
    /// The events; recurring ones as instances.
    pub events: Vec<Event>,
    /// IANA name of the calendar's time zone.
    pub time_zone: Option<String>,
    /// How the list continues.
    pub next: NextEvents,
}

/// What comes after a page of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextEvents {
    /// Another page, by this token.
    Page(String),
    /// This was the last page; the next sync begins with this token.
    Sync(String),
    /// This was the last page, and no token came with it: the next sync begins anew. Some calendars never get one.
    Anew,
}

/// A push channel to be opened.
#[derive(Debug, Clone, Copy)]
pub struct ChannelRequest<'a> {
    /// At most 64 characters of `[A-Za-z0-9-_+/=]`, unique among all channels.
    pub id: &'a str,
    /// Where notifications go.
    pub address: &'a Url,
    /// Shown with each notification; at most 256 characters.
    pub token: &'a SecretString,
    /// When the channel is to end; Google may choose an earlier time.
    pub ends_at: DateTime<Utc>,
}

/// A push channel that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedChannel {
    /// Google's id of what is watched; the same for every channel on one calendar.
    pub resource_id: String,
    /// Its address.
    pub resource_uri: String,
    /// When the channel ends.
    pub ends_at: DateTime<Utc>,
}

impl Calendar {
    /// Google's endpoint, or the one of `GOOGLE_API_URL`.
    pub fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let config = setup.config();
        Ok(Self { endpoint: api_url(config)?, pool: transport::pool() })
    }

    /// One page of `calendarList.list`.
    pub async fn calendars(
        &self,
        session: &mut Session,
        page_token: Option<&str>,
    ) -> Result<Page<CalendarListEntry>, Error> {
        session
            .call("calendar.calendarList.list", |token| async move {
                let hub = self.hub(token);
                let mut refusal = self.pool.listen();
                let mut call = hub
                    .calendar_list()
                    .list()
                    .max_results(CALENDARS_PER_PAGE)
                    .show_hidden(true)
                    .param("fields", CALENDAR_FIELDS);
                if let Some(page_token) = page_token {
                    call = call.page_token(page_token);
                }
                let answer = call.delegate(&mut refusal).doit().await;
                refusal.classify(answer)
            })
            .await
            .and_then(|list| Page::of(list.items, list.next_page_token, list.next_sync_token))
    }

    /// One page of `events.list`, with instances of recurring events.
    ///
    /// Never ordered: `orderBy` suppresses the sync token. All that may stand next to a sync token must be what it was in
    /// the listing that gave it, the size of its pages included.
    /// <https://developers.google.com/workspace/calendar/api/guides/sync>
    pub async fn events(
        &self,
        session: &mut Session,
        calendar_id: &str,
        scope: &SyncScope,
        page_size: i32,
        page_token: Option<&str>,
    ) -> Result<EventPage, Error> {
        let calendar_id = &in_path(calendar_id);
        session
            .call("calendar.events.list", |token| async move {
                let hub = self.hub(token);
                let mut refusal = self.pool.listen();
                let mut call = hub
                    .events()
                    .list(calendar_id)
                    .single_events(true)
                    .max_results(page_size)
                    .max_attendees(MAX_ATTENDEES)
                    .param("fields", EVENT_FIELDS);
                call = match scope {
                    SyncScope::Full { from, until } => call.time_min(*from).time_max(*until),
                    SyncScope::Since(sync_token) => call.sync_token(sync_token),
                };
                if let Some(page_token) = page_token {
                    call = call.page_token(page_token);
                }
                let answer = call.delegate(&mut refusal).doit().await;
                refusal.classify(answer)
            })
            .await
            .and_then(|list| {
                let next = match (list.next_page_token, list.next_sync_token, &list.items) {
                    (Some(token), ..) => NextEvents::Page(token),
                    (None, Some(token), _) => NextEvents::Sync(token),
                    (None, None, Some(_)) => NextEvents::Anew,
                    // Taken for a last page, it would pass for an empty calendar.
                    (None, None, None) => {
                        return Err(Error::Garbage(serde::de::Error::custom("neither events nor a token")));
                    }
                };
                Ok(EventPage { events: list.items.unwrap_or_default(), time_zone: list.time_zone, next })
            })
    }

    /// Whether an event changed, came or went since then: `events.list` of one event. A list that does not end counts as
    /// a change.
    ///
    /// `since` may lie [`CHANGES_KEPT`] back.
    pub async fn changed_since(
        &self,
        calls: &mut Calls<'_>,
        calendar_id: &str,
        since: DateTime<Utc>,
    ) -> Result<bool, Stop> {
        let calendar_id = &in_path(calendar_id);
        let mut next: Option<String> = None;
        for _ in 0..MAX_CHANGE_PAGES {
            let page_token = next.as_deref();
            let list = calls
                .acquire()
                .await?
                .call("calendar.events.list", |token| async move {
                    let hub = self.hub(token);
                    let mut refusal = self.pool.listen();
                    let mut call = hub
                        .events()
                        .list(calendar_id)
                        .updated_min(since)
                        .show_deleted(true)
                        .max_results(1)
                        .param("fields", CHANGE_FIELDS);
                    if let Some(page_token) = page_token {
                        call = call.page_token(page_token);
                    }
                    let answer = call.delegate(&mut refusal).doit().await;
                    refusal.classify(answer)
                })
                .await
                .map_err(|error| calls.stop(error))?;
            if list.items.is_some_and(|items| !items.is_empty()) {
                return Ok(true);
            }
            next = list.next_page_token;
            if next.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `events.watch`: opens a push channel. It cannot be prolonged, only replaced.
    ///
    /// After [`Error::Timeout`], [`Error::Transport`], [`Error::Unavailable`], [`Error::Truncated`],
    /// [`Error::TooLarge`] or [`Error::Garbage`], and when cancelled, it may be open all the same.
    pub async fn watch(
        &self,
        session: &mut Session,
        calendar_id: &str,
        channel: ChannelRequest<'_>,
    ) -> Result<OpenedChannel, Error> {
        let calendar_id = &in_path(calendar_id);
        let opened = session
            .call("calendar.events.watch", |token| async move {
                let hub = self.hub(token);
                let mut refusal = self.pool.listen();
                let request = Channel {
                    id: Some(channel.id.to_owned()),
                    type_: Some("web_hook".to_owned()),
                    address: Some(channel.address.to_string()),
                    token: Some(channel.token.expose_secret().to_owned()),
                    expiration: Some(channel.ends_at.timestamp_millis()),
                    ..Channel::default()
                };
                let call = hub.events().watch(request, calendar_id).param("fields", CHANNEL_FIELDS);
                let answer = call.delegate(&mut refusal).doit().await;
                refusal.classify(answer)
            })
            .await?;
        let ends_at = opened.expiration.and_then(DateTime::from_timestamp_millis);
        match (opened.resource_id, opened.resource_uri, ends_at) {
            (Some(resource_id), Some(resource_uri), Some(ends_at)) => {
                Ok(OpenedChannel { resource_id, resource_uri, ends_at })
            }
            _ => Err(Error::Garbage(serde::de::Error::custom("a channel without resource or end"))),
        }
    }

    /// `channels.stop`. [`Error::NotFound`] when it has ended.
    pub async fn stop(
        &self,
        session: &mut Session,
        channel_id: &str,
        resource_id: &str,
    ) -> Result<(), Error> {
        session
            .call("calendar.channels.stop", |token| async move {
                let hub = self.hub(token);
                let mut refusal = self.pool.listen();
                let request = Channel {
                    id: Some(channel_id.to_owned()),
                    resource_id: Some(resource_id.to_owned()),
                    ..Channel::default()
                };
                let answer = hub.channels().stop(request).delegate(&mut refusal).doit().await;
                refusal.classify(answer.map(|response| (response, ())))
            })
            .await
    }

    fn hub(&self, token: String) -> CalendarHub<Connector> {
        let mut hub = CalendarHub::new(self.pool.client(), token);
        if let Some(endpoint) = &self.endpoint {
            hub.base_url(format!("{endpoint}calendar/v3/"));
            hub.root_url(endpoint.to_string());
        }
        hub
    }
}

/// The generated client puts ids into its paths as they are; `#` in those of holiday calendars would end them.
fn in_path(id: &str) -> String {
    utf8_percent_encode(id, NON_ALPHANUMERIC).to_string()
}
