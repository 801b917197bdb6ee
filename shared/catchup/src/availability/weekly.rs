//! Windows that recur every week.

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

use super::wall_clock::WallClock;
use crate::span::Spans;

const DAY_MINUTES: u16 = 24 * 60;

/// A part of a week, in times of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weekly {
    /// The day it begins on, from Sunday.
    day: u8,
    /// Minute of that day.
    start: u16,
    /// Minute of that day; beyond its last one when the window ends on the next day.
    end: u16,
}

impl Weekly {
    /// From `start` to `end`, both `HH:mm`. `24:00` is the end of a day. `None`: no such day or time, or no time between.
    pub(super) fn new(day: u8, start: &str, end: &str) -> Option<Self> {
        let (start, end) = (minute(start)?, minute(end)?);
        let end = if end < start { end + DAY_MINUTES } else { end };
        (day < 7 && start != end).then_some(Self { day, start, end })
    }

    /// The window that begins on that date.
    fn on(self, date: NaiveDate) -> Option<(NaiveDateTime, NaiveDateTime)> {
        if u32::from(self.day) != date.weekday().num_days_from_sunday() {
            return None;
        }
        let at = |minute: u16| date.and_time(NaiveTime::MIN) + TimeDelta::minutes(minute.into());
        Some((at(self.start), at(self.end)))
    }
}

/// The same window on each day.
pub(super) fn every_day(start: &str, end: &str) -> Option<[Weekly; 7]> {
    let sunday = Weekly::new(0, start, end)?;
    Some([0, 1, 2, 3, 4, 5, 6].map(|day| Weekly { day, ..sunday }))
}

/// When, in the clock's window, it shows a time of one of these windows.
pub(super) fn moments(windows: &[Weekly], clock: &WallClock) -> Spans {
    clock
        .dates()
        .flat_map(|date| windows.iter().filter_map(move |window| window.on(date)))
        .flat_map(|(start, end)| clock.moments(start, end))
        .collect()
}

/// The minute of the day.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let is_number =
        |part: &str| (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(hours) || !is_number(minutes) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= DAY_MINUTES).then_some(minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(start: &str, end: &str, expected: Option<(u16, u16)>) {
        assert_eq!(
            Weekly::new(3, start, end).map(|window| (window.start, window.end)),
            expected,
            "{start} to {end}"
        );
    }

    #[test]
    fn times_are_read_strictly() {
        check("09:00", "17:30", Some((540, 1050)));
        check("9:00", "9:05", Some((540, 545)));
        check("22:00", "06:00", Some((1320, 1800)));
        check("18:00", "24:00", Some((1080, 1440)));
        check("18:00", "00:00", Some((1080, 1440)));
        check("09:00", "09:00", None);
        for rubbish in
            ["", "9", "25:00", "24:01", "12:60", "+9:00", "09:00:00", "009:00", "9 :00", "noon", "१२:००"]
        {
            check(rubbish, "10:00", None);
            check("10:00", rubbish, None);
        }
        assert_eq!(Weekly::new(7, "09:00", "10:00"), None);
    }
}
