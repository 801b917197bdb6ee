//! Calendars and events of a seeded user.

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::account::User;
use crate::calendar::{Calendar, CalendarState};
use crate::dice::Dice;
use crate::event::{Attendee, Event, EventStatus, EventTime, Recurrence, ResponseStatus, new_id};
use crate::words::{CALENDARS, DAYS_OFF, FAMILY, GIVEN, MEETINGS, SERIES};

/// Events lie from so many days before now ...
const DAYS_BACK: i64 = 40;
/// ... to so many after it, beyond every window on both sides.
const DAYS_AHEAD: i64 = 100;
/// Longer than any column of the application that a title or a place is copied to.
const LONG_TEXT_REPEATS: usize = 40;
/// How old the last change of an event may be.
const MAX_AGE_HOURS: i64 = 60 * 24;
const HOLIDAYS: &str = "en.usa#holiday@group.v.calendar.google.com";

/// One to five calendars, the primary one first.
pub(crate) fn calendars(user: &User, dice: &mut Dice, now: DateTime<Utc>) -> Vec<CalendarState> {
    let mut calendars = vec![calendar_state(
        Calendar {
            id: user.email.clone(),
            summary: user.email.clone(),
            description: None,
            time_zone: user.time_zone,
            primary: true,
            selected: dice.chance(85),
            access_role: "owner".to_owned(),
        },
        user,
        dice,
        now,
    )];
    for name in CALENDARS.iter().take([0, 0, 1, 1, 2, 3][dice.index(6)]) {
        let calendar = Calendar {
            id: format!("{}@group.calendar.google.com", dice.hex(2)),
            summary: (*name).to_owned(),
            description: dice.chance(30).then(|| format!("What concerns {}", name.to_lowercase())),
            time_zone: user.time_zone,
            primary: false,
            selected: dice.chance(50),
            access_role: if dice.chance(70) { "owner" } else { "reader" }.to_owned(),
        };
        calendars.push(calendar_state(calendar, user, dice, now));
    }
    if dice.chance(30) {
        calendars.push(holidays(user.time_zone, dice, now));
    }
    share_an_event(&mut calendars, dice, now);
    calendars
}

fn calendar_state(calendar: Calendar, user: &User, dice: &mut Dice, now: DateTime<Utc>) -> CalendarState {
    let zone = calendar.time_zone;
    let mut calendar_state = CalendarState::new(calendar, 0, now);
    for _ in 0..dice.between(15, 70) {
        let event = invent(user, zone, dice, now);
        put(&mut calendar_state, event, dice, now);
    }
    for _ in 0..dice.between(i64::from(calendar_state.calendar.primary), 3) {
        recurring(&mut calendar_state, user, dice, now);
    }
    calendar_state
}

/// Puts an event in as one that was made and last changed some time ago.
fn put(calendar_state: &mut CalendarState, mut event: Event, dice: &mut Dice, now: DateTime<Utc>) {
    event.created = now - TimeDelta::hours(MAX_AGE_HOURS + 1);
    calendar_state.put(event, now - TimeDelta::hours(dice.between(0, MAX_AGE_HOURS)));
}

/// An event as chance makes it.
pub(crate) fn invent(user: &User, zone: Tz, dice: &mut Dice, now: DateTime<Utc>) -> Event {
    let day = local_day(now, zone, dice.between(-DAYS_BACK, DAYS_AHEAD));
    let mut event = match dice.below(10) {
        0 => Event::new(dice.pick(DAYS_OFF), days(day, 1), zone),
        1 => Event::new(dice.pick(DAYS_OFF), days(day, 2 + dice.below(6)), zone),
        // Over midnight, and over several days.
        2 => Event::new(
            "Night train",
            hours(day, 22, zone, TimeDelta::minutes(dice.between(180, 3_000))),
            zone,
        ),
        _ => {
            let hour = u32::try_from(dice.between(7, 20)).expect("an hour");
            Event::new(
                dice.pick(MEETINGS),
                hours(day, hour, zone, TimeDelta::minutes(15 * dice.between(1, 8))),
                zone,
            )
        }
    };
    event.id = new_id(dice);
    if dice.chance(4) {
        event.summary = None;
    }
    if dice.chance(1) {
        event.summary = Some("Überlange Besprechung ".repeat(LONG_TEXT_REPEATS));
        event.location = Some("Raum Füße ".repeat(2 * LONG_TEXT_REPEATS));
    } else if dice.chance(30) {
        event.location = Some(format!("Room {}", dice.between(1, 40)));
    }
    if dice.chance(25) {
        event.description = Some("Agenda:\n• what was\n• what will be".to_owned());
    }
    // An event entered while travelling.
    if !event.is_all_day() && dice.chance(5) {
        event.time_zone = Tz::Asia__Kolkata;
    }
    event.transparent = dice.chance(if event.is_all_day() { 40 } else { 8 });
    event.status = match dice.below(20) {
        0 => EventStatus::Cancelled,
        1 => EventStatus::Tentative,
        _ => EventStatus::Confirmed,
    };
    if !event.is_all_day() && dice.chance(40) {
        event.attendees = attendees(user, dice);
    }
    event
}

