//! The limits there are.

use std::time::Duration;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// At most `max` calls of one subject in any span of `window`.
#[derive(Debug, PartialEq, Eq)]
pub struct Limit {
    /// Part of the key in Redis.
    pub name: &'static str,
    /// The span.
    pub window: Duration,
    /// The calls.
    pub max: u32,
}

/// Requests to the API by one user.
pub static API_USER: Limit = Limit { name: "api-user", window: MINUTE, max: 60 };
/// Requests to the API from one address.
pub static API_ADDRESS: Limit = Limit { name: "api-address", window: MINUTE, max: 60 };
/// Voice notes that one user uploads.
pub static VOICE_UPLOAD: Limit = Limit { name: "voice-upload", window: HOUR, max: 10 };
/// Notifications to one user.
pub static NOTIFICATION: Limit = Limit { name: "notification", window: HOUR, max: 20 };
/// Text messages to one user.
pub static SMS: Limit = Limit { name: "sms", window: HOUR, max: 10 };
/// E-mails to one user.
pub static EMAIL: Limit = Limit { name: "email", window: HOUR, max: 20 };
/// Calls to Google Calendar on behalf of one user.
pub static GOOGLE_CALENDAR: Limit = Limit { name: "google-calendar", window: MINUTE, max: 10 };
/// Calls to Google People on behalf of one user.
pub static GOOGLE_PEOPLE: Limit = Limit { name: "google-people", window: MINUTE, max: 500 };
