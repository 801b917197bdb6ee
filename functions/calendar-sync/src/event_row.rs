//! From an event of Google's to a row of the database.

use catchup::db::calendar_events::{Changes, EventRow, Superseded};
use catchup::db::calendars::ID_CHARS;
use catchup::google::calendar::{Event, EventAttendee, EventDateTime};
use catchup::time_zone;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};

/// Postgres stores all characters but this one, in JSON neither.
const NUL: char = '\0';
/// The first and the last second that are written with four digits of the year, the only form that everyone reads: an event
/// without an end is in the year 10000 in some time zones.
const FIRST_SECOND: DateTime<Utc> = DateTime::from_timestamp(-62_135_596_800, 0).unwrap();
const LAST_SECOND: DateTime<Utc> = DateTime::from_timestamp(253_402_300_799, 0).unwrap();

/// The events that are kept: those that end after `from` and begin before `until`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from: DateTime<Utc>,
    pub(crate) until: DateTime<Utc>,
    /// Events that ended before it are of interest.
    pub(crate) looks_back: bool,
}

/// What a page of events means.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// What it means for the table.
    pub(crate) changes: Changes,
    /// Events that ended before the window, where these are of interest.
    pub(crate) past: Vec<EventRow>,
    /// Events that cannot be kept: without id or start, or with an id longer than its column.
    pub(crate) unusable: u64,
}

/// Reads a page of events. `time_zone` is the calendar's, for events that name none.
pub(crate) fn read(events: Vec<Event>, time_zone: Option<&str>, window: Window) -> Page {
    let zone = time_zone.unwrap_or("UTC");
    let Page { mut changes, mut past, mut unusable } = Page::default();
    for mut event in events {
        let Some(id) = event.id.take().filter(|id| is_storable(id)) else {
            unusable += 1;
            continue;
        };
        if event.status.as_deref() == Some("cancelled") {
            changes.gone.push(id);
            continue;
        }
        match event.recurring_event_id.take().filter(|series| is_storable(series)) {
            Some(series) => {
                changes.superseded.extend(split(&series));
                // It was a single event before. Instances of one series mostly come together.
                if changes.gone.last() != Some(&series) {
                    changes.gone.push(series);
                }
            }
            None => changes.superseded.push(Superseded { base: id.clone(), since: String::new() }),
        }
        match row(id, event, zone) {
            Ok(row) if row.end_time >= window.from && row.start_time < window.until => changes.rows.push(row),
            Ok(row) if window.looks_back && row.end_time < window.from => past.push(row),
            Ok(row) => changes.gone.push(row.google_event_id),
            Err(Unplaced) => unusable += 1,
        }
    }
    changes.superseded.sort_by(|a, b| (&a.base, &a.since).cmp(&(&b.base, &b.since)));
    changes.superseded.dedup();
    Page { changes, past, unusable }
}

/// What the rest of a split series takes the place of: its id is the former one's, `_R` and the moment of the split.
fn split(series: &str) -> Option<Superseded> {
    let (base, since) = series.rsplit_once("_R")?;
    let since = since.trim_end_matches('Z');
    let is_moment = since.starts_with(|digit: char| digit.is_ascii_digit())
        && since.chars().all(|char| char.is_ascii_digit() || char == 'T');
    is_moment.then(|| Superseded { base: base.to_owned(), since: since.to_owned() })
}

/// An event without start.
struct Unplaced;

fn is_storable(id: &str) -> bool {
    id.chars().count() <= ID_CHARS && !id.contains(NUL)
}

