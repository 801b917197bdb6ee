//! The calls that one subject was allowed, and what they leave for others.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Grant, Limit};
use crate::redis::Error;

/// Calls that were allowed, in the order in which Redis recorded them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Record(Vec<Entry>);

/// Calls that were allowed together: `[<ms since 1970>, <calls>, "<limit>", <random>]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry(i64, u32, String, u32);

/// How many calls are asked for under a limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) limit: &'static Limit,
    pub(super) calls: u32,
    /// All of them or none.
    pub(super) whole: bool,
}

impl Record {
    pub(super) fn read(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|_| Error::Garbage)
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("entries are numbers and names")
    }

    /// What may be granted of what is asked, in that order, and the entries that record it.
    pub(super) fn grant<const N: usize>(
        &self,
        asked: [Asked; N],
        now: DateTime<Utc>,
    ) -> ([Grant; N], Vec<Entry>) {
        let mut record = self.clone();
        let mut granted = Vec::new();
        let grants = asked.map(|asked| {
            let grant = record.grant_one(asked, now);
            if grant.calls > 0 {
                let name = asked.limit.name.to_owned();
                let entry = Entry(now.timestamp_millis(), grant.calls, name, rand::random());
                record.0.push(entry.clone());
                granted.push(entry);
            }
            grant
        });
        (grants, granted)
    }

    fn grant_one(&self, Asked { limit, calls, whole }: Asked, now: DateTime<Utc>) -> Grant {
        let most = limit.all().map(|limit| limit.max.saturating_sub(self.used(limit, now))).min();
        let most = most.unwrap_or_default();
        if calls <= most {
            return Grant { calls, more_at: None };
        }
        let (granted, wanted) = if whole { (0, calls) } else { (most, most + 1) };
        let more_at = limit.all().filter_map(|limit| self.fits_at(limit, wanted, now)).max();
        Grant { calls: granted, more_at: Some(more_at.unwrap_or(now)) }
    }

    /// The calls of the limit in the window that ends now.
    fn used(&self, limit: &Limit, now: DateTime<Utc>) -> u32 {
        self.ends(limit).filter(|(end, _)| *end > now.timestamp_millis()).map(|(_, calls)| calls).sum()
    }

    /// When so many calls fit into the limit, if they do not now. More than its `max` never do: a window from now.
    fn fits_at(&self, limit: &Limit, calls: u32, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut used = self.used(limit, now);
        if used.saturating_add(calls) <= limit.max {
            return None;
        }
        let mut ends: Vec<_> = self.ends(limit).filter(|(end, _)| *end > now.timestamp_millis()).collect();
        ends.sort_unstable();
        let end = ends.into_iter().find_map(|(end, freed)| {
            used -= freed;
            (used.saturating_add(calls) <= limit.max).then_some(end)
        });
        end.and_then(DateTime::from_timestamp_millis).or(Some(now + limit.window))
    }

    /// When each of the limit's entries leaves the window, in ms since 1970, and its calls.
    fn ends(&self, limit: &Limit) -> impl Iterator<Item = (i64, u32)> {
        let window = TimeDelta::from_std(limit.window).unwrap_or(TimeDelta::MAX).num_milliseconds();
        let counts = move |entry: &&Entry| limit.outer.is_none() || entry.2 == limit.name;
        self.0.iter().filter(counts).map(move |entry| (entry.0 + window, entry.1))
    }

    /// With these entries, and without those that are older than `kept`.
    pub(super) fn with(&self, entries: &[Entry], kept: Duration, now: DateTime<Utc>) -> Self {
        let oldest = (now - kept).timestamp_millis();
        let remaining = self.0.iter().filter(|entry| entry.0 > oldest);
        Self(remaining.chain(entries).cloned().collect())
    }

    pub(super) fn is_outdated(&self, kept: Duration, now: DateTime<Utc>) -> bool {
        self.with(&[], kept, now).0.is_empty()
    }

    pub(super) fn contains(&self, entries: &[Entry]) -> bool {
        entries.iter().all(|entry| self.0.contains(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    static CALLS: Limit = Limit { name: "calls", window: Duration::from_mins(1), max: 10, outer: None };
    static MESSAGES: Limit = Limit { name: "messages", window: HOUR, max: 20, outer: None };
    static LONG: Limit = Limit { name: "long", window: HOUR, max: 20, outer: Some(&MESSAGES) };
    static SHORT: Limit = Limit { name: "short", window: HOUR, max: 10, outer: Some(&MESSAGES) };

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(ms).unwrap()
    }

    fn asked(limit: &'static Limit, calls: u32) -> Asked {
        Asked { limit, calls, whole: false }
    }

    #[test]
    fn what_does_not_fit_is_granted_in_part_or_as_a_whole_not_at_all() {
        let record = Record(vec![Entry(0, 3, String::new(), 1), Entry(10, 4, String::new(), 2)]);
        let limit = &CALLS;
        for (asked, calls, more_at) in [
            (asked(limit, 3), 3, None),
            (asked(limit, 5), 3, Some(60_000)),
            (Asked { whole: true, ..asked(limit, 6) }, 0, Some(60_000)),
            (Asked { whole: true, ..asked(limit, 7) }, 0, Some(60_010)),
            (Asked { whole: true, ..asked(limit, 11) }, 0, Some(60_020)),
        ] {
            let ([grant], entries) = record.grant([asked], at(20));
            assert_eq!(grant, Grant { calls, more_at: more_at.map(at) });
            assert_eq!(entries.len(), usize::from(calls > 0));
        }
    }

    #[test]
    fn calls_count_under_their_own_limit_and_under_the_outer_one() {
        let ([long, short], entries) = Record::default().grant([asked(&LONG, 12), asked(&SHORT, 12)], at(0));
        assert_eq!((long.calls, short.calls), (12, MESSAGES.max - 12));
        let record = Record::default().with(&entries, MESSAGES.window, at(0));
        let ([one], _) = record.grant([asked(&LONG, 1)], at(1));
        assert_eq!(one, Grant { calls: 0, more_at: Some(at(3_600_000)) });
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_rubbish_is_not() {
        let record = Record(vec![Entry(1_763_900_000_000, 3, "short".to_owned(), 7)]);
        assert_eq!(record.text(), r#"[[1763900000000,3,"short",7]]"#);
        assert_eq!(Record::read(&record.text()).unwrap(), record);
        for rubbish in ["", "{}", "[[1]]", r#"[[1,-1,"",1]]"#] {
            assert!(Record::read(rubbish).is_err(), "{rubbish}");
        }
    }
}
