//! Calendar v3, read a page at a time.

use chrono::{DateTime, Utc};
use google_apis_common::Client;
use google_calendar3::CalendarHub;
pub use google_calendar3::api::{CalendarListEntry, Event, EventAttendee, EventDateTime};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::error::Refusal;
use super::transport::{self, Connector};
use super::{Access, Error, Next, Page, api_url};
use crate::config::{Config, Incomplete};

/// Events on a page: the most that Google gives.
pub const EVENTS_PER_PAGE: i32 = 2500;
const CALENDARS_PER_PAGE: i32 = 250;
/// A page must stay small also when a company's all-hands meeting is on it.
const MAX_ATTENDEES: i32 = 100;

const CALENDAR_FIELDS: &str =
    "nextPageToken,nextSyncToken,items(id,summary,summaryOverride,description,primary,deleted,timeZone)";
const EVENT_FIELDS: &str = "nextPageToken,nextSyncToken,timeZone,items(id,status,summary,description,location,start,end,\
                            transparency,attendees(email,displayName,responseStatus,self,organizer))";

/// The calendars of users. Clones share their connections.
#[derive(Clone)]
pub struct Calendar {
    client: Client<Connector>,
    endpoint: Option<Url>,
}

/// What to ask for of a calendar's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
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
    /// How the list goes on.
    pub next: Next,
}

impl Calendar {
    /// Google's endpoint, or the one of `GOOGLE_API_URL`.
    pub fn from_config(config: &mut Config) -> Result<Self, Incomplete> {
        Ok(Self { endpoint: api_url(config)?, client: transport::client() })
    }

    /// One page of `calendarList.list`.
    pub async fn calendars(
        &self,
        access: &mut Access,
        page_token: Option<&str>,
    ) -> Result<Page<CalendarListEntry>, Error> {
        access
            .call("calendar.calendarList.list", |token| async move {
                let hub = self.hub(token);
                let mut refusal = Refusal::default();
                let mut call = hub
                    .calendar_list()
                    .list()
                    .max_results(CALENDARS_PER_PAGE)
                    .param("fields", CALENDAR_FIELDS);
                if let Some(page_token) = page_token {
                    call = call.page_token(page_token);
                }
                let answer = call.delegate(&mut refusal).doit().await;
                refusal.judge(answer)
            })
            .await
            .and_then(|list| {
                let next = Next::of(list.next_page_token, list.next_sync_token)?;
                Ok(Page { items: list.items.unwrap_or_default(), next })
            })
    }

    /// One page of `events.list`, with instances of recurring events.
    ///
    /// Never ordered: `orderBy` suppresses the sync token.
    /// <https://developers.google.com/workspace/calendar/api/guides/sync>
    pub async fn events(
        &self,
        access: &mut Access,
        calendar_id: &str,
        extent: &Extent,
        page_token: Option<&str>,
    ) -> Result<EventPage, Error> {
        // The generated client puts ids into its paths as they are; `#` in those of holiday calendars would end them.
        let calendar_id = &utf8_percent_encode(calendar_id, NON_ALPHANUMERIC).to_string();
        access
            .call("calendar.events.list", |token| async move {
                let hub = self.hub(token);
                let mut refusal = Refusal::default();
                let mut call = hub
                    .events()
                    .list(calendar_id)
                    .single_events(true)
                    .max_results(EVENTS_PER_PAGE)
                    .max_attendees(MAX_ATTENDEES)
                    .param("fields", EVENT_FIELDS);
                call = match extent {
                    Extent::Full { from, until } => call.time_min(*from).time_max(*until),
                    Extent::Since(sync_token) => call.sync_token(sync_token),
                };
                if let Some(page_token) = page_token {
                    call = call.page_token(page_token);
                }
                let answer = call.delegate(&mut refusal).doit().await;
                refusal.judge(answer)
            })
            .await
            .and_then(|list| {
                let next = Next::of(list.next_page_token, list.next_sync_token)?;
                Ok(EventPage { events: list.items.unwrap_or_default(), time_zone: list.time_zone, next })
            })
    }

    fn hub(&self, token: String) -> CalendarHub<Connector> {
        let mut hub = CalendarHub::new(self.client.clone(), token);
        if let Some(endpoint) = &self.endpoint {
            hub.base_url(format!("{endpoint}calendar/v3/"));
            hub.root_url(endpoint.to_string());
        }
        hub
    }
}