fn row(google_event_id: String, event: Event, calendar_zone: &str) -> Result<EventRow, Unplaced> {
    let start = event.start.ok_or(Unplaced)?;
    let zone = start.time_zone.as_deref().unwrap_or(calendar_zone).to_owned();
    // Dates have no zone of their own: the day of the calendar's owner is meant.
    let day_zone: Tz = calendar_zone.parse().unwrap_or(Tz::UTC);
    let start_time = moment(&start, day_zone).ok_or(Unplaced)?;
    let end_time =
        event.end.and_then(|end| moment(&end, day_zone)).map_or(start_time, |end| end.max(start_time));
    let attendees = event.attendees.unwrap_or_default();
    Ok(EventRow {
        google_event_id,
        summary: event.summary,
        description: event.description,
        start_time,
        end_time,
        timezone: zone,
        is_all_day: start.date_time.is_none(),
        is_busy: is_busy(event.transparency.as_deref(), event.event_type.as_deref(), &attendees),
        location: event.location,
        attendees: (!attendees.is_empty()).then(|| attendees.iter().map(attendee).collect()),
    })
}

/// Busy = not transparent, not declined by the user, and something to do at all: where the user works and whose birthday it
/// is takes no time.
fn is_busy(transparency: Option<&str>, event_type: Option<&str>, attendees: &[EventAttendee]) -> bool {
    let declined = |attendee: &EventAttendee| {
        attendee.self_ == Some(true) && attendee.response_status.as_deref() == Some("declined")
    };
    transparency != Some("transparent")
        && !matches!(event_type, Some("workingLocation" | "birthday"))
        && !attendees.iter().any(declined)
}

fn moment(time: &EventDateTime, day_zone: Tz) -> Option<DateTime<Utc>> {
    let moment = time.date_time.or_else(|| time.date.and_then(|date| start_of_day(date, day_zone)))?;
    Some(moment.clamp(FIRST_SECOND, LAST_SECOND))
}

/// The first moment of a day: midnight, or where daylight saving left midnight out, the first time after it.
fn start_of_day(date: NaiveDate, zone: Tz) -> Option<DateTime<Utc>> {
    time_zone::first_shown(zone, date.and_time(NaiveTime::MIN))
}

