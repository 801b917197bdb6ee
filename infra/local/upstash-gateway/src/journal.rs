//! What keys held before each recent write, so that an older state can be looked up.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::{Duration, Instant};

/// What a key held at one moment; `None` is a key that did not exist.
pub(crate) type Image = Option<Stored>;

/// A value of any type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// In the form of `DUMP`.
    pub(crate) dump: Vec<u8>,
    /// As `RESTORE … ABSTTL` expects it: Unix time in milliseconds, 0 for never.
    pub(crate) expires_at_ms: i64,
}

/// Keys and what they held.
pub(crate) type Images = BTreeMap<Vec<u8>, Image>;

/// Recent writes, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: VecDeque<Entry>,
    /// The position up to which every write is known.
    complete_to: u64,
}

#[derive(Debug)]
struct Entry {
    position: u64,
    at: Instant,
    before: Images,
}

impl Journal {
    /// Begins anew if there were writes up to `position` that were not recorded.
    pub(crate) fn resume_at(&mut self, position: u64) {
        if position != self.complete_to {
            *self = Self { complete_to: position, ..Self::default() };
        }
    }

    /// Notes that the write at `position` (greater than all before) replaces these values, and forgets writes of that
    /// age.
    pub(crate) fn record(&mut self, position: u64, at: Instant, before: Images, age: Duration) {
        while self.entries.pop_front_if(|entry| at.duration_since(entry.at) >= age).is_some() {}
        self.entries.push_back(Entry { position, at, before });
        self.complete_to = position;
    }

    /// Forgets the writes after `position`, because the write at `undone_at` has undone them.
    pub(crate) fn truncate(&mut self, position: u64, undone_at: u64) {
        while self.entries.pop_back_if(|entry| entry.position > position).is_some() {}
        self.complete_to = undone_at;
    }

    /// The position before the first write that is younger than `age`; `None` when nothing was written since.
    pub(crate) fn position_before(&self, now: Instant, age: Duration) -> Option<u64> {
        let younger = |entry: &&Entry| now.duration_since(entry.at) < age;
        self.entries.iter().find(younger).map(|entry| entry.position - 1)
    }

    /// What the keys written after `position` held there.
    pub(crate) fn images_at(&self, position: u64) -> Images {
        let mut images = Images::new();
        for entry in self.entries.iter().filter(|entry| entry.position > position) {
            for (key, image) in &entry.before {
                // The first write after the position replaced what the key held at the position.
                images.entry(key.clone()).or_insert_with(|| image.clone());
            }
        }
        images
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, Instant};

    use super::{Images, Journal, Stored};

    const HOUR: Duration = Duration::from_hours(1);

    fn images(pairs: &[(&str, Option<&str>)]) -> Images {
        let stored = |text: &str| Stored { dump: text.into(), expires_at_ms: 0 };
        pairs.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.map(stored))).collect()
    }

    /// `a` is made, changed together with a new `b`, and changed again, a second between each.
    fn journal(start: Instant) -> Journal {
        let second = |n| start + Duration::from_secs(n);
        let mut journal = Journal::default();
        journal.record(1, second(1), images(&[("a", None)]), HOUR);
        journal.record(2, second(2), images(&[("a", Some("a1")), ("b", None)]), HOUR);
        journal.record(3, second(3), images(&[("a", Some("a2"))]), HOUR);
        journal
    }

    #[test]
    fn journal_returns_the_value_that_a_key_had_at_a_position() {
        let journal = journal(Instant::now());
        assert_eq!(journal.images_at(0), images(&[("a", None), ("b", None)]));
        assert_eq!(journal.images_at(1), images(&[("a", Some("a1")), ("b", None)]));
        assert_eq!(journal.images_at(2), images(&[("a", Some("a2"))]));
        assert_eq!(journal.images_at(3), images(&[]));
    }

    #[test]
    fn journal_finds_the_position_before_all_younger_writes() {
        let start = Instant::now();
        let now = start + Duration::from_secs(4);
        let positions = [1, 2, 3, 4].map(|age| journal(start).position_before(now, Duration::from_secs(age)));
        assert_eq!(positions, [None, Some(2), Some(1), Some(0)]);
    }

    #[test]
    fn journal_forgets_undone_old_and_unknown_writes() {
        let start = Instant::now();
        let mut journal = journal(start);
        journal.truncate(2, 4);
        journal.resume_at(4);
        assert_eq!(journal.images_at(0), images(&[("a", None), ("b", None)]));
        journal.record(5, start + Duration::from_secs(4), images(&[("c", None)]), Duration::from_secs(3));
        assert_eq!(journal.images_at(0), images(&[("a", Some("a1")), ("b", None), ("c", None)]));
        journal.resume_at(6);
        assert_eq!(journal.images_at(0), images(&[]));
    }
}
