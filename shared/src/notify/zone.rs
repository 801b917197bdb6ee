//! Times as a person reads them.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

/// The zone of a person's messages: the one of the notification preferences, unless that is unset or its default `UTC`,
/// else the user's, else UTC. A name that no zone has is logged and means UTC.
#[must_use]
pub fn choose(preferred: Option<&str>, user: Option<&str>) -> Tz {
    let Some(name) = preferred.filter(|name| *name != "UTC").or(user) else { return Tz::UTC };
    name.parse().unwrap_or_else(|_| {
        tracing::warn!(zone = name, "no time zone has this name: UTC is used");
        Tz::UTC
    })
}

/// A span of time: `Tue 24 Nov, 18:30-19:30 CET`.
pub(super) fn slot(start: DateTime<Utc>, end: DateTime<Utc>, zone: Tz) -> String {
    let (start, end) = (start.with_timezone(&zone), end.with_timezone(&zone));
    // The hour that is set back or forth, or a slot over midnight, needs both sides told in full.
    let same_day = start.date_naive() == end.date_naive();
    let from = start.format(if start.format("%Z").to_string() == end.format("%Z").to_string() {
        "%a %-d %b, %H:%M"
    } else {
        "%a %-d %b, %H:%M %Z"
    });
    let to = end.format(if same_day { "%H:%M %Z" } else { "%a %-d %b, %H:%M %Z" });
    format!("{from}-{to}")
}
