//! Time zones by the names that users gave them.

use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

/// The zone of that IANA name; UTC when there is none, or an unknown one. A name is whatever the user wrote:
/// the log says only whose it is.
#[must_use]
pub fn named(user_id: Uuid, name: Option<&str>) -> Tz {
    let Some(name) = name else { return Tz::UTC };
    name.parse().unwrap_or_else(|_| {
        tracing::warn!(%user_id, "an unknown time zone counts as UTC");
        Tz::UTC
    })
}

/// When a wall clock shows a time first; where it skips it, the end of the gap.
#[must_use]
pub fn first_shown(zone: Tz, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
    // No zone skipped more than a day.
    let minutes = (0..=25 * 60).filter_map(|minutes| wall.checked_add_signed(TimeDelta::minutes(minutes)));
    let mut shown = minutes.filter_map(|wall| zone.from_local_datetime(&wall).earliest());
    shown.next().map(|moment| moment.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_zone_is_utc() {
        for name in [None, Some(""), Some("Mars/Olympus"), Some("UTC")] {
            assert_eq!(named(Uuid::nil(), name), Tz::UTC);
        }
        assert_eq!(named(Uuid::nil(), Some("Asia/Kolkata")), Tz::Asia__Kolkata);
    }
}
