//! Against a model that asks, minute by minute, what the clock on the wall shows.

use std::cmp::Ordering;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::db::availability::BusyEvent;
use crate::span::Span;

const WINDOW_MINUTES: i64 = 3 * 24 * 60;
const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// Days on which clocks change, in both directions, by an hour, by half an hour, at midnight and by a whole day; and
/// zones with odd offsets.
const DAYS: [(Tz, &str); 16] = [
    (Tz::Europe__Berlin, "2026-03-29"),
    (Tz::Europe__Berlin, "2026-10-25"),
    (Tz::America__New_York, "2026-03-08"),
    (Tz::America__New_York, "2026-11-01"),
    (Tz::America__St_Johns, "2026-03-08"),
    (Tz::America__St_Johns, "2026-11-01"),
    (Tz::Australia__Lord_Howe, "2026-04-05"),
    (Tz::Australia__Lord_Howe, "2026-10-04"),
    (Tz::Africa__Cairo, "2026-04-24"),
    (Tz::Africa__Cairo, "2026-10-30"),
    (Tz::America__Havana, "2026-11-01"),
    (Tz::Pacific__Chatham, "2026-04-05"),
    (Tz::Pacific__Apia, "2011-12-30"),
    (Tz::Asia__Kolkata, "2026-06-01"),
    (Tz::Asia__Kathmandu, "2026-06-01"),
    (Tz::UTC, "2026-06-01"),
];

/// From and to a minute of the day, on a day of the week where that matters.
type Window = (u8, u16, u16);

fn minutes_of_day() -> impl Strategy<Value = (u16, u16)> {
    (0..1440_u16, 0..1440_u16)
}

fn windows(most: usize) -> impl Strategy<Value = Vec<Window>> {
    prop::collection::vec(
        (0..7_u8, minutes_of_day()).prop_map(|(day, (start, end))| (day, start, end)),
        0..most,
    )
}