/// An attendee in the words of the application, which are Google's; what is not said is left out.
fn attendee(attendee: &EventAttendee) -> Value {
    let text = |value: &Option<String>| value.as_ref().map(|value| value.replace(NUL, ""));
    let mut value = json!({
        "email": text(&attendee.email),
        "displayName": text(&attendee.display_name),
        "responseStatus": text(&attendee.response_status),
        "self": attendee.self_,
        "organizer": attendee.organizer,
    });
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    /// How far a time zone ever jumped over midnight: Samoa left out a whole day.
    const LONGEST_GAP: TimeDelta = TimeDelta::hours(25);

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn window() -> Window {
        Window { from: time("2026-01-01T00:00:00Z"), until: time("2026-04-01T00:00:00Z"), looks_back: false }
    }

    fn read(events: Value, zone: &str) -> (Changes, u64) {
        let page = super::read(serde_json::from_value(events).unwrap(), Some(zone), window());
        (page.changes, page.unusable)
    }

    #[track_caller]
    fn row_of(event: &Value, zone: &str) -> EventRow {
        let (changes, unusable) = read(json!([event]), zone);
        assert_eq!((changes.gone.len(), unusable), (0, 0));
        changes.rows.into_iter().next().unwrap()
    }

    #[track_caller]
    fn check_busy(event: Value, expected: bool) {
        let mut event = event;
        event["id"] = json!("e");
        event["start"] = json!({"dateTime": "2026-02-01T10:00:00Z"});
        assert_eq!(row_of(&event, "UTC").is_busy, expected);
    }

    #[track_caller]
    fn check_all_day(zone: &str, date: &str, end: &str, start_time: &str, end_time: &str) {
        let row = row_of(&json!({"id": "e", "start": {"date": date}, "end": {"date": end}}), zone);
        assert_eq!((row.start_time, row.end_time), (time(start_time), time(end_time)));
        assert!(row.is_all_day);
        assert_eq!(row.timezone, zone);
    }

    #[test]
    fn all_that_the_application_shows_is_kept() {
        let event = json!({
            "id": "abc_20260201T090000Z", "status": "confirmed", "summary": "Lunch", "description": "pizza",
            "location": "Rome",
            "start": {"dateTime": "2026-02-01T10:00:00+01:00", "timeZone": "Europe/Rome"},
            "end": {"dateTime": "2026-02-01T11:30:00+01:00", "timeZone": "Europe/Rome"},
            "attendees": [
                {"email": "a@example.com", "responseStatus": "accepted", "self": true, "organizer": true},
                {"email": "b@example.com", "displayName": "B\0", "responseStatus": "needsAction", "optional": true},
            ],
        });
        assert_eq!(
            row_of(&event, "Europe/Berlin"),
            EventRow {
                google_event_id: "abc_20260201T090000Z".to_owned(),
                summary: Some("Lunch".to_owned()),
                description: Some("pizza".to_owned()),
                start_time: time("2026-02-01T09:00:00Z"),
                end_time: time("2026-02-01T10:30:00Z"),
                timezone: "Europe/Rome".to_owned(),
                is_all_day: false,
                is_busy: true,
                location: Some("Rome".to_owned()),
                attendees: Some(json!([
                    {"email": "a@example.com", "responseStatus": "accepted", "self": true, "organizer": true},
                    {"email": "b@example.com", "displayName": "B", "responseStatus": "needsAction"},
                ])),
            }
        );
    }

    #[test]
    fn an_event_is_busy_unless_it_is_transparent_or_the_user_declined() {
        check_busy(json!({}), true);
        check_busy(json!({"transparency": "opaque"}), true);
        check_busy(json!({"transparency": "transparent"}), false);
        check_busy(json!({"attendees": [{"self": true, "responseStatus": "declined"}]}), false);
        check_busy(json!({"attendees": [{"self": true, "responseStatus": "tentative"}]}), true);
        check_busy(json!({"attendees": [{"responseStatus": "declined"}]}), true);
    }

    #[test]
    fn where_the_user_works_and_birthdays_never_block() {
        for (event_type, blocks) in [
            ("workingLocation", false),
            ("birthday", false),
            ("outOfOffice", true),
            ("focusTime", true),
            ("default", true),
        ] {
            check_busy(json!({"eventType": event_type}), blocks);
        }
    }

    #[test]
    fn what_became_a_series_and_what_was_split_is_said_by_their_instances() {
        let start = json!({"dateTime": "2026-02-01T10:00:00Z"});
        let (changes, _) = read(
            json!([
                {"id": "a_20260201T100000Z", "recurringEventId": "a", "start": start},
                {"id": "a_20260208T100000Z", "recurringEventId": "a", "start": start},
                {"id": "b_R20260201T100000_20260201T100000Z", "recurringEventId": "b_R20260201T100000", "start": start},
                {"id": "day_20260201", "recurringEventId": "day_R20260201", "start": start},
                {"id": "single", "start": start},
                {"id": "a_Room", "recurringEventId": "a_Room", "start": start},
                {"id": "c_20260201T100000Z", "recurringEventId": "c", "status": "cancelled"},
            ]),
            "UTC",
        );
        assert_eq!(
            changes.gone,
            ["a", "b_R20260201T100000", "day_R20260201", "a_Room", "c_20260201T100000Z"]
        );
        let superseded: Vec<_> =
            changes.superseded.iter().map(|of| (of.base.as_str(), of.since.as_str())).collect();
        assert_eq!(superseded, [("b", "20260201T100000"), ("day", "20260201"), ("single", "")]);
    }

    #[test]
    fn a_day_is_the_day_of_the_calendar() {
        check_all_day("UTC", "2026-02-01", "2026-02-02", "2026-02-01T00:00:00Z", "2026-02-02T00:00:00Z");
        check_all_day(
            "Asia/Tokyo",
            "2026-02-01",
            "2026-02-03",
            "2026-01-31T15:00:00Z",
            "2026-02-02T15:00:00Z",
        );
        // The clocks go forward on the 29th: the day has 23 hours.
        check_all_day(
            "Europe/Berlin",
            "2026-03-29",
            "2026-03-30",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
        );
        // Here they go forward at midnight: the day begins at one.
        assert_eq!(
            start_of_day("2026-04-24".parse().unwrap(), Tz::Africa__Cairo),
            Some(time("2026-04-23T22:00:00Z"))
        );
        // And here a whole day was left out.
        assert_eq!(
            start_of_day("2011-12-30".parse().unwrap(), Tz::Pacific__Apia),
            Some(time("2011-12-30T10:00:00Z"))
        );
    }

    #[test]
    fn an_unknown_time_zone_counts_as_utc_and_keeps_its_name() {
        check_all_day(
            "Mars/Olympus",
            "2026-02-01",
            "2026-02-02",
            "2026-02-01T00:00:00Z",
            "2026-02-02T00:00:00Z",
        );
    }

    #[test]
    fn an_event_without_end_or_with_one_before_its_start_has_no_length() {
        let at = "2026-02-01T10:00:00Z";
        for event in [
            json!({"id": "e", "start": {"dateTime": at}}),
            json!({"id": "e", "start": {"dateTime": at}, "end": {"dateTime": "2026-02-01T09:00:00Z"}}),
        ] {
            let row = row_of(&event, "UTC");
            assert_eq!((row.start_time, row.end_time), (time(at), time(at)));
        }
    }

    #[test]
    fn an_event_from_the_first_day_to_the_last_has_years_of_four_digits() {
        let event = json!({
            "id": "e", "start": {"date": "0001-01-01"}, "end": {"dateTime": "9999-12-31T23:59:59-05:00"},
        });
        let row = row_of(&event, "Asia/Tokyo");
        assert_eq!(row.start_time, time("0001-01-01T00:00:00Z"));
        assert_eq!(row.end_time, time("9999-12-31T23:59:59Z"));
    }

    #[test]
    fn cancelled_events_and_those_outside_of_the_window_must_go() {
        let (changes, _) = read(
            json!([
                {"id": "cancelled", "status": "cancelled"},
                {"id": "late", "start": {"dateTime": "2026-04-01T00:00:00Z"}},
                {"id": "early", "start": {"dateTime": "2025-12-30T00:00:00Z"}, "end": {"dateTime": "2025-12-31T23:59:59Z"}},
                {"id": "last", "start": {"dateTime": "2026-03-31T23:59:59Z"}},
                {"id": "first", "start": {"dateTime": "2025-12-31T00:00:00Z"}, "end": {"dateTime": "2026-01-01T00:00:00Z"}},
            ]),
            "UTC",
        );
        assert_eq!(changes.gone, ["cancelled", "late", "early"]);
        assert_eq!(
            changes.rows.iter().map(|row| &row.google_event_id).collect::<Vec<_>>(),
            ["last", "first"]
        );
    }

    #[test]
    fn what_cannot_be_kept_is_counted_and_harms_nothing_else() {
        let start = json!({"dateTime": "2026-02-01T10:00:00Z"});
        let (changes, unusable) = read(
            json!([
                {"start": start},
                {"id": "no start"},
                {"id": "empty start", "start": {}},
                {"id": "x".repeat(256), "start": start},
                {"id": "\0", "start": start},
                {"id": "ü".repeat(255), "start": start},
            ]),
            "UTC",
        );
        assert_eq!((changes.rows.len(), changes.gone.len(), unusable), (1, 0, 5));
    }

    proptest! {
        #[test]
        fn a_day_begins_within_a_day_of_its_midnight_in_utc(days in -20_000_i64..40_000, zone in 0..chrono_tz::TZ_VARIANTS.len()) {
            let date = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap() + TimeDelta::days(days);
            let zone = chrono_tz::TZ_VARIANTS[zone];
            let start = start_of_day(date, zone).unwrap();
            let local = start.with_timezone(&zone).naive_local();
            prop_assert!(local >= date.and_time(NaiveTime::MIN));
            prop_assert!(local - date.and_time(NaiveTime::MIN) <= LONGEST_GAP);
            let before = (start - TimeDelta::seconds(1)).with_timezone(&zone).naive_local();
            prop_assert!(before.date() < date || local.time() != NaiveTime::MIN, "{before} is before {local}");
        }
    }
}
