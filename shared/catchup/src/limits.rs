//! The rate limits of CatchUp.

use std::time::Duration;

use shared::rate_limit::Limit;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

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
