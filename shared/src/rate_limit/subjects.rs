//! What one process knows about the subjects of limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// Forgetting costs a few commands, remembering costs memory for the life of the process.
const MAX_SUBJECTS: usize = 1_000;

/// Subjects by key. Whoever checks a limit holds its subject's lock meanwhile.
#[derive(Debug, Default)]
pub(super) struct Subjects(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Known>>>>);

impl Subjects {
    pub(super) fn get(&self, key: &str) -> Arc<tokio::sync::Mutex<Known>> {
        let mut subjects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subject) = subjects.get(key) {
            return Arc::clone(subject);
        }
        if subjects.len() >= MAX_SUBJECTS {
            // Those in use stay: two locks of one subject would not wait for each other.
            subjects.retain(|_, subject| Arc::strong_count(subject) > 1);
        }
        Arc::clone(subjects.entry(key.to_owned()).or_default())
    }
}

/// What is known about one subject of one limit. Housekeeping goes by the process's own time, as Redis's expiry does.
#[derive(Debug, Default)]
pub(super) struct Known {
    denied: Option<Denial>,
    pub(super) renewed_at: Option<Instant>,
    pub(super) trimmed_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Denial {
    calls: u32,
    until: DateTime<Utc>,
}

impl Known {
    /// Until when so many calls are known to be over the limit.
    pub(super) fn denial(&self, calls: u32, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.denied.filter(|denial| calls >= denial.calls && now < denial.until).map(|denial| denial.until)
    }

    pub(super) fn deny(&mut self, calls: u32, until: DateTime<Utc>) {
        self.denied = Some(Denial { calls, until });
    }

    /// Whether something that is done once in a window is due.
    pub(super) fn is_due(last: Option<Instant>, now: Instant, window: Duration) -> bool {
        last.is_none_or(|last| now.duration_since(last) >= window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_holds_for_as_many_calls_or_more_until_its_time() {
        let until = DateTime::from_timestamp_millis(1_000).unwrap();
        let before = DateTime::from_timestamp_millis(999).unwrap();
        let mut known = Known::default();
        assert_eq!(known.denial(5, before), None);
        known.deny(5, until);
        assert_eq!(known.denial(4, before), None);
        assert_eq!(known.denial(5, before), Some(until));
        assert_eq!(known.denial(6, before), Some(until));
        assert_eq!(known.denial(5, until), None);
    }

    #[test]
    fn idle_subjects_are_forgotten_when_there_are_too_many_and_busy_ones_never() {
        let subjects = Subjects::default();
        let busy = subjects.get("busy");
        for n in 0..3 * MAX_SUBJECTS {
            subjects.get(&n.to_string());
        }
        assert!(subjects.0.lock().unwrap().len() <= MAX_SUBJECTS + 1);
        assert!(Arc::ptr_eq(&busy, &subjects.get("busy")));
    }
}
