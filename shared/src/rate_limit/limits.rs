//! The limits there are.

use std::time::Duration;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// At most `max` calls of one subject in any span of `window`.
#[derive(Debug, PartialEq, Eq)]
pub struct Limit {
    /// Names it in Redis.
    pub name: &'static str,
    /// The span.
    pub window: Duration,
    /// The calls.
    pub max: u32,
    /// A limit that counts these calls too, and others. It has no outer limit itself.
    pub outer: Option<&'static Limit>,
}

impl Limit {
    /// The limit under whose name the calls are recorded: all limits with one outer limit share one record.
    pub(super) fn outermost(&'static self) -> &'static Self {
        self.outer.unwrap_or(self)
    }

    /// Itself, and its outer limit.
    pub(super) fn all(&'static self) -> impl Iterator<Item = &'static Self> {
        std::iter::once(self).chain(self.outer)
    }
}

/// Requests to the API by one user.
pub static API_USER: Limit = Limit { name: "api-user", window: MINUTE, max: 60, outer: None };
/// Requests to the API from one address.
pub static API_ADDRESS: Limit = Limit { name: "api-address", window: MINUTE, max: 60, outer: None };
/// Voice notes that one user uploads.
pub static VOICE_UPLOAD: Limit = Limit { name: "voice-upload", window: HOUR, max: 10, outer: None };
/// Notifications to one user.
pub static NOTIFICATION: Limit = Limit { name: "notification", window: HOUR, max: 20, outer: None };
/// Text messages to one user, which are notifications.
pub static SMS: Limit = Limit { name: "sms", window: HOUR, max: 10, outer: Some(&NOTIFICATION) };
/// E-mails to one user, which are notifications.
pub static EMAIL: Limit = Limit { name: "email", window: HOUR, max: 20, outer: Some(&NOTIFICATION) };
/// Calls to Google Calendar on behalf of one user.
pub static GOOGLE_CALENDAR: Limit = Limit { name: "google-calendar", window: MINUTE, max: 10, outer: None };
/// Calls to Google People on behalf of one user.
pub static GOOGLE_PEOPLE: Limit = Limit { name: "google-people", window: MINUTE, max: 500, outer: None };
