//! Time zones by the names that users gave them.

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
