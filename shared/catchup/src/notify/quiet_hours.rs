//! Quiet hours, in which no message goes out: pure arithmetic of zones.

use chrono::{DateTime, DurationRound as _, NaiveTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;

use super::Channel;

/// E-mails go out from this hour of the recipient's day …
const EMAIL_BEGIN: u32 = 6;
/// … and before this one. A batch is at the time that its user chose; this is for who never did, and whose zone only the calendar shows.
const EMAIL_END: u32 = 23;
/// Texts go out from this hour of the recipient's day …
const BEGIN: u32 = 9;
/// … and before this one.
const END: u32 = 20;
/// A time that the user chose holds from this hour …
const CHOSEN_BEGIN: u32 = 8;
/// … and before this one: what is outside is against the law in places.
const CHOSEN_END: u32 = 21;

const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// The first moment, `now` included, at which a message may go out to a recipient in `zone`, who perhaps has `chosen` a time of
/// the day.
#[must_use]
pub fn end(channel: Channel, now: DateTime<Utc>, zone: Tz, chosen: Option<NaiveTime>) -> DateTime<Utc> {
    let is_open = |moment: DateTime<Utc>| {
        let time = moment.with_timezone(&zone).time();
        match channel {
            Channel::Email => (EMAIL_BEGIN..EMAIL_END).contains(&time.hour()),
            Channel::Sms => is_texting_time(time, chosen),
        }
    };
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

/// Whether a text message may go out at that time of the recipient's day.
fn is_texting_time(time: NaiveTime, chosen: Option<NaiveTime>) -> bool {
    let is_chosen = chosen.is_some_and(|chosen| {
        let is_early = (CHOSEN_BEGIN..BEGIN).contains(&chosen.hour()) && time.hour() < BEGIN;
        let is_late = (END..CHOSEN_END).contains(&chosen.hour()) && time.hour() < CHOSEN_END;
        time >= chosen && (is_early || is_late)
    });
    (BEGIN..END).contains(&time.hour()) || is_chosen
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
        let check = |now: &str, expected: &str| {
            let moment = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
            let next = end(Channel::Email, moment(now), Tz::America__Los_Angeles, None);
            assert_eq!(next, moment(expected), "{now}");
        };
        // 09:00 UTC is one in the morning in Los Angeles.
        check("2026-11-29T09:00:00Z", "2026-11-29T14:00:00Z");
        check("2026-11-29T14:00:00Z", "2026-11-29T14:00:00Z");
        check("2026-11-30T06:59:00Z", "2026-11-30T06:59:00Z");
        check("2026-11-30T07:00:00Z", "2026-11-30T14:00:00Z");
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
