//! When a schedule is due. Of cron's language, only what declarations use: a minute and an hour, each a number, `*` or `*/n`,
//! every day.

use std::str::FromStr;

use chrono::{DateTime, DurationRound as _, TimeDelta, Timelike as _, Utc};

const MINUTE: TimeDelta = TimeDelta::minutes(1);
const DAY_MINUTES: i32 = 24 * 60;
const MINUTES: u32 = 60;
const HOURS: u32 = 24;

/// A schedule, UTC.
///
/// ```
/// # use shared::cron::Cron;
/// let cron: Cron = "0 */6 * * *".parse().unwrap();
/// let next = cron.next("2026-11-27T13:00:00Z".parse().unwrap());
/// assert_eq!(next.to_rfc3339(), "2026-11-27T18:00:00+00:00");
/// assert_eq!(cron.words().unwrap(), "every 6 hours");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cron {
    minute: Field,
    hour: Field,
}

/// A schedule that is written in a form that is not read here.
#[derive(Debug, thiserror::Error)]
#[error("not a minute and an hour of every day: {0}")]
pub struct UnknownForm(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    At(u32),
    Every(u32),
}

impl Field {
    fn read(text: &str, below: u32) -> Option<Self> {
        if text == "*" {
            return Some(Self::Every(1));
        }
        let (every, number) = text.strip_prefix("*/").map_or((false, text), |number| (true, number));
        let number = number.parse().ok().filter(|number| *number < below && !(every && *number == 0))?;
        Some(if every { Self::Every(number) } else { Self::At(number) })
    }

    fn matches(self, value: u32) -> bool {
        match self {
            Self::At(number) => value == number,
            Self::Every(number) => value.is_multiple_of(number),
        }
    }
}

impl FromStr for Cron {
    type Err = UnknownForm;

    fn from_str(text: &str) -> Result<Self, UnknownForm> {
        let read = || {
            let fields: Vec<&str> = text.split_whitespace().collect();
            let [minute, hour, "*", "*", "*"] = fields[..] else { return None };
            Some(Self { minute: Field::read(minute, MINUTES)?, hour: Field::read(hour, HOURS)? })
        };
        read().ok_or_else(|| UnknownForm(text.to_owned()))
    }
}

impl Cron {
    /// The first moment after `after` at which the schedule is due.
    ///
    /// # Panics
    /// Never: each minute of a day comes within a day.
    #[must_use]
    pub fn next(self, after: DateTime<Utc>) -> DateTime<Utc> {
        let begin = after.duration_trunc(MINUTE).unwrap_or(after);
        let minutes = (1..=DAY_MINUTES).map(|minute| begin + MINUTE * minute);
        let mut due =
            minutes.filter(|moment| self.minute.matches(moment.minute()) && self.hour.matches(moment.hour()));
        due.next().expect("each minute of a day comes within a day")
    }

    /// The same for people, UTC; none of a form whose words would be longer than its fields, or not quite true.
    #[must_use]
    pub fn words(self) -> Option<String> {
        let at = |minute: u32| if minute == 0 { String::new() } else { format!(" at minute {minute}") };
        match (self.minute, self.hour) {
            (Field::At(minute), Field::At(hour)) => Some(format!("every day at {hour:02}:{minute:02}")),
            (Field::At(minute), Field::Every(1)) => Some(format!("every hour{}", at(minute))),
            (Field::At(minute), Field::Every(hours)) if HOURS.is_multiple_of(hours) => {
                Some(format!("every {hours} hours{}", at(minute)))
            }
            (Field::Every(1), Field::Every(1)) => Some("every minute".to_owned()),
            (Field::Every(minutes), Field::Every(1)) if MINUTES.is_multiple_of(minutes) => {
                Some(format!("every {minutes} minutes"))
            }
            (Field::Every(_), _) | (Field::At(_), Field::Every(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cron: &str, after: &str, expected: &str) {
        let cron: Cron = cron.parse().expect("a schedule");
        assert_eq!(
            cron.next(after.parse().expect("a time")),
            expected.parse::<DateTime<Utc>>().expect("a time")
        );
    }

    #[test]
    fn cron_next_matches_the_expected_times() {
        check("0 3 * * *", "2026-11-23T03:00:00Z", "2026-11-24T03:00:00Z");
        check("30 10 * * *", "2026-11-23T10:29:59.9Z", "2026-11-23T10:30:00Z");
        check("*/15 * * * *", "2026-11-23T10:44:59Z", "2026-11-23T10:45:00Z");
        check("0 */6 * * *", "2026-11-23T18:00:01Z", "2026-11-24T00:00:00Z");
        check("0 * * * *", "2026-11-23T23:30:00Z", "2026-11-24T00:00:00Z");
    }

    #[test]
    fn cron_words_say_what_its_fields_say() {
        #[track_caller]
        fn check(cron: &str, expected: Option<&str>) {
            assert_eq!(cron.parse::<Cron>().unwrap().words().as_deref(), expected, "{cron}");
        }
        check("0 3 * * *", Some("every day at 03:00"));
        check("30 10 * * *", Some("every day at 10:30"));
        check("0 * * * *", Some("every hour"));
        check("5 * * * *", Some("every hour at minute 5"));
        check("0 */12 * * *", Some("every 12 hours"));
        check("20 */6 * * *", Some("every 6 hours at minute 20"));
        check("* * * * *", Some("every minute"));
        check("*/15 * * * *", Some("every 15 minutes"));
        // Between the last one of a day and the first one of the next are less than five hours.
        check("0 */5 * * *", None);
        check("*/7 * * * *", None);
        check("*/15 3 * * *", None);
    }

    #[test]
    fn what_is_no_minute_and_hour_of_every_day_is_not_read() {
        for rubbish in ["", "0 3 * * 1", "60 * * * *", "*/0 * * * *", "x * * * *"] {
            assert!(rubbish.parse::<Cron>().is_err(), "{rubbish}");
        }
    }
}
