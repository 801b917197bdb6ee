//! Times as an operator types them, and as they are shown.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use shared::clock::Clock;

/// A time: RFC 3339, or how long ago it was, such as `45m`, `2h` or `3d`.
pub(crate) fn parse(text: &str) -> Result<DateTime<Utc>, String> {
    parse_at(text, Clock::system().now())
}

pub(crate) fn parse_at(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let ago = read_length(text).and_then(|ago| now.checked_sub_signed(ago));
    ago.ok_or_else(|| {
        format!("{text} is no time: 2026-11-27T03:00:00Z, or how long ago, such as 45m, 2h or 3d")
    })
}

/// A length of time, such as `45m`, `2h` or `3d`.
pub(crate) fn parse_length(text: &str) -> Result<TimeDelta, String> {
    read_length(text.trim()).ok_or_else(|| format!("{text} is no length of time, such as 45m, 2h or 3d"))
}

fn read_length(text: &str) -> Option<TimeDelta> {
    let (unit_at, unit) = text.char_indices().last()?;
    let number: i64 = text[..unit_at].parse().ok()?;
    let length = match unit {
        's' => TimeDelta::try_seconds(number),
        'm' => TimeDelta::try_minutes(number),
        'h' => TimeDelta::try_hours(number),
        'd' => TimeDelta::try_days(number),
        _ => None,
    };
    length.filter(|length| *length >= TimeDelta::zero())
}

/// A time in whole seconds.
pub(crate) fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A length of time, by its largest unit.
pub(crate) fn length(time: TimeDelta) -> String {
    let seconds = time.num_seconds().max(0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How long ago something was, or how long until it will be.
pub(crate) fn distance(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    if time > now { format!("in {}", length(time - now)) } else { format!("{} ago", length(now - time)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written_or_as_how_long_ago() {
        let now: DateTime<Utc> = "2026-11-27T03:00:00Z".parse().unwrap();
        let check = |text, expected: &str| {
            assert_eq!(parse_at(text, now).unwrap(), expected.parse::<DateTime<Utc>>().unwrap());
        };
        check("2026-11-26T23:00:00Z", "2026-11-26T23:00:00Z");
        check("2026-11-27T01:00:00+02:00", "2026-11-26T23:00:00Z");
        check("30s", "2026-11-27T02:59:30Z");
        check("45m", "2026-11-27T02:15:00Z");
        check("2h", "2026-11-27T01:00:00Z");
        check("3d", "2026-11-24T03:00:00Z");
        for text in ["", "yesterday", "2", "h", "-2h", "2 h", "2026-11-27", "9999999999999999d", "2µ"] {
            let said = parse_at(text, now).unwrap_err();
            assert!(said.contains(" is no time: "), "{said}");
        }
    }

    #[test]
    fn lengths_are_shown_by_their_largest_unit() {
        let now: DateTime<Utc> = "2026-11-27T03:00:00Z".parse().unwrap();
        assert_eq!(distance(now - TimeDelta::seconds(119), now), "119 s ago");
        assert_eq!(distance(now - TimeDelta::minutes(119), now), "119 min ago");
        assert_eq!(distance(now + TimeDelta::hours(47), now), "in 47 h");
        assert_eq!(distance(now - TimeDelta::days(9), now), "9 days ago");
    }
}
