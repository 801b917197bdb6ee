//! Quiet hours, in which no message goes out: pure arithmetic of zones.

use chrono::{DateTime, DurationRound as _, NaiveTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;

use super::Channel;

/// Hours of the recipient's day in which messages of a channel go out.
struct Hours {
    /// From this hour …
    begin: u32,
    /// … and before this one.
    end: u32,
    /// A time that the user chose holds from this hour …
    chosen_begin: u32,
    /// … and before this one.
    chosen_end: u32,
}

/// What is outside is against the law in places.
const TEXTS: Hours = Hours { begin: 9, end: 20, chosen_begin: 8, chosen_end: 21 };
/// Who never chose a time may live where the default is in the night.
const EMAILS: Hours = Hours { begin: 6, end: 23, chosen_begin: 0, chosen_end: 24 };

const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// The first moment, `now` included, at which a message may go out to a recipient in `zone`, who perhaps has `chosen` a time of
/// the day.
#[must_use]
pub fn end(channel: Channel, now: DateTime<Utc>, zone: Tz, chosen: Option<NaiveTime>) -> DateTime<Utc> {
    let hours = match channel {
        Channel::Email => EMAILS,
        Channel::Sms => TEXTS,
    };
    let is_open = |moment: DateTime<Utc>| hours.contain(moment.with_timezone(&zone).time(), chosen);
    if is_open(now) {
        return now;
    }
    // The wall clock may skip or repeat an hour, and even a day: it is watched rather than computed with. A day has 1,440
    // minutes, and the longest night that a zone ever made of two days has less than twice as many.
    let mut moment = now.duration_trunc(MINUTE).unwrap_or(now) + MINUTE;
    let limit = now + TimeDelta::days(2);
    while !is_open(moment) && moment < limit {
        moment += MINUTE;
    }
    moment
}

impl Hours {
    /// Whether a message may go out at that time of the recipient's day.
    fn contain(&self, time: NaiveTime, chosen: Option<NaiveTime>) -> bool {
        let Self { begin, end, chosen_begin, chosen_end } = *self;
        let is_chosen = chosen.is_some_and(|chosen| {
            let is_early = (chosen_begin..begin).contains(&chosen.hour()) && time.hour() < begin;
            let is_late = (end..chosen_end).contains(&chosen.hour()) && time.hour() < chosen_end;
            time >= chosen && (is_early || is_late)
        });
        (begin..end).contains(&time.hour()) || is_chosen
    }
}

#[cfg(test)]
mod tests {
    use chrono_tz::TZ_VARIANTS;
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(zone: Tz, chosen: Option<&str>, now: &str, expected: &str) {
        let chosen = chosen.map(|time| NaiveTime::parse_from_str(time, "%H:%M").unwrap());
        let moment = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        assert_eq!(end(Channel::Sms, moment(now), zone, chosen), moment(expected), "{zone} {chosen:?} {now}");
    }

    #[test]
    fn texts_wait_for_the_recipients_morning() {
        let (berlin, york) = (Tz::Europe__Berlin, Tz::America__New_York);
        check(berlin, None, "2026-11-29T10:00:00Z", "2026-11-29T10:00:00Z");
        // 10:00 UTC is five in the morning in New York.
        check(york, None, "2026-11-29T10:00:30Z", "2026-11-29T14:00:00Z");
        check(berlin, None, "2026-11-29T18:59:59Z", "2026-11-29T18:59:59Z");
        check(berlin, None, "2026-11-29T19:00:00Z", "2026-11-30T08:00:00Z");
        // The night in which clocks are set forward, and the one in which they are set back.
        check(berlin, None, "2026-03-28T23:30:00Z", "2026-03-29T07:00:00Z");
        check(berlin, None, "2026-10-24T23:30:00Z", "2026-10-25T08:00:00Z");
        check(Tz::Asia__Kathmandu, None, "2026-11-29T01:00:00Z", "2026-11-29T03:15:00Z");
    }

    #[test]
    fn emails_wait_for_the_recipients_morning_too() {
        let check_chosen = |chosen: Option<&str>, now: &str, expected: &str| {
            let chosen = chosen.map(|time| NaiveTime::parse_from_str(time, "%H:%M").unwrap());
            let moment = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
            let next = end(Channel::Email, moment(now), Tz::America__Los_Angeles, chosen);
            assert_eq!(next, moment(expected), "{chosen:?} {now}");
        };
        let check = |now: &str, expected: &str| check_chosen(None, now, expected);
        // 09:00 UTC is one in the morning in Los Angeles.
        check("2026-11-29T09:00:00Z", "2026-11-29T14:00:00Z");
        check("2026-11-29T14:00:00Z", "2026-11-29T14:00:00Z");
        check("2026-11-30T06:59:00Z", "2026-11-30T06:59:00Z");
        check("2026-11-30T07:00:00Z", "2026-11-30T14:00:00Z");
        // Five in the morning, and half past eleven at night, as it was chosen.
        check_chosen(Some("05:00"), "2026-11-29T13:00:00Z", "2026-11-29T13:00:00Z");
        check_chosen(Some("23:30"), "2026-11-30T07:00:00Z", "2026-11-30T07:30:00Z");
    }

    #[test]
    fn a_time_that_was_chosen_holds_while_the_law_allows_it() {
        let berlin = Tz::Europe__Berlin;
        check(berlin, Some("08:15"), "2026-11-29T07:15:00Z", "2026-11-29T07:15:00Z");
        check(berlin, Some("08:15"), "2026-11-29T07:00:00Z", "2026-11-29T07:15:00Z");
        check(berlin, Some("20:45"), "2026-11-29T19:45:00Z", "2026-11-29T19:45:00Z");
        check(berlin, Some("20:45"), "2026-11-29T20:00:00Z", "2026-11-30T08:00:00Z");
        check(berlin, Some("07:59"), "2026-11-29T06:59:00Z", "2026-11-29T08:00:00Z");
        check(berlin, Some("21:00"), "2026-11-29T20:00:00Z", "2026-11-30T08:00:00Z");
        check(berlin, Some("03:00"), "2026-11-29T02:00:00Z", "2026-11-29T08:00:00Z");
    }

    proptest! {
        #[test]
        fn the_next_time_is_the_first_that_is_allowed(
            zone in prop::sample::select(&TZ_VARIANTS[..]),
            minute in 0_i64..(4 * 365 * 1440),
            chosen in prop::option::of(0_u32..1440),
        ) {
            let begin: DateTime<Utc> = "2025-01-01T00:00:00Z".parse().unwrap();
            let now = begin + TimeDelta::minutes(minute);
            let chosen = chosen.and_then(|minute| NaiveTime::from_hms_opt(minute / 60, minute % 60, 0));
            let next = end(Channel::Sms, now, zone, chosen);
            let hour = |moment: DateTime<Utc>| moment.with_timezone(&zone).hour();
            prop_assert!((8..21).contains(&hour(next)), "{next} is {} in {zone}", hour(next));
            prop_assert!(next >= now && next - now <= TimeDelta::hours(15), "{now} {next}");
            // No text waits in the middle of the day.
            prop_assert!(!(9..20).contains(&hour(now)) || next == now);
            let before = next - MINUTE;
            prop_assert!(before < now || !(9..20).contains(&hour(before)), "{now} {before}");
        }
    }
}
