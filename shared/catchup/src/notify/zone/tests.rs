//! Times in the habits of readers.

use chrono_tz::TZ_VARIANTS;

use super::*;

const NEW_YORK: Tz = Tz::America__New_York;
const BERLIN: Tz = Tz::Europe__Berlin;

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

#[test]
fn the_preferences_win_unless_they_say_nothing() {
    let rome = Tz::Europe__Rome;
    for (preferred, own, expected) in [
        (Some("Europe/Berlin"), Some("Europe/Rome"), BERLIN),
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
    assert_eq!(ReaderClock::new(zone, Some(zone)).slot(utc(start), utc(end)), expected);
}

#[test]
fn a_slot_is_written_in_the_habit_of_the_readers_country() {
    let (start, end) = ("2026-11-30T23:00:00Z", "2026-12-01T00:00:00Z");
    check(start, end, NEW_YORK, "Mon, Nov 30 · 6–7 PM");
    check(start, end, Tz::US__Pacific, "Mon, Nov 30 · 3–4 PM");
    check(start, end, Tz::America__Sao_Paulo, "Mon 30 Nov · 20:00–21:00");
    check(start, end, Tz::Australia__Sydney, "Tue 1 Dec · 10–11 am");
    check(start, end, Tz::Asia__Kolkata, "Tue 1 Dec · 4:30–5:30 am");
    check(start, end, Tz::Asia__Manila, "Tue, Dec 1 · 7–8 AM");
    check("2026-11-24T17:30:00Z", "2026-11-24T18:30:00Z", BERLIN, "Tue 24 Nov · 18:30–19:30");
    check("2026-06-01T17:30:00Z", "2026-06-01T18:30:00Z", BERLIN, "Mon 1 Jun · 19:30–20:30");
}

#[test]
fn noon_is_a_word_for_those_who_count_to_twelve_and_so_is_midnight_at_an_end() {
    check("2026-11-30T16:00:00Z", "2026-11-30T17:00:00Z", NEW_YORK, "Mon, Nov 30 · 11 AM–noon");
    check("2026-11-30T17:00:00Z", "2026-11-30T18:00:00Z", NEW_YORK, "Mon, Nov 30 · noon–1 PM");
    check("2026-11-30T16:30:00Z", "2026-11-30T17:30:00Z", NEW_YORK, "Mon, Nov 30 · 11:30 AM–12:30 PM");
    check("2026-12-01T04:00:00Z", "2026-12-01T05:00:00Z", NEW_YORK, "Mon, Nov 30 · 11 PM–midnight");
    check("2026-12-01T05:00:00Z", "2026-12-01T06:00:00Z", NEW_YORK, "Tue, Dec 1 · 12–1 AM");
    check("2026-11-30T22:00:00Z", "2026-11-30T23:00:00Z", BERLIN, "Mon 30 Nov · 23:00–midnight");
    check("2026-11-30T23:00:00Z", "2026-12-01T00:00:00Z", BERLIN, "Tue 1 Dec · 00:00–01:00");
}

#[test]
fn a_slot_over_midnight_names_both_days() {
    check("2026-11-24T22:30:00Z", "2026-11-24T23:30:00Z", BERLIN, "Tue 24 Nov · 23:30 – Wed 25 Nov · 00:30");
    check(
        "2026-12-01T04:30:00Z",
        "2026-12-01T05:30:00Z",
        NEW_YORK,
        "Mon, Nov 30 · 11:30 PM – Tue, Dec 1 · 12:30 AM",
    );
}

#[test]
fn when_the_clock_changes_in_between_both_sides_are_told() {
    check("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", BERLIN, "Sun 25 Oct · 02:30 CEST–02:30 CET");
    check("2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", NEW_YORK, "Sun, Nov 1 · 1:30 AM EDT–1:30 AM EST");
    check(
        "2026-04-04T14:30:00Z",
        "2026-04-04T15:30:00Z",
        Tz::Australia__Lord_Howe,
        "Sun 5 Apr · 1:30 am UTC+11–2 am UTC+10:30",
    );
}

#[test]
fn a_city_is_named_only_when_the_readers_own_clock_shows_another_time() {
    let (start, end) = (utc("2026-11-24T17:30:00Z"), utc("2026-11-24T18:30:00Z"));
    for (zone, own, expected) in [
        (BERLIN, None, "Tue 24 Nov · 18:30–19:30"),
        (BERLIN, Some(Tz::Europe__Rome), "Tue 24 Nov · 18:30–19:30"),
        (BERLIN, Some(NEW_YORK), "Tue 24 Nov · 18:30–19:30 (Berlin time)"),
        (
            Tz::America__Argentina__Buenos_Aires,
            Some(NEW_YORK),
            "Tue 24 Nov · 14:30–15:30 (Buenos Aires time)",
        ),
        (Tz::UTC, None, "Tue 24 Nov · 17:30–18:30 UTC"),
        (Tz::UTC, Some(Tz::UTC), "Tue 24 Nov · 17:30–18:30 UTC"),
        (Tz::UTC, Some(BERLIN), "Tue 24 Nov · 17:30–18:30 UTC"),
        (Tz::Etc__GMTPlus3, Some(NEW_YORK), "Tue 24 Nov · 14:30–15:30 UTC-3"),
    ] {
        assert_eq!(ReaderClock::new(zone, own).slot(start, end), expected, "{zone} {own:?}");
    }
}

#[test]
fn no_zone_is_told_as_a_number_of_hours_to_those_who_live_in_it() {
    for zone in TZ_VARIANTS.iter().filter(|zone| **zone != Tz::UTC) {
        let clock = ReaderClock::new(*zone, Some(*zone));
        let slot = clock.slot(utc("2026-11-30T11:05:00Z"), utc("2026-11-30T11:55:00Z"));
        let times = slot.split_once(" · ").unwrap().1;
        assert!(!times.contains(['+', '-', '(']) && !times.contains("UTC"), "{zone}: {slot}");
    }
}

#[test]
fn a_beginning_is_brief_and_has_its_date_when_the_weekday_could_be_another() {
    let now = utc("2026-11-25T09:00:00Z");
    for (start, zone, expected) in [
        ("2026-11-25T23:00:00Z", NEW_YORK, "Wed 6 PM"),
        ("2026-12-01T23:30:00Z", NEW_YORK, "Tue 6:30 PM"),
        ("2026-12-02T23:00:00Z", NEW_YORK, "Wed Dec 2 6 PM"),
        ("2026-12-02T17:00:00Z", BERLIN, "Wed 2 Dec 18:00"),
        ("2026-11-30T17:00:00Z", BERLIN, "Mon 18:00"),
        ("2026-11-30T17:00:00Z", NEW_YORK, "Mon noon"),
    ] {
        assert_eq!(ReaderClock::new(zone, Some(zone)).brief(utc(start), now), expected);
    }
    let abroad = ReaderClock::new(BERLIN, Some(NEW_YORK));
    assert_eq!(abroad.brief(utc("2026-11-30T17:00:00Z"), now), "Mon 18:00 (Berlin time)");
}

#[test]
fn days_and_moments_are_written_in_the_same_habit() {
    let at = utc("2026-11-30T23:00:00Z");
    let (new_york, berlin) = (ReaderClock::new(NEW_YORK, None), ReaderClock::new(BERLIN, None));
    assert_eq!(
        (new_york.date(at), new_york.moment(at)),
        ("Mon, Nov 30".to_owned(), "Mon, Nov 30, 6 PM".to_owned())
    );
    assert_eq!((berlin.date(at), berlin.moment(at)), ("Tue 1 Dec".to_owned(), "Tue 1 Dec, 00:00".to_owned()));
}