fn text(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

fn stored(kept: &[Window], removed: &[Window], night: Option<(u16, u16)>) -> StoredAvailability {
    let blocks = |windows: &[Window]| {
        let block = |(day, start, end): &Window| json!({"dayOfWeek": day, "startTime": text(*start), "endTime": text(*end)});
        Some(windows.iter().map(block).collect())
    };
    StoredAvailability {
        manual_time_blocks: blocks(kept),
        commute_windows: blocks(removed),
        nighttime_start: night.map(|(start, _)| text(start)),
        nighttime_end: night.map(|(_, end)| text(end)),
    }
}

/// Whether a clock that shows `now` is in the window.
fn shows((day, start, end): Window, now: NaiveDateTime) -> bool {
    let weekday = u8::try_from(now.weekday().num_days_from_sunday()).unwrap();
    let minute = u16::try_from(now.hour() * 60 + now.minute()).unwrap();
    match start.cmp(&end) {
        Ordering::Less => day == weekday && (start..end).contains(&minute),
        Ordering::Equal => false,
        Ordering::Greater => {
            (day == weekday && minute >= start) || ((day + 1) % 7 == weekday && minute < end)
        }
    }
}

fn daily_shows(window: (u16, u16), now: NaiveDateTime) -> bool {
    (0..7).any(|day| shows((day, window.0, window.1), now))
}

/// An event as the table has it, by hours after the window's start.
#[derive(Debug, Clone)]
enum Event {
    Timed { start_minute: i64, minutes: i64 },
    AllDay { zone: Tz, day: i64, days: i64 },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    // A calendar in Samoa cannot say anything about the day that it never had.
    let zones = DAYS.iter().map(|(zone, _)| *zone).filter(|zone| *zone != Tz::Pacific__Apia);
    let zone = prop::sample::select(zones.collect::<Vec<_>>());
    let event = prop_oneof![
        3 => (-2000..WINDOW_MINUTES, 0..300_i64).prop_map(|(start_minute, minutes)| Event::Timed { start_minute, minutes }),
        1 => (-2000..WINDOW_MINUTES, 0..4000_i64).prop_map(|(start_minute, minutes)| Event::Timed { start_minute, minutes }),
        1 => (zone, -3..5_i64, 1..3_i64).prop_map(|(zone, day, days)| Event::AllDay { zone, day, days }),
    ];
    prop::collection::vec(event, 0..6)
}

/// The first minute of a date, found by walking.
fn first_minute(zone: Tz, date: NaiveDate) -> DateTime<Utc> {
    let mut moment = date.and_hms_opt(0, 0, 0).unwrap().and_utc() - TimeDelta::hours(30);
    while moment.with_timezone(&zone).date_naive() < date {
        moment += MINUTE;
    }
    moment
}

impl Event {
    fn row(&self, window: Span, first: NaiveDate) -> BusyEvent {
        let (span, zone) = match *self {
            Self::Timed { start_minute, minutes } => {
                let start = window.start + TimeDelta::minutes(start_minute);
                (Span { start, end: start + TimeDelta::minutes(minutes) }, Tz::UTC)
            }
            Self::AllDay { zone, day, days } => {
                let day = first + TimeDelta::days(day);
                (
                    Span {
                        start: first_minute(zone, day),
                        end: first_minute(zone, day + TimeDelta::days(days)),
                    },
                    zone,
                )
            }
        };
        BusyEvent {
            google_event_id: String::new(),
            span,
            timezone: zone.name().to_owned(),
            is_all_day: matches!(self, Self::AllDay { .. }),
        }
    }

    fn takes(&self, row: &BusyEvent, first: NaiveDate, moment: DateTime<Utc>, now: NaiveDateTime) -> bool {
        match *self {
            Self::Timed { .. } => row.span.start <= moment && moment < row.span.end,
            Self::AllDay { day, days, .. } => {
                let day = first + TimeDelta::days(day);
                (day..day + TimeDelta::days(days)).contains(&now.date())
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn free_time_is_that_of_a_model(
        place in prop::sample::select(DAYS.to_vec()),
        hours_before in 12..60_i64,
        odd_minutes in 0..4_i64,
        kept in windows(5),
        removed in windows(4),
        night in prop::option::of(minutes_of_day()),
        events in events(),
    ) {
        let (zone, day) = place;
        let day: NaiveDate = day.parse().unwrap();
        let start = day.and_hms_opt(0, 0, 0).unwrap().and_utc() - TimeDelta::hours(hours_before)
            + TimeDelta::minutes(15 * odd_minutes);
        let window = Span { start, end: start + TimeDelta::minutes(WINDOW_MINUTES) };
        let rows: Vec<BusyEvent> = events.iter().map(|event| event.row(window, day)).collect();

        let clock = WallClock::new(zone, window);
        let availability = Availability::read(&stored(&kept, &removed, night));
        let busy: Spans = busy(rows.clone(), &clock).into_iter().map(|busy| busy.span).collect();
        let free = availability.times(&clock).except(&busy);

        // A block without length keeps nothing, and the week is not whole any more.
        let is_whole = kept.is_empty();
        let night = night.filter(|(start, end)| start != end);
        let is_free = |moment: DateTime<Utc>| {
            let now = moment.with_timezone(&zone).naive_local();
            let is_kept = if is_whole {
                !daily_shows((21 * 60, 9 * 60), now)
            } else {
                kept.iter().any(|window| shows(*window, now))
            };
            is_kept
                && !removed.iter().any(|window| shows(*window, now))
                && !night.is_some_and(|night| daily_shows(night, now))
                && !events.iter().zip(&rows).any(|(event, row)| event.takes(row, day, moment, now))
        };
        let model: Vec<bool> = (0..WINDOW_MINUTES).map(|minute| is_free(start + TimeDelta::minutes(minute))).collect();

        let mut found = vec![false; model.len()];
        for span in free.iter() {
            let from = usize::try_from((span.start - start).num_minutes()).unwrap();
            let to = usize::try_from((span.end - start).num_minutes()).unwrap();
            found[from..to].fill(true);
        }
        for (minute, (found, expected)) in found.iter().zip(&model).enumerate() {
            let moment = start + TimeDelta::minutes(i64::try_from(minute).unwrap());
            prop_assert_eq!(found, expected, "{} {}", zone, moment.with_timezone(&zone));
        }
    }
}

#[track_caller]
fn check_times(zone: Tz, day: &str, stored: &StoredAvailability, expected: &[(&str, &str)]) {
    let start = format!("{day}T00:00:00Z").parse::<DateTime<Utc>>().unwrap() - TimeDelta::hours(12);
    let clock = WallClock::new(zone, Span { start, end: start + TimeDelta::days(2) });
    let date: NaiveDate = day.parse().unwrap();
    let midnight = |date: NaiveDate| date.and_hms_opt(0, 0, 0).unwrap();
    let day: Spans = clock.moments(midnight(date), midnight(date.succ_opt().unwrap())).collect();
    let found = Availability::read(stored).times(&clock).and(&day);
    let time = |moment: DateTime<Utc>| moment.with_timezone(&zone).format("%H:%M%:z").to_string();
    let found: Vec<_> = found.iter().map(|span| (time(span.start), time(span.end))).collect();
    let expected: Vec<_> =
        expected.iter().map(|(start, end)| ((*start).to_owned(), (*end).to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_night_takes_what_the_clock_shows_whatever_the_clock_does() {
    let week = [0, 1, 2, 3, 4, 5, 6].map(|day| (day, 0, 24 * 60));
    let night = stored(&week, &[], Some((22 * 60, 2 * 60 + 30)));
    // Half past two is never shown: the night ends when the clock jumps over it.
    check_times(Tz::Europe__Berlin, "2026-03-29", &night, &[("03:00+02:00", "22:00+02:00")]);
    // It is shown twice, and the second time counts.
    check_times(
        Tz::Europe__Berlin,
        "2026-10-25",
        &night,
        &[("02:30+02:00", "02:00+01:00"), ("02:30+01:00", "22:00+01:00")],
    );
    check_times(Tz::Asia__Kolkata, "2026-06-01", &night, &[("02:30+05:30", "22:00+05:30")]);
}

#[test]
fn a_user_without_preferences_gets_no_suggestion_at_night() {
    check_times(Tz::UTC, "2026-06-01", &StoredAvailability::default(), &[("09:00+00:00", "21:00+00:00")]);
    // 1 June 2026 is a Monday.
    check_times(
        Tz::UTC,
        "2026-06-01",
        &stored(&[(1, 60, 120)], &[], None),
        &[("01:00+00:00", "02:00+00:00")],
    );
    check_times(Tz::UTC, "2026-06-01", &stored(&[(2, 60, 120)], &[], None), &[]);
}

#[test]
fn what_cannot_be_read_is_skipped() {
    let good = json!({"dayOfWeek": 1, "startTime": "10:00", "endTime": "12:00", "label": "more"});
    let rubbish = [
        json!(null),
        json!(7),
        json!("blocks"),
        json!([]),
        json!({"dayOfWeek": 7, "startTime": "10:00", "endTime": "12:00"}),
        json!({"dayOfWeek": -1, "startTime": "10:00", "endTime": "12:00"}),
        json!({"dayOfWeek": "1", "startTime": "10:00", "endTime": "12:00"}),
        json!({"dayOfWeek": 1, "startTime": "10 am", "endTime": "12:00"}),
        json!({"dayOfWeek": 1, "startTime": "10:00"}),
    ];
    for entry in rubbish {
        for blocks in [json!([entry, good]), json!([good, entry])] {
            let stored =
                StoredAvailability { manual_time_blocks: Some(blocks), ..StoredAvailability::default() };
            check_times(Tz::UTC, "2026-06-01", &stored, &[("10:00+00:00", "12:00+00:00")]);
        }
        // What the user kept for meetings is not known: no contact may be suggested at any other time.
        let is_said = !entry.is_null() && entry != json!([]);
        let stored =
            StoredAvailability { manual_time_blocks: Some(entry.clone()), ..StoredAvailability::default() };
        let untold = [("09:00+00:00", "21:00+00:00")];
        check_times(Tz::UTC, "2026-06-01", &stored, if is_said { &[] } else { &untold });
        let stored = StoredAvailability {
            commute_windows: Some(entry),
            nighttime_start: Some("late".to_owned()),
            nighttime_end: Some("25:00".to_owned()),
            ..StoredAvailability::default()
        };
        check_times(Tz::UTC, "2026-06-01", &stored, &untold);
    }
}
