//! Times as a person reads them: by the reader's clock, and in the habit of the reader's country.

use chrono::{DateTime, NaiveDateTime, NaiveTime, Offset, TimeDelta, Timelike, Utc};
use chrono_tz::{OffsetName, Tz};
use uuid::Uuid;

use crate::time_zone;

mod habit;

use habit::{DateOrder, Habit, Hours};

/// The zone of a user's messages: the one of the notification preferences, unless that is unset or its default `UTC`,
/// else the user's own.
#[must_use]
pub fn choose(user_id: Uuid, preferred: Option<&str>, own: Option<&str>) -> Tz {
    time_zone::named(user_id, preferred.filter(|name| *name != "UTC").or(own))
}

/// The clock by which a person reads times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderClock {
    zone: Tz,
    /// The zone that the person lives in, as far as known.
    own: Option<Tz>,
    habit: Habit,
}

impl ReaderClock {
    /// Times are given in `zone`. The person lives in `own`; `None` and the application's default `UTC` say that it is
    /// unknown where.
    #[must_use]
    pub fn new(zone: Tz, own: Option<Tz>) -> Self {
        let own = own.filter(|own| *own != Tz::UTC).or((zone != Tz::UTC).then_some(zone));
        Self { zone, own, habit: Habit::of(zone) }
    }

    /// A span of time: `Mon, Nov 30 · 6–7 PM`, or `Mon 30 Nov · 18:00–19:00`.
    #[must_use]
    pub fn slot(self, start: DateTime<Utc>, end: DateTime<Utc>) -> String {
        let (from, to) = (start.with_timezone(&self.zone), end.with_timezone(&self.zone));
        let is_changed = from.offset().fix() != to.offset().fix();
        let (from, to) = (from.naive_local(), to.naive_local());
        let is_midnight = to.time() == NaiveTime::MIN;
        let last_day = if is_midnight { to.date() - TimeDelta::days(1) } else { to.date() };
        let (from_day, to_day) = (self.day(from), self.day(to));
        let place = self.place(start).or_else(|| self.place(end)).unwrap_or_default();
        // The hour that is set forward or back: without both names, it would be wrong to the eye.
        if is_changed {
            let (from, to) = (self.clock(from), self.clock(to));
            let (before, after) = (offset_name(start, self.zone), offset_name(end, self.zone));
            return if from_day == to_day {
                format!("{from_day} · {from} {before}–{to} {after}{place}")
            } else {
                format!("{from_day} · {from} {before} – {to_day} · {to} {after}{place}")
            };
        }
        if last_day > from.date() {
            return format!("{from_day} · {} – {to_day} · {}{place}", self.clock(from), self.clock(to));
        }
        let to_text = if is_midnight { "midnight".to_owned() } else { self.clock(to) };
        let from_text = match self.habit.hours {
            Hours::Twelve if is_half_said_once(from, to) => bare(from),
            Hours::Twelve | Hours::TwentyFour => self.clock(from),
        };
        format!("{from_day} · {from_text}–{to_text}{place}")
    }

    /// When something begins, in as few words as are clear at `now`: `Mon 6 PM`; a week ahead or more, `Mon Nov 30 6 PM`.
    #[must_use]
    pub fn brief(self, start: DateTime<Utc>, now: DateTime<Utc>) -> String {
        let local = start.with_timezone(&self.zone).naive_local();
        let days_ahead = (local.date() - now.with_timezone(&self.zone).date_naive()).num_days();
        let place = self.place(start).unwrap_or_default();
        let clock = self.clock(local);
        if (0..7).contains(&days_ahead) {
            return format!("{} {clock}{place}", local.format("%a"));
        }
        format!("{} {clock}{place}", self.day(local).replace(',', ""))
    }

    /// A day: `Mon, Nov 30`, or `Mon 30 Nov`.
    #[must_use]
    pub fn date(self, at: DateTime<Utc>) -> String {
        self.day(at.with_timezone(&self.zone).naive_local())
    }

    /// A moment: `Mon, Nov 30, 6 PM`, or `Mon 30 Nov, 18:00`.
    #[must_use]
    pub fn moment(self, at: DateTime<Utc>) -> String {
        let local = at.with_timezone(&self.zone).naive_local();
        format!("{}, {}{}", self.day(local), self.clock(local), self.place(at).unwrap_or_default())
    }

    fn day(self, local: NaiveDateTime) -> String {
        let format = match self.habit.date {
            DateOrder::Month => "%a, %b %-d",
            DateOrder::Day => "%a %-d %b",
        };
        local.format(format).to_string()
    }

    fn clock(self, local: NaiveDateTime) -> String {
        match (self.habit.hours, self.habit.date) {
            (Hours::TwentyFour, _) => local.format("%H:%M").to_string(),
            (Hours::Twelve, _) if is_noon(local) => "noon".to_owned(),
            (Hours::Twelve, DateOrder::Month) => format!("{} {}", bare(local), local.format("%p")),
            (Hours::Twelve, DateOrder::Day) => format!("{} {}", bare(local), local.format("%P")),
        }
    }

    /// ` (Berlin time)`: where the clock shows this time, unless the reader's own shows the same.
    fn place(self, at: DateTime<Utc>) -> Option<String> {
        let shown = |zone: Tz| at.with_timezone(&zone).naive_local();
        let is_own = self.own.is_some_and(|own| shown(own) == shown(self.zone));
        (!is_own).then(|| match self.zone.name().rsplit_once('/') {
            Some((area, city)) if area != "Etc" => format!(" ({} time)", city.replace('_', " ")),
            Some(_) | None => format!(" {}", offset_name(at, self.zone)),
        })
    }
}

/// An hour of twelve, with minutes unless it is full: `6`, `6:30`.
fn bare(local: NaiveDateTime) -> String {
    local.format(if local.minute() == 0 { "%-I" } else { "%-I:%M" }).to_string()
}

fn is_noon(local: NaiveDateTime) -> bool {
    (local.hour(), local.minute()) == (12, 0)
}

/// Whether one `AM` or `PM` says it for both: `6–7 PM`, but `11 AM–1 PM` and `noon–1 PM`.
fn is_half_said_once(from: NaiveDateTime, to: NaiveDateTime) -> bool {
    from.date() == to.date() && from.hour12().0 == to.hour12().0 && !is_noon(from)
}

/// `CET`, or `UTC-3` where people have no letters for it.
fn offset_name(at: DateTime<Utc>, zone: Tz) -> String {
    let local = at.with_timezone(&zone);
    let letters = local.offset().abbreviation().filter(|name| name.chars().all(|c| c.is_ascii_alphabetic()));
    if let Some(letters) = letters {
        return letters.to_owned();
    }
    let minutes = local.offset().fix().local_minus_utc() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    let (hours, minutes) = (minutes.abs() / 60, minutes.abs() % 60);
    if minutes == 0 { format!("UTC{sign}{hours}") } else { format!("UTC{sign}{hours}:{minutes:02}") }
}

#[cfg(test)]
mod tests;
