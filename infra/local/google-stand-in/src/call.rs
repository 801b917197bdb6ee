//! The calls that the stand-in answers, and the count of them.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A method of Google's, by the name that its reference gives it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumString,
)]
pub enum Call {
    /// `POST /token`.
    #[serde(rename = "token")]
    #[strum(serialize = "token")]
    Token,
    /// `GET /calendar/v3/users/me/calendarList`.
    #[serde(rename = "calendarList.list")]
    #[strum(serialize = "calendarList.list")]
    CalendarListList,
    /// `GET /calendar/v3/calendars/{calendarId}`.
    #[serde(rename = "calendars.get")]
    #[strum(serialize = "calendars.get")]
    CalendarsGet,
    /// `GET /calendar/v3/calendars/{calendarId}/events`.
    #[serde(rename = "events.list")]
    #[strum(serialize = "events.list")]
    EventsList,
    /// `POST /calendar/v3/calendars/{calendarId}/events/watch`.
    #[serde(rename = "events.watch")]
    #[strum(serialize = "events.watch")]
    EventsWatch,
    /// `POST /calendar/v3/channels/stop`.
    #[serde(rename = "channels.stop")]
    #[strum(serialize = "channels.stop")]
    ChannelsStop,
    /// `GET /v1/people/me/connections`.
    #[serde(rename = "people.connections.list")]
    #[strum(serialize = "people.connections.list")]
    PeopleConnectionsList,
    /// `GET /v1/contactGroups`.
    #[serde(rename = "contactGroups.list")]
    #[strum(serialize = "contactGroups.list")]
    ContactGroupsList,
}

/// How often each method was called, refused calls included.
pub type CallCounts = BTreeMap<Call, u64>;

/// A user's calls that are remembered in their order.
const RECENT: usize = 100;

#[derive(Debug, Default)]
pub(crate) struct CallLog {
    /// Of all callers, those whom no token named included.
    pub(crate) total: CallCounts,
    pub(crate) by_user: BTreeMap<Uuid, CallCounts>,
    /// The newest last.
    pub(crate) recent: BTreeMap<Uuid, VecDeque<Call>>,
}

impl CallLog {
    pub(crate) fn count(&mut self, user: Option<Uuid>, call: Call) {
        *self.total.entry(call).or_default() += 1;
        if let Some(user) = user {
            *self.by_user.entry(user).or_default().entry(call).or_default() += 1;
            let recent = self.recent.entry(user).or_default();
            if recent.len() == RECENT {
                recent.pop_front();
            }
            recent.push_back(call);
        }
    }
}
