//! When a schedule is due. Of cron's language, only what `infra/queues.json` speaks: a minute and an hour, each a number,
//! `*` or `*/n`, every day.

use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, DurationRound as _, TimeDelta, Timelike as _, Utc};

const MINUTE: TimeDelta = TimeDelta::minutes(1);
const DAY_MINUTES: i32 = 24 * 60;

/// A schedule, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cron {
    minute: Field,
    hour: Field,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    At(u32),
    Every(u32),
}

impl Field {
    fn read(text: &str, below: u32) -> anyhow::Result<Self> {
        if text == "*" {
            return Ok(Self::Every(1));
        }
        let (every, number) = text.strip_prefix("*/").map_or((false, text), |number| (true, number));
        let number: u32 = number.parse().with_context(|| format!("no field of a schedule: {text}"))?;
        ensure!(number < below && !(every && number == 0), "out of range: {text}");
        Ok(if every { Self::Every(number) } else { Self::At(number) })
    }

    fn matches(self, value: u32) -> bool {
        match self {
            Self::At(number) => value == number,
            Self::Every(number) => value.is_multiple_of(number),
        }
    }
}

impl FromStr for Cron {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, "*", "*", "*"] = fields[..] else {
            bail!("a schedule of every day is expected: {text}")
        };
        Ok(Self { minute: Field::read(minute, 60)?, hour: Field::read(hour, 24)? })
    }
}

impl Cron {
    /// The first moment after `after` at which the schedule is due.
    #[must_use]
    pub(crate) fn next(self, after: DateTime<Utc>) -> DateTime<Utc> {
        let begin = after.duration_trunc(MINUTE).unwrap_or(after);
        let minutes = (1..=DAY_MINUTES).map(|minute| begin + MINUTE * minute);
        let mut due =
            minutes.filter(|moment| self.minute.matches(moment.minute()) && self.hour.matches(moment.hour()));
        due.next().expect("each minute of a day comes within a day")
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
    fn every_schedule_of_the_declaration_can_be_read() {
        for queue in catchup::queues::all() {
            for schedule in &queue.policy().schedules {
                let cron: Cron = schedule.cron.parse().expect("a schedule");
                let first = cron.next(DateTime::UNIX_EPOCH);
                let period = cron.next(first) - first;
                assert_eq!(period, TimeDelta::seconds(schedule.period_seconds.into()), "{}", schedule.cron);
            }
        }
        for rubbish in ["", "0 3 * * 1", "60 * * * *", "*/0 * * * *", "x * * * *"] {
            assert!(rubbish.parse::<Cron>().is_err(), "{rubbish}");
        }
    }
}
