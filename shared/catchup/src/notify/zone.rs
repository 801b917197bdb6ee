//! Times as a person reads them.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use crate::time_zone;

/// The zone of a user's messages: the one of the notification preferences, unless that is unset or its default `UTC`,
/// else the user's own.
#[must_use]
pub fn choose(user_id: Uuid, preferred: Option<&str>, own: Option<&str>) -> Tz {
    time_zone::named(user_id, preferred.filter(|name| *name != "UTC").or(own))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferences_win_unless_they_say_nothing() {
        let (berlin, rome) = (Tz::Europe__Berlin, Tz::Europe__Rome);
        for (preferred, own, expected) in [
            (Some("Europe/Berlin"), Some("Europe/Rome"), berlin),
            (Some("UTC"), Some("Europe/Rome"), rome),
            (None, Some("Europe/Rome"), rome),
            (Some("UTC"), None, Tz::UTC),
            (None, None, Tz::UTC),
            (None, Some("Mars/Olympus"), Tz::UTC),
        ] {
            assert_eq!(choose(Uuid::nil(), preferred, own), expected, "{preferred:?} {own:?}");
        }
    }

    #[track_caller]
    fn check(start: &str, end: &str, zone: Tz, expected: &str) {
        assert_eq!(slot(start.parse().unwrap(), end.parse().unwrap(), zone), expected);
    }

    #[test]
    fn times_are_the_readers() {
        let berlin = Tz::Europe__Berlin;
        check("2026-11-24T17:30:00Z", "2026-11-24T18:30:00Z", berlin, "Tue 24 Nov, 18:30-19:30 CET");
        check("2026-06-01T17:30:00Z", "2026-06-01T18:30:00Z", berlin, "Mon 1 Jun, 19:30-20:30 CEST");
        check(
            "2026-11-24T17:30:00Z",
            "2026-11-24T18:30:00Z",
            Tz::Asia__Kolkata,
            "Tue 24 Nov, 23:00-Wed 25 Nov, 00:00 IST",
        );
        check("2026-11-24T17:30:00Z", "2026-11-24T18:00:00Z", Tz::UTC, "Tue 24 Nov, 17:30-18:00 UTC");
        // The hour that comes twice.
        check("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", berlin, "Sun 25 Oct, 02:30 CEST-02:30 CET");
    }
}