fn attendees(user: &User, dice: &mut Dice) -> Vec<Attendee> {
    let answers = [
        ResponseStatus::Accepted,
        ResponseStatus::Accepted,
        ResponseStatus::Declined,
        ResponseStatus::Tentative,
        ResponseStatus::NeedsAction,
    ];
    let mut attendees = vec![Attendee {
        email: user.email.clone(),
        display_name: None,
        response_status: dice.pick(&answers),
        is_self: true,
        organizer: false,
    }];
    for at in 0..dice.between(1, 4) {
        let (given, family) = (dice.pick(GIVEN), dice.pick(FAMILY));
        attendees.push(Attendee {
            email: format!("guest{}@guests.example.test", dice.below(500)),
            display_name: dice.chance(60).then(|| format!("{given} {family}")),
            response_status: dice.pick(&answers),
            is_self: false,
            organizer: at == 0,
        });
    }
    attendees
}

/// A weekly event at the same hour of the wall clock, with one instance moved and one cancelled.
fn recurring(calendar_state: &mut CalendarState, user: &User, dice: &mut Dice, now: DateTime<Utc>) {
    let zone = calendar_state.calendar.time_zone;
    let (count, hour) = (8 + dice.below(12), u32::try_from(dice.between(8, 18)).expect("an hour"));
    let first = local_day(now, zone, dice.between(-DAYS_BACK, 10));
    let length = TimeDelta::minutes(15 * dice.between(2, 6));
    let mut series = Event::new(dice.pick(SERIES), hours(first, hour, zone, length), zone);
    series.id = new_id(dice);
    if dice.chance(50) {
        series.attendees = attendees(user, dice);
    }
    let template = series.clone();
    series.recurrence = Recurrence::Series { rule: format!("RRULE:FREQ=WEEKLY;COUNT={count}") };
    put(calendar_state, series, dice, now);
    let (moved, cancelled) = (dice.below(count), dice.below(count));
    for week in 0..count {
        let original = hours(first + Days::new(7 * week), hour, zone, length);
        let exception = week == moved || week == cancelled;
        let instance = Event {
            id: instance_id(&template.id, original),
            time: if week == moved { original.shifted(TimeDelta::hours(3)) } else { original },
            status: if week == cancelled { EventStatus::Cancelled } else { EventStatus::Confirmed },
            recurrence: Recurrence::Instance { series: template.id.clone(), original, exception },
            ..template.clone()
        };
        put(calendar_state, instance, dice, now);
    }
}

fn instance_id(series: &str, original: EventTime) -> String {
    match original {
        EventTime::Timed { start, .. } => format!("{series}_{}", start.format("%Y%m%dT%H%M%SZ")),
        EventTime::AllDay { start, .. } => format!("{series}_{}", start.format("%Y%m%d")),
    }
}

/// A calendar of another person with a `#` in its id and nothing but whole, transparent days.
fn holidays(zone: Tz, dice: &mut Dice, now: DateTime<Utc>) -> CalendarState {
    let calendar = Calendar {
        id: HOLIDAYS.to_owned(),
        summary: "Holidays in United States".to_owned(),
        description: Some("Holidays and observances".to_owned()),
        time_zone: zone,
        primary: false,
        selected: dice.chance(30),
        access_role: "reader".to_owned(),
    };
    let mut calendar_state = CalendarState::new(calendar, 0, now);
    let year = now.year();
    for (month, day, name) in
        [(1, 1, "New Year's Day"), (7, 4, "Independence Day"), (12, 25, "Christmas Day")]
    {
        for year in [year, year + 1] {
            let date = NaiveDate::from_ymd_opt(year, month, day).expect("a day of every year");
            let mut event = Event::new(name, days(date, 1), zone);
            event.id = format!("{}_holiday{month:02}", date.format("%Y%m%d"));
            event.transparent = true;
            put(&mut calendar_state, event, dice, now);
        }
    }
    calendar_state
}

/// The same event, by id, in the two first selected calendars of the user's own, as when both were invited.
fn share_an_event(calendars: &mut [CalendarState], dice: &mut Dice, now: DateTime<Utc>) {
    if let [first, second, ..] = calendars
        && second.calendar.access_role == "owner"
        && let Some(event) = first.live_singles().find(|event| event.recurrence == Recurrence::None).cloned()
    {
        put(second, event, dice, now);
    }
}

fn local_day(now: DateTime<Utc>, zone: Tz, days_on: i64) -> NaiveDate {
    now.with_timezone(&zone).date_naive() + TimeDelta::days(days_on)
}

fn days(first: NaiveDate, count: u64) -> EventTime {
    EventTime::AllDay { start: first, end: first + Days::new(count) }
}

/// From an hour of the wall clock on; an hour that daylight saving skips begins when the skip ends.
fn hours(day: NaiveDate, hour: u32, zone: Tz, length: TimeDelta) -> EventTime {
    let clock = day.and_time(NaiveTime::from_hms_opt(hour, 0, 0).expect("an hour of the day"));
    let start = clock
        .and_local_timezone(zone)
        .earliest()
        .or_else(|| (clock + TimeDelta::hours(1)).and_local_timezone(zone).earliest())
        .map_or_else(|| clock.and_utc(), |local| local.to_utc());
    EventTime::Timed { start, end: start + length }
}
