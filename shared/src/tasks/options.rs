//! When a task runs, what it is called, and what it covers.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// From the end of a debounce window to the time of its task. `debounce` relies on it being longer than a second.
const DEBOUNCE_GRACE: TimeDelta = TimeDelta::seconds(2);

/// When a task runs, and what it is called. The default: now, under a name of its own.
#[derive(Debug, Clone, Default)]
pub struct Options {
    name: Option<String>,
    when: When,
}

#[derive(Debug, Clone, Default)]
enum When {
    #[default]
    Now,
    After(Duration),
    At(DateTime<Utc>),
    Debounced(String, Duration),
}

/// What [`Options`] come to at a moment.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The text of the name.
    pub(super) name: Option<String>,
    /// When the task runs; `None` is now.
    pub(super) at: Option<DateTime<Utc>>,
    /// When the task counts as created: runs that began earlier do not cover it.
    pub(super) created_at: DateTime<Utc>,
    /// When the window of a debounced task ends.
    pub(super) window_end: Option<DateTime<Utc>>,
}

impl Options {
    /// Runs not before `delay` has passed.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.when = When::After(delay);
        self
    }

    /// Runs not before `at`; a past time means now.
    #[must_use]
    pub fn at(mut self, at: DateTime<Utc>) -> Self {
        self.when = When::At(at);
        self
    }

    /// Creates nothing when the queue has, or had within the last hours, a task of the same name. The text goes into a
    /// hash, so it may say anything.
    #[must_use]
    pub fn named(mut self, text: impl fmt::Display) -> Self {
        self.name = Some(text.to_string());
        self
    }

    /// At most one task for `key` in each window, which begins when the window has ended: everything that arrives in a
    /// window is covered by a run that *begins* after it, and by no other. So the task counts as created then: a run
    /// that began before has not done its work. A window that has ended by the clock of Cloud Tasks has ended, whatever
    /// the clock of this process shows. Replaces a name and a time.
    #[must_use]
    pub fn debounced(mut self, key: impl fmt::Display, window: Duration) -> Self {
        self.when = When::Debounced(key.to_string(), window);
        self
    }

    /// For a task that is created `now`. Debounce windows, and their grace, are divided by `divisor`.
    pub(super) fn resolve(&self, now: DateTime<Utc>, divisor: NonZeroU32) -> Resolved {
        let created = |at| Resolved { name: self.name.clone(), at, created_at: now, window_end: None };
        match &self.when {
            When::Now => created(None),
            When::After(delay) => created(Some(now + *delay)),
            When::At(at) => created(Some(*at)),
            When::Debounced(key, window) => {
                let width = i64::try_from((*window / divisor.get()).as_millis()).unwrap_or(i64::MAX).max(1);
                let number = now.timestamp_millis().div_euclid(width);
                let end = DateTime::from_timestamp_millis((number + 1).saturating_mul(width)).unwrap_or(now);
                let at = end + DEBOUNCE_GRACE / i32::try_from(divisor.get()).unwrap_or(i32::MAX);
                Resolved {
                    name: Some(format!("debounce:{key}:{width}:{number}")),
                    at: Some(at),
                    created_at: at,
                    window_end: Some(end),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn debounced(at_ms: i64) -> (String, DateTime<Utc>) {
        let now = DateTime::from_timestamp_millis(at_ms).unwrap();
        let resolved =
            Options::default().debounced("k", Duration::from_mins(1)).resolve(now, NonZeroU32::MIN);
        assert_eq!(
            resolved.at,
            Some(resolved.created_at),
            "only a run that begins after the window covers it"
        );
        (resolved.name.unwrap(), resolved.created_at)
    }

    #[test]
    fn a_divisor_shortens_window_and_grace() {
        let now = DateTime::from_timestamp_millis(0).unwrap();
        let divisor = NonZeroU32::new(100).unwrap();
        let resolved = Options::default().debounced("k", Duration::from_mins(1)).resolve(now, divisor);
        assert_eq!(resolved.at, Some(now + TimeDelta::milliseconds(620)));
    }

    proptest! {
        #[test]
        fn of_two_changes_the_task_of_the_later_one_runs_after_both(first in 0..10_000_000_i64, gap in 0..200_000_i64) {
            let ((name, at), (later_name, later_at)) = (debounced(first), debounced(first + gap));
            prop_assert!(at.timestamp_millis() > first);
            prop_assert!(later_at.timestamp_millis() > first + gap);
            prop_assert!(at.timestamp_millis() - first <= 60_000 + DEBOUNCE_GRACE.num_milliseconds());
            prop_assert_eq!(name == later_name, at == later_at);
            if gap >= 60_000 { prop_assert_ne!(name, later_name); }
        }
    }
}
